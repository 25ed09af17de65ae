//! What a member knows of other members: two views, `near` and `feasible`, and a pool of strangers.
//!
//! `near` holds the cheapest members known, `feasible` the cheapest of those that could be a parent
//! within the bound. Both grow with the logarithm of the overlay.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Contact, NodeId, Rng, Time};
use opus_model::Position;
use rand::RngExt;

use crate::{clip::Interval, local::Local, tree, wire::Standing};

/// What the feasible view forgives: estimates and delays change by this much.
const FEASIBLE_MILLI: u64 = 1_020;

/// A question is answered within this: a dial and a round trip.
const ANSWER: Duration = Duration::from_secs(2);
/// Who did not answer is asked again after this.
const MUTE: Duration = Duration::from_secs(60);

/// A member as this one knows it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) contact: Contact,
    pub(crate) position: Option<Position>,
    pub(crate) direct_us: Option<u32>,
    /// What acquaintances say about the delay.
    pub(crate) interval: Interval,
    /// When it last spoke itself or was spoken of.
    pub(crate) heard: Time,
    pub(crate) standing: Option<Seen>,
    /// After a refusal: no offer before.
    pub(crate) not_before: Time,
    /// When it was asked for a standing that has not come.
    pub(crate) asked: Option<Time>,
}

/// A standing and when it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Time,
    pub(crate) delay_us: u32,
    pub(crate) rooted: bool,
    pub(crate) slots: u8,
    /// This node is among its ancestors.
    pub(crate) below: bool,
}

/// A member with what an edge to it would cost, measured or estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub(crate) cost_us: u32,
    pub(crate) id: NodeId,
    pub(crate) measured: bool,
    /// Could be a parent within the bound.
    pub(crate) feasible: bool,
}

/// Both views; one entry serves both.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Between two prunings at most one gossip more than both views hold.
    known: BTreeMap<NodeId, Peer>,
}

impl View {
    /// The entry of `contact`, made if absent.
    pub(crate) fn heard(&mut self, now: Time, contact: &Contact) -> &mut Peer {
        let peer = self.known.entry(contact.id).or_insert_with(|| Peer {
            contact: contact.clone(),
            position: None,
            direct_us: None,
            interval: Interval::UNKNOWN,
            heard: now,
            standing: None,
            not_before: Time::ZERO,
            asked: None,
        });
        peer.heard = now;
        if !contact.hint.0.is_empty() {
            peer.contact.hint.clone_from(&contact.hint);
        }
        peer
    }

    /// Files what `from` says of itself.
    pub(crate) fn on_standing(&mut self, local: &Local, from: NodeId, standing: &Standing) {
        let contact = Contact {
            id: from,
            hint: standing.hint.clone(),
        };
        let peer = self.heard(local.now, &contact);
        peer.position = standing.position.or(peer.position);
        peer.direct_us = standing.direct_us.or(peer.direct_us);
        peer.asked = None;
        peer.standing = Some(Seen {
            at: local.now,
            delay_us: standing.delay_us,
            rooted: standing.rooted,
            slots: standing.slots,
            below: standing.path.contains(&local.id),
        });
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Peer> {
        self.known.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.known.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: NodeId) {
        self.known.remove(&id);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.known.iter().map(|(&id, peer)| (id, peer))
    }

    /// Drops entries not heard of for longer than `age`.
    pub(crate) fn expire(&mut self, now: Time, age: Duration) {
        self.known.retain(|_, peer| peer.heard + age >= now);
    }

    /// All entries by rising cost; `direct_us` and `alpha_milli` of this member say what is
    /// feasible.
    pub(crate) fn ranked(
        &self,
        local: &Local,
        direct_us: Option<u32>,
        alpha_milli: u32,
    ) -> Vec<Ranked> {
        let mut ranked: Vec<Ranked> = self
            .iter()
            .map(|(id, peer)| {
                let rtt_us = local.rtts.get(id);
                let cost_us = rtt_us.unwrap_or_else(|| peer.estimate_us(local, direct_us));
                Ranked {
                    cost_us,
                    id,
                    measured: rtt_us.is_some(),
                    feasible: feasible(peer.direct_us, cost_us, direct_us, alpha_milli),
                }
            })
            .collect();
        ranked.sort_unstable();
        ranked
    }

    /// Keeps the `capacity` first of each view, and `kin`.
    pub(crate) fn prune(&mut self, ranked: &[Ranked], capacity: usize, kin: &[NodeId]) {
        let near = ranked.iter().take(capacity);
        let feasible = ranked.iter().filter(|r| r.feasible).take(capacity);
        let kept: std::collections::BTreeSet<NodeId> = near
            .chain(feasible)
            .map(|ranked| ranked.id)
            .chain(kin.iter().copied())
            .collect();
        self.known.retain(|id, _| kept.contains(id));
    }
}

impl Peer {
    /// Whether it was asked a while ago and has not answered: it may be dead, and who waits for it
    /// overlooks who would take him.
    pub(crate) fn mute(&self, now: Time) -> bool {
        let since = self.asked.map(|asked| now.since(asked));
        since.is_some_and(|since| since >= ANSWER && since < MUTE)
    }

    /// Notes that it is asked for its standing.
    pub(crate) fn ask(&mut self, now: Time) {
        if self.asked.is_none_or(|asked| now.since(asked) >= MUTE) {
            self.asked = Some(now);
        }
    }

    /// Round trip to this peer as coordinates and triangles have it, the root's triangle included.
    fn estimate_us(&self, local: &Local, direct_us: Option<u32>) -> u32 {
        let estimate = self
            .position
            .zip(local.position)
            .map(|(theirs, ours)| theirs.estimate_us(ours));
        let interval = match self.direct_us.zip(direct_us) {
            Some((theirs, ours)) => Interval::triangle(theirs, ours).and(self.interval),
            None => self.interval,
        };
        interval.clip(estimate)
    }
}

fn feasible(
    theirs_us: Option<u32>,
    cost_us: u32,
    direct_us: Option<u32>,
    alpha_milli: u32,
) -> bool {
    let (Some(theirs_us), Some(direct_us)) = (theirs_us, direct_us) else {
        return false;
    };
    let bound_us = u64::from(tree::bound_us(alpha_milli, direct_us)) * FEASIBLE_MILLI / 1_000;
    u64::from(theirs_us) + u64::from(cost_us) <= bound_us
}

/// Members of whom nothing is known but how to reach them: a random sample, for random gossip.
#[derive(Debug)]
pub(crate) struct Pool {
    max: usize,
    contacts: Vec<Contact>,
}

impl Pool {
    /// Nobody; at most `max`. Overflow: a random one is replaced.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            contacts: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, rng: &mut Rng, contact: &Contact) {
        if let Some(known) = self.contacts.iter_mut().find(|c| c.id == contact.id) {
            if !contact.hint.0.is_empty() {
                known.hint.clone_from(&contact.hint);
            }
        } else if self.contacts.len() < self.max {
            self.contacts.push(contact.clone());
        } else {
            let index = rng.random_range(0..self.contacts.len());
            self.contacts[index] = contact.clone();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.contacts.len()
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.contacts.iter().any(|contact| contact.id == id)
    }

    pub(crate) fn remove(&mut self, id: NodeId) {
        self.contacts.retain(|contact| contact.id != id);
    }

    /// A random one, if there is any.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<&Contact> {
        if self.contacts.is_empty() {
            return None;
        }
        self.contacts.get(rng.random_range(0..self.contacts.len()))
    }
}
