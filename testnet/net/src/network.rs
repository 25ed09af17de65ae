//! `n` nodes, the links between them, and their faults.

use std::time::Duration;

use opus_core::{Seed, Time};
use rustc_hash::FxHashMap;

use crate::{
    conditions::{BadConditions, Conditions},
    draws::Draws,
    fault::{CutId, Effect, FaultError, Faults},
    link::{self, Fate, State},
    shape::{Shape, ShapeError, ShapeId, Shapes},
    topology::Topology,
};

/// Used links remembered before quiet ones are forgotten; about 400 MiB.
pub const LINKS_MAX: usize = 1 << 22;

/// An emulated network: ask it for the fate of each frame.
///
/// A frame already under way is not touched by a later fault: at its arrival the driver asks
/// [`Network::is_up`], and [`Network::incarnation`] if it must not reach a restarted node.
#[derive(Debug)]
pub struct Network {
    topology: Topology,
    conditions: Conditions,
    key: u64,
    faults: Faults,
    shapes: Shapes,
    /// Links that carried a frame under imperfect conditions, by from and to; never walked, but to
    /// forget. Overflow: above [`LINKS_MAX`] quiet links are forgotten and begin anew with another
    /// sub-seed.
    links: FxHashMap<u64, State>,
    links_max: usize,
    /// Times that links were forgotten.
    generation: u64,
    counts: Counts,
}

/// Frames by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All frames sent, held ones only when they are sent again.
    pub sent: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Lost by a link, at random or in a full queue.
    pub lost: u64,
    /// Lost because a node was down or the way cut.
    pub cut: u64,
    /// Delivered twice.
    pub doubled: u64,
}

impl Network {
    /// A network without faults, every link under `conditions`.
    pub fn new(
        topology: Topology,
        conditions: Conditions,
        seed: Seed,
    ) -> Result<Self, BadConditions> {
        Ok(Self {
            faults: Faults::none(topology.len()),
            topology,
            conditions: conditions.checked()?,
            key: link::key(seed.derive("network", 0)),
            shapes: Shapes::default(),
            links: FxHashMap::default(),
            links_max: LINKS_MAX,
            generation: 0,
            counts: Counts::default(),
        })
    }

    /// The fate of a datagram of `bytes`. `now` must not decrease. Panics out of range.
    pub fn send(&mut self, now: Time, from: usize, to: usize, bytes: usize) -> Fate {
        let reachable = self.is_up(from) && self.is_up(to);
        match self.faults.between(from, to) {
            None if reachable => {}
            Some(Effect::Hold) if reachable => return Fate::Held,
            None | Some(Effect::Drop | Effect::Hold) => {
                self.count(bytes);
                self.counts.cut += 1;
                return Fate::Lost;
            }
        }
        self.count(bytes);
        let (delay, conditions) = (self.one_way(from, to), self.conditions_of(from, to));
        if conditions.is_perfect() {
            return Fate::Deliver(now + delay);
        }
        let fate = self
            .link(now, from, to)
            .send(now, bytes, delay, &conditions);
        match fate {
            Fate::Lost => self.counts.lost += 1,
            Fate::Twice(..) => self.counts.doubled += 1,
            Fate::Deliver(_) | Fate::Held => {}
        }
        fate
    }

    /// The fate of `bytes` of a stream: delivered after all that was sent before on this way; held
    /// while the way is cut; lost only if one of both nodes is down, and then the stream is broken.
    ///
    /// Nothing is dropped for want of room: see [`Network::backlog_bytes`]. `now` must not
    /// decrease. Panics out of range.
    pub fn send_in_order(&mut self, now: Time, from: usize, to: usize, bytes: usize) -> Fate {
        if !(self.is_up(from) && self.is_up(to)) {
            self.count(bytes);
            self.counts.cut += 1;
            return Fate::Lost;
        }
        if self.faults.between(from, to).is_some() {
            return Fate::Held;
        }
        self.count(bytes);
        let (delay, conditions) = (self.one_way(from, to), self.conditions_of(from, to));
        // A link with a past may have bytes under way that these must not overtake.
        if conditions.is_perfect() && !self.links.contains_key(&key(from, to)) {
            return Fate::Deliver(now + delay);
        }
        Fate::Deliver(
            self.link(now, from, to)
                .send_in_order(now, bytes, delay, &conditions),
        )
    }

    /// Ends one cut: what was held by it may be sent again. False if it is not in force.
    pub fn repair(&mut self, cut: CutId) -> bool {
        self.faults.repair(cut)
    }

    /// Ends all cuts; nodes that are down stay down.
    pub fn repair_all(&mut self) {
        self.faults.repair_all();
    }

