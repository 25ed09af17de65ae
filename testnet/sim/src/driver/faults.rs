//! Faults: killed nodes, restarts, cuts and their repair, bad links, clocks that are off.

use std::time::Duration;

use opus_core::Time;
use opus_net::{
    BadConditions, Conditions, CutId, Effect, Fate, FaultError, Shape, ShapeError, ShapeId,
};

use super::{
    Driver, Host,
    connections::CLOSE_BYTES,
    happening::{Happening, Index},
};
use crate::trace::Kind;

impl<H: Host> Driver<H> {
    /// Kills the host of `node`. Its peers are told by its machine one way later; or, if `silent`,
    /// because the machine lost its power, by their own timeouts. False if it did not run.
    pub fn crash(&mut self, node: usize, silent: bool) -> bool {
        if self.nodes[node].host.take().is_none() {
            return false;
        }
        self.note(node, Kind::Crashed, None, &[]);
        self.end_stall(node);
        self.nodes[node].armed = None;
        self.nodes[node].wanted.clear();
        self.nodes[node].silent = silent;
        self.dialling.retain(|&(from, _)| from != node);
        for (peer, connection, _) in std::mem::take(&mut self.nodes[node].links).iter() {
            self.drop_held(node, peer);
            let at = self.noticed_at(node, peer, silent);
            self.schedule(
                at,
                Happening::Closed {
                    node: Index::of(peer),
                    peer: Index::of(node),
                    connection,
                },
            );
        }
        self.network.crash(node);
        true
    }

    /// When `peer` notices that `node` is gone: after all that it sent before.
    fn noticed_at(&mut self, node: usize, peer: usize, silent: bool) -> Time {
        let silence = self.now + self.options.silence;
        if silent {
            return silence;
        }
        match self
            .network
            .send_in_order(self.now, node, peer, CLOSE_BYTES)
        {
            Fate::Deliver(at) | Fate::Twice(at, _) => at,
            Fate::Held | Fate::Lost => silence,
        }
    }

    /// Runs `host` on a node that was killed. False if it runs already.
    pub fn restart(&mut self, node: usize, host: H) -> bool {
        if self.is_running(node) {
            return false;
        }
        self.network.restart(node);
        self.nodes[node].silent = false;
        self.start(node, host);
        true
    }

    /// Cuts `side` from all others, both ways. Errors: [`FaultError`].
    pub fn partition(&mut self, side: &[usize]) -> Result<CutId, FaultError> {
        let cut = self.network.partition(side, Effect::Drop)?;
        self.watch_silence();
        Ok(cut)
    }

    /// Cuts the way from each of `from` to each of `to`; the way back stays open.
    /// Errors: [`FaultError`].
    pub fn cut_one_way(&mut self, from: &[usize], to: &[usize]) -> Result<CutId, FaultError> {
        let cut = self.network.cut_one_way(from, to, Effect::Drop)?;
        self.watch_silence();
        Ok(cut)
    }

    /// Cuts both ways between each of `one` and each of `other`. Errors: [`FaultError`].
    pub fn cut(&mut self, one: &[usize], other: &[usize]) -> Result<CutId, FaultError> {
        let cut = self.network.cut(one, other, Effect::Drop)?;
        self.watch_silence();
        Ok(cut)
    }

    /// Cuts single ways, each (from, to); the ways back stay open. Errors: [`FaultError`].
    pub fn cut_ways(&mut self, ways: &[(usize, usize)]) -> Result<CutId, FaultError> {
        let cut = self.network.cut_ways(ways, Effect::Drop)?;
        self.watch_silence();
        Ok(cut)
    }

    /// Clogs both ways between `side` and all others: nothing is lost, also no datagram, but all
    /// waits for the repair. Errors: [`FaultError`].
    pub fn hold(&mut self, side: &[usize]) -> Result<CutId, FaultError> {
        let cut = self.network.partition(side, Effect::Hold)?;
        self.watch_silence();
        Ok(cut)
    }

    /// Ends all cuts.
    pub fn repair_all(&mut self) {
        self.network.repair_all();
        self.after_repair();
    }

    /// Ends one cut. False if it is not in force.
    pub fn repair(&mut self, cut: CutId) -> bool {
        let repaired = self.network.repair(cut);
        self.after_repair();
        repaired
    }

    /// Puts all links under other conditions. Errors: nothing changes.
    pub fn set_conditions(&mut self, conditions: Conditions) -> Result<(), BadConditions> {
        self.network.set_conditions(conditions)
    }

    /// Gives the links from each of `from` to each of `to` conditions of their own.
    /// Errors: [`ShapeError`].
    pub fn shape(
        &mut self,
        from: &[usize],
        to: &[usize],
        shape: Shape,
    ) -> Result<ShapeId, ShapeError> {
        self.network.shape(from, to, shape)
    }

    /// Ends a shape. False if it is not in force.
    pub fn unshape(&mut self, shape: ShapeId) -> bool {
        self.network.unshape(shape)
    }

    /// From the present on the clock of a node reads `ahead` more and runs `ppm` parts per million
    /// fast, or slow if negative; at most [`super::SKEW_PPM_MAX`] either way. What it reads never
    /// decreases. A machine's clock: it outlives the node's process.
    pub fn skew(&mut self, node: usize, ahead: Duration, ppm: i32) {
        let now = self.now;
        self.nodes[node].clock.set(now, ahead, ppm);
        self.arm(node);
    }

    /// Whether a cut stands between two nodes, in either direction.
    pub fn is_cut(&self, one: usize, other: usize) -> bool {
        let up = self.network.is_up(one) && self.network.is_up(other);
        up && !self.is_open_both_ways(one, other)
    }

    fn after_repair(&mut self) {
        self.forget_silences();
        self.release_held();
    }

    /// Pairs over which neither a cut nor a pause stands any more are not silent.
    pub(super) fn forget_silences(&mut self) {
        let mut silent = std::mem::take(&mut self.silent_since);
        silent.retain(|&(one, other), _| {
            let stalled = self.nodes[one].stalled || self.nodes[other].stalled;
            stalled || self.is_cut(one, other)
        });
        self.silent_since = silent;
    }

    /// Connections over a cut break when it has stood for the silence timeout.
    fn watch_silence(&mut self) {
        for one in 0..self.nodes.len() {
            self.watch_silence_of(one, Self::is_cut);
        }
    }

    /// The same for the connections of one node, as far as they are `silent`.
    pub(super) fn watch_silence_of(
        &mut self,
        one: usize,
        silent: impl Fn(&Self, usize, usize) -> bool,
    ) {
        let (now, at) = (self.now, self.now + self.options.silence);
        let links = self.nodes[one].links.iter();
        let over: Vec<(usize, u32)> = links
            .map(|(other, connection, _)| (other, connection))
            .filter(|&(other, _)| silent(self, one, other))
            .collect();
        for (other, connection) in over {
            self.silent_since.entry((one, other)).or_insert(now);
            self.schedule(
                at,
                Happening::Silence {
                    one: Index::of(one),
                    other: Index::of(other),
                    connection,
                },
            );
        }
    }
}
