//! A flow of the complete class: each frame once, in order, repaired until acknowledged.
//!
//! Frames wait in the [`Ring`]; every neighbour downstream ([`Link`]) and every local sink
//! ([`Cursor`]) reads from it at its own pace. Acknowledgements are cumulative and aggregated: a
//! node tells its parent the least over its sinks, its children and its holds. The source keeps
//! within a window of that least, its *stable* position, and tells it down; what is stable leaves
//! the rings. This file takes frames in and moves positions; `repair.rs` speaks with neighbours.

use bytes::{Bytes, BytesMut};
use opus_core::{NodeId, Offence};

use crate::{
    command::{Delivery, Event},
    flow::{Ctx, Name, Timer},
    forward::Verdict,
    header::{BODY_BYTES, FLAG_LAST, HEADER_BYTES, Header, Hop, rewrite},
    link::{Link, Presence},
    peer::PeerIndex,
    ring::{Entry, Inserted, Ring},
    segments::{Segments, epoch},
    sink::Sink,
    stats::FlowStats,
};

/// What this node is to the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Frames come from the parent.
    Relay,
    /// Frames come from a local program.
    Source,
    /// The stream is of a former source: frames may come from any neighbour.
    Former,
}

/// Where a local sink reads.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) att: u32,
    /// The next sequence it gets; `None` before the flow has a position.
    pub(crate) next: Option<u64>,
    /// It has taken everything up to this.
    pub(crate) acked: u64,
}

/// A neighbour upstream: it sends us frames, we send it digests.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) id: NodeId,
    pub(crate) peer: PeerIndex,
    /// It has told us its top since it became our parent.
    pub(crate) confirmed: bool,
    pub(crate) segments: Segments,
    pub(crate) start: Option<u64>,
    /// Our position as it knew when it told us its segments.
    pub(crate) heard: Option<u64>,
    /// Its last top's hop sequence: an older one that comes later is stale.
    pub(crate) last: Option<u32>,
    /// A digest waits in its `control` queue.
    pub(crate) digest_wanted: bool,
    /// Digests it did not answer with a top.
    pub(crate) unanswered: u32,
    /// Ticks to wait before the next such digest.
    pub(crate) patience: u32,
}

/// What the last digest said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) position: Option<u64>,
    pub(crate) wish: Option<u64>,
    pub(crate) acked: u64,
    pub(crate) stable: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) name: Name,
    pub(crate) ring: Ring,
    /// The stable position as the parent told it, or as the source found it.
    pub(crate) stable: u64,
    /// What lies before is gone upstream too: no rewind goes further.
    pub(crate) gone: u64,
    pub(crate) links: Vec<Link>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) ups: Vec<Up>,
    pub(crate) told: Told,
    /// Without a position: the earliest start that a parent promised; the next one must keep it.
    pub(crate) promised: Option<u64>,
    /// The gap timer is set.
    pub(crate) gap_set: bool,
    /// A digest is due when the gap timer fires, hole or not.
    pub(crate) asked: bool,
    pub(crate) role: Role,
    pub(crate) window: crate::source::Window,
    pub(crate) stats: FlowStats,
    /// What of `ring` is counted in the node's sum.
    counted: usize,
}

