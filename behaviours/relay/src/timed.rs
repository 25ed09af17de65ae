//! A flow of a timed class: at most once, in order, nothing after its deadline.
//!
//! Each first copy goes to all other neighbours at once. At a node with sinks frames pass an order
//! buffer: a missing frame is waited for until its own deadline, which lies between those of its
//! neighbours in sequence, and never past the deadline of the first frame that waits for it: order
//! makes nothing late. The source tells its top each second, so that a lost tail is counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use opus_core::{Offence, Time};

use crate::{
    ack::Top,
    command::Delivery,
    complete::last_flag,
    config::Config,
    dedup::{Dedup, Seen},
    flow::{Control, Ctx, Name, Timer},
    forward::Verdict,
    header::{BODY_BYTES, FLAG_LAST, Header, Kind, sealed},
    peer::{PeerIndex, Want},
    queue::{Queued, left_units},
    segments::epoch,
    sink::Sink,
    source::{Batch, Sent, data_header, ms_since},
    stats::FlowStats,
};

/// Period of a source's tops.
const TOP_PERIOD: Duration = Duration::from_secs(1);
/// Checkpoints of a source that wait for their deadline: a deadline of a minute; beyond that the
/// oldest goes, and the count of lost frames comes later.
const CHECKPOINTS_MAX: usize = 64;

/// What waits in the order buffer at a sequence.
#[derive(Debug)]
struct Waiting {
    /// `None`: it came late; nothing to deliver, and nothing to wait for.
    frame: Option<Bytes>,
    deadline: Time,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) name: Name,
    deadline: Duration,
    window: Dedup,
    /// At most `order_frames`; overflow: no more waiting for what is missing.
    order: BTreeMap<u64, Waiting>,
    /// The next sequence for the sinks; 0 before the first frame.
    next: u64,
    /// Deadline of the last frame that passed.
    last_deadline: Time,
    /// At the source: the next sequence to send.
    local_next: Option<u64>,
    started: Option<Time>,
    /// At the source: what was sent by when.
    checkpoints: VecDeque<(Time, u64)>,
    /// What is known to have been sent, its deadline past.
    top: u64,
    topped: Time,
    pub(crate) stats: FlowStats,
}

impl Timed {
    pub(crate) fn new(name: Name, deadline: Duration) -> Self {
        Self {
            name,
            deadline,
            window: Dedup::new(Dedup::bits_for(deadline)),
            order: BTreeMap::new(),
            next: 0,
            last_deadline: Time::ZERO,
            local_next: None,
            started: None,
            checkpoints: VecDeque::new(),
            top: 0,
            topped: Time::ZERO,
            stats: FlowStats::default(),
        }
    }

    /// No frame has more time left than the flow gives it.
    pub(crate) fn clamp(&self, left: Duration) -> Duration {
        left.min(self.deadline)
    }

    /// Takes a data frame; it goes on to `targets` except where it came from.
    pub(crate) fn on_data(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: PeerIndex,
        header: &Header,
        item: Queued,
        targets: &[PeerIndex],
        sinks: &mut [Sink],
    ) -> Verdict {
        // A jump throws the window away: only a genuine frame may do that. Sinks get no other.
        let check = !sinks.is_empty() || self.window.is_jump(header.seq);
        if check && !ctx.is_genuine(&item.frame) {
            self.stats.forged += 1;
            ctx.offence(from, Offence::Forged);
            return Verdict::Forged;
        }
        match self.window.mark(header.seq) {
            Seen::First => {}
            Seen::Again => {
                self.stats.duplicates += 1;
                return Verdict::Duplicate;
            }
            Seen::Old => {
                self.stats.late += u64::from(!sinks.is_empty());
                return Verdict::Late;
            }
        }
        self.stats.bytes += (item.frame.len() - BODY_BYTES) as u64;
        let late = item.expires <= ctx.now;
        if !late {
            self.spread(ctx, Some(from), &item, targets);
        }
        if !sinks.is_empty() {
            let frame = (!late).then_some(item.frame);
            self.arrange(ctx, header.seq, frame, item.expires, sinks);
        }
        if late {
            Verdict::Late
        } else {
            Verdict::Accepted
        }
    }

    /// Queues a frame for each neighbour that may still get it in time.
    fn spread(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Option<PeerIndex>,
        item: &Queued,
        targets: &[PeerIndex],
    ) {
        if item.hop_limit == 0 {
            return;
        }
        for &target in targets {
            if Some(target) == from {
                continue;
            }
            let peer = ctx.peers.get_mut(target);
            if !peer.up || !item.fits(ctx.now, peer.delay) {
                self.stats.dropped += 1;
                continue;
            }
            self.stats.dropped += peer.timed.push(ctx.now, item.clone());
            self.stats.copies += 1;
            ctx.peers.wake(target);
        }
    }

