//! What our node asks of the probe, and what the probe tells it.

use std::time::Duration;

use opus_core::NodeId;
use opus_model::coordinate::Coordinate;

/// A wish of our own node. A refusal is [`Event::Refused`] with the same `id`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Tell the round-trip time to each target, from a measurement not older than `age_max`.
    ///
    /// Every target is answered by one [`Event::Measured`] with this `id`. A fresh value is
    /// answered at once; requests for a pair under way join it: a pair is measured once however
    /// many overlays ask.
    Measure {
        /// Chosen by the caller; names the answers.
        id: u64,
        /// At most 64.
        targets: Vec<NodeId>,
        /// An older value is measured again. Microseconds resolution.
        age_max: Duration,
    },
    /// Keep measuring this peer (tree edges); a refusal carries the id 0. Answers come as
    /// [`Event::Measured`] with `id` 0 whenever the smoothed value moved by more than 5 %, and when
    /// the peer falls silent.
    Watch(NodeId),
    /// Stop watching.
    Unwatch(NodeId),
}

/// What the probe tells our own node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The path to `peer`, or `None` when it cannot be reached.
    Measured {
        /// The command's id; 0 for a watched peer.
        id: u64,
        /// The far end.
        peer: NodeId,
        /// What is known of the path.
        path: Option<PathStats>,
        /// The peer's coordinate, as it told us.
        coordinate: Option<Coordinate>,
    },
    /// Our own coordinate moved by a twentieth of the round trip that moved it, or half a
    /// millisecond if that is more.
    Moved(Coordinate),
    /// A command was refused; state is unchanged.
    Refused {
        /// The command's id.
        id: u64,
        /// Why.
        reason: Refusal,
    },
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than 64 targets in one command.
    #[error("too many targets in one command")]
    TooManyTargets,
    /// The table of paths or the queue of probes is full.
    #[error("too many paths are being measured")]
    Busy,
}

/// What is known of the path to one peer. Round trips in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// Smallest round trip seen in the window.
    pub rtt_min_us: u32,
    /// Exponentially smoothed round trip.
    pub rtt_smoothed_us: u32,
    /// 95th percentile of the window.
    pub rtt_p95_us: u32,
    /// Probes sent in the window.
    pub sent: u32,
    /// Of those, unanswered within their timeout.
    pub lost: u32,
    /// Age of the newest answer.
    pub age: Duration,
}
