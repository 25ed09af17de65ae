//! What our node asks of the overlay, and what the overlay tells it.

use opus_core::{Contact, Hint, NodeId, OverlayId};
use opus_model::coordinate::Coordinate;

/// A wish of our own node. A refusal is [`Event::Refused`] with the same `id`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Become a member of an overlay. `root` is this node itself at the sender.
    Join {
        /// Chosen by the caller.
        id: u64,
        /// Which overlay.
        overlay: OverlayId,
        /// The sender's node: the root of the LAST tree.
        root: Contact,
        /// The knob, in thousandths (1500 = 1.5), 1000 to 16000; only the root's value counts.
        alpha_milli: u32,
        /// Most children, 1 to 64.
        cap: u8,
    },
    /// Stop being a member; children are told where to go.
    Leave {
        /// Chosen by the caller.
        id: u64,
        /// Which overlay.
        overlay: OverlayId,
    },
    /// Turn the knob; only at the root. A higher epoch wins everywhere.
    SetKnob {
        /// Chosen by the caller.
        id: u64,
        /// Which overlay.
        overlay: OverlayId,
        /// Thousandths.
        alpha_milli: u32,
    },
    /// Members that this one may not know yet.
    Introduce {
        /// Which overlay.
        overlay: OverlayId,
        /// At most 64.
        members: Vec<Contact>,
    },
    /// Answer to [`Event::Measure`], or news of a watched edge.
    Measured {
        /// The far end.
        peer: NodeId,
        /// Round trip in microseconds (the smallest of the window); `None`: unreachable.
        rtt_us: Option<u32>,
        /// The peer's coordinate if known.
        coordinate: Option<Coordinate>,
    },
    /// A node that may be dead. Where no overlay relies on it, as an edge or the root, it leaves
    /// all views at once, and nobody's word brings it back within a minute but its own. An edge
    /// stays: whoever suspects checks it, and says [`Command::Retire`] or nothing.
    Suspect(NodeId),
    /// A node that is dead: its edges end at once, and it leaves all views. It may come back.
    Retire(NodeId),
    /// Our own network coordinate.
    Coordinate(Coordinate),
    /// Our own address hint, whenever the node learns a better one: members pass it on.
    Hint(Hint),
    /// The root of the overlay moved to another node (the source re-attached elsewhere).
    Reroot {
        /// Which overlay.
        overlay: OverlayId,
        /// The new root.
        root: Contact,
    },
}

/// What the overlay tells our own node.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Please measure these (through `probe`), then say [`Command::Measured`] for each.
    Measure {
        /// At most 64.
        targets: Vec<Contact>,
    },
    /// Our edges changed. The relay forwards along them.
    Edges {
        /// Which overlay.
        overlay: OverlayId,
        /// The parent; `None` at the root and while unattached.
        parent: Option<NodeId>,
        /// The children, rising.
        children: Vec<NodeId>,
        /// From our parent to the root.
        path: Vec<NodeId>,
    },
    /// The member has no parent and looks for one; again at each change.
    Unattached {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// No parent within the bound exists; the best beyond it was taken.
    BoundMissed {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// A child has another parent and said so: that one answers for it from here on.
    ChildMoved {
        /// Which overlay.
        overlay: OverlayId,
        /// Who.
        child: NodeId,
    },
    /// The root says goodbye, or nobody knows it any more.
    RootLost {
        /// Which overlay.
        overlay: OverlayId,
    },
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
    /// This node is not a member.
    #[error("not a member of this overlay")]
    NotMember,
    /// This node is a member already.
    #[error("already a member of this overlay")]
    Member,
    /// Only the root may do this.
    #[error("only the root may turn the knob")]
    NotRoot,
    /// Outside 1 to 16.
    #[error("the knob must be from 1 to 16")]
    Knob,
    /// 64 overlays.
    #[error("too many overlays on this node")]
    TooMany,
}

/// What one overlay looks like from here, live.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Which overlay.
    pub overlay: OverlayId,
    /// The root.
    pub root: NodeId,
    /// The parent, if attached.
    pub parent: Option<NodeId>,
    /// Children, rising, with the round trip of the edge in microseconds.
    pub children: Vec<(NodeId, u32)>,
    /// From the parent to the root.
    pub path: Vec<NodeId>,
    /// Round trip of the edge to the parent, microseconds.
    pub parent_rtt_us: u32,
    /// Tree delay to the root as a round trip, microseconds.
    pub delay_us: u32,
    /// Direct round trip to the root, microseconds; 0 at the root, `None` before it is measured.
    pub direct_us: Option<u32>,
    /// The knob in force, thousandths.
    pub alpha_milli: u32,
    /// The knob's epoch.
    pub epoch: u32,
    /// Sums over the branch below and including this node, from beats: at the root, the overlay.
    pub sums: Sums,
}

/// Sums over a branch, carried up on beats. Of stated coverage: `covered` nodes, `age_ms` old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sums {
    /// Members in the branch.
    pub covered: u32,
    /// Sum of edge costs, microseconds of round trip.
    pub cost_us: u64,
    /// Largest relative delay penalty, thousandths.
    pub rdp_max_milli: u32,
    /// Sum of relative delay penalties, thousandths; divide by members with a parent.
    pub rdp_sum_milli: u64,
    /// Members with a parent.
    pub attached: u32,
    /// Members over the bound.
    pub violators: u32,
    /// Age of the oldest part, milliseconds.
    pub age_ms: u32,
}
