//! A world in virtual time for the tests: the machines, a matrix of delays, and a stand-in for the
//! site manager and the probe that answers what the machines want measured.

mod build;
mod commit;
mod faults;
mod hostile;
mod retire;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use opus_core::{
    Contact, Hint, Input, Machine, NodeId, Output, OverlayId, Rng, Seed, Time, testing::Net,
};
use opus_model::{Coordinate, Matrix, Stretch, Tree, last, mst};
use rand::RngExt;

use crate::{Command, Config, Event, Message, Overlay, Status};

/// The overlay of most tests.
const OVERLAY: OverlayId = OverlayId(7);
/// How often the world looks at what the machines said.
const LOOK: Duration = Duration::from_millis(5);

struct World {
    net: Net<Overlay>,
    seed: Seed,
    matrix: Rc<Matrix>,
    rng: Rng,
    coordinates: BTreeMap<NodeId, Coordinate>,
    /// Measurements under way: when the answer comes, who asked, for whom.
    answers: BTreeSet<(Time, NodeId, NodeId)>,
    /// Events looked at.
    seen: usize,
    /// Measurements started by each node.
    probes: BTreeMap<NodeId, u32>,
    alpha_milli: u32,
    cap: u8,
}

fn id(index: usize) -> NodeId {
    NodeId::from_index(u32::try_from(index).unwrap())
}

fn contact(index: usize) -> Contact {
    let hint = Hint(vec![u8::try_from(index % 256).unwrap(); 24].into());
    Contact {
        id: id(index),
        hint,
    }
}

/// Sites in clusters on a plane of 80 by 40 ms, each with an access link of its own: a metric.
fn metric(seed: Seed, nodes: usize) -> Matrix {
    let mut rng = seed.derive("metric", 0).rng();
    let clusters = nodes.div_ceil(8).max(2);
    let mut point = |width: f64, height: f64| -> (f64, f64) {
        (rng.random::<f64>() * width, rng.random::<f64>() * height)
    };
    let centres: Vec<(f64, f64)> = (0..clusters).map(|_| point(80.0, 40.0)).collect();
    let places: Vec<(f64, f64, f64)> = (0..nodes)
        .map(|node| {
            let (x, y) = centres[node % clusters];
            let (dx, dy) = point(6.0, 6.0);
            let (access, _) = point(2.0, 0.0);
            (x + dx, y + dy, 0.2 + access)
        })
        .collect();
    Matrix::from_fn(nodes, |u, v| {
        let (a, b) = (places[u], places[v]);
        let ms = (a.0 - b.0).hypot(a.1 - b.1) + a.2 + b.2;
        (ms * 1_000.0).round() / 1_000.0
    })
    .unwrap()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and positive"
)]
fn micros(ms: f64) -> u32 {
    (ms * 1_000.0).round() as u32
}

impl World {
    /// `nodes` machines, none a member; node 0 will be the root.
    fn new(seed: u64, nodes: usize) -> Self {
        println!("OPUS_SEED={seed}");
        let seed = Seed::new(seed);
        let matrix = Rc::new(metric(seed, nodes));
        Self::on(seed, matrix)
    }

    /// The same, all delays `factor` times as long.
    fn stretched(seed: u64, nodes: usize, factor: f64) -> Self {
        println!("OPUS_SEED={seed}");
        let seed = Seed::new(seed);
        let matrix = metric(seed, nodes);
        let longer = Matrix::from_fn(nodes, |u, v| factor * matrix.rtt_ms(u, v)).unwrap();
        Self::on(seed, Rc::new(longer))
    }

    fn on(seed: Seed, matrix: Rc<Matrix>) -> Self {
        let machines = (0..matrix.len()).map(|index| (id(index), machine(seed, index, 0)));
        let delays = Rc::clone(&matrix);
        let net = Net::new(machines).with_delay(move |a, b| {
            let rtt_ms = delays.rtt_ms(a.index() as usize, b.index() as usize);
            Duration::from_micros(u64::from(micros(rtt_ms)) / 2)
        });
        Self {
            net,
            seed,
            rng: seed.derive("world", 0).rng(),
            coordinates: BTreeMap::new(),
            answers: BTreeSet::new(),
            seen: 0,
            probes: BTreeMap::new(),
            alpha_milli: 1_500,
            cap: 12,
            matrix,
        }
    }

