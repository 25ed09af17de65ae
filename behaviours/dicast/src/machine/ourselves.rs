//! What the other parts ask of us: who we are, where we sit, whom we remember.

use opus_core::{BoundedQueue, Contact, NodeId, Time, Timers};
use rand::RngExt;

use super::{Dicast, FAR_MAX, TIMERS_MAX};
use crate::{
    cluster::{ClusterRef, Path, Seat, Standing},
    label::Marks,
    state::{FORMER, Former, Membership},
};

impl Dicast {
    /// Notes one who may lead to a tree later. Returns whether it is news.
    pub(super) fn remember(&mut self, contact: Contact) -> bool {
        let known = contact.id == self.id() || self.seeds.iter().any(|seed| seed.id == contact.id);
        if !known {
            self.seeds.push(contact);
        }
        !known
    }

    /// Notes who is at the top of this path.
    pub(super) fn note_far(&mut self, path: &Path) {
        let Some(top) = path.0.last() else {
            return;
        };
        let me = self.id();
        let named: Vec<&Contact> = top.posts().filter(|named| named.id != me).collect();
        let is_older = |old: &&Contact| named.iter().all(|new| new.id != old.id);
        let mut far = BoundedQueue::new(FAR_MAX);
        for contact in self
            .far
            .iter()
            .filter(is_older)
            .chain(named.iter().copied())
        {
            far.push(contact.clone());
        }
        self.far = far;
    }

    pub(super) fn remember_former(
        &mut self,
        now: Time,
        old: ClusterRef,
        cluster: ClusterRef,
        agent: Contact,
    ) {
        self.formers.push(Former {
            old,
            cluster,
            agent,
            slots: None,
            until: now + FORMER,
        });
    }

    /// A number that nothing under way has. It need not be secret: answers count only from those
    /// who were asked.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// A name that no cluster ever had.
    pub(super) fn new_name(&mut self) -> ClusterRef {
        ClusterRef {
            id: self.rng.random(),
            epoch: 1,
        }
    }

    /// Our seat, as others shall know it; for the cluster of `child` if it is given.
    pub(super) fn seat(&self, now: Time, child: Option<ClusterRef>, size: u32) -> Seat {
        let up_s = now.since(self.me.started).as_secs();
        let up_s = u32::try_from(up_s).unwrap_or(u32::MAX);
        let marks = Marks {
            label: self.me.label.filter(|_| child.is_none()),
            ..Marks::of(self.is_fit())
        };
        Seat {
            contact: self.me.contact.clone(),
            incarnation: self.me.incarnation,
            place: self.me.place,
            standing: Standing::of(marks, child).after(up_s),
            size,
        }
    }

    /// The seat of our post at `level` as its parent shall know it.
    pub(super) fn seat_of_post(&self, now: Time, level: u8) -> Option<Seat> {
        let view = &self.posts.get(&level)?.view;
        let mut seat = self.seat(now, Some(view.cluster), view.roster.size());
        let places = view.roster.iter().map(|(_, seat)| seat.place);
        seat.place = crate::decide::centre(places);
        seat.mark(self.marks_of_post(level));
        Some(seat)
    }

    /// Our membership in a cluster of `level`.
    pub(super) fn membership(&self, level: u8) -> Option<&Membership> {
        match level {
            0 => None,
            1 => self.leaf.as_ref(),
            _ => self.posts.get(&(level - 1))?.up.as_ref(),
        }
    }

    pub(super) fn membership_mut(&mut self, level: u8) -> Option<&mut Membership> {
        match level {
            0 => None,
            1 => self.leaf.as_mut(),
            _ => self.posts.get_mut(&(level - 1))?.up.as_mut(),
        }
    }

    /// The levels at which we sit in a cluster.
    pub(super) fn membership_levels(&self) -> Vec<u8> {
        let leaf = self.leaf.iter().map(|_| 1);
        let above = self.posts.iter().filter(|(_, post)| post.up.is_some());
        leaf.chain(above.map(|(level, _)| level + 1)).collect()
    }

    /// The level at which we sit in the cluster of this tag, under this agent.
    pub(super) fn level_of_tag(&self, tag: u16, agent: NodeId) -> Option<u8> {
        let is_it = |level: &u8| {
            let view = self.membership(*level).map(|m| &m.view);
            view.is_some_and(|view| view.cluster.tag() == tag && view.agent.id == agent)
        };
        self.membership_levels().into_iter().find(is_it)
    }

    /// The post of this tag.
    pub(super) fn post_of_tag(&self, tag: u16) -> Option<u8> {
        let mut posts = self.posts.iter();
        posts
            .find(|(_, post)| post.view.cluster.tag() == tag)
            .map(|(&level, _)| level)
    }

    /// The post that had this tag before it had another name or epoch.
    pub(super) fn post_once(&self, now: Time, tag: u16) -> Option<u8> {
        let formers = self.formers.iter();
        let mut formers = formers.filter(|it| it.old.tag() == tag && it.until > now);
        let cluster = formers.next_back()?.cluster;
        let mut posts = self.posts.iter();
        let post = posts.find(|(_, post)| post.view.cluster == cluster);
        post.map(|(&level, _)| level)
    }

    /// Forgets everything but who we are.
    pub(super) fn stop(&mut self) {
        self.running = false;
        self.leaving_since = None;
        self.leaf = None;
        self.posts.clear();
        self.seeks.clear();
        self.scout = crate::state::Scout::default();
        self.vacated = None;
        self.handovers.clear();
        self.checks.clear();
        self.questions.clear();
        self.measures.clear();
        self.whole_known = None;
        self.kin.clear();
        self.audits.stop();
        self.timers = Timers::new(TIMERS_MAX);
    }
}
