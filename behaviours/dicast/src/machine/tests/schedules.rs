//! Model checking of the machine itself: takeover, split, merge and heal of three to six nodes,
//! under the schedules that a network may bring about.
//!
//! A *scene* holds real machines, each with a clock of its own, and what is under way between
//! them. A *schedule* is a list of steps: a message arrives, is lost, or arrives twice; a node's
//! next timer fires; a node dies, starts again, leaves; a cut comes and goes. What is under way may
//! take as long as it likes, and where a schedule says so a node may be paused while others go on.
//!
//! - [`walk`] goes through *all* schedules up to a depth, from a scene that is about to change
//!   hands, split, merge or heal. Signs of life, values and rosters arrive at once there; what
//!   changes who sits where or holds what arrives in every order, is lost, comes twice.
//! - [`chance`] draws long schedules in which every message of every kind may come at any time; in
//!   some of them nodes wander, and all look for nearer clusters all the time.
//!
//! After each step [`judge`] looks at what must hold: *no two nodes ever hold, or are granted, one
//! cluster and epoch*, also one after the other; no panic; nothing beyond its bounds; no word to
//! itself without end; seats and posts that fit. And *left in peace* ([`calm`]) the nodes become
//! one tree, each with its one seat, and all count how many they are.
//!
//! `OPUS_SCHEDULES=50` goes 50 times as far: so many times the states, so many times the schedules
//! by chance. `OPUS_SEED` is the first seed by chance, `OPUS_SURVEY` lists all seeds that fail,
//! `OPUS_TRACE_S` prints so many seconds of the peace that failed, `OPUS_STRICT` fails where it
//! takes a directory for all to meet, `OPUS_TRIES` bounds the tries to make a schedule shorter.

mod calm;
mod chance;
mod copy;
mod digest;
mod found;
mod judge;
mod network;
mod scene;
mod shrink;
mod walk;

use std::time::Duration;

use self::{
    calm::Calm,
    chance::Weather,
    scene::{Act, Scene},
    walk::{Found, Rules, Spare},
};

/// What arrives at once in a walk: it says nothing new about who sits where or holds what.
const EAGER: &[&str] = &[
    "Connected",
    "Disconnected",
    "DialFailed",
    "Beat",
    "Pulse",
    "Check",
    "Alive",
    "Push",
    "Got",
    "Widths",
    "Full",
    "Specs",
    "Ask",
    "Moved",
    "Poles",
    "Sides",
];

/// New states of one walk.
const STATES: usize = 3_000;

/// Schedules by chance, those of nodes that wander, and steps of each.
const SCHEDULES: u64 = 36;
const WANDERINGS: u64 = 60;
const STEPS: usize = 400;

/// Tries to make a schedule shorter.
const TRIES: usize = 400;

const FAIR: Weather = Weather {
    fire: 150,
    lose: 20,
    double: 10,
    crash: 4,
    restart: 3,
    leave: 1,
    travel: 0,
    cut: 3,
    heal: 6,
    order: 80,
    alive_min: 2,
};

/// Nodes wander, and time passes in which others look for them.
const RESTLESS: Weather = Weather {
    fire: 250,
    travel: 30,
    ..FAIR
};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many times as far as in CI.
fn far() -> u64 {
    number("OPUS_SCHEDULES").unwrap_or(1).max(1)
}

/// Nodes that start one after the other.
fn started(nodes: u8, size_min: usize, seed: u64) -> Calm {
    start_all(Scene::new(nodes, size_min, seed))
}

fn start_all(scene: Scene) -> Calm {
    let nodes = scene.count();
    let mut calm = Calm::new(scene);
    calm.start(0, None).unwrap();
    for node in 1..nodes {
        calm.run(Duration::from_millis(700)).unwrap();
        calm.start(node, Some(0)).unwrap();
    }
    calm
}

/// The same, and one tree.
fn formed(nodes: u8, size_min: usize, seed: u64) -> Calm {
    let mut calm = started(nodes, size_min, seed);
    calm.run(Duration::from_secs(40)).unwrap();
    calm
}

/// The scene in which such a message is under way for the first time.
fn at_first(mut calm: Calm, kind: &str) -> Scene {
    let under_way = |scene: &Scene| scene.flights.iter().any(|flight| flight.kind() == kind);
    let came = calm.until(120, under_way).unwrap();
    assert!(came, "nobody says {kind}: {}", shrink::posts(&calm.scene));
    let mut scene = calm.end();
    scene.eager = EAGER;
    scene
}

