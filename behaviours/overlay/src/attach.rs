//! The search for a parent: of a newcomer, and of an orphan whose parent is gone.
//!
//! In turn: whom the parting parent named, the living ancestors from the nearest up, the root, whom
//! refusals name, then known members and strangers. In a metric an ancestor only shortens delays,
//! so the bound of the branch holds at once. Rounds are repeated, after 1 s doubling to 60 s.

use std::collections::{BTreeSet, VecDeque};

use opus_core::{Contact, NodeId};
use rand::RngExt;

use crate::{
    Event,
    local::{Local, Timer},
    member::Member,
    wire::{OfferKind, Reason},
};

/// Candidates of one round. Overflow: the last are not asked in this round.
const QUEUE_MAX: usize = 32;
/// Refusals' hints followed in one round.
const FOLLOW_MAX: usize = 8 * crate::wire::HINTS_MAX;
/// How often a busy candidate is asked again before the next.
const BUSY_MAX: u8 = 5;
/// Known members, and strangers, asked in each round but the first.
const OTHERS: usize = 8;
/// After so many rounds in vain the node hears that the root is lost.
const ROUNDS_LOST: u32 = 3;

/// A search for a parent.
#[derive(Debug, Default)]
pub(crate) struct Search {
    queue: VecDeque<Contact>,
    tried: BTreeSet<NodeId>,
    /// Ancestors that were, nearest first.
    lineage: Vec<Contact>,
    /// Whose measurement is awaited.
    waiting: Option<Contact>,
    round: u32,
    followed: usize,
    busy: u8,
}

impl Search {
    /// Puts whom a refusal names in front.
    pub(crate) fn follow(&mut self, hints: &[Contact]) {
        for hint in hints.iter().rev() {
            if self.followed < FOLLOW_MAX && self.queue.len() < QUEUE_MAX {
                self.followed += 1;
                self.queue.push_front(hint.clone());
            }
        }
    }

    fn next(&mut self) -> Option<Contact> {
        while let Some(contact) = self.queue.pop_front() {
            if self.tried.insert(contact.id) {
                return Some(contact);
            }
        }
        None
    }

    /// Asks `contact` again, before any other.
    fn again(&mut self, contact: Contact) {
        self.tried.remove(&contact.id);
        self.queue.push_front(contact);
    }

    fn refill(&mut self, contacts: impl Iterator<Item = Contact>) {
        self.tried.clear();
        self.followed = 0;
        self.busy = 0;
        self.queue = self.lineage.iter().cloned().chain(contacts).collect();
        self.queue.truncate(QUEUE_MAX);
    }
}

impl Member {
    /// The parent is gone, or there never was one: looks for another. `to`: whom to ask first.
    pub(crate) fn orphan(&mut self, local: &mut Local, to: Option<Contact>) {
        let lineage = match self.parent.take() {
            Some(parent) => {
                let hops = parent.path.into_iter();
                hops.map(|hop| hop.contact).collect()
            }
            None => Vec::new(),
        };
        self.on_path_changed(local);
        let mut search = Search {
            lineage,
            ..Search::default()
        };
        let lineage = search.lineage.clone();
        search.queue = to.into_iter().chain(lineage).collect();
        search.queue.push_back(self.root.clone());
        search.queue.truncate(QUEUE_MAX);
        self.search = Some(search);
        let overlay = self.overlay;
        local.event(Event::Unattached { overlay });
        self.hurry(local, local.config.ticks_early);
        if self.pending.is_none() {
            self.search_on(local, None);
        }
    }

