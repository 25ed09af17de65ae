//! Labels: the nodes of one site, which sit together whatever the distances say.
//!
//! *Fewer than d nodes of a label share one cluster, with others; d or more have clusters of their
//! own, below one parent while these fit there.* A cluster is a label's own if it has d members and
//! all are of that label: then it takes in no others. Nothing else has to be remembered of it, so
//! it survives each change of hands.
//!
//! Source: Opus 3.3; sites of data centres and institutions as hard constraints.

use std::{collections::BTreeMap, fmt};

use opus_core::{
    Contact, Malformed,
    pack::{Pack, Reader, Writer},
    packed,
};

use crate::cluster::{ClusterRef, Roster, Seat};

/// What the nodes of one site have in common: 16 bytes that mean nothing to dicast, most likely of
/// the hash of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub [u8; 16]);

impl Pack for Label {
    fn pack(&self, to: &mut Writer) {
        self.0.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Pack::unpack(from).map(Self)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a seat may hold, and whom it lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Whether it may hold a post: reachable for strangers, and healthy.
    pub fit: bool,
    /// Of a node, its own; of a cluster of level 1, whose own it is.
    pub label: Option<Label>,
    /// Of a cluster: whether no node without a label may find a seat below it.
    pub closed: bool,
}

impl Marks {
    /// Of a node without a label.
    pub const fn of(fit: bool) -> Self {
        Self {
            fit,
            label: None,
            closed: false,
        }
    }

    /// Whether a node of this label may find a seat in, or below, the cluster that has these.
    pub fn lets_in(self, label: Option<Label>) -> bool {
        !self.closed || self.label.is_some() && self.label == label
    }
}

/// Bits of the first byte.
const FIT: u8 = 1;
const LABELLED: u8 = 2;
const CLOSED: u8 = 4;

/// One byte, as long as there is no label.
impl Pack for Marks {
    fn pack(&self, to: &mut Writer) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let labelled = bit(self.label.is_some(), LABELLED);
        let byte = bit(self.fit, FIT) | labelled | bit(self.closed, CLOSED);
        byte.pack(to);
        if let Some(label) = self.label {
            label.pack(to);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let byte = from.byte()?;
        if byte & !(FIT | LABELLED | CLOSED) != 0 {
            return Err(Malformed::Invalid(
                "a seat has marks that this version lacks",
            ));
        }
        let label = (byte & LABELLED != 0).then(|| Label::unpack(from));
        Ok(Self {
            fit: byte & FIT != 0,
            label: label.transpose()?,
            closed: byte & CLOSED != 0,
        })
    }
}

/// An agent that looks for the others of a label, to one who may sit with some; and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kin {
    /// Of which label.
    pub label: Label,
    /// So many of them sit in the sender's cluster of level 1; if that is theirs alone, in all such
    /// clusters below its parent.
    pub nodes: u32,
    /// That cluster.
    pub cluster: ClusterRef,
    /// Its agent.
    pub agent: Contact,
    /// The agent of the cluster above, if it is theirs alone.
    pub parent: Option<Contact>,
    /// Whether an answer is wanted.
    pub asks: bool,
}

packed!(Kin {
    label,
    nodes,
    cluster,
    agent,
    parent,
    asks
});

/// An agent to its members of a label: this agent has more of you, take a seat there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Of the cluster that they sit in.
    pub tag: u16,
    /// Of which label.
    pub label: Label,
    /// Whom to ask.
    pub agent: Contact,
}

packed!(Gather { tag, label, agent });

/// The label that all of these have, if they have one.
pub(crate) fn common(roster: &Roster) -> Option<Label> {
    let first = roster.iter().next()?.1.marks().label?;
    (count(roster, first) == roster.len()).then_some(first)
}

/// Whose own a cluster of level 1 with these members is. `size_min`: d.
pub fn owner(roster: &Roster, size_min: usize) -> Option<Label> {
    common(roster).filter(|_| roster.len() >= size_min)
}

/// The seats of each label, by number.
pub(crate) fn groups(roster: &Roster) -> BTreeMap<Label, Vec<u8>> {
    let mut groups: BTreeMap<Label, Vec<u8>> = BTreeMap::new();
    for (slot, seat) in roster.iter() {
        if let Some(label) = seat.marks().label {
            groups.entry(label).or_default().push(slot);
        }
    }
    groups
}

/// How many of a label sit there.
pub(crate) fn count(roster: &Roster, label: Label) -> usize {
    let of_label = |(_, seat): &(u8, &Seat)| seat.marks().label == Some(label);
    roster.iter().filter(of_label).count()
}

#[cfg(test)]
mod tests {
    use opus_core::{Contact, NodeId, pack};

    use super::*;
    use crate::cluster::{Place, Standing};

    pub(crate) fn seat(index: u32, label: Option<u8>) -> Seat {
        let marks = Marks {
            label: label.map(|byte| Label([byte; 16])),
            ..Marks::of(true)
        };
        Seat {
            contact: Contact::bare(NodeId::from_index(index)),
            incarnation: 1,
            place: Place::default(),
            standing: Standing::of(marks, None),
            size: 1,
        }
    }

    fn roster(labels: &[Option<u8>]) -> Roster {
        let seats = (0..).zip(labels);
        seats
            .map(|(slot, label)| (slot, seat(u32::from(slot), *label)))
            .collect()
    }

    #[test]
    fn a_cluster_is_a_labels_own_once_d_members_and_all_are_of_it() {
        let (a, b) = (Some(1), Some(2));
        assert_eq!(owner(&roster(&[a, a, a]), 3), Some(Label([1; 16])));
        assert_eq!(owner(&roster(&[a, a]), 3), None);
        assert_eq!(owner(&roster(&[a, a, b]), 3), None);
        assert_eq!(owner(&roster(&[a, a, None]), 3), None);
        assert_eq!(owner(&roster(&[None, None, None]), 3), None);
        assert_eq!(owner(&roster(&[]), 0), None);
        assert_eq!(common(&roster(&[b])), Some(Label([2; 16])));
    }

    #[test]
    fn groups_hold_the_seats_of_each_label_and_nobody_else() {
        let all = roster(&[Some(1), None, Some(2), Some(1)]);
        let groups = groups(&all);
        assert_eq!(groups[&Label([1; 16])], [0, 3]);
        assert_eq!(groups[&Label([2; 16])], [2]);
        assert_eq!(groups.len(), 2);
        assert_eq!(count(&all, Label([1; 16])), 2);
    }

    #[test]
    fn a_closed_cluster_lets_in_its_own_label_only() {
        let mut own = seat(1, Some(7)).marks();
        let label = own.label;
        assert!(own.lets_in(None) && own.lets_in(label));
        own.closed = true;
        assert!(!own.lets_in(None) && own.lets_in(label));
        assert!(!own.lets_in(Some(Label([8; 16]))));
        own.label = None;
        assert!(!own.lets_in(None) && !own.lets_in(label));
    }

    #[test]
    fn marks_without_a_label_take_one_byte_and_unknown_ones_are_refused() {
        for fit in [false, true] {
            for closed in [false, true] {
                for label in [None, Some(Label([9; 16]))] {
                    let marks = Marks { fit, label, closed };
                    let bytes = pack::to_bytes(&marks);
                    assert_eq!(bytes.len(), if label.is_some() { 17 } else { 1 });
                    assert_eq!(pack::from_bytes::<Marks>(&bytes).unwrap(), marks);
                }
            }
        }
        assert!(pack::from_bytes::<Marks>(&[8]).is_err());
        assert!(pack::from_bytes::<Marks>(&[3, 1]).is_err());
    }
}
