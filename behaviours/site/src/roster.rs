//! The members of an overlay as its root knows them.
//!
//! A member enters by its own `Join`, whose sender is authenticated; what others report can only
//! change the state of a member that entered so. Each member numbers its attachments to the tree
//! (its *generation*): news of an older one are ignored, so that a former parent that reports a
//! child gone cannot undo the child's move to another parent.
//!
//! Who is taken for gone without a goodbye may have been behind a broken path. It is remembered for
//! a while, and a report of it lists it again.

use std::time::Duration;

use opus_core::{BoundedMap, Contact, NodeId, Rng, Time};
use rand::seq::IteratorRandom;

use crate::{
    command::{MemberState, Role},
    wire::{Row, SAMPLE_MAX},
};

/// Members by identity. Overflow: a newcomer is refused.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    members: BoundedMap<NodeId, Member>,
    /// Gone without a goodbye; `heard` is when that was found. Overflow: forgotten at once, so that
    /// a report of it does not list it again.
    missing: BoundedMap<NodeId, Member>,
}

/// How long a missing member is remembered: dicast's tree misses an expelled node for as long.
const MISSING: Duration = Duration::from_secs(600);

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) contact: Contact,
    pub(crate) role: Role,
    pub(crate) state: MemberState,
    pub(crate) generation: u64,
    /// When anything was last heard of it.
    pub(crate) heard: Time,
}

impl Roster {
    pub(crate) fn new(members_max: usize) -> Self {
        Self {
            members: BoundedMap::new(members_max),
            missing: BoundedMap::new(members_max),
        }
    }

    /// Takes a newcomer in, or an old member anew. `None`: full. Some(true): its state changed.
    pub(crate) fn enter(
        &mut self,
        contact: Contact,
        role: Role,
        generation: u64,
        now: Time,
    ) -> Option<bool> {
        let id = contact.id;
        self.missing.remove(&id);
        let mut changed = false;
        let member = self.members.get_or_insert_with(id, || {
            changed = true;
            Member {
                contact: contact.clone(),
                role,
                state: MemberState::Joining,
                generation,
                heard: now,
            }
        })?;
        member.contact = contact;
        member.role = role;
        member.heard = now;
        // Its earlier life may have been joined; this one is not yet.
        if generation > member.generation {
            member.generation = generation;
            changed |= member.state != MemberState::Joining;
            member.state = MemberState::Joining;
        }
        Some(changed)
    }

    /// Applies reported news. Tells the state to announce, if it changed.
    pub(crate) fn apply(&mut self, row: &Row, now: Time) -> Option<MemberState> {
        let Some(member) = self.members.get_mut(&row.member) else {
            return self.find(row, now);
        };
        if row.generation < member.generation {
            return None;
        }
        match row.state {
            MemberState::Joining | MemberState::Joined => {
                member.generation = row.generation;
                member.heard = now;
                let changed = member.state != row.state;
                member.state = row.state;
                changed.then_some(row.state)
            }
            MemberState::Leaving => {
                self.members.remove(&row.member);
                Some(row.state)
            }
            MemberState::Gone => {
                member.generation = row.generation;
                self.retire(row.member, now);
                Some(row.state)
            }
        }
    }

    /// A report of one that is not listed: perhaps a missing one is back.
    fn find(&mut self, row: &Row, now: Time) -> Option<MemberState> {
        let back = match row.state {
            MemberState::Joining | MemberState::Joined => true,
            MemberState::Leaving | MemberState::Gone => false,
        };
        let missing = self.missing.get(&row.member)?;
        if !back || row.generation < missing.generation || self.members.is_full() {
            return None;
        }
        let member = Member {
            state: row.state,
            generation: row.generation,
            heard: now,
            ..self.missing.remove(&row.member)?
        };
        self.members.insert(row.member, member).ok()?;
        Some(row.state)
    }

    /// A member is missing from here on; gives its role. `None`: it is not listed.
    pub(crate) fn retire(&mut self, id: NodeId, now: Time) -> Option<Role> {
        let member = self.members.remove(&id)?;
        let role = member.role;
        let missing = Member {
            heard: now,
            ..member
        };
        // Overflow as written at the field.
        self.missing.insert(id, missing).ok();
        Some(role)
    }

    /// Whoever is missing has to join anew.
    pub(crate) fn forget_missing(&mut self) {
        self.missing = BoundedMap::new(self.missing.capacity());
    }

    /// Forgets members unheard of for `age_max`, and names them.
    pub(crate) fn expire(&mut self, now: Time, age_max: Duration) -> Vec<(NodeId, Role)> {
        self.missing
            .retain(|_, member| now.since(member.heard) < MISSING);
        let silent = |(&id, member): (&NodeId, &Member)| {
            (now.since(member.heard) >= age_max).then_some((id, member.role))
        };
        let gone: Vec<(NodeId, Role)> = self.members.iter().filter_map(silent).collect();
        for &(id, _) in &gone {
            self.retire(id, now);
        }
        gone
    }

