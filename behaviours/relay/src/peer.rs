//! Neighbours: what waits for each, and what the hop fields of its frames tell.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use opus_core::{NodeId, Time};

use crate::{config::Config, flow::FlowRef, header::low, queue::Queue};

/// Index of a neighbour in [`Peers`].
pub(crate) type PeerIndex = u32;

/// How long a least transit time is remembered: clocks drift 3 ms in a minute.
const CLOCK_MEMORY: Duration = Duration::from_secs(30);
/// Queueing on a link beyond this is taken for a clock that was set.
const QUEUEING_US_MAX: u32 = 60_000_000;

/// A control frame that waits; its content is made when it is written, so that it is never stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A digest of this flow.
    Digest(FlowRef),
    /// A top of this flow.
    Top(FlowRef),
}

/// One neighbour.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// A frame channel can be used.
    pub(crate) up: bool,
    /// Frames written to it so far; never reset.
    pub(crate) hop_out: u64,
    hops: Hops,
    /// One way, from the probe.
    pub(crate) delay: Duration,
    /// Timed frames.
    pub(crate) timed: Queue,
    /// Control frames; each flow wants at most one of each kind at a time.
    pub(crate) control: VecDeque<Want>,
    /// Complete flows with frames for it; each at most once.
    pub(crate) ready: VecDeque<FlowRef>,
    /// The driver knows that something waits.
    woken: bool,
    /// Since when frames came that fit no edge, and the last one.
    stray: Option<(Time, Time)>,
    clock: Clock,
    /// Edges of overlays that name it.
    pub(crate) edges: u32,
}

impl Peer {
    fn new(id: NodeId, config: &Config) -> Self {
        Self {
            id,
            up: false,
            hop_out: 0,
            hops: Hops::default(),
            delay: Duration::ZERO,
            timed: Queue::new(config.queue_frames, config.queue_bytes),
            control: VecDeque::new(),
            ready: VecDeque::new(),
            woken: false,
            stray: None,
            clock: Clock::default(),
            edges: 0,
        }
    }

    /// Notes a frame's hop fields. Returns how long it was on the way.
    pub(crate) fn on_hop(
        &mut self,
        now: Time,
        gap: Duration,
        hop_seq: u32,
        hop_clock: u32,
    ) -> Duration {
        self.hops.note(now, hop_seq, gap);
        self.delay + self.clock.queueing(now, hop_clock)
    }

    /// A hop sequence before which nothing is on its way any more: what came at least `gap` ago.
    pub(crate) fn hop_settled(&self, now: Time, gap: Duration) -> Option<u32> {
        self.hops.settled(now, gap)
    }

    /// The hop sequence of the next frame written.
    pub(crate) fn next_hop(&mut self) -> u64 {
        self.hop_out += 1;
        self.hop_out
    }

    /// The frame count that the low half `seen`, told by the peer, means. 0, nothing, if it was not
    /// written yet: the peer made it up, or remembers an earlier channel.
    pub(crate) fn hop_told(&self, seen: u32) -> u64 {
        let back = u64::from(low(self.hop_out).wrapping_sub(seen));
        // Half of the range back is more than any channel holds.
        if back < 1 << 31 {
            self.hop_out.saturating_sub(back)
        } else {
            0
        }
    }

    /// A frame that fits no edge. True if such frames have come without a pause for longer than an
    /// honest peer needs to learn of a changed edge.
    pub(crate) fn is_stray_for(&mut self, now: Time, grace: Duration) -> bool {
        let (since, last) = self.stray.unwrap_or((now, now));
        let since = if now - last > grace / 2 { now } else { since };
        let is_long = now - since > grace;
        self.stray = Some((if is_long { now } else { since }, now));
        is_long
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.control.is_empty() || !self.timed.is_empty() || !self.ready.is_empty()
    }

