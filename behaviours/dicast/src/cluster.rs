//! Clusters as values: their names, the seats in them, and what a member knows of its own.
//!
//! A cluster of level 1 seats nodes; one of level `l` above seats clusters of level `l - 1`, each
//! by its agent. A seat keeps its number for life, so that a message names its sender in one byte.

use std::collections::BTreeSet;

use opus_core::{
    Contact, Malformed, NodeId,
    pack::{Few, Pack, Reader, Writer},
    packed,
};

mod place;
mod seat;

pub use self::{
    place::Place,
    seat::{Seat, Standing},
};

/// Levels of the hierarchy. 6: sixteen seats each already reach 16 million nodes.
pub const LEVELS_MAX: u8 = 6;

/// Seats of one cluster, including those taken while it splits: four times the least size.
pub const SEATS_MAX: usize = 64;

/// Ranked deputies of a cluster of level 1.
pub const DEPUTIES: usize = 3;

// A roster has one bit for each.
const _: () = assert!(SEATS_MAX <= 64);

/// The numbers that seats may have.
fn slots() -> impl DoubleEndedIterator<Item = u8> {
    0..u8::try_from(SEATS_MAX).expect("seats are numbered in one byte")
}

/// As many nodes as one seat of a cluster at `level` can stand for.
pub(crate) fn nodes_max(level: u8) -> u32 {
    let seats = u32::try_from(SEATS_MAX).expect("seats are numbered in one byte");
    seats.saturating_pow(u32::from(level.saturating_sub(1)))
}

/// A cluster under one agent: the epoch rises with each change of the agent, and no two agents
/// ever hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterRef {
    /// Drawn at random when the cluster was made.
    pub id: u64,
    /// From 1.
    pub epoch: u32,
}

packed!(ClusterRef { id, epoch });

impl ClusterRef {
    /// 16 bits that stand for it in messages between its members, who hold few clusters each.
    pub fn tag(self) -> u16 {
        let mixed = (self.id ^ u64::from(self.epoch)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u16::try_from(mixed >> 48).expect("16 bits are left")
    }

    /// The same cluster under its next agent.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            id: self.id,
            epoch: self.epoch.saturating_add(1),
        }
    }
}

/// The seats of a cluster, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The numbers that are taken, one bit each.
    taken: u64,
    /// By rising number. A list, since every node holds one: a map takes half as much again.
    seats: Vec<Seat>,
}

impl Roster {
    /// Number of seats taken.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// The numbers that are taken, one bit each.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether nobody sits there.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The numbers of seats in which another node sits in `after`, or nobody any more.
    pub(crate) fn changed(&self, after: &Self) -> Vec<u8> {
        let same = |slot: u8, id| after.get(slot).is_some_and(|seat| seat.id() == id);
        let seats = self.iter().filter(|(slot, seat)| !same(*slot, seat.id()));
        seats.map(|(slot, _)| slot).collect()
    }

    /// All seats, by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u8, &Seat)> {
        slots().filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// The seat of this number.
    pub fn get(&self, slot: u8) -> Option<&Seat> {
        let at = self.position(slot).ok()?;
        self.seats.get(at)
    }

    /// The seat of this number, to change.
    pub fn get_mut(&mut self, slot: u8) -> Option<&mut Seat> {
        let at = self.position(slot).ok()?;
        self.seats.get_mut(at)
    }

    /// Where in the list the number stands, or would.
    fn position(&self, slot: u8) -> Result<usize, usize> {
        let bit = 1_u64.checked_shl(u32::from(slot)).unwrap_or(0);
        let below = self.taken & bit.wrapping_sub(1);
        let at = below.count_ones() as usize;
        if self.taken & bit == 0 {
            Err(at)
        } else {
            Ok(at)
        }
    }

    /// Where one sits of whom this is true, the lowest number first.
    fn place(&self, is_it: impl Fn(&Seat) -> bool) -> Option<u8> {
        let at = self.seats.iter().position(is_it)?;
        slots().find(|&slot| self.position(slot) == Ok(at))
    }

    /// Where `id` sits.
    pub fn find(&self, id: NodeId) -> Option<u8> {
        self.place(|seat| seat.id() == id)
    }

    /// Where this cluster sits.
    pub fn find_child(&self, child: ClusterRef) -> Option<u8> {
        self.place(|seat| seat.child() == Some(child))
    }

    /// Where whatever `seat` stands for sits: its cluster, or at level 1 the node.
    pub fn find_seat(&self, seat: &Seat) -> Option<u8> {
        match seat.child() {
            None => self.find(seat.id()),
            Some(child) => self.find_child(child),
        }
    }

