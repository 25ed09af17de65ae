//! Frames of an overlay's flows, each passed to its flow.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use opus_core::NodeId;

use super::{Flow, Overlay, Stream};
use crate::{
    ack::{Digest, Top},
    flow::{Ctx, FlowRef},
    forward::Verdict,
    header::{Header, Kind, LEFT_UNIT_US},
    peer::PeerIndex,
    queue::Queued,
    ring::Entry,
    stats::FlowStats,
};

impl Overlay {
    /// Takes a data frame of flow `at` that was `transit` on its last link.
    pub(crate) fn on_data(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: FlowRef,
        from: PeerIndex,
        header: &Header,
        frame: Bytes,
        transit: Duration,
    ) -> Verdict {
        if self.flow(ctx, at).is_none() || header.hop_limit == 0 {
            return Verdict::Dropped;
        }
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Complete(flow)) => {
                let units = transit.as_micros() / u128::from(LEFT_UNIT_US);
                let entry = Entry {
                    frame,
                    arrived: ctx.now,
                    left: header
                        .left
                        .saturating_sub(u32::try_from(units).unwrap_or(u32::MAX)),
                    hop_limit: header.hop_limit - 1,
                    repaired: false,
                    genuine: false,
                };
                flow.on_data(ctx, from, header, entry, &mut self.sinks)
            }
            Some(Flow::Timed(flow)) => {
                let left = Duration::from_micros(u64::from(header.left) * LEFT_UNIT_US);
                let expires = ctx.now + flow.clamp(left).saturating_sub(transit);
                let item = Queued::new(ctx.now, frame, expires, header.hop_limit - 1);
                flow.on_data(ctx, from, header, item, &self.neighbours, &mut self.sinks)
            }
            None => Verdict::Dropped,
        }
    }

    /// Takes a top of flow `at`.
    pub(crate) fn on_top(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: FlowRef,
        from: PeerIndex,
        header: &Header,
        top: &Top,
    ) -> Verdict {
        if self.flow(ctx, at).is_none() {
            return Verdict::Dropped;
        }
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Complete(flow)) => flow.on_top(ctx, from, header, top, &mut self.sinks),
            Some(Flow::Timed(flow)) => flow.on_top(ctx, top, &self.children),
            None => Verdict::Dropped,
        }
    }

    /// Takes a digest of flow `at`.
    pub(crate) fn on_digest(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: FlowRef,
        from: PeerIndex,
        header: &Header,
        digest: &Digest,
        hop_told: u64,
    ) -> Verdict {
        match self.flow(ctx, at) {
            Some(Flow::Complete(flow)) => flow.on_digest(ctx, from, header, digest, hop_told),
            Some(Flow::Timed(_)) | None => Verdict::Dropped,
        }
    }

    /// Counts a frame of flow `at` that expired in a queue.
    pub(crate) fn on_expired(&mut self, at: FlowRef) {
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Timed(flow)) => flow.stats.dropped += 1,
            Some(Flow::Complete(_)) | None => {}
        }
    }

    /// The order timer of flow `at`.
    pub(crate) fn on_order(&mut self, ctx: &mut Ctx<'_>, at: FlowRef) {
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Timed(flow)) => flow.on_order(ctx, &mut self.sinks),
            Some(Flow::Complete(_)) | None => {}
        }
    }

    /// The gap timer of flow `at`.
    pub(crate) fn on_gap(&mut self, ctx: &mut Ctx<'_>, at: FlowRef) {
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Complete(flow)) => flow.on_gap(ctx),
            Some(Flow::Timed(_)) | None => {}
        }
    }

    /// The counters of flow number `flow` of `source`.
    pub(crate) fn stats(&self, source: NodeId, flow: u8) -> Option<FlowStats> {
        let of = |stream: &&Stream| stream.source == source;
        let stream = self.streams.iter().flatten().find(of)?;
        Some(match stream.flows.get(flow as usize)?.as_ref()? {
            Flow::Timed(flow) => flow.snapshot(!self.sinks.is_empty()),
            Flow::Complete(flow) => flow.snapshot(),
        })
    }

    /// Writes the control frame that flow `at` wants to send to `peer`.
    pub(crate) fn write_control(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: FlowRef,
        kind: Kind,
        peer: PeerIndex,
        out: &mut BytesMut,
    ) {
        let stream = self.streams[at.stream as usize].as_mut();
        let flow = stream.and_then(|stream| stream.flows[at.flow as usize].as_mut());
        match (flow, kind == Kind::Digest) {
            (Some(Flow::Complete(flow)), true) => flow.write_digest(ctx, peer, out),
            (Some(Flow::Complete(flow)), false) => flow.write_top(ctx, peer, out),
            (Some(Flow::Timed(flow)), _) => flow.write_top(ctx, peer, out),
            (None, _) => {}
        }
    }

    /// Writes complete frames of flow `at` for `peer`. Returns whether more waits.
    pub(crate) fn write_data(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: FlowRef,
        peer: PeerIndex,
        out: &mut BytesMut,
        budget: usize,
    ) -> bool {
        let stream = self.streams[at.stream as usize].as_mut();
        match stream.and_then(|stream| stream.flows[at.flow as usize].as_mut()) {
            Some(Flow::Complete(flow)) => flow.write_data(ctx, peer, out, budget),
            Some(Flow::Timed(_)) | None => false,
        }
    }
}