    /// Drops what waits; flags at the flows are the caller's.
    fn clear(&mut self) {
        self.timed.clear();
        self.control.clear();
        self.ready.clear();
        self.hops = Hops::default();
        self.clock = Clock::default();
        self.woken = false;
    }
}

/// The highest hop sequence received since the channel came up, and what it was a while ago:
/// frames written later may overtake, so that only an older value proves a loss.
#[derive(Debug, Default)]
struct Hops {
    highest: Option<u32>,
    last: Time,
    /// `highest` at an earlier time, renewed each `gap`.
    mark: Option<u32>,
    marked: Time,
    /// The mark before.
    before: Option<u32>,
}

impl Hops {
    fn note(&mut self, now: Time, hop_seq: u32, gap: Duration) {
        let is_newer = |seen: u32| hop_seq.wrapping_sub(seen) < 1 << 31;
        if self.highest.is_none_or(is_newer) {
            self.highest = Some(hop_seq);
        }
        if now - self.marked >= gap {
            self.before = self.mark;
            self.mark = self.highest;
            self.marked = now;
        }
        self.last = now;
    }

    fn settled(&self, now: Time, gap: Duration) -> Option<u32> {
        if now - self.last >= gap {
            self.highest
        } else if now - self.marked >= gap {
            self.mark
        } else {
            self.before
        }
    }
}

/// How much longer than the least a frame took, from two clocks that agree in speed only: the
/// least difference of the last 30 to 60 s counts as no queueing.
#[derive(Debug, Default)]
struct Clock {
    /// The first difference; all others are relative to it.
    origin: Option<u32>,
    least: i32,
    least_before: i32,
    since: Time,
}

impl Clock {
    fn queueing(&mut self, now: Time, hop_clock: u32) -> Duration {
        let difference = low(now.0).wrapping_sub(hop_clock);
        let origin = *self.origin.get_or_insert_with(|| {
            self.since = now;
            difference
        });
        let relative = difference.wrapping_sub(origin).cast_signed();
        if now - self.since > CLOCK_MEMORY {
            self.since = now;
            self.least_before = self.least;
            self.least = relative;
        }
        self.least = self.least.min(relative);
        let least = self.least.min(self.least_before);
        let queueing = relative.wrapping_sub(least).cast_unsigned();
        if queueing > QUEUEING_US_MAX {
            *self = Self::default();
            return Duration::ZERO;
        }
        Duration::from_micros(u64::from(queueing))
    }
}

/// All neighbours: at most `peers_max`. Overflow: a new one is not taken.
#[derive(Debug)]
pub(crate) struct Peers {
    slots: Vec<Peer>,
    free: Vec<PeerIndex>,
    index: HashMap<NodeId, PeerIndex, BuildHasherDefault<Fold>>,
    wakes: VecDeque<PeerIndex>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            wakes: VecDeque::new(),
        }
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<PeerIndex> {
        self.index.get(&id).copied()
    }

    /// The index of `id`, made if absent and there is room.
    pub(crate) fn intern(&mut self, id: NodeId, config: &Config) -> Option<PeerIndex> {
        if let Some(found) = self.find(id) {
            return Some(found);
        }
        if self.index.len() >= config.peers_max {
            return None;
        }
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = Peer::new(id, config);
            at
        } else {
            self.slots.push(Peer::new(id, config));
            u32::try_from(self.slots.len() - 1).ok()?
        };
        self.index.insert(id, at);
        Some(at)
    }

    pub(crate) fn get(&self, at: PeerIndex) -> &Peer {
        &self.slots[at as usize]
    }

    pub(crate) fn get_mut(&mut self, at: PeerIndex) -> &mut Peer {
        &mut self.slots[at as usize]
    }

    pub(crate) fn set_up(&mut self, at: PeerIndex, up: bool) {
        let peer = self.get_mut(at);
        peer.clear();
        peer.up = up;
    }

    /// Forgets a neighbour that has neither channel nor edge.
    pub(crate) fn release(&mut self, at: PeerIndex) {
        let peer = self.get_mut(at);
        if peer.up || peer.edges > 0 {
            return;
        }
        peer.clear();
        let id = peer.id;
        if self.index.remove(&id).is_some() {
            self.free.push(at);
        }
    }

    /// Adds an edge to `at`: it is no stray from here on.
    pub(crate) fn hold(&mut self, at: PeerIndex) {
        let peer = self.get_mut(at);
        peer.edges += 1;
        peer.stray = None;
    }

    /// Takes an edge away.
    pub(crate) fn unhold(&mut self, at: PeerIndex) {
        let peer = self.get_mut(at);
        peer.edges = peer.edges.saturating_sub(1);
        self.release(at);
    }

    /// Something waits for `at`: the driver is told once until it has fetched all.
    pub(crate) fn wake(&mut self, at: PeerIndex) {
        let peer = &mut self.slots[at as usize];
        if peer.up && !peer.woken {
            peer.woken = true;
            self.wakes.push_back(at);
        }
    }

    /// The driver has fetched all that waited for `at`.
    pub(crate) fn drained(&mut self, at: PeerIndex) {
        self.get_mut(at).woken = false;
    }

    pub(crate) fn poll_wake(&mut self) -> Option<NodeId> {
        while let Some(at) = self.wakes.pop_front() {
            let peer = self.get(at);
            if peer.up && peer.woken && peer.has_work() {
                return Some(peer.id);
            }
            self.drained(at);
        }
        None
    }
}

