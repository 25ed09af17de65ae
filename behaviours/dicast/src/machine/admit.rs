//! The other side of a join: tell the way down, give a seat.

use std::time::Duration;

use opus_core::{Contact, NodeId, Time, pack::Few};

use super::Dicast;
use crate::{
    Event, Message,
    cluster::{Ancestor, Place, SEATS_MAX, Seat, View, nodes_max},
    decide, label,
    state::{Child, Phase, Request},
    track::DOUBLE_JOINED,
    wire::{Join, Leave, Moved, PLACES_MAX, Places, Welcome},
};

/// When one who finds no room should ask again.
const RETRY: Duration = Duration::from_secs(1);

/// The answer to one who wants a seat at a level that our tree does not have, or who shall not wait
/// until we have a tree.
pub(super) const NEVER: Duration = Duration::ZERO;

impl Dicast {
    pub(super) fn on_join(&mut self, now: Time, from: NodeId, join: &Join) {
        if join.seat.id() != from || (join.target == 1) == join.seat.child().is_some() {
            return;
        }
        let Some(root) = self.root().filter(|_| self.is_in_tree()) else {
            // Of some who wait for each other the one with the smallest identity waits for none;
            // but whoever is on its way into a tree is worth waiting for.
            let waits = self.id() < from || self.is_led(now);
            let retry = if waits { RETRY } else { NEVER };
            self.send(now, from, Message::Busy((join.target, retry)));
            return;
        };
        if root.level < join.target {
            self.send(now, from, Message::Busy((join.target, NEVER)));
            return;
        }
        // Whoever asks a member of the root cluster where the root is has found it.
        let at = if join.at == 0 && self.view_at(root.level).is_some() {
            root.level
        } else {
            join.at
        };
        if at == join.target && self.posts.contains_key(&at) {
            self.admit(now, at, join);
            return;
        }
        let answer = match self.view_at(at) {
            Some(view) if at > join.target => children(view, &join.seat),
            Some(view) if at == join.target => agent_of(view),
            Some(_) | None => posts_of(&root),
        };
        self.send(now, from, Message::Places(answer));
    }

    /// Whether the search for our own seat goes on in a tree.
    fn is_led(&self, now: Time) -> bool {
        let led_at = self.seeks.get(&1).and_then(|seek| seek.led_at);
        led_at.is_some_and(|at| now.since(at) < self.config.seek_max)
    }

    /// Whether we hold a post, or a seat that we do not take for lost.
    fn is_in_tree(&self) -> bool {
        !self.posts.is_empty() || !self.seeks.contains_key(&1)
    }

    /// The cluster of this level that we know from within: our post's, or the one we sit in.
    fn view_at(&self, level: u8) -> Option<&View> {
        let post = self.posts.get(&level).map(|post| &post.view);
        post.or_else(|| self.membership(level).map(|m| &m.view))
    }