    /// A random sample of 2 log2 n members, without `except`: whom a newcomer meets first.
    pub(crate) fn sample(&self, except: NodeId, rng: &mut Rng) -> Vec<Contact> {
        let size = 2 * usize::BITS.saturating_sub(self.members.len().leading_zeros()) as usize;
        self.members
            .iter()
            .filter(|&(&id, _)| id != except)
            .map(|(_, member)| &member.contact)
            .sample(rng, size.clamp(8, SAMPLE_MAX))
            .into_iter()
            .cloned()
            .collect()
    }

    pub(crate) fn remove(&mut self, id: NodeId) -> Option<Member> {
        self.members.remove(&id)
    }

    pub(crate) fn lists(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(&id, member)| (id, member))
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }
}

#[cfg(test)]
mod tests {
    use opus_core::Seed;

    use super::*;

    fn node(index: u32) -> NodeId {
        NodeId::from_index(index)
    }

    fn row(member: u32, state: MemberState, generation: u64) -> Row {
        Row {
            member: node(member),
            role: Role::Sink,
            state,
            generation,
        }
    }

    fn roster(members: u32) -> Roster {
        let mut roster = Roster::new(members as usize);
        for index in 0..members {
            let contact = Contact::bare(node(index));
            assert_eq!(roster.enter(contact, Role::Sink, 1, Time::ZERO), Some(true));
        }
        roster
    }

    #[test]
    fn news_of_an_older_attachment_are_ignored() {
        let mut roster = roster(1);
        let joined = roster.apply(&row(0, MemberState::Joined, 3), Time::ZERO);
        assert_eq!(joined, Some(MemberState::Joined));
        assert_eq!(
            roster.apply(&row(0, MemberState::Gone, 2), Time::ZERO),
            None
        );
        assert_eq!(roster.len(), 1);
        let gone = roster.apply(&row(0, MemberState::Gone, 3), Time::ZERO);
        assert_eq!(gone, Some(MemberState::Gone));
        assert_eq!(roster.len(), 0);
    }

    #[test]
    fn nobody_enters_by_report() {
        let mut roster = Roster::new(4);
        assert_eq!(
            roster.apply(&row(7, MemberState::Joined, 1), Time::ZERO),
            None
        );
        assert_eq!(roster.len(), 0);
    }

    #[test]
    fn the_missing_come_back_by_a_report_unless_they_said_goodbye() {
        for (state, back) in [(MemberState::Gone, true), (MemberState::Leaving, false)] {
            let mut roster = roster(2);
            roster.apply(&row(0, state, 3), Time::ZERO);
            let stale = row(0, MemberState::Joined, 2);
            let again = row(0, MemberState::Joined, 3);
            assert_eq!(roster.apply(&stale, Time::from_secs(1)), None);
            let found = roster.apply(&again, Time::from_secs(1)).is_some();
            assert_eq!((found, roster.lists(node(0))), (back, back));
        }
    }

    #[test]
    fn the_missing_are_forgotten_in_time_and_where_their_place_is_taken() {
        let mut roster = roster(1);
        let joined = row(0, MemberState::Joined, 1);
        assert_eq!(roster.retire(node(0), Time::ZERO), Some(Role::Sink));
        let before = Time::from_secs(599);
        roster.expire(before, Duration::from_secs(90));
        assert!(roster.clone().apply(&joined, before).is_some());
        let mut late = roster.clone();
        late.expire(Time::from_secs(600), Duration::from_secs(90));
        assert_eq!(late.apply(&joined, before), None);
        let mut full = roster.clone();
        full.enter(Contact::bare(node(1)), Role::Sink, 1, before);
        assert_eq!(full.apply(&joined, before), None);
        roster.forget_missing();
        assert_eq!(roster.apply(&joined, before), None);
    }

    #[test]
    fn a_full_roster_refuses_newcomers_but_not_old_members() {
        let mut roster = roster(2);
        let newcomer = Contact::bare(node(9));
        assert_eq!(roster.enter(newcomer, Role::Sink, 1, Time::ZERO), None);
        let old = Contact::bare(node(1));
        assert_eq!(roster.enter(old, Role::Sink, 1, Time::ZERO), Some(false));
    }

    #[test]
    fn a_silent_member_is_forgotten() {
        let mut roster = roster(2);
        let later = Time::from_secs(60);
        roster.apply(&row(1, MemberState::Joined, 1), later);
        let gone = roster.expire(Time::from_secs(90), Duration::from_secs(90));
        assert_eq!(gone, [(node(0), Role::Sink)]);
    }

    #[test]
    fn a_sample_is_small_and_leaves_the_newcomer_out() {
        let roster = roster(1_000);
        let mut rng = Seed::new(1).rng();
        let sample = roster.sample(node(3), &mut rng);
        assert_eq!(sample.len(), 20);
        assert!(sample.iter().all(|contact| contact.id != node(3)));
    }
}
