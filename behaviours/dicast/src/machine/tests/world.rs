//! Nodes on a plane whose delays are distances, and what must hold of their tree.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{
    Contact, NodeId, Seed,
    testing::{LinkFault, Net},
};
use opus_model::Position;
use rand::RngExt;

use crate::{
    Command, Config, Dicast, Event, Message,
    cluster::{ClusterRef, View},
};

/// A step in which measurements are answered.
const STEP: Duration = Duration::from_millis(50);

pub(super) struct World {
    pub(super) net: Net<Dicast>,
    pub(super) config: Config,
    seed: Seed,
    places: Vec<(i32, i32)>,
    seen: usize,
    pub(super) crashed: Vec<NodeId>,
}

impl World {
    /// `nodes` machines in clusters of at least `size_min`, none of them started.
    pub(super) fn new(nodes: u32, size_min: usize, seed: u64) -> Self {
        let config = Config {
            size_min,
            ..Config::default()
        };
        Self::with(nodes, config, seed)
    }

    /// The same, with other settings.
    pub(super) fn with(nodes: u32, config: Config, seed: u64) -> Self {
        let seed = Seed::new(opus_core::seed::test_seed(seed));
        let mut rng = seed.derive("places", 0).rng();
        let place = |_| (rng.random_range(0..80_000), rng.random_range(0..80_000));
        let places = (0..nodes).map(place).collect();
        Self::placed(places, config, seed)
    }

    /// A node at each of these places.
    pub(super) fn at(places: Vec<(i32, i32)>, config: Config, seed: u64) -> Self {
        Self::placed(places, config, Seed::new(opus_core::seed::test_seed(seed)))
    }

    fn placed(places: Vec<(i32, i32)>, config: Config, seed: Seed) -> Self {
        let nodes = u32::try_from(places.len()).unwrap();
        let machine = |index: u32| {
            let id = NodeId::from_index(index);
            let rng = seed.derive("machine", u64::from(index)).rng();
            let machine = Dicast::new(config.clone(), Contact::bare(id), 1, rng);
            (id, machine)
        };
        let ways = places.clone();
        let net = Net::new((0..nodes).map(machine)).with_delay(move |a, b| {
            let us = |id: NodeId| ways[id.index() as usize];
            Duration::from_micros(u64::from(apart_us(us(a), us(b)) / 2))
        });
        Self {
            net,
            config,
            seed,
            places,
            seen: 0,
            crashed: Vec::new(),
        }
    }

    pub(super) fn id(index: u32) -> NodeId {
        NodeId::from_index(index)
    }

    /// The first alone, then one after the other, each with the first as its seed.
    pub(super) fn start_all(&mut self, apart: Duration) {
        self.start(0, &[]);
        for index in 1..u32::try_from(self.places.len()).unwrap() {
            self.run_for(apart);
            self.start(index, &[0]);
        }
    }

    pub(super) fn start(&mut self, index: u32, seeds: &[u32]) {
        self.locate(index);
        self.start_lost(index, seeds);
    }

    /// Tells the node where it stands.
    pub(super) fn locate(&mut self, index: u32) {
        self.place(index, self.places[index as usize]);
    }

    /// Tells the node that it stands there, wherever it does.
    pub(super) fn place(&mut self, index: u32, (x, y): (i32, i32)) {
        let position = Position([x, y, 0], 1_000, 10);
        let place = Command::Coordinate(position);
        self.net.command(Self::id(index), place);
    }

    /// Starts a node that does not know where it stands.
    pub(super) fn start_lost(&mut self, index: u32, seeds: &[u32]) {
        let id = Self::id(index);
        let seeds = seeds.iter().map(|&seed| Contact::bare(Self::id(seed)));
        let seeds = seeds.collect();
        self.net.command(id, Command::Start { id: 1, seeds });
    }

    pub(super) fn crash(&mut self, index: u32) {
        let id = Self::id(index);
        self.net.crash(id);
        self.crashed.push(id);
    }

    /// Their power fails: nobody is told that a connection closed.
    pub(super) fn mute(&mut self, nodes: &[NodeId]) {
        self.crashed.extend(nodes);
        let mute = self.crashed.clone();
        self.net.set_fault(move |_, from, to, _: &Message| {
            if mute.contains(&from) || mute.contains(&to) {
                LinkFault::Lose
            } else {
                LinkFault::Deliver
            }
        });
    }

