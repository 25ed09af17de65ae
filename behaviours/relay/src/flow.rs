//! What both classes of flows share: their name inside a node, and what they may touch of it.

use std::collections::VecDeque;

use bytes::BytesMut;
use opus_core::{NodeId, Offence, Time, Timers};

use crate::{
    command::{Delivery, Event, FlowId},
    config::Config,
    header::{Header, Kind, is_genuine, low},
    peer::{PeerIndex, Peers, Want},
};

/// Events that wait at most. The driver fetches them after each call; overflow: the oldest goes.
const EVENTS_MAX: usize = 4_096;

/// A flow's place: overlay slot, source slot, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowRef {
    pub(crate) overlay: u16,
    pub(crate) stream: u8,
    pub(crate) flow: u8,
}

/// Named deadlines of the forwarding core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Digests, tops, holds and slowness of all flows.
    Tick,
    /// A hole of this complete flow is old enough to be told.
    Gap(FlowRef),
    /// A timed frame has waited long enough for the ones before it.
    Order(FlowRef),
}

impl Timer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tick => "digests and holds",
            Self::Gap(_) => "hole in a complete flow",
            Self::Order(_) => "missing timed frame",
        }
    }
}

/// What leaves the core.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) events: VecDeque<Event>,
    /// Bounded by the sinks' `hand_frames`.
    pub(crate) deliveries: VecDeque<Delivery>,
}

impl Outputs {
    pub(crate) fn tell(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// What a flow may touch of its node while it handles one input.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) peers: &'a mut Peers,
    pub(crate) out: &'a mut Outputs,
    pub(crate) timers: &'a mut Timers<Timer>,
    /// The tick timer is set.
    pub(crate) ticking: &'a mut bool,
    /// Bytes in all rings.
    pub(crate) ring_bytes: &'a mut usize,
    /// Key of the overlay's frame tags.
    pub(crate) key: [u8; 32],
    /// The key before.
    pub(crate) former_key: Option<[u8; 32]>,
}

impl Ctx<'_> {
    /// Something has to be looked after in a digest period.
    pub(crate) fn arm_tick(&mut self) {
        if !*self.ticking {
            *self.ticking = true;
            self.timers.set(Timer::Tick, self.now + self.config.digest);
        }
    }

    /// Whether the tag of `frame` was made with the overlay's key, or with the one before.
    pub(crate) fn is_genuine(&self, frame: &[u8]) -> bool {
        is_genuine(&self.key, frame)
            || self
                .former_key
                .as_ref()
                .is_some_and(|key| is_genuine(key, frame))
    }

    /// Queues a control frame for a neighbour whose channel is up; tells whether it was.
    pub(crate) fn want(&mut self, peer: PeerIndex, want: Want) -> bool {
        let state = self.peers.get_mut(peer);
        if !state.up {
            return false;
        }
        state.control.push_back(want);
        self.peers.wake(peer);
        true
    }

    /// Writes a control frame of the flow with `tag`; it is good for one hop.
    pub(crate) fn write_control(
        &mut self,
        peer: PeerIndex,
        tag: u64,
        control: Control,
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        let header = Header {
            hop_seq: low(self.peers.get_mut(peer).next_hop()),
            hop_clock: low(self.now.0),
            left: 0,
            hop_limit: 1,
            kind: control.kind,
            flags: control.flags,
            flow: tag,
            seq: control.seq,
            ms: 0,
        };
        out.extend_from_slice(&header.write(payload.len()));
        out.extend_from_slice(payload);
    }

    pub(crate) fn offence(&mut self, peer: PeerIndex, offence: Offence) {
        let peer: NodeId = self.peers.get(peer).id;
        self.out.tell(Event::Offence { peer, offence });
    }
}

/// The fields in which control frames differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    pub(crate) kind: Kind,
    pub(crate) flags: u16,
    pub(crate) seq: u64,
}

/// Names and constants of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) at: FlowRef,
    pub(crate) id: FlowId,
    /// [`crate::flow_tag`] of `id`.
    pub(crate) tag: u64,
}
