//! One overlay on this node: why we are in it, and how far in.

use std::collections::BTreeSet;

use opus_core::{BoundedMap, Contact, NodeId, Time};
use opus_relay::Class;

use crate::{
    roster::Roster,
    spec::{AppRef, Kind, Spec},
    wire::Row,
};

/// Rows that wait to travel up. Overflow: a row is dropped; its member reports again.
const PENDING_MAX: usize = 4_096;
/// Children whose generation is remembered, present and lost. Overflow: not remembered, and the
/// root forgets such a child by its silence instead.
const BELOW_MAX: usize = 256;

/// One overlay on this node.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) app: AppRef,
    /// Local sinks, by attachment.
    pub(crate) sinks: BTreeSet<u32>,
    /// The local source, once it holds the root.
    pub(crate) source: Option<u32>,
    /// A local source that does not hold the root yet, or whose hold is contested.
    pub(crate) claim: Option<Claim>,
    pub(crate) phase: Phase,
    /// Key and class under which the relay carries the overlay, while it does.
    pub(crate) carried: Option<([u8; 32], Class)>,
    /// The root that the overlay machine was told, while it is a member.
    pub(crate) told_root: Option<Contact>,
    /// Id of the last `Join` to the overlay machine.
    pub(crate) join_id: u64,
    pub(crate) edges: Edges,
    /// Number of the present attachment to the tree.
    pub(crate) generation: u64,
    /// Reports due soon after an attachment, before the regular ones.
    pub(crate) reports_early: u8,
    /// News that travel to the parent with the next report.
    pub(crate) pending: BoundedMap<NodeId, Row>,
    /// Last reported row of each child, and when it was lost if it is.
    pub(crate) below: BoundedMap<NodeId, Below>,
    /// Members, while this node is the root.
    pub(crate) roster: Roster,
}

/// A child as its parent knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Below {
    pub(crate) row: Row,
    pub(crate) lost: Option<Time>,
}

/// How far into the overlay this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No live root is known.
    Waiting,
    /// Asking the root to be taken in.
    Joining {
        root: Contact,
        epoch: u64,
        tries: u32,
    },
    /// Taken in by the root.
    Member { root: Contact, epoch: u64 },
    /// This node is the root.
    Rooted { epoch: u64, draining: bool },
}

/// A local source that asks the known root whether it still has a live source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) att: u32,
    pub(crate) against: NodeId,
}

/// Our edges, as the overlay machine last told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) parent: Option<NodeId>,
    pub(crate) children: Vec<NodeId>,
    pub(crate) path: Vec<NodeId>,
}

impl Edges {
    /// Parent and children.
    pub(crate) fn neighbours(&self) -> BTreeSet<NodeId> {
        self.parent.iter().chain(&self.children).copied().collect()
    }
}

impl Membership {
    pub(crate) fn new(app: AppRef, members_max: usize) -> Self {
        Self {
            app,
            sinks: BTreeSet::new(),
            source: None,
            claim: None,
            phase: Phase::Waiting,
            carried: None,
            told_root: None,
            join_id: 0,
            edges: Edges::default(),
            generation: 0,
            reports_early: 0,
            pending: BoundedMap::new(PENDING_MAX),
            below: BoundedMap::new(BELOW_MAX),
            roster: Roster::new(members_max),
        }
    }

    /// Whether any local program still needs the overlay.
    pub(crate) fn is_needed(&self) -> bool {
        !self.sinks.is_empty() || self.source.is_some() || self.claim.is_some()
    }

    pub(crate) const fn is_rooted(&self) -> bool {
        matches!(self.phase, Phase::Rooted { .. })
    }

    /// The root and its epoch, as far as this node follows one; `me` when it roots itself.
    pub(crate) fn follows(&self, me: NodeId) -> Option<(NodeId, u64)> {
        match &self.phase {
            Phase::Waiting => None,
            Phase::Joining { root, epoch, .. } | Phase::Member { root, epoch } => {
                Some((root.id, *epoch))
            }
            Phase::Rooted { epoch, .. } => Some((me, *epoch)),
        }
    }

    /// Whether this node hangs on the root, or is it.
    pub(crate) const fn is_attached(&self) -> bool {
        match self.phase {
            Phase::Rooted { .. } => true,
            Phase::Member { .. } => self.edges.parent.is_some(),
            Phase::Waiting | Phase::Joining { .. } => false,
        }
    }

    /// Notes what a child said about itself.
    pub(crate) fn note_below(&mut self, row: Row) {
        let newer = self
            .below
            .get(&row.member)
            .is_none_or(|known| row.generation >= known.row.generation);
        if newer {
            let lost = self.below.get(&row.member).and_then(|known| known.lost);
            let below = Below { row, lost };
            // Overflow as written at the constant.
            self.below.insert(row.member, below).ok();
        }
    }

    /// Forgets lost children whose hold is over, and gives their last rows.
    pub(crate) fn take_lost(&mut self, before: Time) -> Vec<Row> {
        let mut gone = Vec::new();
        self.below.retain(|_, below| {
            let over = below.lost.is_some_and(|lost| lost <= before);
            if over {
                gone.push(below.row);
            }
            !over
        });
        gone
    }

    /// Follows a change of the children: new ones are no longer lost, missing ones are.
    pub(crate) fn mark_children(&mut self, now: Time) {
        let children: BTreeSet<NodeId> = self.edges.children.iter().copied().collect();
        for (child, below) in &mut self.below {
            if children.contains(child) {
                below.lost = None;
            } else if below.lost.is_none() {
                below.lost = Some(now);
            }
        }
    }
}

/// Whether the kind is carried by a tree with one source.
pub(crate) fn is_single_sender(spec: &Spec) -> bool {
    match spec.kind {
        Kind::Multicast | Kind::Unicast => true,
        Kind::MultiSender | Kind::Service => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{MemberState, Role};

    fn row(child: u32, generation: u64) -> Row {
        Row {
            member: NodeId::from_index(child),
            role: Role::Sink,
            state: MemberState::Joined,
            generation,
        }
    }

    fn membership() -> Membership {
        let app = AppRef::new("a", [0; 32]);
        Membership::new(app, 8)
    }

    #[test]
    fn a_child_that_comes_back_in_the_hold_is_not_lost() {
        let mut membership = membership();
        let child = NodeId::from_index(1);
        membership.edges.children = vec![child];
        membership.note_below(row(1, 1));
        membership.edges.children.clear();
        membership.mark_children(Time::from_secs(1));
        membership.edges.children.push(child);
        membership.mark_children(Time::from_secs(2));
        assert_eq!(membership.take_lost(Time::from_secs(60)), []);
    }

    #[test]
    fn a_child_that_stays_away_is_told_once_with_its_last_generation() {
        let mut membership = membership();
        membership.edges.children = vec![NodeId::from_index(1)];
        membership.note_below(row(1, 4));
        membership.note_below(row(1, 3));
        membership.edges.children.clear();
        membership.mark_children(Time::from_secs(1));
        assert_eq!(membership.take_lost(Time(0)), []);
        assert_eq!(membership.take_lost(Time::from_secs(1)), [row(1, 4)]);
        assert_eq!(membership.take_lost(Time::from_secs(9)), []);
    }
}
