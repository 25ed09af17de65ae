//! The forwarding core's calls, and which part answers each.

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, NodeId, OverlayId, Time};

use crate::{
    command::{Command, Delivery, Event, FlowId},
    config::Config,
    source::{SendError, Sent},
    stats::FlowStats,
};

/// What became of a frame from a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// Was here already.
    Duplicate,
    /// Past its deadline.
    Late,
    /// Of no use here: unknown flow, not an edge yet, no room.
    Dropped,
    /// The peer broke the protocol; `Event::Offence` says so too. Close the substream.
    Offence,
}

/// The forwarding core of one node.
#[derive(Debug)]
pub struct Forward {
    config: Config,
    me: NodeId,
}

impl Forward {
    /// A core that carries nothing yet.
    pub fn new(config: Config, me: NodeId) -> Self {
        Self { config, me }
    }

    /// Takes a wish of our own node.
    pub fn command(&mut self, _now: Time, _command: Command) {}

    /// A frame channel to `peer` can be used. Frames from and to it start afresh.
    pub fn link_up(&mut self, _now: Time, _peer: NodeId) {}

    /// The last frame channel to `peer` is gone.
    pub fn link_down(&mut self, _now: Time, _peer: NodeId) {}

    /// Takes `frame`, without its length field, from `from`.
    pub fn on_frame(&mut self, _now: Time, _from: NodeId, _frame: Bytes) -> Verdict {
        Verdict::Dropped
    }

    /// Appends frames for `peer`, each with its length field, until `out` holds `budget` bytes or
    /// more, or nothing is left. Returns whether more waits.
    pub fn poll_send(
        &mut self,
        _now: Time,
        _peer: NodeId,
        _out: &mut BytesMut,
        _budget: usize,
    ) -> bool {
        false
    }

    /// The next neighbour that has something to send since `poll_send` last gave `false` for it.
    pub fn poll_wake(&mut self) -> Option<NodeId> {
        None
    }

    /// Takes frames of the local source of `overlay`. With `partial_ok` as many as fit, at least
    /// one; else all or none. `last`: the final frame of `frames` is the last of its stream.
    ///
    /// Errors: [`SendError`]; state is unchanged.
    pub fn send(
        &mut self,
        _now: Time,
        _overlay: OverlayId,
        _flow: u8,
        _frames: &[Bytes],
        _last: bool,
        _partial_ok: bool,
    ) -> Result<Sent, SendError> {
        Err(SendError::NoSource)
    }

    /// The next frame for a local sink.
    pub fn poll_deliver(&mut self) -> Option<Delivery> {
        None
    }

    /// The next event, until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When `handle_timeout` is due next, if ever.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        None
    }

    /// Fires every timer that is due; a no-op when none is.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// The counters of one flow; `None` if it was never seen.
    pub fn stats(&self, _flow: FlowId) -> Option<FlowStats> {
        None
    }

    /// All flows seen, by rising id, with their counters.
    pub fn flows(&self) -> Vec<(FlowId, FlowStats)> {
        Vec::new()
    }
}
