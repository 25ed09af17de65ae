//! What a member has of its cluster's view, and what it lacks: after a split or a merge most of a
//! roster is as it was, and a seat takes 50 bytes.

use opus_core::{Malformed, pack::Few, packed};

use crate::cluster::{Path, SEATS_MAX, Seat, View, path_digest};

/// A member to its agent, whose pulse has another digest of the view: what it has. Answered by
/// [`Renewed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Of the cluster.
    pub tag: u16,
    /// Digest of the path.
    pub path: u16,
    /// The seats that it has, a bit each.
    pub seats: u64,
    /// A digest of each of these, by rising number. Two that are alike by chance are found out by
    /// the digest of the whole.
    pub digests: Few<u8, SEATS_MAX>,
}

packed!(Compare {
    tag,
    path,
    seats,
    digests
});

/// The agent's answer: what is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Of the cluster.
    pub tag: u16,
    /// Digest of the view that comes of it.
    pub view: u16,
    /// The receiver's seat.
    pub slot: u8,
    /// The deputies.
    pub deputies: Few<u8, SEATS_MAX>,
    /// The seats that are taken, a bit each.
    pub seats: u64,
    /// Those of them that the member lacks.
    pub changed: Few<(u8, Seat), SEATS_MAX>,
    /// The clusters above, if that is news.
    pub path: Option<Path>,
}

packed!(Renewed {
    tag,
    view,
    slot,
    deputies,
    seats,
    changed,
    path
});

fn bit(slot: u8) -> u64 {
    1_u64.checked_shl(u32::from(slot)).unwrap_or(0)
}

impl Compare {
    /// What a member has.
    pub(crate) fn of(view: &View, path: &Path) -> Self {
        let digests = view.roster.iter().map(|(slot, seat)| seat.digest(slot));
        Self {
            tag: view.cluster.tag(),
            path: path_digest(path),
            seats: view.roster.taken(),
            digests: Few(digests.collect()),
        }
    }

    /// Whether the member has this seat as it is.
    fn has(&self, slot: u8, seat: &Seat) -> bool {
        let before = (self.seats & (bit(slot).wrapping_sub(1))).count_ones() as usize;
        self.seats & bit(slot) != 0 && self.digests.0.get(before) == Some(&seat.digest(slot))
    }
}

impl Renewed {
    /// What one who sits at `slot` and has that lacks of these.
    pub(crate) fn of(view: &View, slot: u8, path: Path, has: &Compare) -> Self {
        let lacks = view
            .roster
            .iter()
            .filter(|(slot, seat)| !has.has(*slot, seat));
        Self {
            tag: view.cluster.tag(),
            view: view.digest(),
            slot,
            deputies: view.deputies.clone(),
            seats: view.roster.taken(),
            changed: Few(lacks.map(|(slot, seat)| (slot, seat.clone())).collect()),
            path: (path_digest(&path) != has.path).then_some(path),
        }
    }

    /// The view that comes of the one that the member has. `None`: what both take for equal is not,
    /// and all has to be told.
    pub(crate) fn renew(&self, has: &View) -> Option<View> {
        let Few(changed) = &self.changed;
        let stands = |(slot, _): &(u8, &Seat)| self.seats & bit(*slot) != 0;
        let before = has.roster.iter().filter(stands);
        let before = before.map(|(slot, seat)| (slot, seat.clone()));
        let view = View {
            cluster: has.cluster,
            level: has.level,
            agent: has.agent.clone(),
            deputies: self.deputies.clone(),
            roster: before.chain(changed.iter().cloned()).collect(),
        };
        let whole = view.roster.taken() == self.seats && view.digest() == self.view;
        whole.then_some(view)
    }

    /// Refuses what no honest machine says.
    pub(super) fn lawful(&self) -> Result<(), Malformed> {
        const SEATS: Malformed = Malformed::Invalid("a seat that is not taken is told of");
        let beyond = self
            .seats
            .checked_shr(u32::try_from(SEATS_MAX).unwrap_or(64));
        let free = |(slot, _): &(u8, Seat)| self.seats & bit(*slot) == 0;
        let Few(changed) = &self.changed;
        let lawful = beyond.is_none_or(|bits| bits == 0)
            && self.seats & bit(self.slot) != 0
            && !changed.iter().any(free);
        lawful.then_some(()).ok_or(SEATS)
    }
}

#[cfg(test)]
mod tests {
    use opus_core::{Contact, NodeId};

    use super::*;
    use crate::{
        cluster::{ClusterRef, Place, Standing},
        label::Marks,
    };

    fn seat(node: u32, incarnation: u64) -> Seat {
        Seat {
            contact: Contact::bare(NodeId::from_index(node)),
            incarnation,
            place: Place::default(),
            standing: Standing::of(Marks::of(true), None),
            size: 1,
        }
    }

    fn view(seats: &[(u8, Seat)]) -> View {
        View {
            cluster: ClusterRef { id: 7, epoch: 2 },
            level: 1,
            agent: Contact::bare(NodeId::from_index(1)),
            deputies: Few(vec![2]),
            roster: seats.iter().cloned().collect(),
        }
    }

    #[test]
    fn of_a_roster_only_what_changed_is_told() {
        let has = view(&[(1, seat(1, 1)), (2, seat(2, 1)), (5, seat(5, 1))]);
        let mut is = view(&[(1, seat(1, 1)), (2, seat(2, 9)), (6, seat(6, 1))]);
        is.deputies = Few(vec![6, 2]);
        let compare = Compare::of(&has, &Few(Vec::new()));
        let renewed = Renewed::of(&is, 1, Few(Vec::new()), &compare);
        let told: Vec<u8> = renewed.changed.0.iter().map(|it| it.0).collect();
        assert_eq!((told, renewed.path.is_none()), (vec![2, 6], true));
        assert_eq!(renewed.lawful(), Ok(()));
        assert_eq!(renewed.renew(&has), Some(is));
    }

    #[test]
    fn digests_that_are_equal_by_chance_are_found_out() {
        let has = view(&[(1, seat(1, 1)), (2, seat(2, 1))]);
        let alike = |incarnation: &u64| seat(2, *incarnation).digest(2) == seat(2, 1).digest(2);
        let other = (2..100_000).find(alike).expect("there are but 256 digests");
        let is = view(&[(1, seat(1, 1)), (2, seat(2, other))]);
        let compare = Compare::of(&has, &Few(Vec::new()));
        let renewed = Renewed::of(&is, 1, Few(Vec::new()), &compare);
        assert!(renewed.changed.0.is_empty());
        assert_eq!(renewed.renew(&has), None);
    }

    #[test]
    fn a_seat_that_nobody_has_or_no_number_has_is_refused() {
        let is = view(&[(1, seat(1, 1)), (2, seat(2, 1))]);
        let compare = Compare::of(&is, &Few(Vec::new()));
        let lawful = Renewed::of(&is, 1, Few(Vec::new()), &compare);
        for seats in [0b100, 0b10 | 1 << 63, 0b010] {
            let mut renewed = lawful.clone();
            renewed.seats = seats;
            renewed.changed = Few(vec![(2, seat(2, 1))]);
            assert!(renewed.lawful().is_err(), "{seats:b}");
        }
    }
}