    /// Cuts `side` from all others, both ways.
    ///
    /// [`Effect::Drop`] is a partition, [`Effect::Hold`] a clog. Errors: [`FaultError`].
    pub fn partition(&mut self, side: &[usize], effect: Effect) -> Result<CutId, FaultError> {
        self.faults.partition(side, effect)
    }

    /// Cuts the way from each node of `from` to each of `to`; the way back stays open.
    pub fn cut_one_way(
        &mut self,
        from: &[usize],
        to: &[usize],
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        self.faults.cut(from, to, false, effect)
    }

    /// Cuts both ways between each node of `one` and each of `other`.
    pub fn cut(
        &mut self,
        one: &[usize],
        other: &[usize],
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        self.faults.cut(one, other, true, effect)
    }

    /// Cuts single ways, each (from, to); the ways back stay open. All that are given are one cut.
    pub fn cut_ways(
        &mut self,
        ways: &[(usize, usize)],
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        self.faults.cut_ways(ways, effect)
    }

    /// Takes a node down: what it sends and what is sent to it is lost. False if it was down.
    /// Panics out of range.
    pub fn crash(&mut self, node: usize) -> bool {
        self.faults.crash(node)
    }

    /// Brings a node back, as a new incarnation. False if it was up. Panics out of range.
    pub fn restart(&mut self, node: usize) -> bool {
        self.faults.restart(node)
    }

    /// Puts all links under other conditions from the next frame on. Errors: nothing changes.
    pub fn set_conditions(&mut self, conditions: Conditions) -> Result<(), BadConditions> {
        self.conditions = conditions.checked()?;
        Ok(())
    }

    /// Gives the links from each of `from` to each of `to` conditions of their own from the next
    /// frame on; of several shapes of a link the newest counts. Errors: [`ShapeError`].
    pub fn shape(
        &mut self,
        from: &[usize],
        to: &[usize],
        shape: Shape,
    ) -> Result<ShapeId, ShapeError> {
        self.shapes.insert(self.topology.len(), (from, to), shape)
    }

    /// Ends a shape. False if it is not in force.
    pub fn unshape(&mut self, shape: ShapeId) -> bool {
        self.shapes.remove(shape)
    }

    /// Number of nodes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a topology has at least two nodes"
    )]
    pub fn len(&self) -> usize {
        self.topology.len()
    }

    /// Whether the node is up. Panics out of range.
    pub fn is_up(&self, node: usize) -> bool {
        self.faults.is_up(node)
    }

    /// How often the node was restarted. Panics out of range.
    pub fn incarnation(&self, node: usize) -> u32 {
        self.faults.incarnation(node)
    }

    /// Whether a frame could cross now: both nodes up, the way neither cut nor held.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        self.is_up(from) && self.is_up(to) && self.faults.between(from, to).is_none()
    }

    /// Bytes that wait for the capacity of the link.
    pub fn backlog_bytes(&self, now: Time, from: usize, to: usize) -> u64 {
        let link = self.links.get(&key(from, to));
        link.map_or(0, |link| {
            link.backlog_bytes(now, &self.conditions_of(from, to))
        })
    }

    /// One-way delay without jitter, with what a shape adds.
    pub fn one_way(&self, from: usize, to: usize) -> Duration {
        let shape = self.shapes.between(from, to);
        self.topology.one_way(from, to) + shape.map_or(Duration::ZERO, |shape| shape.delay)
    }

    /// Where the nodes are.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The conditions of all links but those with a shape.
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The conditions of one link.
    pub fn conditions_of(&self, from: usize, to: usize) -> Conditions {
        let shape = self.shapes.between(from, to);
        shape.map_or(self.conditions, |shape| shape.conditions)
    }

    /// What became of all frames so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn count(&mut self, bytes: usize) {
        self.counts.sent += 1;
        self.counts.bytes += bytes as u64;
    }

    fn link(&mut self, now: Time, from: usize, to: usize) -> &mut State {
        let key = key(from, to);
        if self.links.len() >= self.links_max && !self.links.contains_key(&key) {
            self.links.retain(|_, link| !link.is_quiet(now));
            // If most are busy: not again before as many more are in use.
            self.links_max = LINKS_MAX.max(2 * self.links.len());
            self.generation += 1;
        }
        let (network, generation) = (self.key, self.generation);
        self.links.entry(key).or_insert_with(|| {
            let network = Draws::new(network, generation).word();
            State::new(Draws::new(network, key).word())
        })
    }
}

/// Both ends of a link in one word.
fn key(from: usize, to: usize) -> u64 {
    let index = |node: usize| u32::try_from(node).expect("a topology is far below 2^32 nodes");
    u64::from(index(from)) << 32 | u64::from(index(to))
}

#[cfg(test)]
mod tests;