impl Complete {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            ring: Ring::default(),
            stable: 0,
            gone: 0,
            links: Vec::new(),
            cursors: Vec::new(),
            ups: Vec::new(),
            told: Told::default(),
            promised: None,
            gap_set: false,
            asked: false,
            role: Role::Relay,
            window: crate::source::Window::default(),
            stats: FlowStats::default(),
            counted: 0,
        }
    }

    /// Takes a data frame from the neighbour `from`, which may send it.
    pub(crate) fn on_data(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: PeerIndex,
        header: &Header,
        mut entry: Entry,
        sinks: &mut [Sink],
    ) -> Verdict {
        // A node with sinks checks each frame before it counts as received, so that a forged one
        // is fetched again; others only what would move their position.
        let check = !self.cursors.is_empty() || self.ring.position().is_none();
        if check && !self.verify(ctx, from, &mut entry) {
            return Verdict::Forged;
        }
        if self.ring.position().is_none() && !self.open_at(ctx, from, header.seq) {
            self.schedule_gap(ctx);
            return Verdict::Dropped;
        }
        if !self.has_space(ctx, entry.frame.len()) {
            self.schedule_gap(ctx);
            return Verdict::Dropped;
        }
        let slots = slots_max(ctx);
        let bytes = entry.frame.len() - BODY_BYTES;
        if self.ring.is_beyond(header.seq, slots) {
            self.jump_for(ctx, from, header.seq, &mut entry);
        }
        match self.ring.insert(header.seq, entry, slots) {
            Inserted::Duplicate => {
                self.stats.duplicates += 1;
                return Verdict::Duplicate;
            }
            Inserted::Beyond => {
                // Of another epoch, perhaps: the parent has to hear where we are.
                self.asked = true;
                self.schedule_gap(ctx);
                return Verdict::Dropped;
            }
            Inserted::Next => {}
            Inserted::Ahead => self.schedule_gap(ctx),
            Inserted::Filled => {
                self.stats.repaired += 1;
                for link in &mut self.links {
                    link.on_filled(header.seq);
                }
            }
        }
        self.stats.bytes += bytes as u64;
        if self.ring.has_hole() {
            self.skip_what_is_gone(ctx);
            self.schedule_gap(ctx);
        }
        self.settle(ctx);
        self.feed(ctx, sinks);
        self.digest_if_due(ctx);
        Verdict::Accepted
    }

    /// Checks the tag once; a frame that does not fit is reported.
    fn verify(&mut self, ctx: &mut Ctx<'_>, from: PeerIndex, entry: &mut Entry) -> bool {
        entry.genuine = entry.genuine || ctx.is_genuine(&entry.frame);
        if !entry.genuine {
            self.stats.forged += 1;
            ctx.offence(from, Offence::Forged);
            self.schedule_gap(ctx);
        }
        entry.genuine
    }

    /// The first frame: the flow begins where the parent says, or where an earlier one promised or
    /// somebody here wishes if that is before; what the parent cannot give is skipped later.
    fn open_at(&mut self, ctx: &mut Ctx<'_>, from: PeerIndex, seq: u64) -> bool {
        let up = self.ups.iter().find(|up| up.peer == from);
        let Some(told) = up.and_then(|up| up.start) else {
            return false;
        };
        let slots = slots_max(ctx) as u64;
        let fits = |start: &u64| seq.checked_sub(*start).is_some_and(|ahead| ahead < slots);
        let wish = self
            .wish()
            .filter(|wish| epoch(*wish) == epoch(told) && fits(wish));
        let start = told.min(wish.unwrap_or(told));
        if fits(&start) {
            self.open(start);
            self.want_tops(ctx);
        }
        fits(&start)
    }

    /// Gives the flow its position.
    pub(crate) fn open(&mut self, start: u64) {
        self.ring.open(start);
        for link in &mut self.links {
            link.open(start);
        }
        for cursor in &mut self.cursors {
            let next = *cursor.next.get_or_insert(start);
            cursor.acked = next.max(start) - 1;
        }
    }

    /// Whether the rings have room for `len` bytes more: this one, and all together.
    fn has_space(&self, ctx: &Ctx<'_>, len: usize) -> bool {
        let own = self.ring.bytes() + len;
        let all = *ctx.ring_bytes + len;
        // Twice the window: the stable position known here lags behind the source's.
        own <= ctx.config.ring_share_bytes
            || (own <= 2 * ctx.config.window_bytes + ctx.config.ring_tail_bytes
                && all <= ctx.config.ring_bytes)
    }

    /// A frame of another life of the source, or too far ahead: if the parent has nothing between
    /// and the frame is genuine, the flow goes on there.
    fn jump_for(&mut self, ctx: &mut Ctx<'_>, from: PeerIndex, seq: u64, entry: &mut Entry) {
        let Some(first) = self.resumes_after(Some(from)) else {
            return;
        };
        let fits = seq
            .checked_sub(first)
            .is_some_and(|ahead| ahead < slots_max(ctx) as u64);
        if fits && self.verify(ctx, from, entry) {
            self.gone = first;
            self.ring.jump(first);
            self.want_tops(ctx);
        }
    }

    /// There is a hole: if no neighbour upstream can fill it and a genuine frame lies behind what
    /// is gone, the flow goes on there.
    pub(crate) fn skip_what_is_gone(&mut self, ctx: &mut Ctx<'_>) {
        let Some(first) = self.resumes_after(None) else {
            return;
        };
        let end = self.ring.end().unwrap_or(0);
        if self.ring.position().map(epoch) != Some(epoch(first)) || first >= end {
            return;
        }
        let proof = (first..end).find_map(|seq| self.ring.get(seq));
        if proof.is_some_and(|entry| entry.genuine || ctx.is_genuine(&entry.frame)) {
            self.gone = first;
            self.ring.jump(first);
            self.want_tops(ctx);
        }
    }

    /// Where the stream goes on if what we need next is gone; never for a former source's, whose
    /// frames any neighbour may have.
    fn resumes_after(&self, from: Option<PeerIndex>) -> Option<u64> {
        let position = self.ring.position()?;
        let up = match from {
            Some(from) => self.ups.iter().find(|up| up.peer == from),
            None => self.ups.first(),
        };
        let knows = |up: &&Up| up.confirmed && up.heard == Some(position);
        let up = up.filter(|up| knows(up) && self.role != Role::Former)?;
        up.segments.resumes_after(position)
    }

    /// Gives new frames to sinks and neighbours.
    pub(crate) fn feed(&mut self, ctx: &mut Ctx<'_>, sinks: &mut [Sink]) {
        for sink in sinks.iter_mut() {
            self.pump(ctx, sink);
        }
        for index in 0..self.links.len() {
            self.ready(ctx, index);
        }
    }

    /// Gives one sink what it has room for.
    pub(crate) fn pump(&mut self, ctx: &mut Ctx<'_>, sink: &mut Sink) {
        let Some(cursor) = self
            .cursors
            .iter_mut()
            .find(|cursor| cursor.att == sink.att)
        else {
            return;
        };
        let Some(mut next) = cursor.next else { return };
        while sink.has_room(ctx.config) {
            let available = self.ring.available_from(next);
            if available != next {
                if epoch(available) == epoch(next) {
                    self.stats.lost += available - next;
                    self.stats.offered += available - next;
                    sink.note_lost();
                    let overlay = self.name.id.overlay;
                    ctx.out.tell(Event::Lost {
                        overlay,
                        seq: available,
                    });
                }
                next = available;
            }
            let Some(entry) = self.ring.get(next) else {
                break;
            };
            if !entry.genuine && !ctx.is_genuine(&entry.frame) {
                self.stats.forged += 1;
                next += 1;
                continue;
            }
            let seq = next;
            next += 1;
            if seq >= self.stats.next {
                self.stats.next = seq + 1;
                self.stats.on_time += 1;
                self.stats.offered += u64::from(self.role != Role::Source);
                self.stats
                    .latency
                    .record(std::time::Duration::from_micros(entry.age_us(ctx.now)));
            }
            let delivery = Delivery {
                att: sink.att,
                flow: self.name.id,
                seq,
                flags: u8::from(entry.repaired) | last_flag(&entry.frame) | sink.take_lost(),
                data: entry.frame.slice(BODY_BYTES..),
            };
            sink.hand(ctx.now, self.name.at, delivery, ctx.out);
        }
        cursor.next = Some(next);
    }

    /// Tells a neighbour's queue that this flow has something for it.
    pub(crate) fn ready(&mut self, ctx: &mut Ctx<'_>, index: usize) {
        let link = &mut self.links[index];
        let Some(peer) = link.peer().filter(|_| !link.queued) else {
            return;
        };
        if link.next(&self.ring).is_none() || !ctx.peers.get(peer).up {
            return;
        }
        link.queued = true;
        ctx.peers.get_mut(peer).ready.push_back(self.name.at);
        ctx.peers.wake(peer);
    }

    /// Writes frames for `peer` until `out` holds `budget` bytes. Returns whether more waits.
    pub(crate) fn write_data(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: PeerIndex,
        out: &mut BytesMut,
        budget: usize,
    ) -> bool {
        let here = Presence::Here(peer);
        let Some(link) = self.links.iter_mut().find(|link| link.presence == here) else {
            return false;
        };
        while let Some((seq, again)) = link.next(&self.ring) {
            if out.len() >= budget {
                return true;
            }
            let Some(entry) = self.ring.get(seq) else {
                break;
            };
            let hop = Hop {
                seq: ctx.peers.get_mut(peer).next_hop(),
                clock_us: ctx.now.0,
                left: entry.left(ctx.now),
                limit: entry.hop_limit,
            };
            out.extend_from_slice(&rewrite(&entry.frame, hop));
            out.extend_from_slice(&entry.frame[BODY_BYTES..]);
            link.on_written(seq, hop.seq);
            self.stats.copies += 1;
            self.stats.resent += u64::from(again);
        }
        link.queued = false;
        ctx.arm_tick();
        false
    }

    /// All sinks known here have everything up to this; `None` before the flow has a position.
    pub(crate) fn acked(&self) -> Option<u64> {
        let first = self.ring.first()?;
        let mut acked = self.ring.position()? - 1;
        for cursor in &self.cursors {
            acked = acked.min(cursor.acked.max(first - 1));
        }
        for link in &self.links {
            acked = acked.min(link.acked(first));
        }
        Some(acked)
    }

    /// Something was acknowledged: the source's window moves, or the parent is told.
    pub(crate) fn on_acked(&mut self, ctx: &mut Ctx<'_>) {
        if self.role == Role::Source {
            self.advance_stable(ctx);
        } else {
            self.settle(ctx);
            self.digest_if_due(ctx);
        }
        ctx.arm_tick();
    }

    /// Drops what is stable, as far as our own branch agrees, and counts what is held.
    pub(crate) fn settle(&mut self, ctx: &mut Ctx<'_>) {
        let stable = if self.role == Role::Former {
            0
        } else {
            self.stable.min(self.acked().unwrap_or(0))
        };
        let config = ctx.config;
        self.ring
            .evict(stable, config.ring_tail_bytes, config.window_frames);
        *ctx.ring_bytes = *ctx.ring_bytes - self.counted + self.ring.bytes();
        self.counted = self.ring.bytes();
    }

    /// The flow goes: its bytes no longer count.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>) {
        *ctx.ring_bytes -= self.counted;
        self.counted = 0;
        ctx.timers.clear(Timer::Gap(self.name.at));
    }

    /// A counter snapshot.
    pub(crate) fn snapshot(&self) -> FlowStats {
        FlowStats {
            held: self.ring.frames(),
            held_bytes: self.ring.bytes(),
            next: self.ring.position().unwrap_or(0),
            acked: self.acked().unwrap_or(0),
            stable: self.stable,
            ..self.stats.clone()
        }
    }
}

/// Sequences of a ring at most: the stable position known here lags, by a window a round trip.
pub(crate) fn slots_max(ctx: &Ctx<'_>) -> usize {
    4 * ctx.config.window_frames
}

/// Flag 4 of a delivery if the frame is the last of its stream.
pub(crate) fn last_flag(frame: &Bytes) -> u8 {
    debug_assert!(frame.len() >= BODY_BYTES && BODY_BYTES < HEADER_BYTES);
    let flags = u16::from_le_bytes([frame[18], frame[19]]);
    if flags & FLAG_LAST == 0 { 0 } else { 4 }
}
