//! The forwarding core's calls, and which part answers each.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasherDefault,
};

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, NodeId, Offence, OverlayId, Time, Timers};

use crate::{
    command::{Command, Delivery, Event, FlowId},
    config::Config,
    flow::{Ctx, FlowRef, Outputs, Timer},
    header::{BODY_BYTES, Header, Kind},
    overlay::{Overlay, STREAMS},
    peer::{Fold, PeerIndex, Peers},
    source::{Batch, SendError, Sent},
    spent::Spent,
    stats::FlowStats,
};

mod frames;
mod tables;

/// Bytes of one complete flow before another one's turn.
const QUANTUM: usize = 64 << 10;

/// What became of a frame from a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// Was here already.
    Duplicate,
    /// Past its deadline.
    Late,
    /// Of no use here: unknown flow, not an edge (yet), no room.
    Dropped,
    /// Its tag does not fit; `Event::Offence` says so. The peer may be no more than the messenger:
    /// the channel can stay.
    Forged,
    /// The peer broke the protocol; `Event::Offence` says how. Close the substream.
    Offence,
}

/// The forwarding core of one node. See the crate.
#[derive(Debug)]
pub struct Forward {
    config: Config,
    me: NodeId,
    peers: Peers,
    overlays: Vec<Option<Overlay>>,
    slots: BTreeMap<OverlayId, u16>,
    tags: HashMap<u64, FlowRef, BuildHasherDefault<Fold>>,
    /// Which overlay a local sink belongs to.
    sinks: BTreeMap<u32, u16>,
    spent: Spent,
    out: Outputs,
    timers: Timers<Timer>,
    ticking: bool,
    ring_bytes: usize,
}

impl Forward {
    /// A core that carries nothing yet.
    pub fn new(config: Config, me: NodeId) -> Self {
        let flows = config.overlays_max * STREAMS * Config::FLOWS as usize;
        Self {
            peers: Peers::new(),
            overlays: Vec::new(),
            slots: BTreeMap::new(),
            tags: HashMap::default(),
            sinks: BTreeMap::new(),
            spent: Spent::default(),
            out: Outputs::default(),
            timers: Timers::new(1 + 2 * flows),
            ticking: false,
            ring_bytes: 0,
            config,
            me,
        }
    }

