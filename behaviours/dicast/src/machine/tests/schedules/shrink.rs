//! The shortest schedule that still shows what a long one showed, and what happens in it.

use std::time::Duration;

use opus_core::{Machine, codec};

use super::{
    calm::{self, Calm, Next},
    scene::{Act, Broken, Scene, What},
    walk::Found,
};
use crate::Message;

/// Shorter than elsewhere: most tries of a schedule that does not heal last that long.
const TREE_S_MAX: u64 = 120;

/// Plays a schedule, leaving out the steps that are none, and then may leave all in peace.
pub(super) fn play(start: &Scene, acts: &[Act], peace: bool) -> Result<(), Broken> {
    let mut scene = start.clone();
    for &act in acts {
        scene.apply(act)?;
    }
    if !peace {
        return Ok(());
    }
    calm::heals_within(&scene, TREE_S_MAX).map(|_| ())
}

/// Leaves out what is not needed: halves, quarters, down to single steps, until nothing can go.
pub(super) fn shrink(start: &Scene, found: Found, tries_max: usize) -> Found {
    let mut best = found;
    best.acts = taken(start, &best.acts);
    let mut tries = 0;
    let mut size = best.acts.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut less = false;
        while at < best.acts.len() {
            if tries >= tries_max {
                return best;
            }
            let mut acts = best.acts.clone();
            acts.drain(at..(at + size).min(best.acts.len()));
            tries += 1;
            match play(start, &acts, best.in_peace) {
                Err(broken) if rule(&broken) == rule(&best.broken) => {
                    best = Found {
                        acts,
                        broken,
                        ..best
                    };
                    less = true;
                }
                Ok(()) | Err(_) => at += size,
            }
        }
        size = if less && size == 1 { 1 } else { size / 2 };
    }
    best
}

/// The steps that are any.
fn taken(start: &Scene, acts: &[Act]) -> Vec<Act> {
    let mut scene = start.clone();
    let mut is_any = |act: &&Act| scene.apply(**act) != Ok(false);
    acts.iter().filter(|act| is_any(act)).copied().collect()
}

fn rule(broken: &str) -> &str {
    broken.split(':').next().unwrap_or_default()
}

/// The schedule as source, each step with what it is.
pub(super) fn tell(start: &Scene, found: &Found) -> String {
    let mut scene = start.clone();
    let mut lines = vec![found.broken.clone()];
    for &act in &found.acts {
        let what = match act {
            Act::Deliver(id) | Act::Lose(id) | Act::Double(id) => {
                let flight = scene.flights.iter().find(|flight| flight.id == id);
                flight.map_or_else(String::new, |it| format!(" // {} to {}", it.kind(), it.to))
            }
            Act::Fire(node) => {
                let due = scene.node(node).and_then(|it| it.machine.poll_timeout());
                due.map_or_else(String::new, |it| format!(" // {:?} {}", it.at, it.reason))
            }
            Act::Crash(_)
            | Act::Restart { .. }
            | Act::Leave(_)
            | Act::Travel { .. }
            | Act::Cut(_)
            | Act::Heal => String::new(),
        };
        lines.push(format!("    Act::{act:?},{what}"));
        if let Err(broken) = scene.apply(act) {
            lines.push(broken);
            break;
        }
        lines.push(posts(&scene));
    }
    for (node, it) in scene.alive() {
        let known = it.machine.seeds.iter().chain(&it.machine.far);
        let known: Vec<u32> = known.map(|contact| contact.id.index()).collect();
        lines.push(format!("        // {node} knows {known:?}"));
    }
    lines.join("\n")
}

/// Who holds which post and sits where, in a line.
pub(super) fn posts(scene: &Scene) -> String {
    let mut told = Vec::new();
    for (node, it) in scene.alive() {
        let leaf = it.machine.leaf().map(|(view, slot)| {
            let id = view.cluster.id % 1_000;
            format!("{id}.{}/{slot}", view.cluster.epoch)
        });
        let posts = it.machine.posts().map(|view| {
            let id = view.cluster.id % 1_000;
            let seats: Vec<_> = view
                .roster
                .iter()
                .map(|(_, seat)| seat.id().index())
                .collect();
            format!(" L{} {id}.{} {seats:?}", view.level, view.cluster.epoch)
        });
        let posts: Vec<_> = posts.collect();
        told.push(format!(
            "{node}: {}{}",
            leaf.unwrap_or_default(),
            posts.join(",")
        ));
    }
    format!("        // {}", told.join(" | "))
}

/// What arrives in the first seconds of peace but signs of life and values, a line each.
pub(super) fn peace(start: &Scene, acts: &[Act], seconds: u64) -> Result<String, Broken> {
    const NOISE: [&str; 8] = [
        "Beat", "Pulse", "Push", "Got", "Widths", "Check", "Alive", "Full",
    ];
    let mut scene = start.clone();
    for &act in acts {
        scene.apply(act)?;
    }
    scene.side = 0;
    let mut calm = Calm::new(scene);
    let end = calm.scene.now + Duration::from_secs(seconds);
    let mut lines = Vec::new();
    while let Some((at, next)) = calm.next().filter(|(at, _)| *at <= end) {
        if let Next::Arrival(which) = next
            && let flight = &calm.scene.flights[which]
            && !NOISE.contains(&flight.kind())
        {
            let what = match &flight.what {
                What::Message(bytes, _) => format!("{:?}", codec::decode_wire::<Message>(bytes)),
                What::Connected(_) | What::Disconnected(_) | What::DialFailed(_) => String::new(),
            };
            let (from, to) = (flight.id.0, flight.to);
            let short: String = what.chars().take(300).collect();
            lines.push(format!("{at:?} {} {from} to {to} {short}", flight.kind()));
        }
        let before = posts(&calm.scene);
        calm.step()?;
        let after = posts(&calm.scene);
        if after != before {
            lines.push(after);
        }
    }
    Ok(lines.join("\n"))
}