    /// Loses this share of all messages from this moment on.
    pub(super) fn lose(&mut self, rate: f64) {
        let mut rng = self.seed.derive("loss", 0).rng();
        self.net.set_fault(move |_, _, _, _: &Message| {
            if rng.random_bool(rate) {
                LinkFault::Lose
            } else {
                LinkFault::Deliver
            }
        });
    }

    /// Loses what goes between the nodes that `side` names and the others.
    pub(super) fn cut(&mut self, side: impl Fn(NodeId) -> bool + 'static) {
        self.net.set_fault(move |_, from, to, _: &Message| {
            if side(from) == side(to) {
                LinkFault::Deliver
            } else {
                LinkFault::Lose
            }
        });
    }

    /// Delivers everything again.
    pub(super) fn heal(&mut self) {
        self.net
            .set_fault(|_, _, _, _: &Message| LinkFault::Deliver);
    }

    pub(super) fn leave(&mut self, index: u32) {
        let id = Self::id(index);
        self.net.command(id, Command::Leave);
        self.crashed.push(id);
    }

    /// The round trips of all nodes to their agents, and to the nearest agent that there is: means
    /// in microseconds.
    pub(super) fn nearness_us(&self) -> (u64, u64) {
        let posts = self.posts();
        let agents = posts.values().filter(|(_, view)| view.level == 1);
        let agents: Vec<NodeId> = agents.map(|(agent, _)| *agent).collect();
        let us = |a: NodeId, b: NodeId| {
            let place = |id: NodeId| self.places[id.index() as usize];
            u64::from(apart_us(place(a), place(b)))
        };
        let (mut own, mut nearest, mut leaves) = (0, 0, 0);
        for node in self.alive() {
            let leaf = self.net.machine(node).leaf();
            let Some(agent) = leaf.map(|(view, _)| view.agent.id).filter(|it| *it != node) else {
                continue;
            };
            own += us(node, agent);
            nearest += agents.iter().map(|it| us(node, *it)).min().unwrap_or(0);
            leaves += 1;
        }
        (own / leaves, nearest / leaves)
    }

    /// The agent at the top.
    pub(super) fn root(&self) -> NodeId {
        let posts = self.posts();
        let top = posts.values().max_by_key(|(_, view)| view.level);
        top.unwrap().0
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.net.now() + duration;
        while self.net.now() < end {
            let left = end.since(self.net.now());
            self.net.run_for(left.min(STEP));
            self.measure();
        }
    }

    /// Answers what machines want measured.
    fn measure(&mut self) {
        while let Some((_, at, event)) = self.net.events.get(self.seen) {
            self.seen += 1;
            let Event::Measure { id, targets } = event.clone() else {
                continue;
            };
            let at = *at;
            let rtt = |to: NodeId| {
                let (a, b) = (at.index() as usize, to.index() as usize);
                let alive = !self.crashed.contains(&to);
                alive.then(|| apart_us(self.places[a], self.places[b]))
            };
            let answers: Vec<_> = targets.iter().map(|to| (to.id, rtt(to.id))).collect();
            for (peer, rtt_us) in answers {
                self.net.command(at, Command::Measured { id, peer, rtt_us });
            }
        }
    }

    pub(super) fn alive(&self) -> Vec<NodeId> {
        let crashed = &self.crashed;
        let ids = self.net.ids().into_iter();
        ids.filter(|id| !crashed.contains(id)).collect()
    }

    /// All posts, by cluster id. Panics if two agents hold the same cluster and epoch.
    pub(super) fn posts(&self) -> BTreeMap<ClusterRef, (NodeId, View)> {
        let mut posts = BTreeMap::new();
        for id in self.alive() {
            for view in self.net.machine(id).posts() {
                let other = posts.insert(view.cluster, (id, view.clone()));
                let other = other.map(|(other, _)| other);
                assert!(
                    other.is_none(),
                    "{id:?} and {other:?} hold one cluster and epoch"
                );
            }
        }
        posts
    }