fn fail(start: &Scene, found: Found) -> ! {
    println!("found {} after {} steps", found.broken, found.acts.len());
    let tries = number("OPUS_TRIES").and_then(|it| usize::try_from(it).ok());
    let found = shrink::shrink(start, found, tries.unwrap_or(TRIES));
    let told = shrink::tell(start, &found);
    if let Some(seconds) = number("OPUS_TRACE_S") {
        println!(
            "{}",
            shrink::peace(start, &found.acts, seconds).unwrap_or_default()
        );
    }
    panic!("{told}");
}

/// All schedules with these faults, as deep as the states suffice.
fn walk_all(what: &str, start: &Scene, spare: Spare, mortal: &'static [u8]) {
    walk_with(what, start, spare, mortal, 0);
}

/// The same, with timers of different nodes in any order that differ by so much at most.
fn walk_with(what: &str, start: &Scene, spare: Spare, mortal: &'static [u8], ahead_us_max: u64) {
    let states_max = STATES * usize::try_from(far()).unwrap();
    let rules = Rules {
        depth: 40,
        states_max,
        heal_every: 250,
        ahead_us_max,
        spare,
        mortal,
    };
    match walk::walk(start, &rules) {
        Ok(seen) => {
            println!("{what}: {seen:?}");
            // A walk that goes nowhere would find nothing.
            let far = seen.states >= STATES / 4 && seen.depth >= 3 && seen.healed > 0;
            assert!(far, "{what} ended early: {seen:?}");
        }
        Err(found) => fail(start, found),
    }
}

const LOSSY: Spare = Spare {
    losses: 1,
    doubles: 1,
    crashes: 0,
};

const DEADLY: Spare = Spare {
    losses: 1,
    doubles: 0,
    crashes: 1,
};

fn crash(calm: &mut Calm, node: u8) {
    assert_eq!(calm.scene.apply(Act::Crash(node)), Ok(true));
}

/// Six nodes: 0 is the root; 1 the agent of 0, 1, 2; 4 the agent of 3, 4, 5.
fn six() -> Calm {
    let calm = formed(6, 2, 1);
    let posts = |node: u8| {
        let node = calm.scene.node(node).unwrap();
        node.machine.posts.keys().copied().collect::<Vec<u8>>()
    };
    assert_eq!((posts(0), posts(1), posts(4)), (vec![2], vec![1], vec![1]));
    calm
}

#[test]
fn every_schedule_of_a_takeover() {
    let mut calm = six();
    crash(&mut calm, 4);
    let start = at_first(calm, "Claim");
    walk_all("takeover, loss", &start, LOSSY, &[]);
    walk_all("takeover, deaths", &start, DEADLY, &[0, 3, 5]);
    // Half a heartbeat more than the pause after which an agent is suspected.
    walk_with(
        "takeover, any clocks",
        &start,
        Spare::default(),
        &[],
        2_750_000,
    );
}

#[test]
fn every_schedule_of_a_takeover_from_one_who_lives() {
    let mut calm = six();
    calm.scene.apply(Act::Cut(1 << 4)).unwrap();
    let start = at_first(calm, "Claim");
    walk_all("takeover, cut off", &start, LOSSY, &[]);
}

#[test]
fn every_schedule_of_a_root_that_dies() {
    let mut calm = six();
    crash(&mut calm, 0);
    let start = at_first(calm, "Accuse");
    walk_all("root dies", &start, LOSSY, &[]);
    walk_all("root dies, another too", &start, DEADLY, &[1, 4]);
}

#[test]
fn every_schedule_of_a_takeover_among_few() {
    for nodes in 3..=4 {
        let mut calm = formed(nodes, 2, 1);
        crash(&mut calm, 0);
        let start = at_first(calm, "Accuse");
        walk_all(&format!("root of {nodes} dies"), &start, LOSSY, &[]);
    }
    // Two levels: 0 is the root and alone in its cluster, 1 the agent of itself and 2.
    let mut calm = formed(3, 1, 1);
    crash(&mut calm, 1);
    let start = at_first(calm, "Claim");
    walk_all("agent of 3 dies", &start, LOSSY, &[]);
}

#[test]
fn every_schedule_of_a_split() {
    let mut calm = formed(5, 2, 1);
    calm.scene.config.size_min = 2;
    let mut more = Scene::clone(&calm.scene);
    more.grow();
    calm = Calm::new(more);
    calm.start(5, Some(0)).unwrap();
    let start = at_first(calm, "Sides");
    walk_all("root splits, loss", &start, LOSSY, &[]);
    walk_all("root splits, deaths", &start, DEADLY, &[0, 1, 3, 4]);
}

