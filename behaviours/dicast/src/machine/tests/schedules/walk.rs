//! Every schedule up to a depth, depth first; a state that was seen with as much left is left.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use opus_core::{Machine, Time};

use super::{
    calm, digest,
    scene::{Act, Broken, Node, Scene, What},
};

/// What a walk may do, and how far it goes.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Steps of a schedule.
    pub(super) depth: u8,
    /// New states, after which the walk ends unfinished.
    pub(super) states_max: usize,
    /// One state in so many is left in peace, to see whether it heals.
    pub(super) heal_every: u64,
    /// How much later than the earliest timer of all another node's may be that fires before it,
    /// microseconds: 0 if clocks run alike, so that only what is under way comes at any time.
    pub(super) ahead_us_max: u64,
    pub(super) spare: Spare,
    /// Nodes that may crash.
    pub(super) mortal: &'static [u8],
}

/// What a schedule may still do to the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spare {
    pub(super) losses: u8,
    pub(super) doubles: u8,
    pub(super) crashes: u8,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// States left in peace.
    pub(super) healed: usize,
    /// The longest that took, seconds.
    pub(super) healed_s_max: u64,
    /// Those for which it took a directory.
    pub(super) directory: usize,
    /// Steps of the longest schedules.
    pub(super) depth: u8,
    /// Whether the walk ended for want of states.
    pub(super) whole: bool,
}

/// A schedule after which something does not hold.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) acts: Vec<Act>,
    pub(super) broken: Broken,
    /// Whether it came out only when all was left in peace.
    pub(super) in_peace: bool,
}

/// Walks every schedule that the rules allow: all of one step, of two, and so on, as long as the
/// states suffice. Tells what was seen at the greatest depth that was walked as a whole.
pub(super) fn walk(start: &Scene, rules: &Rules) -> Result<Seen, Found> {
    let mut best = Seen::default();
    for depth in 1..=rules.depth {
        let seen = walk_to(start, rules, depth)?;
        if !seen.whole {
            break;
        }
        best = seen;
    }
    Ok(best)
}

fn walk_to(start: &Scene, rules: &Rules, depth: u8) -> Result<Seen, Found> {
    let whole = true;
    let mut walk = Walk {
        rules,
        known: HashMap::new(),
        acts: Vec::new(),
        seen: Seen {
            depth,
            whole,
            ..Seen::default()
        },
    };
    match walk.go(start, rules.spare, depth) {
        Ok(()) => Ok(walk.seen),
        Err((broken, in_peace)) => Err(Found {
            acts: walk.acts,
            broken,
            in_peace,
        }),
    }
}

struct Walk<'a> {
    rules: &'a Rules,
    /// With how many steps left each state was seen.
    known: HashMap<u64, u8>,
    /// From the start to here.
    acts: Vec<Act>,
    seen: Seen,
}

impl Walk<'_> {
    fn go(&mut self, scene: &Scene, spare: Spare, left: u8) -> Result<(), (Broken, bool)> {
        if !self.seen.whole {
            return Ok(());
        }
        let digest = digest::of_scene(scene, spare);
        match self.known.entry(digest) {
            Entry::Occupied(mut known) => {
                if *known.get() >= left {
                    return Ok(());
                }
                known.insert(left);
            }
            Entry::Vacant(free) => {
                if self.seen.states >= self.rules.states_max {
                    self.seen.whole = false;
                    return Ok(());
                }
                free.insert(left);
                self.seen.states += 1;
                if digest.is_multiple_of(self.rules.heal_every) {
                    let rest = calm::heals(scene).map_err(|broken| (broken, true))?;
                    self.seen.healed += 1;
                    self.seen.healed_s_max = self.seen.healed_s_max.max(rest.seconds);
                    self.seen.directory += usize::from(rest.directory);
                }
            }
        }
        if left == 0 {
            return Ok(());
        }
        for (act, spare) in choices(scene, spare, self.rules) {
            let mut next = scene.clone();
            self.acts.push(act);
            next.apply(act).map_err(|broken| (broken, false))?;
            self.seen.steps += 1;
            self.go(&next, spare, left - 1)?;
            self.acts.pop();
        }
        Ok(())
    }
}

/// All steps from here, and what is to spare after each.
fn choices(scene: &Scene, spare: Spare, rules: &Rules) -> Vec<(Act, Spare)> {
    let mut acts = Vec::new();
    let mut equal = BTreeSet::new();
    for (at, flight) in scene.flights.iter().enumerate() {
        if !scene.is_next(at) {
            continue;
        }
        // Equal messages on one link: one stands for all.
        if let What::Message(bytes, _) = &flight.what
            && !equal.insert((flight.id.0, flight.to, bytes))
        {
            continue;
        }
        acts.push((Act::Deliver(flight.id), spare));
        if !flight.is_message() {
            continue;
        }
        if let Some(losses) = spare.losses.checked_sub(1) {
            acts.push((Act::Lose(flight.id), Spare { losses, ..spare }));
        }
        if let Some(doubles) = spare.doubles.checked_sub(1) {
            acts.push((Act::Double(flight.id), Spare { doubles, ..spare }));
        }
    }
    let due = |(node, it): (u8, &Node)| Some((node, it.machine.poll_timeout()?.at));
    let timers: Vec<(u8, Time)> = scene.alive().filter_map(due).collect();
    let first = timers.iter().map(|(_, at)| *at).min();
    let first = first.map_or(0, Time::as_micros);
    let last = Time(first.saturating_add(rules.ahead_us_max));
    let ready = timers.into_iter().filter(|(_, at)| *at <= last);
    acts.extend(ready.map(|(node, _)| (Act::Fire(node), spare)));
    if let Some(crashes) = spare.crashes.checked_sub(1) {
        let mortal = rules.mortal.iter().copied();
        for node in mortal.filter(|&node| scene.node(node).is_some()) {
            acts.push((Act::Crash(node), Spare { crashes, ..spare }));
        }
    }
    if scene.side != 0 {
        acts.push((Act::Heal, spare));
    }
    acts
}