    /// Takes a wish of our own node.
    pub fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Open {
                overlay,
                class,
                key,
            } => self.open(overlay, class, key),
            Command::Close { overlay } => self.close(now, overlay),
            Command::Root { overlay, source } => {
                self.set_source(now, overlay, source);
            }
            Command::Delay { peer, one_way } => {
                if let Some(at) = self.peers.find(peer) {
                    self.peers.get_mut(at).delay = one_way;
                }
            }
            Command::Edges {
                overlay,
                parent,
                children,
            } => {
                let parent = parent.filter(|&id| id != self.me);
                self.with(now, overlay, |overlay, ctx| {
                    overlay.set_edges(ctx, parent, &children);
                });
            }
            Command::ChildMoved { overlay, child } => {
                self.with(now, overlay, |overlay, ctx| overlay.child_moved(ctx, child));
            }
            Command::ChildLeft { overlay, child } => {
                self.with(now, overlay, |overlay, ctx| overlay.child_left(ctx, child));
            }
            Command::Source { overlay, seq_first } => {
                let seq_first = self.spent.first(overlay, seq_first.clamp(1, u64::MAX >> 1));
                if self.set_source(now, overlay, self.me) {
                    self.with(now, overlay, |overlay, ctx| overlay.begin(ctx, seq_first));
                }
            }
            Command::SourceGone { overlay } => {
                self.with(now, overlay, |overlay, _| overlay.end_source());
            }
            Command::Sink {
                overlay,
                att,
                resume,
            } => self.add_sink(now, overlay, att, resume),
            Command::SinkGone { overlay, att } => {
                self.sinks.remove(&att);
                self.with(now, overlay, |overlay, ctx| overlay.remove_sink(ctx, att));
            }
            Command::Taken { att, frames, .. } => {
                if let Some(&slot) = self.sinks.get(&att) {
                    self.with_slot(now, slot, |overlay, ctx| overlay.taken(ctx, att, frames));
                }
            }
        }
    }

    /// A frame channel to `peer` can be used. Frames from and to it start afresh.
    pub fn link_up(&mut self, now: Time, peer: NodeId) {
        if let Some(at) = self.peers.intern(peer, &self.config) {
            self.set_channel(now, at, true);
        }
    }

    /// The last frame channel to `peer` is gone.
    pub fn link_down(&mut self, now: Time, peer: NodeId) {
        if let Some(at) = self.peers.find(peer) {
            self.set_channel(now, at, false);
            self.peers.release(at);
        }
    }

    /// Takes `frame`, without its length field, from `from`.
    pub fn on_frame(&mut self, now: Time, from: NodeId, frame: Bytes) -> Verdict {
        let Some(peer) = self.peers.find(from).filter(|&at| self.peers.get(at).up) else {
            return Verdict::Dropped;
        };
        let Ok(header) = Header::read(&frame) else {
            return self.offence(from, Offence::Malformed);
        };
        let transit =
            self.peers
                .get_mut(peer)
                .on_hop(now, self.config.gap, header.hop_seq, header.hop_clock);
        let Some(&at) = self.tags.get(&header.flow) else {
            return Verdict::Dropped;
        };
        let stream = at.stream as usize;
        let is_edge = match (header.kind, &self.overlays[at.overlay as usize]) {
            (_, None) => return Verdict::Dropped,
            (Kind::Data | Kind::Top, Some(overlay)) => overlay.is_upstream(now, stream, peer),
            (Kind::Digest, Some(overlay)) => overlay.is_downstream(stream, peer),
            // For flows with plans; a tree has no use for them.
            (Kind::Ack | Kind::Nack | Kind::Cannot | Kind::Parity, Some(_)) => {
                return Verdict::Dropped;
            }
        };
        if !is_edge {
            let grace = self.config.grace;
            if self.peers.get_mut(peer).is_stray_for(now, grace) {
                return self.offence(from, Offence::Protocol);
            }
            return Verdict::Dropped;
        }
        let verdict = match header.kind {
            Kind::Data => self.with_slot(now, at.overlay, |overlay, ctx| {
                overlay.on_data(ctx, at, peer, &header, frame, transit)
            }),
            Kind::Digest => return self.on_digest(now, at, peer, &header, &frame),
            Kind::Top => return self.on_top(now, at, peer, &header, &frame),
            Kind::Ack | Kind::Nack | Kind::Cannot | Kind::Parity => None,
        };
        verdict.unwrap_or(Verdict::Dropped)
    }

    /// Appends frames for `peer`, each with its length field, until `out` holds `budget` bytes or
    /// more, or nothing is left. Returns whether more waits.
    ///
    /// Control frames go first. Timed frames leave a quarter of the budget to complete ones; those
    /// that would not arrive in time are dropped here.
    pub fn poll_send(
        &mut self,
        now: Time,
        peer: NodeId,
        out: &mut BytesMut,
        budget: usize,
    ) -> bool {
        let Some(at) = self.peers.find(peer).filter(|&at| self.peers.get(at).up) else {
            return false;
        };
        while out.len() < budget
            && let Some(want) = self.peers.get_mut(at).control.pop_front()
        {
            self.write_control(now, at, want, out);
        }
        let room = budget.saturating_sub(out.len());
        let reserve = if self.peers.get(at).ready.is_empty() {
            0
        } else {
            room / 4
        };
        self.write_timed(now, at, out, budget - reserve.min(budget));
        while out.len() < budget
            && let Some(flow) = self.peers.get_mut(at).ready.pop_front()
        {
            let quantum = budget.min(out.len() + QUANTUM);
            let more = self.with_slot(now, flow.overlay, |overlay, ctx| {
                overlay.write_data(ctx, flow, at, out, quantum)
            });
            if more == Some(true) {
                self.peers.get_mut(at).ready.push_back(flow);
            }
        }
        self.write_timed(now, at, out, budget);
        let more = self.peers.get(at).has_work();
        if !more {
            self.peers.drained(at);
        }
        more
    }

    /// The next neighbour that has something to send since `poll_send` last gave `false` for it.
    pub fn poll_wake(&mut self) -> Option<NodeId> {
        self.peers.poll_wake()
    }

    /// Takes frames of the local source of `overlay`. With `partial_ok` as many as fit, at least
    /// one; else all or none. `last`: the final frame of `frames` is the last of its stream.
    /// Timed classes never block: what cannot go in time is dropped on the way.
    ///
    /// Errors: [`SendError`]; state is unchanged.
    pub fn send(
        &mut self,
        now: Time,
        overlay: OverlayId,
        flow: u8,
        frames: &[Bytes],
        last: bool,
        partial_ok: bool,
    ) -> Result<Sent, SendError> {
        if frames.is_empty() {
            return Err(SendError::Empty);
        }
        if flow >= Config::FLOWS {
            return Err(SendError::NoSource);
        }
        let too_large = |frame: &Bytes| frame.len() > Config::PAYLOAD_MAX;
        let bytes: usize = frames.iter().map(|frame| frame.len() + BODY_BYTES).sum();
        let never_fits = frames.len() > self.config.window_frames
            || (bytes > self.config.window_bytes && frames.len() > 1);
        if frames.len() > self.config.batch_max
            || frames.iter().any(too_large)
            || (never_fits && !partial_ok)
        {
            return Err(SendError::TooLarge);
        }
        let batch = Batch {
            frames,
            last,
            partial_ok,
        };
        self.with(now, overlay, |overlay, ctx| overlay.send(ctx, flow, &batch))
            .unwrap_or(Err(SendError::NoSource))
    }

    /// The next frame for a local sink.
    pub fn poll_deliver(&mut self) -> Option<Delivery> {
        self.out.deliveries.pop_front()
    }

    /// The next event, until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// When `handle_timeout` is due next, if ever.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next(Timer::name)
    }

    /// Fires every timer that is due; a no-op when none is.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Tick => self.on_tick(now),
                Timer::Gap(at) => {
                    self.with_slot(now, at.overlay, |overlay, ctx| overlay.on_gap(ctx, at));
                }
                Timer::Order(at) => {
                    self.with_slot(now, at.overlay, |overlay, ctx| overlay.on_order(ctx, at));
                }
            }
        }
    }

    /// The counters of one flow; `None` if it was never seen.
    pub fn stats(&self, flow: FlowId) -> Option<FlowStats> {
        let &slot = self.slots.get(&flow.overlay)?;
        self.overlays[slot as usize]
            .as_ref()?
            .stats(flow.source, flow.flow)
    }

    /// All flows seen, by rising id, with their counters.
    pub fn flows(&self) -> Vec<(FlowId, FlowStats)> {
        let mut flows = Vec::new();
        for overlay in self.overlays.iter().flatten() {
            for source in overlay.streams.iter().flatten().map(|stream| stream.source) {
                for flow in 0..Config::FLOWS {
                    let id = FlowId {
                        overlay: overlay.id,
                        source,
                        flow,
                    };
                    flows.extend(overlay.stats(source, flow).map(|stats| (id, stats)));
                }
            }
        }
        flows.sort_by_key(|(id, _)| *id);
        flows
    }

    /// Frames and bytes that wait for `peer` in the queue of timed flows.
    pub fn queued(&self, peer: NodeId) -> (usize, usize) {
        self.peers.find(peer).map_or((0, 0), |at| {
            let queue = &self.peers.get(at).timed;
            (queue.len(), queue.bytes())
        })
    }

    /// Bytes in all backup rings.
    pub fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// Whether a frame channel to `peer` is up.
    pub fn is_up(&self, peer: NodeId) -> bool {
        self.peers
            .find(peer)
            .is_some_and(|at| self.peers.get(at).up)
    }

    fn with<R>(
        &mut self,
        now: Time,
        overlay: OverlayId,
        act: impl FnOnce(&mut Overlay, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let slot = *self.slots.get(&overlay)?;
        self.with_slot(now, slot, act)
    }

    fn with_slot<R>(
        &mut self,
        now: Time,
        slot: u16,
        act: impl FnOnce(&mut Overlay, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let overlay = self.overlays.get_mut(slot as usize)?.as_mut()?;
        let mut ctx = Ctx {
            now,
            config: &self.config,
            peers: &mut self.peers,
            out: &mut self.out,
            timers: &mut self.timers,
            ticking: &mut self.ticking,
            ring_bytes: &mut self.ring_bytes,
            key: overlay.key,
            former_key: overlay.former_key,
        };
        Some(act(overlay, &mut ctx))
    }

    fn set_channel(&mut self, now: Time, at: PeerIndex, up: bool) {
        self.peers.set_up(at, up);
        for slot in self.all_slots() {
            self.with_slot(now, slot, |overlay, ctx| overlay.on_channel(ctx, at));
        }
    }

    fn all_slots(&self) -> Vec<u16> {
        self.slots.values().copied().collect()
    }

    fn on_tick(&mut self, now: Time) {
        self.ticking = false;
        let mut any_busy = false;
        for (id, slot) in self.slots.clone() {
            let looked = self.with_slot(now, slot, Overlay::on_tick);
            let Some((over, busy)) = looked else { continue };
            any_busy |= busy;
            if let Some(stream) = over {
                self.forget_tags(id, &stream);
            }
        }
        if any_busy && !self.ticking {
            self.ticking = true;
            self.timers.set(Timer::Tick, now + self.config.digest);
        }
    }

    fn offence(&mut self, peer: NodeId, offence: Offence) -> Verdict {
        self.out.tell(Event::Offence { peer, offence });
        Verdict::Offence
    }
}
