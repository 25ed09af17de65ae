//! Pings of suspects, by ourselves and by another member.

use opus_core::{Contact, NodeId, Time};

use super::{ASKED_MAX, CHECKS_MAX, Dicast, Timer};
use crate::{
    Message,
    cluster::LEVELS_MAX,
    state::{Asked, Check, Doubt, Question, Why},
    wire::{Accuse, Verdict},
};

/// Pings under way that other members asked for.
const OBSERVED_MAX: usize = 32;

/// Pings before a suspect counts as silent.
const TRIES: u8 = 2;

/// Heartbeats of silence after which no other member is asked about one who is only late: once is
/// enough, since it takes a dial.
const EARLY: u32 = 3;

impl Dicast {
    /// Suspects the agent of the cluster at `level`.
    pub(super) fn doubt(&mut self, now: Time, level: u8) {
        let me = self.id();
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        let agent = membership.view.agent.clone();
        if agent.id == me || membership.doubt != Doubt::None {
            return;
        }
        membership.doubt = Doubt::Checking;
        self.check(now, agent, Why::Agent(level));
    }

    /// Pings `of`; [`Why`] says who learns the outcome. Overflow: nobody does; there is always room
    /// for pings of our own agents, and others cannot use up that for our members.
    pub(super) fn check(&mut self, now: Time, of: Contact, why: Why) {
        let room = match why {
            Why::Agent(_) => CHECKS_MAX,
            Why::Member(..) => CHECKS_MAX - usize::from(LEVELS_MAX),
            Why::Observe { .. } => OBSERVED_MAX,
        };
        if self.checks.len() >= room {
            return;
        }
        let nonce = self.next_number();
        self.send_to(now, &of, Message::Check(nonce));
        let check = Check { of, why, tries: 1 };
        self.checks.insert(nonce, check);
        let apart = self.health.patience(self.config.ping_apart);
        self.timers.set(Timer::Check(nonce), now + apart);
    }

    pub(super) fn on_check_due(&mut self, now: Time, nonce: u64) {
        let Some(check) = self.checks.get_mut(&nonce) else {
            return;
        };
        // A stranger has to be dialled first, which takes three round trips; and who is silent for
        // other reasons shall not be put out for being far.
        let near = matches!(check.why, Why::Agent(_)) && self.links.is_connected(check.of.id);
        let tries = if near { TRIES } else { 2 * TRIES };
        if check.tries >= tries {
            if let Some(check) = self.checks.remove(&nonce) {
                self.on_silent(now, &check.why);
            }
            return;
        }
        check.tries += 1;
        let to = check.of.id;
        self.send(now, to, Message::Check(nonce));
        let apart = self.health.patience(self.config.ping_apart);
        self.timers.set(Timer::Check(nonce), now + apart);
    }

    pub(super) fn on_alive(&mut self, now: Time, from: NodeId, nonce: u64) {
        let Some(check) = self.checks.get(&nonce).filter(|check| check.of.id == from) else {
            self.on_late_alive(now, from);
            return;
        };
        let why = check.why.clone();
        self.checks.remove(&nonce);
        self.timers.clear(Timer::Check(nonce));
        match why {
            Why::Agent(level) => self.acquit_agent(now, level, from),
            Why::Member(level, slot) => self.acquit(now, level, slot, true),
            Why::Observe { asker, nonce } => {
                let verdict = Verdict { nonce, alive: true };
                self.send(now, asker, Message::Verdict(verdict));
            }
        }
    }

    /// An answer to a ping that was given up: one who stalled answers all of them when it wakes,
    /// while its first beat may be lost.
    fn on_late_alive(&mut self, now: Time, from: NodeId) {
        let on_trial = self.posts.iter().find_map(|(&level, post)| {
            let slot = post.view.roster.find(from)?;
            let trial = post.children.get(&slot)?.trial;
            trial.map(|_| (level, slot))
        });
        if let Some((level, slot)) = on_trial {
            self.acquit(now, level, slot, true);
        }
    }

    /// The agent of the cluster at `level` answers.
    fn acquit_agent(&mut self, now: Time, level: u8, from: NodeId) {
        let membership = self.membership(level);
        let Some(membership) = membership.filter(|it| it.view.agent.id == from) else {
            return;
        };
        // Else a connection closed, or it merely spoke more seldom than before.
        let late = now.since(membership.heard) > membership.promised(&self.config);
        if late {
            self.health.on_refuted();
        }
        if let Some(membership) = self.membership_mut(level) {
            membership.hear(now);
        }
        self.timers.clear(Timer::Doubt(level));
    }

    fn on_silent(&mut self, now: Time, why: &Why) {
        let heartbeat = self.config.heartbeat;
        match *why {
            Why::Agent(level) => self.on_agent_silent(now, level),
            Why::Member(level, slot) => {
                let post = self.posts.get_mut(&level);
                let child = post.and_then(|post| post.children.get_mut(&slot));
                let Some(child) = child else {
                    return;
                };
                if let Some(trial) = &mut child.trial {
                    trial.unanswered = true;
                    self.judge(now, level, slot);
                } else if now.since(child.lived()) < heartbeat * EARLY {
                    self.call_witness(now, level, slot);
                }
            }
            Why::Observe { asker, nonce } => {
                let verdict = Verdict {
                    nonce,
                    alive: false,
                };
                self.send(now, asker, Message::Verdict(verdict));
            }
        }
    }

