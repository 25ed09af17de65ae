//! Messages by which members look whether their agent lies, and depose one that does.

use opus_core::{NodeId, pack::Few, packed};

use crate::{
    aggregate::{KeyId, Row},
    cluster::{ClusterRef, Seat},
};

/// Keys of one question.
pub(crate) const AUDIT_KEYS_MAX: usize = 8;

/// Agents that were found to lie and are remembered. Overflow: the oldest is forgotten.
pub(crate) const BARRED_MAX: usize = 8;

/// What do you hold this cluster to be? To the agent of its parent; or to one of its members: what
/// have you yourself had? Answered by [`Audited`], or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// A cluster of level 1. Who knows its name and epoch is believed to belong to it.
    pub cluster: ClusterRef,
    /// Whether a member is asked for its own values.
    pub member: bool,
    /// Which keys.
    pub keys: Few<KeyId, AUDIT_KEYS_MAX>,
}

packed!(Audit {
    cluster,
    member,
    keys
});

/// The answer to [`Audit`], a few times as long as it.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// That of the question.
    pub cluster: ClusterRef,
    /// See there.
    pub member: bool,
    /// Of those keys that are sums.
    pub rows: Few<Row, AUDIT_KEYS_MAX>,
}

packed!(Audited {
    cluster,
    member,
    rows
});

/// A member to its cluster's parent and its deputies: our agent lies. To the parent it is a claim
/// of the post too, answered by `Grant` when enough have said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liar {
    /// The cluster.
    pub cluster: ClusterRef,
    /// Its agent.
    pub agent: NodeId,
    /// Of the sender among the deputies; 255 if it is none.
    pub rank: u8,
    /// Whether the sender knows but that its own value was told wrong.
    pub own: bool,
    /// Whether it knows by what other members said that they had.
    pub others: bool,
    /// Whether it was confirmed. Else it is a hint to look too.
    pub sure: bool,
    /// The sender, as the agent that it would be.
    pub seat: Seat,
}

packed!(Liar {
    cluster,
    agent,
    rank,
    own,
    others,
    sure,
    seat
});