    /// Puts a frame (`None`: it was late) in order for the sinks.
    fn arrange(
        &mut self,
        ctx: &mut Ctx<'_>,
        seq: u64,
        frame: Option<Bytes>,
        deadline: Time,
        sinks: &mut [Sink],
    ) {
        if self.next == 0 {
            self.next = seq;
        }
        if seq < self.next {
            // Given up before: it was counted as lost.
            self.stats.lost = self.stats.lost.saturating_sub(1);
            self.stats.late += 1;
            return;
        }
        let waiting = Waiting { frame, deadline };
        if seq == self.next && self.order.is_empty() {
            self.pass(ctx, seq, waiting, sinks);
            return;
        }
        self.order.insert(seq, waiting);
        self.release(ctx, sinks);
    }

    /// Passes on what is in order, and what has waited long enough.
    fn release(&mut self, ctx: &mut Ctx<'_>, sinks: &mut [Sink]) {
        while let Some((&seq, waiting)) = self.order.first_key_value() {
            let gap = seq.saturating_sub(self.next);
            let restart = epoch(seq) != epoch(self.next);
            let full = self.order.len() > ctx.config.order_frames;
            let until = give_up_at(ctx.config, self.last_deadline, waiting.deadline, gap);
            if gap > 0 && !restart && !full && ctx.now < until {
                ctx.timers.set_earliest(Timer::Order(self.name.at), until);
                return;
            }
            if !restart {
                self.stats.lost += gap;
                self.stats.offered += gap;
            }
            let Some(waiting) = self.order.remove(&seq) else {
                return;
            };
            self.pass(ctx, seq, waiting, sinks);
        }
    }

    /// The timer of the order buffer.
    pub(crate) fn on_order(&mut self, ctx: &mut Ctx<'_>, sinks: &mut [Sink]) {
        self.release(ctx, sinks);
    }

    /// Gives one frame to all sinks.
    fn pass(&mut self, ctx: &mut Ctx<'_>, seq: u64, waiting: Waiting, sinks: &mut [Sink]) {
        self.next = seq.saturating_add(1);
        self.last_deadline = self.last_deadline.max(waiting.deadline);
        self.stats.offered += 1;
        let Some(frame) = waiting.frame.filter(|_| ctx.now <= waiting.deadline) else {
            self.stats.late += 1;
            return;
        };
        self.stats.on_time += 1;
        let left = waiting.deadline - ctx.now;
        self.stats
            .latency
            .record(self.deadline.saturating_sub(left));
        self.give(ctx, seq, &frame, sinks);
    }

    fn give(&mut self, ctx: &mut Ctx<'_>, seq: u64, frame: &Bytes, sinks: &mut [Sink]) {
        for sink in sinks {
            let delivery = Delivery {
                att: sink.att,
                flow: self.name.id,
                seq,
                flags: last_flag(frame),
                data: frame.slice(BODY_BYTES..),
            };
            self.stats.dropped += sink.offer(ctx.now, ctx.config, self.name.at, delivery, ctx.out);
        }
    }

    /// The source attached.
    pub(crate) fn begin(&mut self, seq_first: u64) {
        let next = self.local_next.unwrap_or(0).max(seq_first);
        self.local_next = Some(next);
    }

