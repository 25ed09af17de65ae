//! Posts that change hands while both are alive: to a split-off sibling's agent, to a deputy.

use opus_core::{Contact, NodeId, Time, pack::Few};

use super::{Dicast, Timer};
use crate::{
    Event, Message,
    aggregate::KeyId,
    cluster::{ClusterRef, Roster, View},
    state::{Handover, Membership, Phase, Request},
    wire::{Fenced, Grant, Leave, OFFICE_FAR_MAX, Office, Takeover, Welcome},
};

/// How often an office is sent before its receiver counts as lost.
const TRIES: u8 = 5;

impl Dicast {
    /// Whether we hold a higher post too, for long enough to let this one go.
    pub(super) fn has_higher_post(&self, now: Time, level: u8) -> bool {
        let two_posts = self.config.two_posts;
        let mut higher = self.posts.range(level + 1..);
        higher.any(|(_, post)| now.since(post.since) >= two_posts)
    }

    /// Gives the post at `level` to the first deputy, once the parent grants it.
    pub(super) fn begin_yield(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let view = &post.view;
        let first = view.deputies.0.first();
        let Some(to) = first.and_then(|&slot| view.roster.get(slot)).cloned() else {
            return;
        };
        let root = post.up.is_none();
        let contact = to.contact.clone();
        post.phase = Phase::Asking(Request::Yield { to });
        post.calm_until = now + self.config.change_wait;
        if root {
            let cluster = self.new_name();
            self.give_office(now, level, &contact, cluster, None);
        } else {
            self.ask_parent(now, level);
        }
    }

    /// The parent agrees that our successor takes over. False if that is not what was granted.
    pub(super) fn on_yield_granted(&mut self, now: Time, from: NodeId, grant: &Grant) -> bool {
        let asked = self.posts.iter().find_map(|(&level, post)| {
            let Phase::Asking(Request::Yield { to }) = &post.phase else {
                return None;
            };
            let above = post.up.as_ref().is_some_and(|up| up.knows(from));
            let fits = post.view.cluster == grant.old && grant.up.view.level == level + 1;
            (above && fits).then(|| (level, to.contact.clone()))
        });
        let Some((level, to)) = asked else {
            return false;
        };
        self.give_office(now, level, &to, grant.cluster, Some(grant.up.clone()));
        true
    }