    /// The search goes on after a refusal, if that was the last step.
    pub(crate) fn search_on(&mut self, local: &mut Local, refused: Option<(NodeId, Reason)>) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.waiting = None;
        if let Some((id, Reason::Busy)) = refused
            && search.busy < BUSY_MAX
        {
            search.busy += 1;
            let known = self.view.get(id).map(|peer| peer.contact.clone());
            search.again(known.unwrap_or_else(|| Contact::bare(id)));
            let pause = std::time::Duration::from_millis(local.rng.random_range(100..=400));
            self.set_timer(local, Timer::Search, local.now + pause);
            return;
        }
        self.search_next(local);
    }

    /// Time to go on: without the measurement, or with the next round.
    pub(crate) fn on_search_timer(&mut self, local: &mut Local) {
        if self.parent.is_some() || self.pending.is_some() {
            return;
        }
        let Some(search) = &mut self.search else {
            return;
        };
        if let Some(contact) = search.waiting.take() {
            if search.round > 0 || local.links.connected(contact.id) {
                self.offer_orphan(local, &contact);
            } else {
                self.search_next(local);
            }
            return;
        }
        if search.queue.is_empty() {
            self.next_round(local);
        }
        self.search_next(local);
    }

    /// A measurement came; the search may have waited for it.
    pub(crate) fn on_search_measured(&mut self, local: &mut Local, peer: NodeId, reached: bool) {
        let Some(search) = &mut self.search else {
            return;
        };
        let Some(contact) = search.waiting.take_if(|contact| contact.id == peer) else {
            return;
        };
        if reached {
            self.offer_orphan(local, &contact);
        } else {
            self.search_next(local);
        }
    }

    /// Members that the node names; a search that has run dry takes them at once.
    pub(crate) fn on_introduced(&mut self, local: &mut Local, contacts: &[Contact]) {
        for contact in contacts.iter().filter(|contact| contact.id != local.id) {
            self.pool.insert(&mut local.rng, contact);
            self.view.heard(local.now, contact);
        }
        if self.pending.is_some() {
            return;
        }
        let Some(search) = &mut self.search else {
            return;
        };
        if search.waiting.is_none() && search.queue.is_empty() {
            let others = contacts.iter().take(QUEUE_MAX).cloned();
            search.queue.extend(others);
            self.search_next(local);
        }
    }

    /// Begins the next round at once if the search waits for it.
    pub(crate) fn search_anew(&mut self, local: &mut Local) {
        let idle = |search: &Search| search.waiting.is_none() && search.queue.is_empty();
        if self.pending.is_none() && self.search.as_ref().is_some_and(idle) {
            self.next_round(local);
            self.search_next(local);
        }
    }

    fn search_next(&mut self, local: &mut Local) {
        loop {
            let Some(search) = &mut self.search else {
                return;
            };
            let Some(contact) = search.next() else {
                self.end_round(local);
                return;
            };
            let mine = contact.id == local.id || self.children.contains_key(&contact.id);
            let vain = search.round == 0 && local.rtts.unreachable(local.now, contact.id);
            if mine || vain {
                continue;
            }
            self.view.heard(local.now, &contact);
            if local.rtt(contact.id).is_some() || local.rtts.unreachable(local.now, contact.id) {
                self.offer_orphan(local, &contact);
            } else {
                local.measure(&contact);
                search.waiting = Some(contact);
                let at = local.now + local.config.search_measure;
                self.set_timer(local, Timer::Search, at);
            }
            return;
        }
    }

    fn offer_orphan(&mut self, local: &mut Local, contact: &Contact) {
        self.view.heard(local.now, contact);
        self.offer(local, contact.id, OfferKind::Orphan, None);
    }

    fn end_round(&mut self, local: &mut Local) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.round = search.round.saturating_add(1);
        let round = search.round;
        let config = &local.config;
        let doubled = config.search_wait_min * (1 << (round - 1).min(16));
        let wait = local.jittered(doubled.min(config.search_wait_max));
        self.set_timer(local, Timer::Search, local.now + wait);
        let overlay = self.overlay;
        if round == ROUNDS_LOST {
            local.event(Event::RootLost { overlay });
        }
    }

    fn next_round(&mut self, local: &mut Local) {
        let ranked = self.view.ranked(local, self.direct_us, self.alpha_milli);
        let near = ranked.iter().filter_map(|ranked| self.view.get(ranked.id));
        let near = near.take(OTHERS).map(|peer| peer.contact.clone());
        let strangers = (0..OTHERS).filter_map(|_| self.pool.draw(&mut local.rng).cloned());
        let root = self.root.clone();
        if let Some(search) = &mut self.search {
            search.refill(std::iter::once(root).chain(near).chain(strangers));
        }
    }
}