    /// What is wrong with the tree, in sentences; empty if each live node has its place in one.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let posts = self.posts();
        let mut roots = Vec::new();
        for id in self.alive() {
            let machine = self.net.machine(id);
            let Some((leaf, slot)) = machine.leaf() else {
                faults.push(format!("{id:?} sits nowhere"));
                continue;
            };
            let held = posts.get(&leaf.cluster);
            match held {
                Some((_, post)) if post.roster.get(slot).is_some_and(|seat| seat.id() == id) => {}
                Some(_) => faults.push(format!("{id:?} has no seat where it thinks")),
                None => faults.push(format!("{id:?} sits in {:?} of nobody", leaf.cluster)),
            }
        }
        for (agent, post) in posts.values() {
            let machine = self.net.machine(*agent);
            let Some((above, slot)) = machine.seat_above(post.level) else {
                roots.push((post.level, *agent));
                continue;
            };
            let parent = posts.get(&above.cluster);
            let seated = parent.is_some_and(|(_, parent)| {
                let seat = parent.roster.get(slot);
                seat.is_some_and(|seat| seat.child() == Some(post.cluster) && seat.id() == *agent)
            });
            if !seated {
                faults.push(format!(
                    "{agent:?} of level {} has no seat above",
                    post.level
                ));
            }
            for (slot, seat) in post.roster.iter() {
                let alive = self.alive().contains(&seat.id());
                let known = match seat.child() {
                    None => {
                        alive
                            && self
                                .net
                                .machine(seat.id())
                                .leaf()
                                .is_some_and(|(leaf, at)| {
                                    leaf.cluster == post.cluster && at == slot
                                })
                    }
                    Some(child) => posts.contains_key(&child),
                };
                if !known {
                    faults.push(format!(
                        "seat {slot} of {:?} level {} is empty: {:?}",
                        post.cluster,
                        post.level,
                        seat.id()
                    ));
                }
            }
        }
        if roots.len() != 1 {
            faults.push(format!("{} roots: {roots:?}", roots.len()));
        }
        faults
    }

    /// One tree, at the latest in so many seconds.
    pub(super) fn assert_one_tree_within(&mut self, seconds: u64) {
        for _ in 0..seconds {
            if self.faults().is_empty() {
                return;
            }
            self.run(1);
        }
        self.assert_one_tree();
    }

    pub(super) fn assert_one_tree(&self) {
        self.assert_one_tree_but(&[]);
    }

    /// One tree, in which `out` have no place.
    pub(super) fn assert_one_tree_but(&self, out: &[NodeId]) {
        let mut faults = self.faults();
        for id in out {
            faults.retain(|fault| *fault != format!("{id:?} sits nowhere"));
        }
        let now = self.net.now();
        assert!(
            faults.is_empty(),
            "at {now:?}: {faults:#?}\n{}",
            dump(self, &faults)
        );
    }

    /// Sizes: d..3d-1, the root's 2..3d-1.
    pub(super) fn assert_sizes(&self) {
        let top = self
            .posts()
            .values()
            .map(|(_, post)| post.level)
            .max()
            .unwrap();
        for (_, post) in self.posts().values() {
            let least = if post.level == top {
                1
            } else {
                self.config.size_min
            };
            let size = post.roster.len();
            let most = self.config.size_split() - 1;
            assert!(
                (least..=most).contains(&size),
                "{size} seats at level {}",
                post.level
            );
        }
    }
}

fn apart_us(a: (i32, i32), b: (i32, i32)) -> u32 {
    let (x, y) = (u64::from(a.0.abs_diff(b.0)), u64::from(a.1.abs_diff(b.1)));
    2_000 + u32::try_from((x * x + y * y).isqrt()).unwrap()
}

/// What is known of the clusters that have something wrong, for the reader of a failure.
fn dump(world: &World, faults: &[String]) -> String {
    let mut lines = Vec::new();
    for id in world.alive() {
        let machine = world.net.machine(id);
        for (level, post) in &machine.posts {
            let named = format!("{:?}", post.view.cluster);
            if post.up.is_some() && !faults.iter().any(|fault| fault.contains(&named)) {
                continue;
            }
            let up = post.up.as_ref().map(|up| (up.view.cluster, up.slot));
            let (seats, phase) = (post.view.roster.len(), &post.phase);
            let (calm, seeks) = (post.calm_until, &machine.seeks);
            lines.push(format!(
                "{id:?} level {level} {named}: {seats} seats, {phase:?}, calm until {calm:?}, \
                 up {up:?}, seeks {seeks:?}\n  {:?}",
                post.children
            ));
        }
    }
    lines.join("\n")
}
