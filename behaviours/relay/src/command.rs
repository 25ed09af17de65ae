//! What our node asks of the relay's forwarding core, and what it tells back.

use std::time::Duration;

use bytes::Bytes;
use opus_core::{NodeId, OverlayId};

/// One stream of frames: an overlay, its source and a number 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    /// The overlay.
    pub overlay: OverlayId,
    /// The node whose application sends.
    pub source: NodeId,
    /// 0 to 15.
    pub flow: u8,
}

/// The promise of an application's flows (relay.md section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At most once, in order; a frame older than the deadline is dropped.
    Timed {
        /// From the source's `send` to the sink.
        deadline: Duration,
    },
    /// Each frame once, in order; the source waits.
    Complete,
}

/// A wish of our own node. A wish for an overlay that is not open is ignored; one beyond a limit
/// gives [`Event::Refused`].
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// This node carries an overlay from here on.
    Open {
        /// Which overlay.
        overlay: OverlayId,
        /// Its promise.
        class: Class,
        /// Key of the frame tags; members have it from the root. Said again with another key, both
        /// are good: frames of a former source are still on their way.
        key: [u8; 32],
    },
    /// This node no longer carries the overlay; everything of it is dropped.
    Close {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// Whose frames the overlay carries. The previous source's frames still on the way are brought
    /// to the end for another hold. Not needed at the source itself: [`Command::Source`] says it.
    Root {
        /// Which overlay.
        overlay: OverlayId,
        /// The node whose application sends.
        source: NodeId,
    },
    /// The delay of the link to a neighbour, from the probe: half its smoothed round trip. Time
    /// left and latencies are reckoned with it; zero until told.
    Delay {
        /// The neighbour.
        peer: NodeId,
        /// One way.
        one_way: Duration,
    },
    /// The tree edges of the overlay, from the overlay machine.
    Edges {
        /// Which overlay.
        overlay: OverlayId,
        /// Towards the source.
        parent: Option<NodeId>,
        /// Away from it.
        children: Vec<NodeId>,
    },
    /// A child said goodbye: no frame is due to its own sinks any more. Its branches keep their
    /// claim until they are attached here or below, or for one hold.
    ChildLeft {
        /// Which overlay.
        overlay: OverlayId,
        /// Who.
        child: NodeId,
    },
    /// A child has another parent, which answers for its branch as soon as the child has told it
    /// its position: its claim here is kept for `Config::moved` only. The edges' event may come
    /// before or after.
    ChildMoved {
        /// Which overlay.
        overlay: OverlayId,
        /// Who.
        child: NodeId,
    },
    /// A local application attached as source: its flows start at `seq_first`.
    Source {
        /// Which overlay.
        overlay: OverlayId,
        /// `boots << 40 | 1` or the next one after the last sent in this life of the node.
        seq_first: u64,
    },
    /// The local source is gone.
    SourceGone {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// A local application attached as sink `att`.
    Sink {
        /// Which overlay.
        overlay: OverlayId,
        /// Chosen by the node, unique while it runs.
        att: u32,
        /// Complete class: continue after this sequence of flow 0 if the ring still reaches back.
        resume: Option<u64>,
    },
    /// A local sink is gone: nothing is due to it any more.
    SinkGone {
        /// Which overlay.
        overlay: OverlayId,
        /// Which sink.
        att: u32,
    },
    /// The local sink `att` has taken `frames` deliveries of `bytes` payload: room for more.
    Taken {
        /// Which sink.
        att: u32,
        /// Count.
        frames: u32,
        /// Payload bytes.
        bytes: u64,
    },
}

/// A frame for a local sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which sink.
    pub att: u32,
    /// Which flow; its source is named in it.
    pub flow: FlowId,
    /// Sequence within the flow.
    pub seq: u64,
    /// 1 repaired, 2 this sink lost frames before this one, 4 the last frame of a stream.
    pub flags: u8,
    /// The payload.
    pub data: Bytes,
}

/// What the forwarding core tells our own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every joined sink has all frames of the overlay's local source up to and including `seq`.
    Stable {
        /// Which overlay.
        overlay: OverlayId,
        /// Flow 0 to 15.
        flow: u8,
        /// Sequence.
        seq: u64,
    },
    /// After `send` gave `Blocked`: there is room again.
    Room {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// A local sink did not take frames for 30 s (complete class) and is cut.
    SlowSink {
        /// Which overlay.
        overlay: OverlayId,
        /// Which sink.
        att: u32,
    },
    /// A child branch did not acknowledge for 30 s, or did not come back within its hold, and no
    /// longer counts.
    SlowBranch {
        /// Which overlay.
        overlay: OverlayId,
        /// The child.
        child: NodeId,
    },
    /// A gap could not be repaired: frames up to before `seq` are lost to our sinks.
    Lost {
        /// Which overlay.
        overlay: OverlayId,
        /// The next sequence that will be delivered.
        seq: u64,
    },
    /// `Open` or `Sink` beyond the limits of the configuration. State is unchanged.
    Refused {
        /// Which overlay.
        overlay: OverlayId,
        /// Which table is full, or which names clash.
        reason: &'static str,
    },
    /// A peer sent what this protocol forbids.
    Offence {
        /// Who.
        peer: NodeId,
        /// How.
        offence: opus_core::Offence,
    },
}
