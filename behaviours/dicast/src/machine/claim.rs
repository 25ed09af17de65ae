//! What a member does about a silent agent: claim the post from the parent; without a parent, and
//! with a second member that finds the agent silent too, take it under a new name.
//!
//! *A parent grants an epoch once; whoever acts without a grant renames the cluster.* So no two
//! agents ever hold the same cluster and epoch, also when a cut leaves both sides without a parent.

use opus_core::{Contact, NodeId, Time, pack::Few};
use rand::{RngExt, seq::SliceRandom};

use super::{Dicast, Timer};
use crate::{
    Message,
    cluster::{Ancestor, ClusterRef, DEPUTIES},
    state::{Doubt, Membership, Question},
    wire::{Claim, Grant, Places, Welcome},
};

/// Members that are asked at once whether they too find an agent silent.
const WITNESSES: usize = 3;

/// The claims of those that are no deputies spread over as many turns.
const OTHERS: f64 = 5.0;

impl Dicast {
    /// Our pings to the agent of the cluster at `level` were not answered.
    pub(super) fn on_agent_silent(&mut self, now: Time, level: u8) {
        let apart = self.config.claim_apart;
        let fit = self.is_fit();
        // Who heard the agent nearly as often as deputies do and began to doubt so much later knows
        // that it has been dead for long: deputies that live would have claimed.
        let late = self.membership(level).is_some_and(|membership| {
            let often = membership.is_heard_often(&self.config);
            often && now.since(membership.heard) >= membership.patience(&self.config)
        });
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if membership.doubt != Doubt::Checking {
            return;
        }
        if !fit {
            // Only a node that is fit may hold a post.
            membership.doubt = Doubt::None;
            return;
        }
        membership.doubt = Doubt::Claiming { tries: 0 };
        let rank = membership.view.rank(membership.slot);
        let turn = if let Some(rank) = rank.and_then(|rank| u32::try_from(rank).ok()) {
            apart * rank
        } else {
            // They are many, and most of those before us may be dead too; the parent grants once.
            let before = if late { 1 } else { DEPUTIES };
            apart.mul_f64(before as f64 + self.rng.random_range(0.0..OTHERS))
        };
        self.timers.set(Timer::Doubt(level), now + turn);
    }

    pub(super) fn on_doubt_due(&mut self, now: Time, level: u8) {
        let claims_max = self.config.claims_max;
        let Some(membership) = self.membership(level) else {
            return;
        };
        let Doubt::Claiming { tries } = membership.doubt else {
            return;
        };
        let posts = membership.path.0.first().map(Ancestor::posts);
        let posts: Vec<Contact> = posts.into_iter().flatten().cloned().collect();
        // All were asked, and some twice: whoever is not reached by then is dead.
        let asked = tries as usize > posts.len() + 1;
        let lost = asked && !posts.iter().any(|post| self.links.is_connected(post.id));
        let gives_up = posts.is_empty() || tries >= claims_max || lost;
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if gives_up {
            membership.doubt = Doubt::Accusing;
            self.seek_second_accuser(now, level);
            return;
        }
        membership.doubt = Doubt::Claiming { tries: tries + 1 };
        let whom = &posts[tries as usize % posts.len()];
        self.claim(now, level, whom);
    }

    /// Claims the post of the cluster at `level` from `whom`.
    fn claim(&mut self, now: Time, level: u8, whom: &Contact) {
        let Some(cluster) = self.membership(level).map(|m| m.view.cluster) else {
            return;
        };
        let claim = Claim {
            cluster,
            seat: self.seat(now, Some(cluster), 0),
            yields: false,
        };
        let wait = self.config.claim_wait;
        self.timers.set(Timer::Doubt(level), now + wait);
        self.send_to(now, whom, Message::Claim(claim));
    }

    /// Whoever sits in the parent cluster knows a newer agent of it.
    pub(super) fn on_claim_redirected(&mut self, now: Time, from: NodeId, places: &Places) {
        let claims = |level: &u8| {
            let membership = self.membership(*level);
            membership.is_some_and(|membership| {
                let claiming = matches!(membership.doubt, Doubt::Claiming { tries: 1.. });
                claiming && membership.is_above(from) && places.level == level + 1
            })
        };
        let level = self.membership_levels().into_iter().find(claims);
        let agent = places.agents.0.first().map(|(agent, _)| agent.clone());
        let (Some(level), Some(agent)) = (level, agent) else {
            return;
        };
        let membership = self.membership_mut(level);
        if let Some(parent) = membership.and_then(|membership| membership.path.0.first_mut()) {
            parent.agent = agent.clone();
            self.claim(now, level, &agent);
        }
    }