/// A multiplicative hash: node ids and flow tags are hashes or keys already, and only our own
/// node decides which of them are kept.
#[derive(Debug, Default)]
pub(crate) struct Fold(u64);

impl Fold {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queueing_is_what_a_frame_took_beyond_the_least() {
        let mut clock = Clock::default();
        let at = |us: u64| low(us + 4_000_000_000);
        assert_eq!(clock.queueing(Time(1_000), at(0)), Duration::ZERO);
        assert_eq!(
            clock.queueing(Time(9_500), at(8_000)),
            Duration::from_micros(500)
        );
        assert_eq!(clock.queueing(Time(9_900), at(9_000)), Duration::ZERO);
        assert_eq!(
            clock.queueing(Time(10_900), at(9_900)),
            Duration::from_micros(100)
        );
    }

    #[test]
    fn a_clock_that_is_set_starts_the_estimate_anew() {
        let mut clock = Clock::default();
        assert_eq!(clock.queueing(Time(1_000), 1_000), Duration::ZERO);
        assert_eq!(clock.queueing(Time(2_000), 2_000_000_000), Duration::ZERO);
        let late = clock.queueing(Time(3_000), 1_000);
        assert!(late <= Duration::from_mins(1));
    }

    #[test]
    fn a_hop_sequence_that_was_never_written_is_not_believed() {
        let mut peer = Peer::new(NodeId::from_index(1), &Config::default());
        peer.hop_out = (1 << 32) + 5;
        assert_eq!(peer.hop_told(3), (1 << 32) + 3);
        assert_eq!(peer.hop_told(u32::MAX), (1 << 32) - 1);
        assert_eq!(peer.hop_told(6), 0);
    }

    #[test]
    fn the_driver_is_woken_once_until_it_has_fetched_all() {
        let config = Config::default();
        let mut peers = Peers::new();
        let at = peers.intern(NodeId::from_index(4), &config).unwrap();
        peers.set_up(at, true);
        let flow = FlowRef {
            overlay: 0,
            stream: 0,
            flow: 0,
        };
        peers.get_mut(at).control.push_back(Want::Top(flow));
        peers.wake(at);
        peers.wake(at);
        assert_eq!(peers.poll_wake(), Some(NodeId::from_index(4)));
        peers.wake(at);
        assert_eq!(peers.poll_wake(), None);
        peers.drained(at);
        peers.wake(at);
        assert_eq!(peers.poll_wake(), Some(NodeId::from_index(4)));
    }
}