#[test]
fn every_schedule_of_a_split_below_a_parent() {
    let start = at_first(started(5, 1, 1), "Twin");
    walk_all("child splits, loss", &start, LOSSY, &[]);
    walk_all("child splits, deaths", &start, DEADLY, &[0, 1, 2, 3]);
}

#[test]
fn every_schedule_of_a_merge() {
    let mut calm = six();
    crash(&mut calm, 4);
    crash(&mut calm, 5);
    let start = at_first(calm, "Merge");
    walk_all("merge, loss", &start, LOSSY, &[]);
    walk_all("merge, deaths", &start, DEADLY, &[0, 1, 3]);
}

#[test]
fn every_schedule_of_a_post_that_is_given_away() {
    let mut calm = started(6, 2, 1);
    // The split is over; ten seconds after it the new root gives its lower post away.
    calm.run(Duration::from_secs(9)).unwrap();
    let start = at_first(calm, "Office");
    walk_all("yield, loss", &start, LOSSY, &[]);
    walk_all("yield, deaths", &start, DEADLY, &[0, 1, 2]);
}

#[test]
fn every_schedule_of_two_trees_that_meet() {
    for side in [0b11_1000, 0b10_1010] {
        let mut calm = six();
        calm.scene.apply(Act::Cut(side)).unwrap();
        calm.run(Duration::from_secs(60)).unwrap();
        calm.scene.apply(Act::Heal).unwrap();
        let start = at_first(calm, "Merge");
        walk_all(&format!("heal {side:b}, loss"), &start, LOSSY, &[]);
        walk_all(
            &format!("heal {side:b}, deaths"),
            &start,
            DEADLY,
            &[0, 1, 3, 4],
        );
    }
}

#[test]
fn long_schedules_by_chance() {
    let first = opus_core::seed::test_seed(0);
    let mut surveyed = Survey::default();
    for seed in first..first + SCHEDULES * far() {
        let nodes = 3 + u8::try_from(seed % 4).unwrap();
        // With d = 1 a chain of clusters of one seat each has more posts than nodes, which hand
        // them to each other without end: there only what holds at all times is looked at.
        let size_min = if seed / 4 % 3 == 2 { 1 } else { 2 };
        let start = formed(nodes, size_min, seed).end();
        surveyed.run(&start, FAIR, seed);
    }
    surveyed.end();
}

/// The same while members and whole clusters look for nearer places, and find them, since nodes
/// wander. Whole clusters move below a third level, which so few nodes have only with d = 1.
#[test]
fn long_schedules_by_chance_of_nodes_that_wander() {
    let first = opus_core::seed::test_seed(0);
    let mut surveyed = Survey::default();
    for seed in first..first + WANDERINGS * far() {
        let size_min = 2 - usize::try_from(seed % 2).unwrap();
        let mut calm = start_all(Scene::restless(8, size_min, seed));
        let formed = calm.run(Duration::from_secs(30));
        formed.unwrap_or_else(|broken| panic!("OPUS_SEED={seed}: {broken}"));
        surveyed.run(&calm.end(), RESTLESS, seed);
    }
    let (nodes, clusters) = surveyed.moves;
    surveyed.end();
    // Schedules in which nothing moves would find nothing.
    let least = u32::try_from(WANDERINGS).unwrap();
    assert!(
        nodes >= least && clusters > 0,
        "{nodes} and {clusters} moved"
    );
}

/// What came of schedules by chance.
#[derive(Debug, Default)]
struct Survey {
    schedules: u64,
    /// The longest until there was peace, seconds.
    worst_s: u64,
    /// Those that took a directory.
    directory: u64,
    /// Nodes, and clusters, that took a nearer seat.
    moves: (u32, u32),
    broken: u64,
}

impl Survey {
    fn run(&mut self, start: &Scene, weather: Weather, seed: u64) {
        let size_min = start.config.size_min;
        let told = format!("OPUS_SEED={seed}: {} nodes, d = {size_min}", start.count());
        self.schedules += 1;
        match chance::run(start, weather, (STEPS, size_min > 1), seed) {
            Ok(rest) => {
                self.worst_s = self.worst_s.max(rest.seconds);
                self.directory += u64::from(rest.directory);
                self.moves.0 += rest.moves.0;
                self.moves.1 += rest.moves.1;
            }
            Err(found) if number("OPUS_SURVEY").is_some() => {
                println!("{told}: {}", found.broken);
                self.broken += 1;
            }
            Err(found) => {
                println!("{told}");
                fail(start, found);
            }
        }
    }

    fn end(self) {
        println!("of {STEPS} steps each: {self:?}");
        assert_eq!(self.broken, 0, "see above");
    }
}