    /// All nodes join within `spread`, the root first; each is introduced to a few others.
    fn join_all(&mut self, spread: Duration) {
        let nodes = self.matrix.len();
        self.join(0);
        let step = spread / u32::try_from(nodes).unwrap();
        for index in 1..nodes {
            self.run_for(step);
            self.join(index);
            self.introduce(index, nodes);
        }
    }

    fn join(&mut self, index: usize) {
        let (alpha_milli, cap) = (self.alpha_milli, self.cap);
        self.net
            .command(id(index), Command::Hint(contact(index).hint));
        let join = Command::Join {
            id: 1,
            overlay: OVERLAY,
            root: contact(0),
            alpha_milli,
            cap,
        };
        self.net.command(id(index), join);
    }

    /// What the root's welcome carries: 2 log2 n random members.
    fn introduce(&mut self, index: usize, nodes: usize) {
        let count = 2 * (usize::ilog2(nodes) as usize + 1);
        let members = (0..count)
            .map(|_| self.rng.random_range(0..nodes))
            .filter(|&other| other != index)
            .map(contact)
            .collect();
        let introduce = Command::Introduce {
            overlay: OVERLAY,
            members,
        };
        self.net.command(id(index), introduce);
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.net.now() + duration;
        while self.net.now() < end {
            let answer = self.answers.first().map_or(Time::MAX, |&(at, ..)| at);
            let stop = answer.min(self.net.now() + LOOK).min(end);
            self.net.run_until(stop.max(self.net.now()));
            self.look();
            self.answer();
        }
    }

    fn run_secs(&mut self, secs: u64) {
        self.run_for(Duration::from_secs(secs));
    }

    /// Takes up what the machines want measured: a dial and an echo take two round trips.
    fn look(&mut self) {
        while let Some((at, asker, event)) = self.net.events.get(self.seen) {
            self.seen += 1;
            if let Event::Measure { targets } = event {
                for target in targets {
                    *self.probes.entry(*asker).or_default() += 1;
                    let took = if self.alive(target.id) {
                        2 * u64::from(self.rtt_us(*asker, target.id))
                    } else {
                        3_000_000
                    };
                    let at = *at + Duration::from_micros(took);
                    self.answers.insert((at, *asker, target.id));
                }
            }
        }
    }

    fn answer(&mut self) {
        while let Some(&(at, asker, peer)) = self.answers.first() {
            if at > self.net.now() {
                return;
            }
            self.answers.pop_first();
            if !self.alive(asker) {
                continue;
            }
            let reached = self.alive(peer);
            let rtt_us = reached.then(|| self.rtt_us(asker, peer));
            let coordinate = self.coordinates.get(&peer).copied().unwrap_or_default();
            if let Some(rtt_us) = rtt_us {
                let own = self.coordinates.entry(asker).or_default();
                let direction: [f32; 3] = self.rng.random();
                *own = own.updated(&coordinate, f64::from(rtt_us) / 1e3, direction);
                let own = *own;
                self.net.command(asker, Command::Coordinate(own));
            }
            let measured = Command::Measured {
                peer,
                rtt_us,
                coordinate: reached.then_some(coordinate),
            };
            self.net.command(asker, measured);
        }
    }

    fn alive(&self, node: NodeId) -> bool {
        self.net.ids().binary_search(&node).is_ok()
    }

    fn rtt_us(&self, a: NodeId, b: NodeId) -> u32 {
        micros(self.matrix.rtt_ms(a.index() as usize, b.index() as usize))
    }

    fn status(&self, index: usize) -> Option<Status> {
        let node = id(index);
        self.alive(node)
            .then(|| self.net.machine(node).status(OVERLAY))?
    }