    /// Takes the lowest free number; `None` if all [`SEATS_MAX`] are taken.
    pub fn add(&mut self, seat: Seat) -> Option<u8> {
        self.add_but(seat, |_| false)
    }

    /// The same, but a number that is `spared` only if no other is free.
    pub fn add_but(&mut self, seat: Seat, spared: impl Fn(u8) -> bool) -> Option<u8> {
        let free = slots().filter(|&slot| self.position(slot).is_err());
        let slot = free.min_by_key(|&slot| (spared(slot), slot))?;
        self.put(slot, seat);
        Some(slot)
    }

    /// Puts a seat where the agent says it is. Numbers beyond [`SEATS_MAX`] are ignored.
    pub fn put(&mut self, slot: u8, seat: Seat) {
        if usize::from(slot) >= SEATS_MAX {
            return;
        }
        match self.position(slot) {
            Ok(at) => self.seats[at] = seat,
            Err(at) => {
                // Seats come seldom, and every node of a cluster has this list.
                self.seats.reserve_exact(1);
                self.seats.insert(at, seat);
                self.taken |= 1 << slot;
            }
        }
    }

    /// Frees a seat.
    pub fn remove(&mut self, slot: u8) -> Option<Seat> {
        let at = self.position(slot).ok()?;
        self.taken &= !(1 << slot);
        Some(self.seats.remove(at))
    }

    /// Leaves each node its highest seat. A copy has some twice whose changes came late or not; and
    /// who answers on one seat would never be missed on the other.
    pub fn free_twice(&mut self) {
        let mut seen = BTreeSet::new();
        let again = |(_, seat): &(u8, &Seat)| !seen.insert(seat.id());
        let twice: Vec<u8> = self.iter().rev().filter(again).map(|it| it.0).collect();
        for slot in twice {
            self.remove(slot);
        }
    }

    /// Nodes below all seats.
    pub fn size(&self) -> u32 {
        let add = |sum: u32, (_, seat): (u8, &Seat)| sum.saturating_add(seat.size);
        self.iter().fold(0, add)
    }
}

impl FromIterator<(u8, Seat)> for Roster {
    fn from_iter<I: IntoIterator<Item = (u8, Seat)>>(seats: I) -> Self {
        let mut roster = Self::default();
        let seats = seats.into_iter();
        roster
            .seats
            .reserve_exact(seats.size_hint().0.min(SEATS_MAX));
        for (slot, seat) in seats {
            roster.put(slot, seat);
        }
        roster
    }
}

impl Pack for Roster {
    fn pack(&self, to: &mut Writer) {
        let seats = self.iter().map(|(slot, seat)| (slot, seat.clone()));
        Few::<_, SEATS_MAX>(seats.collect()).pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let Few(seats) = Few::<(u8, Seat), SEATS_MAX>::unpack(from)?;
        let rising = seats.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let in_range = seats.iter().all(|(slot, _)| usize::from(*slot) < SEATS_MAX);
        if !rising || !in_range {
            return Err(Malformed::Invalid("seats are not numbered in order"));
        }
        Ok(seats.into_iter().collect())
    }
}

/// What members know of their cluster; the agent's copy is the true one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which cluster, under which agent.
    pub cluster: ClusterRef,
    /// From 1.
    pub level: u8,
    /// Who holds the post. Above level 1 it need not sit in the cluster.
    pub agent: Contact,
    /// The seats that take over, first come first.
    pub deputies: Few<u8, SEATS_MAX>,
    /// Who sits there.
    pub roster: Roster,
}

packed!(View {
    cluster,
    level,
    agent,
    deputies,
    roster
});

impl View {
    /// 16 bits that differ, very likely, if two views do.
    pub fn digest(&self) -> u16 {
        digest(|to| {
            self.cluster.pack(to);
            self.agent.pack(to);
            self.deputies.pack(to);
            for (slot, seat) in self.roster.iter() {
                seat.note(slot, to);
            }
        })
    }

    /// The place of `slot` among the deputies, from 0.
    pub fn rank(&self, slot: u8) -> Option<usize> {
        let Few(deputies) = &self.deputies;
        deputies.iter().position(|&deputy| deputy == slot)
    }

    /// How this cluster stands in the paths of those below.
    pub fn ancestor(&self) -> Ancestor {
        let Few(deputies) = &self.deputies;
        let seats = deputies.iter().filter_map(|&slot| self.roster.get(slot));
        let contacts = seats.map(|seat| seat.contact.clone());
        let mut contacts: Vec<_> = contacts.take(DEPUTIES).collect();
        contacts.shrink_to_fit();
        Ancestor {
            level: self.level,
            cluster: self.cluster,
            agent: self.agent.clone(),
            deputies: Few(contacts),
        }
    }
}