    fn admit(&mut self, now: Time, level: u8, join: &Join) {
        let mut seat = join.seat.clone();
        let label = seat.marks().label;
        let to = seat.id();
        seat.size = seat.size.clamp(1, nodes_max(level));
        let size_split = self.config.size_split();
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let roster = &post.view.roster;
        let known = roster.find_seat(&seat);
        let same = known.and_then(|slot| roster.get(slot));
        let same = same.is_some_and(|seat| seat.marks().label == label);
        if level == 1 && !same && !self.lets_in(level, label) {
            self.send(now, to, Message::Busy((level, NEVER)));
            return;
        }
        // A site's nodes sit together even if their cluster has to split for it.
        let kin = label.is_some_and(|label| label::count(roster, label) > 0);
        let waits = join.moves && !(kin && level == 1);
        let fit = roster.iter().filter(|(_, seat)| seat.marks().fit).count();
        // Those of a cluster that is about to come in have no other place to go.
        let coming = match &post.phase {
            Phase::Asking(Request::Absorb { other, .. }) => other.view.roster.len(),
            Phase::Acting
            | Phase::Dividing { .. }
            | Phase::Asking(_)
            | Phase::Merging { .. }
            | Phase::Leaving => 0,
        };
        let room =
            roster.len() + coming < SEATS_MAX && (seat.marks().fit || 4 * fit > roster.len());
        // Whoever has a seat elsewhere can wait until a split is over.
        let open = match post.phase {
            Phase::Merging { .. } | Phase::Leaving => false,
            Phase::Acting => !waits || roster.len() < size_split,
            Phase::Dividing { .. } | Phase::Asking(_) => !waits,
        };
        if known.is_none() && !(room && open) {
            self.send(now, to, Message::Busy((level, RETRY)));
            return;
        }
        let slot = match known {
            Some(slot) => {
                let stale = roster.get(slot).is_some_and(|old| is_newer(old, &seat));
                if stale {
                    return;
                }
                self.reseat(now, level, slot, seat);
                if let Some(post) = self.posts.get_mut(&level) {
                    post.track.restart(now, slot, &post.view);
                }
                slot
            }
            None => match self.add_seat(now, level, seat, join.counted) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.welcome(now, level, slot);
        if join.moves && self.membership(level + 1).is_some() {
            // All above shall know that it is missing before it is counted no more where it was.
            self.beat(now, level + 1);
        }
        self.look_at_room(now, level);
    }

    /// Splits at once when the last seat but those of a split is taken: others wait for one.
    fn look_at_room(&mut self, now: Time, level: u8) {
        let full = self.posts.get(&level).is_some_and(|post| {
            let acting = matches!(post.phase, Phase::Acting) && now >= post.calm_until;
            acting && post.view.roster.len() >= self.config.size_split()
        });
        if full && self.leaving_since.is_none() {
            self.begin_split(now, level);
        }
    }

    /// Gives a new seat and tells all members. The seat's holder is told by the caller.
    /// `counted`: whether its nodes may still be counted where they were. Then they are missing for
    /// a while, which widens no bounds; the first nodes of a tree count at once, as possibly
    /// counted twice.
    pub(super) fn add_seat(
        &mut self,
        now: Time,
        level: u8,
        seat: Seat,
        counted: bool,
    ) -> Option<u8> {
        self.free_other_seat(now, level, seat.id(), None);
        let size_min = self.config.size_min;
        let post = self.posts.get_mut(&level)?;
        let nodes = seat.size;
        let haunted = |slot| post.track.is_haunted(slot);
        let slot = post.view.roster.add_but(seat, haunted)?;
        post.children.insert(slot, Child::new(now));
        self.on_seat_changed(now, level, slot);
        if let Some(post) = self.posts.get_mut(&level) {
            let few = post.view.roster.len() < size_min;
            let first = level == 1 && post.up.is_none() && few;
            if counted && !first {
                post.track.hold(now, slot);
            } else if counted {
                post.track.suspect(now, slot, nodes, DOUBLE_JOINED);
            }
        }
        Some(slot)
    }

    /// A node sits in a cluster once: as itself, or for the one post that it can hold below.
    fn free_other_seat(&mut self, now: Time, level: u8, id: NodeId, but: Option<u8>) {
        let seats = self.posts.get(&level).map(|post| post.view.roster.iter());
        let other = seats
            .into_iter()
            .flatten()
            .find(|(slot, seat)| seat.id() == id && Some(*slot) != but);
        if let Some(slot) = other.map(|(slot, _)| slot) {
            self.remove_seat(now, level, slot);
        }
    }

    /// Replaces who sits at `slot`, and tells all members if that says anything new.
    pub(super) fn reseat(&mut self, now: Time, level: u8, slot: u8, seat: Seat) {
        self.free_other_seat(now, level, seat.id(), Some(slot));
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let old = post.view.roster.get(slot);
        let same = old.is_some_and(|old| {
            let who = |seat: &Seat| (seat.id(), seat.incarnation, seat.child(), seat.marks());
            who(old) == who(&seat)
        });
        post.view.roster.put(slot, seat);
        let child = post.children.entry(slot).or_insert_with(|| Child::new(now));
        child.heard = now;
        child.trial = None;
        if !same {
            child.seq = 0;
            self.on_seat_changed(now, level, slot);
        }
    }

    /// Frees a seat and tells all members.
    pub(super) fn remove_seat(&mut self, now: Time, level: u8, slot: u8) -> Option<Seat> {
        let post = self.posts.get_mut(&level)?;
        let seat = post.view.roster.remove(slot)?;
        post.children.remove(&slot);
        self.on_seat_changed(now, level, slot);
        Some(seat)
    }

    /// Ranks the deputies anew and tells all members of the seat that changed.
    pub(super) fn on_seat_changed(&mut self, now: Time, level: u8, slot: u8) {
        let before = self
            .posts
            .get(&level)
            .map(|post| post.view.deputies.clone());
        self.rank_deputies(now, level);
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let view = &post.view;
        let moved = Moved {
            tag: view.cluster.tag(),
            slot,
            seat: view.roster.get(slot).cloned(),
            deputies: view.deputies.clone(),
        };
        let newcomer = moved.seat.as_ref().map(Seat::id);
        let members = view.roster.iter().map(|(_, seat)| seat.id());
        let members: Vec<NodeId> = members.filter(|id| Some(*id) != newcomer).collect();
        let renamed = before.as_ref() != Some(&view.deputies);
        for to in members {
            self.send(now, to, Message::Moved(moved.clone()));
        }
        if renamed {
            self.on_path_changed(level);
        }
    }

    /// Sends all that the holder of `slot` must know.
    pub(super) fn welcome(&mut self, now: Time, level: u8, slot: u8) {
        let Some(welcome) = self.welcome_for(level, slot) else {
            return;
        };
        let Some(seat) = welcome.view.roster.get(slot) else {
            return;
        };
        let to = seat.contact.clone();
        self.send_to(now, &to, Message::Welcome(welcome));
    }

    pub(super) fn welcome_for(&self, level: u8, slot: u8) -> Option<Welcome> {
        let post = self.posts.get(&level)?;
        Some(Welcome {
            view: post.view.clone(),
            slot,
            path: post.path(),
        })
    }

    pub(super) fn on_leave(&mut self, now: Time, from: NodeId, leave: Leave) {
        let slot = leave.slot;
        let known = self.post_of_tag(leave.tag);
        let Some(level) = known.or_else(|| self.post_once(now, leave.tag)) else {
            return;
        };
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get(slot);
        if seat.is_some_and(|seat| seat.id() == from) {
            if leave.known {
                post.track.depart(now, slot);
            } else if level > 1 {
                // It may have gone to another root, of which we do not know.
                post.track.lose(now, slot);
            }
            self.remove_seat(now, level, slot);
        }
    }

    /// A member changed seats, or came, or went.
    pub(super) fn on_moved(&mut self, now: Time, from: NodeId, moved: Moved) {
        let Some(level) = self.level_of_tag(moved.tag, from) else {
            return;
        };
        let me = self.id();
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        // Only what is said of our own seat counts: after a merge the other numbers in our copy are
        // those of the old cluster, until the agent has answered what we ask.
        let ours = moved.slot == membership.slot;
        let lost = ours && moved.seat.as_ref().is_none_or(|seat| seat.id() != me);
        let (slot, after) = (
            moved.slot,
            moved.seat.as_ref().map(|seat| seat.contact.clone()),
        );
        let before = membership.view.roster.get(slot).map(Seat::id);
        match moved.seat {
            Some(seat) => membership.view.roster.put(moved.slot, seat),
            None => {
                membership.view.roster.remove(moved.slot);
            }
        }
        let deputies = std::mem::replace(&mut membership.view.deputies, moved.deputies);
        let ranked = deputies != membership.view.deputies;
        if ranked && level > 1 {
            self.on_path_changed(level - 1);
        }
        if level == 1 && before != after.as_ref().map(|contact| contact.id) {
            if let Some(leaf) = &mut self.leaf {
                leaf.link.roll.on_changed(slot);
            }
            self.tell_moved(slot, before, after);
        }
        if lost {
            self.lose_seat(now, level);
        }
    }
}

impl Dicast {
    /// Tells our node that another sits at `slot`, unless they sit elsewhere in the cluster too.
    fn tell_moved(&mut self, slot: u8, before: Option<NodeId>, after: Option<Contact>) {
        let me = self.id();
        let Some(leaf) = &self.leaf else {
            return;
        };
        let elsewhere = |id: NodeId| {
            let mut seats = leaf.view.roster.iter();
            seats.any(|(at, seat)| at != slot && seat.id() == id)
        };
        let alone = |id: &NodeId| *id != me && !elsewhere(*id);
        let down = before.filter(alone).map(Event::MemberDown);
        let up = after
            .filter(|contact| alone(&contact.id))
            .map(Event::MemberUp);
        for event in up.into_iter().chain(down) {
            self.tell(event);
        }
    }
}

/// Whether what is known of a seat is newer than what is offered.
fn is_newer(known: &Seat, offered: &Seat) -> bool {
    if known.id() == offered.id() && known.incarnation > offered.incarnation {
        return true;
    }
    match (known.child(), offered.child()) {
        (Some(known), Some(offered)) => known.epoch > offered.epoch,
        (None | Some(_), None) | (None, Some(_)) => false,
    }
}

/// The children of `view` that let in a joiner, the nearest first, or some that are far from each
/// other if it does not say where it stands; those of its label alone, if there are any.
fn children(view: &View, joiner: &Seat) -> Places {
    let label = joiner.marks().label;
    let own = |seat: &Seat| label.is_some() && seat.marks().label == label;
    let kin = view.roster.iter().any(|(_, seat)| own(seat));
    // A cluster that is a label's own may sit anywhere, and one that finds no other has to.
    let open = view
        .roster
        .iter()
        .any(|(_, seat)| seat.marks().lets_in(label));
    let anywhere = joiner.child().is_some() && (joiner.marks().closed || !open);
    let fitting = view.roster.iter().filter(|(_, seat)| {
        let open = anywhere || seat.marks().lets_in(label);
        open && (!kin || own(seat))
    });
    let agents = if joiner.place.is_known() {
        decide::nearest(fitting, joiner.place, PLACES_MAX)
    } else {
        // Each begins with another one, or all would measure the same.
        let hash = |sum: usize, byte: &u8| sum.wrapping_mul(31).wrapping_add(usize::from(*byte));
        let from = joiner.id().0.iter().fold(0, hash);
        decide::spread(fitting, from, PLACES_MAX)
    };
    Places {
        level: view.level - 1,
        same: false,
        agents: Few(agents),
    }
}

/// Whom to ask in this cluster.
pub(super) fn agent_of(view: &View) -> Places {
    Places {
        level: view.level,
        same: true,
        agents: Few(vec![(view.agent.clone(), Place::default())]),
    }
}

/// Whom to ask at the top.
fn posts_of(root: &Ancestor) -> Places {
    let agents = root
        .posts()
        .map(|contact| (contact.clone(), Place::default()));
    Places {
        level: root.level,
        same: true,
        agents: Few(agents.collect()),
    }
}

impl Dicast {
    /// Says that a cluster changed hands.
    pub(super) fn tell_agent(&mut self, level: u8) {
        if level == 1
            && let Some(leaf) = &self.leaf
        {
            let agent = leaf.view.agent.clone();
            self.tell(Event::AgentChanged(agent));
        }
    }
}
