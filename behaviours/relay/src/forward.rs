//! The forwarding core's calls, and which part answers each.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasherDefault,
};

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, NodeId, Offence, OverlayId, Time, Timers};

use crate::{
    ack::{Digest, Top},
    command::{Class, Command, Delivery, Event, FlowId},
    config::Config,
    flow::{Ctx, FlowRef, Outputs, Timer},
    header::{BODY_BYTES, Header, Hop, Kind, flow_tag, rewrite},
    overlay::{Overlay, STREAMS, Stream},
    peer::{Fold, PeerIndex, Peers, Want},
    source::{Batch, SendError, Sent},
    spent::Spent,
    stats::FlowStats,
};

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
            Kind::Digest => return self.on_digest(now, at, peer, &frame),
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
        };
        Some(act(overlay, &mut ctx))
    }

    fn open(&mut self, id: OverlayId, class: Class, key: [u8; 32]) {
        if let Some(&slot) = self.slots.get(&id) {
            if let Some(overlay) = &mut self.overlays[slot as usize] {
                if overlay.class == class {
                    overlay.key = key;
                } else {
                    let reason = "the overlay is open in another class; close it first";
                    self.out.tell(Event::Refused {
                        overlay: id,
                        reason,
                    });
                }
            }
            return;
        }
        if self.slots.len() >= self.config.overlays_max {
            let reason = "this node carries as many overlays as it may";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
            return;
        }
        let free = self.overlays.iter().position(Option::is_none);
        let index = free.unwrap_or(self.overlays.len());
        let slot = u16::try_from(index).expect("overlays_max is far below 65,536");
        let overlay = Overlay::new(slot, id, class, key);
        if index == self.overlays.len() {
            self.overlays.push(Some(overlay));
        } else {
            self.overlays[index] = Some(overlay);
        }
        self.slots.insert(id, slot);
    }

    fn close(&mut self, now: Time, id: OverlayId) {
        let ours = |flow: &FlowId| flow.overlay == id && flow.source == self.me;
        let next = self
            .flows()
            .into_iter()
            .filter(|(flow, _)| ours(flow))
            .map(|(_, s)| s.next);
        if let Some(next) = next.max() {
            self.spent.note(id, next);
        }
        let streams = self.with(now, id, |overlay, ctx| {
            overlay.close(ctx);
            std::mem::take(&mut overlay.streams)
        });
        for stream in streams.into_iter().flatten().flatten() {
            self.forget_tags(id, &stream);
        }
        if let Some(slot) = self.slots.remove(&id) {
            self.overlays[slot as usize] = None;
            self.sinks.retain(|_, overlay| *overlay != slot);
        }
    }

    /// Makes `source` the source of an overlay; false if it could not be.
    fn set_source(&mut self, now: Time, id: OverlayId, source: NodeId) -> bool {
        let Some(&slot) = self.slots.get(&id) else {
            return false;
        };
        let clash = (0..Config::FLOWS)
            .filter_map(|flow| self.tags.get(&flow_tag(id, source, flow)))
            .any(|at| at.overlay != slot);
        if clash {
            let reason = "a flow of this overlay has the tag of another one's";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
            return false;
        }
        let changed = self.with_slot(now, slot, |overlay, ctx| overlay.set_source(ctx, source));
        let Some((dropped, is_new)) = changed else {
            return false;
        };
        if let Some(stream) = dropped {
            self.forget_tags(id, &stream);
        }
        if is_new && let Some(overlay) = &self.overlays[slot as usize] {
            for flow in 0..Config::FLOWS {
                self.tags
                    .insert(flow_tag(id, source, flow), overlay.at(flow));
            }
        }
        true
    }

    fn forget_tags(&mut self, overlay: OverlayId, stream: &Stream) {
        for tag in stream.tags(overlay) {
            self.tags.remove(&tag);
        }
    }

    fn add_sink(&mut self, now: Time, id: OverlayId, att: u32, resume: Option<u64>) {
        let Some(&slot) = self.slots.get(&id) else {
            return;
        };
        let sinks_max = self.config.sinks_max;
        let added = self.with_slot(now, slot, |overlay, ctx| {
            let fits = overlay.sinks.len() < sinks_max;
            if fits {
                overlay.add_sink(ctx, att, resume);
            }
            fits
        });
        if added == Some(true) {
            self.sinks.insert(att, slot);
        } else {
            let reason = "this node has as many sinks of the overlay as it may";
            self.out.tell(Event::Refused {
                overlay: id,
                reason,
            });
        }
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

    fn on_digest(&mut self, now: Time, at: FlowRef, peer: PeerIndex, frame: &Bytes) -> Verdict {
        let state = self.peers.get(peer);
        let from = state.id;
        let Some(digest) = Digest::decode(&frame[BODY_BYTES..]) else {
            return self.offence(from, Offence::Malformed);
        };
        // Not yet anything seen: all that was written may be on its way.
        let hop_told = digest.hop_seen.map_or(0, |seen| state.hop_told(seen));
        let verdict = self.with_slot(now, at.overlay, |overlay, ctx| {
            overlay.on_digest(ctx, at, peer, &digest, hop_told)
        });
        verdict.unwrap_or(Verdict::Dropped)
    }

    fn on_top(
        &mut self,
        now: Time,
        at: FlowRef,
        peer: PeerIndex,
        header: &Header,
        frame: &Bytes,
    ) -> Verdict {
        let Some(top) = Top::decode(&frame[BODY_BYTES..]) else {
            let from = self.peers.get(peer).id;
            return self.offence(from, Offence::Malformed);
        };
        let verdict = self.with_slot(now, at.overlay, |overlay, ctx| {
            overlay.on_top(ctx, at, peer, header, &top)
        });
        verdict.unwrap_or(Verdict::Dropped)
    }

    fn write_control(&mut self, now: Time, peer: PeerIndex, want: Want, out: &mut BytesMut) {
        let (at, kind) = match want {
            Want::Digest(at) => (at, Kind::Digest),
            Want::Top(at) => (at, Kind::Top),
        };
        self.with_slot(now, at.overlay, |overlay, ctx| {
            overlay.write_control(ctx, at, kind, peer, out);
        });
    }

    fn write_timed(&mut self, now: Time, at: PeerIndex, out: &mut BytesMut, budget: usize) {
        while out.len() < budget {
            let peer = self.peers.get_mut(at);
            let Some(item) = peer.timed.pop() else { return };
            if !item.fits(now, peer.delay) {
                self.on_expired(&item.frame);
                continue;
            }
            let hop = Hop {
                seq: peer.next_hop(),
                clock_us: now.0,
                left: item.left(now),
                limit: item.hop_limit,
            };
            out.extend_from_slice(&rewrite(&item.frame, hop));
            out.extend_from_slice(&item.frame[BODY_BYTES..]);
        }
    }

    fn on_expired(&mut self, frame: &Bytes) {
        let at = Header::read(frame)
            .ok()
            .and_then(|header| self.tags.get(&header.flow).copied());
        if let Some(at) = at
            && let Some(overlay) = &mut self.overlays[at.overlay as usize]
        {
            overlay.on_expired(at);
        }
    }

    fn offence(&mut self, peer: NodeId, offence: Offence) -> Verdict {
        self.out.tell(Event::Offence { peer, offence });
        Verdict::Offence
    }
}