    /// The parent that each living node claims.
    fn parents(&self) -> BTreeMap<usize, Option<usize>> {
        let parent = |index| {
            Some((
                index,
                self.status(index)?.parent.map(|p| p.index() as usize),
            ))
        };
        (0..self.matrix.len()).filter_map(parent).collect()
    }

    /// The tree of the living as matrix and model see it: rows are those of the living, in order.
    /// Panics if the claimed parents are no tree.
    fn tree(&self) -> (Matrix, Tree) {
        let parents = self.parents();
        let rows: Vec<usize> = parents.keys().copied().collect();
        let row = |index: usize| rows.binary_search(&index).expect("the parent lives");
        let dense = parents.values().map(|parent| parent.map(row)).collect();
        let matrix = self.matrix.restricted_to(&rows).unwrap();
        (
            matrix,
            Tree::new(dense).expect("the claimed parents are a tree"),
        )
    }

    /// Living nodes without a parent, or whose true delay over the claimed tree is over the bound.
    fn violators(&self) -> usize {
        let parents = self.parents();
        let orphans = parents.values().filter(|parent| parent.is_none()).count() - 1;
        if orphans > 0 || self.looped().is_some() {
            return orphans;
        }
        let (matrix, tree) = self.tree();
        let bound = f64::from(self.alpha_milli) / 1e3 + 1e-4;
        let over = |rdp: &&f64| **rdp > bound;
        tree.rdps(&matrix).iter().flatten().filter(over).count()
    }

    fn attached(&self) -> usize {
        self.parents().values().flatten().count()
    }

    /// A node on a loop of claimed parents, if there is one.
    fn looped(&self) -> Option<usize> {
        let parents = self.parents();
        parents.keys().copied().find(|&start| {
            let mut at = start;
            for _ in 0..=parents.len() {
                match parents.get(&at).copied().flatten() {
                    Some(above) => at = above,
                    None => return false,
                }
            }
            true
        })
    }

    fn cost_to_last(&self) -> f64 {
        let (matrix, tree) = self.tree();
        let alpha = Stretch::new(f64::from(self.alpha_milli) / 1e3).unwrap();
        let yardstick = last(&matrix, 0, alpha);
        tree.cost(&matrix) / yardstick.cost(&matrix)
    }

    fn report(&self, what: &str) {
        let (matrix, tree) = self.tree();
        let rdp = tree.rdp(&matrix);
        let nodes = self.parents().len() as f64;
        let probes: u32 = self.probes.values().sum();
        println!(
            "{what}: t={:?} cost/LAST {:.3} cost/MST {:.3} rdp max {:.3} mean {:.3} violators {} \
             probes/node {:.1} messages/node {:.1}",
            self.net.now(),
            self.cost_to_last(),
            tree.cost(&matrix) / mst(&matrix, 0).cost(&matrix),
            rdp.max,
            rdp.mean,
            self.violators(),
            f64::from(probes) / nodes,
            self.net.sent as f64 / nodes,
        );
    }
}

fn machine(seed: Seed, index: usize, life: u64) -> Overlay {
    let rng = seed
        .derive("machine", index as u64)
        .derive("life", life)
        .rng();
    Overlay::new(id(index), Config::default(), rng)
}

/// One input to one machine; gives its outputs.
fn feed(
    machine: &mut Overlay,
    now: Time,
    input: Input<Command, Message>,
) -> Vec<Output<Message, Event>> {
    machine.handle(now, input);
    std::iter::from_fn(|| machine.poll_output()).collect()
}

/// Fires the next timer if it is due; its outputs are dropped.
fn fire_due(machine: &mut Overlay, now: Time) -> bool {
    let due = machine.poll_timeout().map(|deadline| deadline.at);
    let Some(due) = due.filter(|&due| due <= now) else {
        return false;
    };
    machine.handle_timeout(due);
    while machine.poll_output().is_some() {}
    true
}