    /// Sends a batch: always taken whole.
    pub(crate) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        batch: &Batch<'_>,
        targets: &[PeerIndex],
        sinks: &mut [Sink],
    ) -> Option<Sent> {
        let first = self.local_next?;
        let n = batch.frames.len();
        let started = *self.started.get_or_insert(ctx.now);
        let ms = ms_since(started, ctx.now);
        let expires = ctx.now + self.deadline;
        for (seq, payload) in (first..).zip(batch.frames) {
            let is_last = batch.last && seq + 1 == first + n as u64;
            let flags = if is_last { FLAG_LAST } else { 0 };
            let header = data_header(&self.name, seq, left_units(ctx.now, expires), flags, ms);
            let frame = sealed(&ctx.key, &header, payload);
            self.stats.bytes += payload.len() as u64;
            self.give(ctx, seq, &frame, sinks);
            let item = Queued::new(ctx.now, frame, expires, ctx.config.hops_max);
            self.spread(ctx, None, &item, targets);
        }
        self.stats.offered += n as u64;
        self.stats.on_time += if sinks.is_empty() { 0 } else { n as u64 };
        self.local_next = Some(first + n as u64);
        ctx.arm_tick();
        Some(Sent { seq: first, n })
    }

    /// A top: all up to it was sent and is past its deadline.
    pub(crate) fn on_top(
        &mut self,
        ctx: &mut Ctx<'_>,
        top: &Top,
        targets: &[PeerIndex],
    ) -> Verdict {
        let Some(&(_, end)) = top.segments.runs().last() else {
            return Verdict::Accepted;
        };
        // A top is under no tag: it may count frames as lost, within a window, but move nothing.
        let believable = end.saturating_sub(self.window.top()) < self.window.bits();
        if end <= self.top || !believable {
            return Verdict::Dropped;
        }
        self.top = end;
        self.want_tops(ctx, targets);
        Verdict::Accepted
    }

    fn want_tops(&mut self, ctx: &mut Ctx<'_>, targets: &[PeerIndex]) {
        for &target in targets {
            let want = Want::Top(self.name.at);
            if !ctx.peers.get(target).control.contains(&want) {
                ctx.want(target, want);
            }
        }
    }

    /// Writes the top that was wanted for `peer`.
    pub(crate) fn write_top(&self, ctx: &mut Ctx<'_>, peer: PeerIndex, out: &mut BytesMut) {
        if self.top > 0 {
            let mut top = Top::default();
            top.segments.push(self.top, self.top);
            let control = Control {
                kind: Kind::Top,
                flags: 0,
                seq: self.top,
            };
            ctx.write_control(peer, self.name.tag, control, &top.encode(), out);
        }
    }

    /// At the source: notes what was sent, and tells what is past its deadline. Returns whether
    /// to look again.
    pub(crate) fn on_tick(&mut self, ctx: &mut Ctx<'_>, targets: &[PeerIndex]) -> bool {
        let Some(next) = self.local_next else {
            return false;
        };
        if ctx.now - self.topped < TOP_PERIOD {
            return true;
        }
        self.topped = ctx.now;
        if self.checkpoints.back().is_none_or(|&(_, sent)| sent < next) && self.stats.offered > 0 {
            if self.checkpoints.len() >= CHECKPOINTS_MAX {
                self.checkpoints.pop_front();
            }
            self.checkpoints.push_back((ctx.now, next));
        }
        let past = |at: Time| at + self.deadline + TOP_PERIOD <= ctx.now;
        while let Some(&(at, sent)) = self.checkpoints.front()
            && past(at)
        {
            // The last one stays, as the mark of what was told.
            if self.top < sent {
                self.top = sent;
            }
            if self.checkpoints.len() == 1 {
                break;
            }
            self.checkpoints.pop_front();
        }
        self.want_tops(ctx, targets);
        self.top < next
    }

    /// The counters: the tail that the source told and nobody saw is lost.
    pub(crate) fn snapshot(&self, has_sinks: bool) -> FlowStats {
        let tail = if has_sinks && self.next > 0 && self.order.is_empty() {
            self.top.saturating_sub(self.next)
        } else {
            0
        };
        FlowStats {
            lost: self.stats.lost + tail,
            offered: self.stats.offered + tail,
            held: self.order.len(),
            held_bytes: self
                .order
                .values()
                .filter_map(|w| w.frame.as_ref())
                .map(Bytes::len)
                .sum(),
            next: self.local_next.unwrap_or(self.next),
            ..self.stats.clone()
        }
    }

    /// The flow goes.
    pub(crate) fn close(&mut self, ctx: &mut Ctx<'_>) {
        ctx.timers.clear(Timer::Order(self.name.at));
    }
}

/// When the last of `gap` missing frames between one with deadline `before` and one with deadline
/// `after` is given up: at its own deadline, taken as evenly spaced, yet before the latter's.
fn give_up_at(config: &Config, before: Time, after: Time, gap: u64) -> Time {
    let span = after.0.saturating_sub(before.0);
    let own = before.0 + span - span / gap.saturating_add(1);
    let margin = u64::try_from(config.order_margin.as_micros()).unwrap_or(0);
    Time(own.min(after.0.saturating_sub(margin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_frame_is_given_up_at_its_own_deadline_and_makes_none_late() {
        let config = Config::default();
        let at = |before, after, gap| give_up_at(&config, Time(before), Time(after), gap);
        assert_eq!(at(100_000, 200_000, 1), Time(150_000));
        assert_eq!(at(100_000, 200_000, 3), Time(175_000));
        assert_eq!(
            at(200_000, 200_000, 1),
            Time(198_000),
            "one batch: before the deadline of all"
        );
    }
}