/// A cluster on the way to the root, and who to ask there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its level.
    pub level: u8,
    /// Which cluster.
    pub cluster: ClusterRef,
    /// Its agent.
    pub agent: Contact,
    /// Who else sits there.
    pub deputies: Few<Contact, DEPUTIES>,
}

packed!(Ancestor {
    level,
    cluster,
    agent,
    deputies
});

impl Ancestor {
    /// Its agent, and who else sits there.
    pub fn posts(&self) -> impl Iterator<Item = &Contact> {
        std::iter::once(&self.agent).chain(&self.deputies.0)
    }
}

/// The clusters above, from the nearest to the root.
pub type Path = Few<Ancestor, { LEVELS_MAX as usize }>;

/// 16 bits that differ, very likely, if two paths do. Of the deputies only the nearest ancestor's
/// count: from them a lost agent's post is claimed, and those of a root change for all nodes.
pub fn path_digest(path: &Path) -> u16 {
    digest(|to| {
        let Few(ancestors) = path;
        for ancestor in ancestors {
            ancestor.cluster.pack(to);
            ancestor.agent.pack(to);
        }
        for deputy in ancestors.iter().take(1).flat_map(|it| &it.deputies.0) {
            deputy.id.pack(to);
        }
    })
}

/// The upper half of FNV-1a over packed values: it finds differences, not forgeries.
pub(crate) fn digest(write: impl FnOnce(&mut Writer)) -> u16 {
    let mut writer = Writer::default();
    write(&mut writer);
    let fold = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let whole = writer.as_bytes().iter().fold(0x811c_9dc5, fold);
    u16::try_from(whole >> 16).expect("16 bits are left")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::label::Marks;

    pub(crate) fn seat(index: u32) -> Seat {
        Seat {
            contact: Contact::bare(NodeId::from_index(index)),
            incarnation: 1,
            place: Place::default(),
            standing: Standing::of(Marks::of(true), None),
            size: 1,
        }
    }

    #[test]
    fn a_roster_gives_the_lowest_free_number_and_no_more_than_there_are() {
        let mut roster = Roster::default();
        for index in 0..SEATS_MAX {
            let slot = roster.add(seat(u32::try_from(index).unwrap()));
            assert_eq!(slot.map(usize::from), Some(index));
        }
        assert_eq!(roster.add(seat(99)), None);
        roster.remove(7);
        assert_eq!(roster.add(seat(99)), Some(7));
        assert_eq!(roster.find(NodeId::from_index(99)), Some(7));
    }

    #[test]
    fn a_spared_number_is_given_last() {
        let mut roster: Roster = [(0, seat(0))].into_iter().collect();
        for index in 1..SEATS_MAX {
            let next = (index + 1) % SEATS_MAX;
            let expected = if next == 0 { 1 } else { next };
            let seat = seat(u32::try_from(index).unwrap());
            let slot = roster.add_but(seat, |slot| slot == 1);
            assert_eq!(slot.map(usize::from), Some(expected));
        }
        assert_eq!(roster.add_but(seat(99), |_| false), None);
    }

    #[test]
    fn who_sits_twice_keeps_the_highest_seat() {
        let seats = [(0, seat(1)), (1, seat(2)), (4, seat(1)), (5, seat(3))];
        let mut roster: Roster = seats.into_iter().collect();
        roster.free_twice();
        let left: Vec<u8> = roster.iter().map(|(slot, _)| slot).collect();
        assert_eq!(left, [1, 4, 5]);
    }

    #[test]
    fn a_view_digest_follows_who_sits_there_and_not_how_large_they_are() {
        let mut view = View {
            cluster: ClusterRef { id: 1, epoch: 1 },
            level: 1,
            agent: Contact::bare(NodeId::from_index(0)),
            deputies: Few(vec![1]),
            roster: [(0, seat(0)), (1, seat(1))].into_iter().collect(),
        };
        let before = view.digest();
        view.roster.get_mut(1).unwrap().size = 9;
        assert_eq!(view.digest(), before);
        view.roster.get_mut(1).unwrap().incarnation = 2;
        assert_ne!(view.digest(), before);
    }

    #[test]
    fn the_next_epoch_has_another_tag() {
        let cluster = ClusterRef { id: 77, epoch: 3 };
        assert_ne!(cluster.tag(), cluster.next().tag());
        assert_eq!(
            ClusterRef {
                id: 1,
                epoch: u32::MAX
            }
            .next()
            .epoch,
            u32::MAX
        );
    }
}
