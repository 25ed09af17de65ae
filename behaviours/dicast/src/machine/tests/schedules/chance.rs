//! Long schedules by chance, with every message at any time: what a walk does not reach.

use opus_core::{Machine, Rng, Seed};
use rand::{RngExt, seq::IndexedRandom};

use super::{
    calm::{self, Rest},
    scene::{self, Act, Scene},
    walk::Found,
};

/// Under way at once, beyond which only arrivals happen.
const FLIGHTS_MAX: usize = 80;

/// How kind the network is, in thousandths of all steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) fire: u32,
    pub(super) lose: u32,
    pub(super) double: u32,
    pub(super) crash: u32,
    pub(super) restart: u32,
    pub(super) leave: u32,
    pub(super) travel: u32,
    pub(super) cut: u32,
    pub(super) heal: u32,
    /// Of a hundred timers, so many are the slowest clock's, of arrivals the oldest.
    pub(super) order: u32,
    /// Nodes that always live.
    pub(super) alive_min: usize,
}

/// One schedule of so many steps, and then peace, if there is one. Returns how it came to rest.
pub(super) fn run(
    start: &Scene,
    weather: Weather,
    (steps, peace): (usize, bool),
    seed: u64,
) -> Result<Rest, Found> {
    let mut rng = Seed::new(seed).derive("schedule", 0).rng();
    let mut scene = start.clone();
    let mut acts = Vec::with_capacity(steps);
    while acts.len() < steps {
        let Some(act) = draw(&scene, weather, &mut rng) else {
            continue;
        };
        acts.push(act);
        if let Err(broken) = scene.apply(act) {
            let in_peace = false;
            return Err(Found {
                acts,
                broken,
                in_peace,
            });
        }
    }
    if !peace {
        return Ok(Rest {
            moves: scene.moves,
            ..Rest::default()
        });
    }
    let in_peace = true;
    calm::heals(&scene).map_err(|broken| Found {
        acts,
        broken,
        in_peace,
    })
}

fn draw(scene: &Scene, weather: Weather, rng: &mut Rng) -> Option<Act> {
    let mut at = rng.random_range(0..1_000_u32);
    let mut is = |share: u32| {
        let hit = at < share;
        at = at.wrapping_sub(share);
        hit
    };
    let alive: Vec<u8> = scene.alive().map(|(node, _)| node).collect();
    let dead: Vec<u8> = (0..scene.count())
        .filter(|&node| scene.node(node).is_none())
        .collect();
    if scene.flights.len() > FLIGHTS_MAX {
        return deliver(scene, weather, rng);
    }
    if is(weather.fire) {
        let slowest = || {
            let due = |node: &u8| scene.node(*node)?.machine.poll_timeout().map(|due| due.at);
            alive.iter().copied().min_by_key(due)
        };
        let ordered = rng.random_range(0..100) < weather.order;
        return if ordered {
            slowest()
        } else {
            alive.choose(rng).copied()
        }
        .map(Act::Fire);
    }
    if is(weather.lose) {
        return scene.flights.choose(rng).map(|it| Act::Lose(it.id));
    }
    if is(weather.double) {
        return scene.flights.choose(rng).map(|it| Act::Double(it.id));
    }
    if is(weather.crash) {
        let node = *alive
            .choose(rng)
            .filter(|_| alive.len() > weather.alive_min)?;
        return Some(Act::Crash(node));
    }
    if is(weather.restart) {
        let (node, seed) = (*dead.choose(rng)?, *alive.choose(rng)?);
        return Some(Act::Restart { node, seed });
    }
    if is(weather.leave) {
        let node = alive
            .choose(rng)
            .filter(|_| alive.len() > weather.alive_min)?;
        return Some(Act::Leave(*node));
    }
    if is(weather.travel) {
        let (node, group) = (*alive.choose(rng)?, rng.random_range(0..scene::GROUPS));
        return Some(Act::Travel { node, group });
    }
    if is(weather.cut) {
        let all = (1_u16 << scene.count()) - 1;
        let side = rng.random_range(1..all);
        return (scene.side == 0).then(|| Act::Cut(side.to_le_bytes()[0]));
    }
    if is(weather.heal) {
        return (scene.side != 0).then_some(Act::Heal);
    }
    deliver(scene, weather, rng)
}

fn deliver(scene: &Scene, weather: Weather, rng: &mut Rng) -> Option<Act> {
    let ordered = rng.random_range(0..100) < weather.order;
    let flight = if ordered {
        scene.flights.first()
    } else {
        scene.flights.choose(rng)
    };
    flight.map(|it| Act::Deliver(it.id))
}