    fn give_office(
        &mut self,
        now: Time,
        level: u8,
        to: &Contact,
        cluster: ClusterRef,
        up: Option<Welcome>,
    ) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        self.timers.clear(Timer::Change(level));
        post.phase = Phase::Leaving;
        let unseated = post.track.unseated(now);
        let whole = post.view.roster.clone();
        if let Some(office) = self.office(now, level, (cluster, to), whole, up, unseated) {
            self.hand_over(now, office);
        }
    }

    /// The office of these seats of our post at `level`: what becomes of them is `cluster`, under
    /// another agent. Beside them so many nodes may be `missing`, and so many counted twice.
    pub(super) fn office(
        &self,
        now: Time,
        level: u8,
        (cluster, agent): (ClusterRef, &Contact),
        roster: Roster,
        up: Option<Welcome>,
        (missing, double): (u32, u32),
    ) -> Option<Office> {
        let post = self.posts.get(&level)?;
        let books = Few(post.track.books(now, &roster));
        let view = View {
            cluster,
            level,
            agent: agent.clone(),
            deputies: Few(Vec::new()),
            roster,
        };
        Some(Office {
            old: post.view.cluster,
            view,
            up,
            far: self.known_elsewhere(),
            books,
            missing,
            double,
            barred: self.audits.to_hand_on(),
        })
    }

    /// Who may lead to another tree, the newest first.
    fn known_elsewhere(&self) -> Few<Contact, OFFICE_FAR_MAX> {
        let known = self.seeds.iter().rev().chain(self.far.iter().rev());
        Few(known.take(OFFICE_FAR_MAX).cloned().collect())
    }

    /// Sends an office to the agent whom it names, until that confirms it.
    pub(super) fn hand_over(&mut self, now: Time, office: Office) {
        let level = office.view.level;
        let handover = Handover { office, tries: 0 };
        self.handovers.insert(level, handover);
        self.on_handover_due(now, level);
    }

    pub(super) fn on_handover_due(&mut self, now: Time, level: u8) {
        let Some(handover) = self.handovers.get_mut(&level) else {
            return;
        };
        if handover.tries >= TRIES {
            self.end_handover(now, level);
            return;
        }
        handover.tries += 1;
        let office = handover.office.clone();
        let to = office.view.agent.clone();
        self.timers
            .set(Timer::Handover(level), now + self.config.claim_wait);
        self.send_to(now, &to, Message::Office(Box::new(office)));
    }

    /// A post for us, from the one who holds it.
    pub(super) fn on_office(&mut self, now: Time, from: NodeId, office: Office) {
        let level = office.view.level;
        let cluster = office.view.cluster;
        if office.view.agent.id != self.id() {
            return;
        }
        let held = self.posts.get(&level).map(|post| post.view.cluster);
        if held != Some(cluster) {
            let sits = self.membership(level).is_some_and(|membership| {
                let view = &membership.view;
                view.cluster == office.old && view.agent.id == from
            });
            if !sits || held.is_some() {
                return;
            }
            let me = self.id();
            let up = office.up.map(|up| Membership::new(now, up, me));
            let above = up.as_ref().map(|up| up.view.level);
            if above.is_some_and(|above| above != level + 1) {
                return;
            }
            for contact in office.far.0 {
                self.remember(contact);
            }
            for id in office.barred.0 {
                self.audits.bar(now, id);
            }
            let members = self.membership(level).map(|it| it.view.roster.len());
            let whole = members.is_some_and(|members| office.view.roster.len() >= members);
            let (old, view) = (office.old, office.view);
            let nodes = (u64::from(office.missing), u64::from(office.double));
            self.take_over(now, old, view, up, nodes);
            if let Some(post) = self.posts.get_mut(&level) {
                // Below a parent the cluster is a part and will be told of what; a root has to
                // remember of what larger whole it may be one.
                post.lost.take_if(|_| post.up.is_some());
                post.track.take_books(now, &office.books.0);
                post.given = whole;
            }
        }
        let confirmed = Fenced {
            old: office.old,
            cluster,
            agent: self.me.contact.clone(),
        };
        self.send(now, from, Message::Fenced(confirmed));
    }

    /// Holds the post and tells all members, ourselves among them. Beside those in its seats so
    /// many nodes may be `missing`, and so many counted twice.
    pub(super) fn take_over(
        &mut self,
        now: Time,
        old: ClusterRef,
        view: View,
        up: Option<Membership>,
        (missing, double): (u64, u64),
    ) {
        let level = view.level;
        // Before our cluster seems to be the whole.
        let whole = self.whole(now);
        self.take_post(now, view, up);
        if let Some(post) = self.posts.get_mut(&level) {
            post.lost = whole;
            post.track.inherit(now, missing, double);
        }
        self.tell_takeover(now, level, old);
        if self.posts[&level].up.is_some() {
            self.beat(now, level + 1);
        }
    }

    /// How many nodes the last agent of a cluster, who died, said that it missed, and may count
    /// twice. Those that it did not count yet may still be counted where they were.
    pub(super) fn uncertain_in(&self, view: &View) -> (u64, u64) {
        let Some(membership) = self.membership(view.level) else {
            return (0, 0);
        };
        let told = membership.link.inbox.get(KeyId::MEMBERS, Some(view.level));
        told.map_or((0, 0), |held| {
            let seated = u64::from(view.roster.size());
            let waiting = seated.saturating_sub(held.down.count());
            let waiting = waiting.min(held.down.missing());
            (held.down.missing(), held.down.double() + waiting)
        })
    }

    /// Tells all members of our post at `level`, ourselves among them, what the cluster that they
    /// know as `old` is.
    pub(super) fn tell_takeover(&mut self, now: Time, level: u8, old: ClusterRef) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let (cluster, agent) = (post.view.cluster, &self.me.contact);
        let told = post.view.roster.iter().map(|(slot, seat)| {
            let takeover = Takeover {
                old,
                cluster,
                agent: agent.clone(),
                slot,
            };
            (seat.contact.clone(), takeover)
        });
        for (to, takeover) in told.collect::<Vec<_>>() {
            self.send_to(now, &to, Message::Takeover(takeover));
        }
    }

    /// The receiver of an office says that it holds it.
    pub(super) fn on_office_confirmed(&mut self, now: Time, from: NodeId, fenced: &Fenced) {
        let given = self.handovers.iter().find(|(_, handover)| {
            let view = &handover.office.view;
            view.agent.id == from && view.cluster == fenced.cluster
        });
        if let Some((&level, _)) = given {
            self.end_handover(now, level);
        }
    }

    fn end_handover(&mut self, now: Time, level: u8) {
        self.timers.clear(Timer::Handover(level));
        let Some(Handover { office, .. }) = self.handovers.remove(&level) else {
            return;
        };
        let post = self.posts.get(&level);
        if post.is_some_and(|post| matches!(post.phase, Phase::Leaving)) {
            self.remember_former(now, office.old, office.view.cluster, office.view.agent);
            self.drop_post(level);
            // Who was an agent sits where its members are, not where it is near another.
            self.look_again(now);
        }
    }

    /// Another holds the post.
    pub(super) fn lose_post(&mut self, now: Time, level: u8, fenced: &Fenced) {
        self.remember_former(now, fenced.old, fenced.cluster, fenced.agent.clone());
        self.drop_post(level);
    }

    /// The agent of a cluster of level 1 sits in it; one that sits elsewhere holds no such post.
    pub(super) fn drop_outdated_post(&mut self) {
        let Some(post) = self.posts.get(&1) else {
            return;
        };
        let leaf = self.leaf.as_ref().map(|leaf| &leaf.view);
        let ours = leaf.is_some_and(|leaf| {
            leaf.cluster == post.view.cluster && leaf.agent.id == self.me.contact.id
        });
        if !ours {
            self.drop_post(1);
        }
    }

    /// Holds the post at `level` no more.
    pub(super) fn drop_post(&mut self, level: u8) {
        self.posts.remove(&level);
        self.seeks.remove(&(level + 1));
        self.handovers.remove(&level);
        for timer in [
            Timer::Change(level),
            Timer::Handover(level),
            Timer::Seek(level + 1),
            Timer::Silence(level + 1),
            Timer::Doubt(level + 1),
            Timer::Report(level + 1),
            Timer::Push(level),
            Timer::Judge(level),
        ] {
            self.timers.clear(timer);
        }
    }

    /// A split, merge or handover takes too long; or its question is due again.
    pub(super) fn on_change_due(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        match post.phase {
            Phase::Dividing { .. } => self.divide(now, level),
            Phase::Asking(_) if now < post.calm_until => self.ask_parent(now, level),
            Phase::Asking(_) | Phase::Merging { .. } => self.give_up_change(now, level),
            Phase::Acting | Phase::Leaving => {}
        }
    }

    /// Nothing was changed, and nothing shall be for a while.
    pub(super) fn give_up_change(&mut self, now: Time, level: u8) {
        self.timers.clear(Timer::Change(level));
        if let Some(post) = self.posts.get_mut(&level) {
            post.phase = Phase::Acting;
            post.calm_until = now + self.config.change_pause;
        }
    }

    /// Begins to leave the tree: first the posts go to their deputies.
    pub(super) fn on_leave_command(&mut self, now: Time) {
        if self.running && self.leaving_since.is_none() {
            self.leaving_since = Some(now);
            // One that is about something else follows once that is done.
            let posts = self.posts.iter();
            let acting = posts.filter(|(_, post)| matches!(post.phase, Phase::Acting));
            let levels = acting.map(|(level, _)| *level);
            for level in levels.collect::<Vec<_>>() {
                self.begin_yield(now, level);
            }
            self.look_at_leaving(now);
        }
    }

    /// Whether nobody but us sits in any cluster of ours: there is none to hand it to.
    fn is_alone(&self) -> bool {
        let me = self.id();
        let mut posts = self.posts.values();
        posts.all(|post| post.view.roster.iter().all(|(_, seat)| seat.id() == me))
    }

    /// Leaves once no post is held that another could have, or has not been given away in time.
    pub(super) fn look_at_leaving(&mut self, now: Time) {
        let Some(since) = self.leaving_since else {
            return;
        };
        if !self.is_alone() && now.since(since) < self.config.change_wait {
            return;
        }
        if let Some(leaf) = self.leaf.take() {
            let leave = Leave {
                tag: leaf.view.cluster.tag(),
                slot: leaf.slot,
                known: true,
            };
            self.send(now, leaf.view.agent.id, Message::Leave(leave));
        }
        self.stop();
        self.tell(Event::Left);
    }
}