    /// Asks another member whether it reaches `about`.
    pub(super) fn question(&mut self, now: Time, to: &Contact, about: Contact, what: Question) {
        if self.questions.len() >= ASKED_MAX
            && let Some((oldest, _)) = self.questions.pop_first()
        {
            self.timers.clear(Timer::Question(oldest));
        }
        let nonce = self.next_number();
        let whom = to.id;
        self.questions.insert(nonce, Asked { whom, what });
        let patience = self.config.ping_apart * u32::from(3 * TRIES);
        self.timers.set(Timer::Question(nonce), now + patience);
        self.send_to(now, to, Message::Accuse(Accuse { nonce, about }));
    }

    /// Whether another member is being asked this.
    pub(super) fn is_asking(&self, what: Question) -> bool {
        self.questions.values().any(|asked| asked.what == what)
    }

    /// Whether `about` is an agent of ours whose pings went unanswered.
    fn is_found_silent(&self, about: NodeId) -> bool {
        let levels = self.membership_levels().into_iter();
        let mut seats = levels.filter_map(|level| self.membership(level));
        seats.any(|it| {
            let silent = matches!(it.doubt, Doubt::Claiming { .. } | Doubt::Accusing);
            it.view.agent.id == about && silent
        })
    }

    /// Whether `peer` sits in a cluster of ours, or is its agent.
    fn is_acquainted(&self, peer: NodeId) -> bool {
        let levels = self.membership_levels().into_iter();
        let mut seats = levels.filter_map(|level| self.membership(level));
        let mut posts = self.posts.values();
        seats.any(|it| it.knows(peer)) || posts.any(|it| it.view.roster.find(peer).is_some())
    }

    pub(super) fn on_accuse(&mut self, now: Time, from: NodeId, accuse: Accuse) {
        let why = Why::Observe {
            asker: from,
            nonce: accuse.nonce,
        };
        if !self.is_acquainted(from) {
            // Strangers shall not make us dial whom they like.
            return;
        }
        let ours = accuse.about.id == self.id();
        if ours || self.is_found_silent(accuse.about.id) {
            let verdict = Verdict {
                nonce: accuse.nonce,
                alive: ours,
            };
            self.send(now, from, Message::Verdict(verdict));
            return;
        }
        self.check(now, accuse.about, why);
    }

    pub(super) fn on_verdict(&mut self, now: Time, from: NodeId, verdict: &Verdict) {
        let asked = self.questions.get(&verdict.nonce);
        let Some(question) = asked.filter(|it| it.whom == from).map(|it| it.what) else {
            return;
        };
        self.questions.remove(&verdict.nonce);
        self.timers.clear(Timer::Question(verdict.nonce));
        match question {
            Question::Agent(level) => self.on_agent_verdict(now, level, Some(verdict.alive)),
            Question::Member(level, slot) if verdict.alive => {
                self.acquit(now, level, slot, false);
            }
            Question::Member(level, slot) => {
                let post = self.posts.get_mut(&level);
                let child = post.and_then(|post| post.children.get_mut(&slot));
                if let Some(trial) = child.and_then(|child| child.trial.as_mut()) {
                    trial.confirmed = true;
                }
                self.judge(now, level, slot);
            }
        }
    }

    pub(super) fn on_question_due(&mut self, now: Time, nonce: u64) {
        match self.questions.remove(&nonce).map(|asked| asked.what) {
            Some(Question::Agent(level)) => self.on_agent_verdict(now, level, None),
            Some(Question::Member(level, slot)) => {
                let late = self.config.heartbeat + self.config.grace;
                let post = self.posts.get(&level);
                let child = post.and_then(|post| post.children.get(&slot));
                if child.is_some_and(|child| now.since(child.lived()) > late) {
                    self.call_witness(now, level, slot);
                }
            }
            None => {}
        }
    }

    /// A closed connection is a reason to look, not a death.
    pub(super) fn on_disconnected(&mut self, now: Time, peer: NodeId) {
        self.links.on_gone(peer);
        for level in self.membership_levels() {
            let agent = self.membership(level).map(|m| m.view.agent.id);
            if agent == Some(peer) {
                self.doubt(now, level);
            }
        }
    }

    /// There is no way to this peer: pings of it are unanswered, and it gives us no seat.
    pub(super) fn on_dial_failed(&mut self, now: Time, peer: NodeId) {
        self.links.on_gone(peer);
        let pings = self.checks.iter().filter(|(_, check)| check.of.id == peer);
        let failed: Vec<u64> = pings.map(|(&nonce, _)| nonce).collect();
        for nonce in failed {
            self.timers.clear(Timer::Check(nonce));
            if let Some(check) = self.checks.remove(&nonce) {
                self.on_silent(now, &check.why);
            }
        }
        if let Some(target) = self.sought_from(peer) {
            self.timers.set(Timer::Seek(target), now);
        }
    }
}
