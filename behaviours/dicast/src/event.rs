//! What our own node asks of dicast, and what dicast tells it.

use opus_core::{Contact, Hint, NodeId};
use opus_model::Position;

use crate::{
    aggregate::{KeyError, KeyId, KeySpec, Sample},
    cluster::ClusterRef,
    label::Label,
};

/// What the directory has contacts under. It is no part of dicast: its node maps names to records
/// that others keep. What it finds are hints, for anybody may write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The cluster at the top of the tree.
    Root,
    /// A cluster of level 1 in which nodes of this label sit.
    Label(Label),
}

/// From our own node. Every command is answered, a refused one by [`Event::Refused`].
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Look for the tree, beginning with these; without any, be one.
    Start {
        /// Echoed in a refusal.
        id: u64,
        /// Nodes that may be in the tree.
        seeds: Vec<Contact>,
    },
    /// More nodes that may be in the tree, as a directory or a neighbour found them.
    Found {
        /// Echoed in a refusal.
        id: u64,
        /// Under which name the directory has them; none if they were met otherwise.
        name: Option<Name>,
        /// Who. Hints: nobody is believed to be there before it answers. Beyond eight the rest is
        /// ignored, and so is a contact whose address hint is too long.
        contacts: Vec<Contact>,
    },
    /// What became of one target of [`Event::Measure`].
    Measured {
        /// That of the event.
        id: u64,
        /// Which target.
        peer: NodeId,
        /// Round trip, microseconds; none if it cannot be reached.
        rtt_us: Option<u32>,
    },
    /// This node's value of a key, from now on.
    Set {
        /// Echoed in a refusal.
        id: u64,
        /// Which key. It may be set before its spec is known here.
        key: KeyId,
        /// The value; what lies outside the key's range is clamped to it.
        sample: Sample,
    },
    /// This node has no value of a key any more.
    Unset {
        /// Echoed in a refusal.
        id: u64,
        /// Which key.
        key: KeyId,
    },
    /// What a key is, for the whole tree. Only the node that set it first may change it.
    Spec {
        /// Echoed in a refusal.
        id: u64,
        /// Which key.
        key: KeyId,
        /// What it is.
        spec: KeySpec,
    },
    /// The site of this node, whose nodes sit together; to be said before [`Command::Start`].
    Label {
        /// Echoed in a refusal.
        id: u64,
        /// Which; none if it is of no site.
        label: Option<Label>,
    },
    /// Where this node stands.
    Coordinate(Position),
    /// Where this node may be dialled, whenever its node learns better.
    Hint(Hint),
    /// Whether strangers can dial this node.
    Reachable(bool),
    /// Leave the tree.
    Leave,
}

/// To our own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command could not be carried out.
    Refused {
        /// The command's.
        id: u64,
        /// Why.
        reason: Refusal,
    },
    /// This node has a seat in this cluster of level 1.
    Joined(ClusterRef),
    /// This node has left, or lost its seat and seeks another.
    Left,
    /// Measure the delay to these, and say so by [`Command::Measured`].
    Measure {
        /// To be echoed in an answer for each.
        id: u64,
        /// At most eight.
        targets: Vec<Contact>,
    },
    /// How to reach one who is about to be dialled.
    Address(Contact),
    /// Nobody known leads to the tree: other contacts are wanted, of those whom our node knows.
    WantSeeds,
    /// What does the directory have under this name? Answered by [`Command::Found`], or not at all.
    Want(Name),
    /// The directory shall have these under this name. Whoever publishes repeats it, so that a
    /// record need not live much longer than [`Config::publish`](crate::Config::publish).
    Publish {
        /// Under which name.
        name: Name,
        /// Who may be asked for a seat there: one to four.
        contacts: Vec<Contact>,
    },
    /// A node has come into our cluster.
    MemberUp(Contact),
    /// A node has gone from our cluster.
    MemberDown(NodeId),
    /// Our cluster of level 1 has another agent.
    AgentChanged(Contact),
    /// The agent of a cluster of level 1 was accused by enough of its members of lying, and we gave
    /// its post to another, or took it.
    Deposed(NodeId),
    /// The cluster at the top is another, or has another agent.
    RootChanged(ClusterRef),
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The machine has started before and did not leave.
    Started,
    /// The machine has not started.
    NotStarted,
    /// No measurement with this id is under way.
    UnknownMeasurement,
    /// The spec is not lawful.
    Spec(KeyError),
    /// Key 0 is the count of members, and built in.
    BuiltIn,
    /// Another node set the key first.
    Owned(NodeId),
    /// There are as many keys as there can be.
    KeysFull,
    /// The value is not of the key's function, or no number.
    Sample,
    /// This node has no value of the key.
    NoValue,
}