    /// Whom we asked for the post has no seat for our cluster, and knows nobody who has.
    pub(super) fn on_claim_unknown(&mut self, now: Time, from: NodeId, tag: u16) {
        let asked = |level: u8| {
            let membership = self.membership(level)?;
            let Doubt::Claiming { tries: tries @ 1.. } = membership.doubt else {
                return None;
            };
            let parent = membership.path.0.first()?;
            let posts: Vec<_> = parent.posts().collect();
            let asked = posts.get((tries as usize - 1) % posts.len().max(1))?;
            let by_it = asked.id == from && membership.view.cluster.tag() == tag;
            by_it.then_some((level, tries as usize >= posts.len()))
        };
        let levels = self.membership_levels();
        let Some((level, all)) = levels.into_iter().find_map(asked) else {
            return;
        };
        if !all {
            self.on_doubt_due(now, level);
            return;
        }
        self.timers.clear(Timer::Doubt(level));
        if let Some(membership) = self.membership_mut(level) {
            membership.doubt = Doubt::Accusing;
        }
        self.seek_second_accuser(now, level);
    }

    /// No parent answers. Another member must find the agent silent too.
    fn seek_second_accuser(&mut self, now: Time, level: u8) {
        let Some(membership) = self.membership(level) else {
            return;
        };
        let view = &membership.view;
        let agent = view.agent.clone();
        let (me, slot) = (self.id(), membership.slot);
        let others = view
            .roster
            .iter()
            .filter(|(other, seat)| *other != slot && seat.id() != agent.id && seat.id() != me);
        let mut others: Vec<_> = others.map(|(_, seat)| seat.contact.clone()).collect();
        if others.is_empty() {
            // Two members, one of them silent: the other goes on alone.
            self.fork(now, level);
            return;
        }
        // Some may be dead too: the first that answers counts.
        let (asked, _) = others.partial_shuffle(&mut self.rng, WITNESSES);
        for whom in asked {
            self.question(now, whom, agent.clone(), Question::Agent(level));
        }
    }

    /// Whether another member reaches the agent that we do not; `None` if it does not answer.
    pub(super) fn on_agent_verdict(&mut self, now: Time, level: u8, alive: Option<bool>) {
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if membership.doubt != Doubt::Accusing {
            return;
        }
        match alive {
            Some(false) => self.fork(now, level),
            Some(true) => {
                // Others reach it: the fault is on our side.
                self.health.on_refuted();
                self.lose_seat(now, level);
            }
            None if self.is_asking(Question::Agent(level)) => {}
            // Round again: others may answer, until we count as orphans.
            None => self.seek_second_accuser(now, level),
        }
    }

    /// Takes the post without a grant, under a new name.
    pub(super) fn fork(&mut self, now: Time, level: u8) {
        // The old agent may go on beyond a cut.
        let agent = self.membership(level).map(|it| it.view.agent.clone());
        if let Some(agent) = agent {
            self.remember(agent);
        }
        let cluster = self.new_name();
        self.succeed(now, level, cluster, None);
    }

    pub(super) fn on_grant(&mut self, now: Time, from: NodeId, grant: Grant) {
        if grant.up.view.agent.id != from {
            return;
        }
        if self.on_yield_granted(now, from, &grant) {
            return;
        }
        let Some(level) = self.level_of(grant.old.id) else {
            return;
        };
        let accused = level == 1 && self.audits.awaits(grant.old);
        let awaited = self.membership(level).is_some_and(|membership| {
            let claims = accused || matches!(membership.doubt, Doubt::Claiming { tries: 1.. });
            claims && membership.view.cluster == grant.old && membership.is_above(from)
        });
        if awaited && grant.up.view.level == level + 1 {
            let up = Membership::new(now, grant.up, self.id());
            self.succeed(now, level, grant.cluster, Some(up));
        }
    }

    /// A seat for the cluster whose post we claimed from this peer: the grant was lost. None, if it
    /// is of another cluster, or under an epoch that is over.
    pub(super) fn as_grant(&self, from: NodeId, welcome: &Welcome) -> Option<Grant> {
        let level = welcome.view.level.checked_sub(1)?;
        let membership = self.membership(level)?;
        let claims = matches!(membership.doubt, Doubt::Claiming { tries: 1.. });
        let seat = welcome.view.roster.get(welcome.slot)?;
        let asked = claims && membership.is_above(from) && !self.posts.contains_key(&level);
        let old = membership.view.cluster;
        let cluster = seat.child().filter(|_| asked)?;
        let mut others = welcome.view.roster.iter().filter_map(|(_, it)| it.child());
        let held = self
            .formers
            .iter()
            .any(|it| it.old == cluster || it.cluster == cluster);
        let granted = if cluster.id == old.id {
            cluster.epoch > old.epoch
        } else {
            !held && others.all(|it| it.id != old.id)
        };
        granted.then(|| Grant {
            old,
            cluster,
            up: welcome.clone(),
        })
    }

    /// Becomes the agent of the cluster at `level`, in which we sit.
    fn succeed(&mut self, now: Time, level: u8, cluster: ClusterRef, up: Option<Membership>) {
        self.timers.clear(Timer::Doubt(level));
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        let was_root = membership.path.0.is_empty();
        let old = membership.view.cluster;
        let mut view = membership.view.clone();
        view.cluster = cluster;
        view.agent = self.me.contact.clone();
        view.deputies = Few(Vec::new());
        let orphaned = up.is_none() && !was_root;
        let uncertain = self.uncertain_in(&view);
        self.take_over(now, old, view, up, uncertain);
        if orphaned {
            self.orphan(now, level);
        }
    }
}
