//! Frames in and out: control frames, and the queue of timed ones.

use bytes::{Bytes, BytesMut};
use opus_core::{Offence, Time};

use super::{Forward, Verdict};
use crate::{
    ack::{Digest, Top},
    flow::FlowRef,
    header::{BODY_BYTES, Header, Hop, Kind, rewrite},
    peer::{PeerIndex, Want},
};

impl Forward {
    pub(super) fn on_digest(
        &mut self,
        now: Time,
        at: FlowRef,
        peer: PeerIndex,
        header: &Header,
        frame: &Bytes,
    ) -> Verdict {
        let state = self.peers.get(peer);
        let from = state.id;
        let Some(digest) = Digest::decode(&frame[BODY_BYTES..]) else {
            return self.offence(from, Offence::Malformed);
        };
        // Not yet anything seen: all that was written may be on its way.
        let hop_told = digest.hop_seen.map_or(0, |seen| state.hop_told(seen));
        let verdict = self.with_slot(now, at.overlay, |overlay, ctx| {
            overlay.on_digest(ctx, at, peer, header, &digest, hop_told)
        });
        verdict.unwrap_or(Verdict::Dropped)
    }

    pub(super) fn on_top(
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

    pub(super) fn write_control(
        &mut self,
        now: Time,
        peer: PeerIndex,
        want: Want,
        out: &mut BytesMut,
    ) {
        let (at, kind) = match want {
            Want::Digest(at) => (at, Kind::Digest),
            Want::Top(at) => (at, Kind::Top),
        };
        self.with_slot(now, at.overlay, |overlay, ctx| {
            overlay.write_control(ctx, at, kind, peer, out);
        });
    }

    pub(super) fn write_timed(
        &mut self,
        now: Time,
        at: PeerIndex,
        out: &mut BytesMut,
        budget: usize,
    ) {
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

    pub(super) fn on_expired(&mut self, frame: &Bytes) {
        let at = Header::read(frame)
            .ok()
            .and_then(|header| self.tags.get(&header.flow).copied());
        if let Some(at) = at
            && let Some(overlay) = &mut self.overlays[at.overlay as usize]
        {
            overlay.on_expired(at);
        }
    }
}
