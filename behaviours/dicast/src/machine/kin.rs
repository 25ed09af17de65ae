//! The nodes of one label find each other, and sit together.
//!
//! The agent of each cluster of level 1 in which some of a label sit looks into the directory for
//! where others do, and asks there how many. The fewer go to the more, one by one, or as a cluster
//! in which nobody else sits; whoever has the most publishes where they are, and newcomers begin
//! there. Of d and more that sit with others
//! their cluster makes a cluster of their own.
//!
//! Only answers count, of agents whom the directory names or whom those name: another stranger can
//! make an agent look, and no more.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Contact, NodeId, Time};
use rand::RngExt;

use super::{Dicast, directory::doubled, heal::PAUSES};
use crate::{
    Event, Message, Name, Refusal,
    cluster::{ClusterRef, SEATS_MAX, nodes_max},
    label::{self, Gather, Kin, Label, Marks},
    state::Doubt,
};

/// How soon an agent looks that has found members of a label in its cluster.
const SOON: (f64, f64) = (0.02, 0.1);

/// So long after a look it publishes, unless it has found more of them by then.
const LOOKED: Duration = Duration::from_secs(2);

/// How soon after members were told to go elsewhere they are told again.
const AGAIN: Duration = Duration::from_secs(4);

/// Of the contacts that the directory names so many are asked, and of those whom these name.
const ASKED: usize = 2;
const ASKED_MAX: usize = 4;

/// After so many looks at which nobody had gone to those who say that they are more, we publish
/// all the same: they may lie.
const IDLE_MAX: u32 = 4;

/// Labels that are looked for in one heartbeat: others wait for the next.
const LOOKS_MAX: usize = 4;

/// The first pause between two looks is so much of that between two greetings of a root: what came
/// to sit apart while the tree formed shall not do so for long.
const FIRST: f64 = 0.25;

/// An agent's search for the others of a label in its cluster.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    look_at: Time,
    looks: u32,
    publish_at: Option<Time>,
    asked: Vec<NodeId>,
    /// Where there are more, and we, who hold the post, have to go too.
    away: bool,
    /// When members were last told to go to a sibling.
    told_at: Time,
    /// When somebody who was not asked last said that there are more with it.
    hinted_at: Time,
    /// Below which parent we looked, and whether the cluster was the label's own.
    at: (Option<u64>, bool),
    /// How many there were at the last look, and at how many looks before it as many.
    nodes: u32,
    idle: u32,
}

/// Where nodes of a label sit.
struct Home {
    /// As many as [`Kin::nodes`] says.
    nodes: u32,
    cluster: ClusterRef,
    agent: Contact,
    /// The cluster above.
    above: Option<u64>,
    /// Its agent, if the cluster is the label's own.
    parent: Option<Contact>,
}

impl Home {
    fn kin(&self, label: Label, asks: bool) -> Kin {
        Kin {
            label,
            nodes: self.nodes,
            cluster: self.cluster,
            agent: self.agent.clone(),
            parent: self.parent.clone(),
            asks,
        }
    }
}

fn parent_of(kin: &Kin) -> Option<NodeId> {
    kin.parent.as_ref().map(|parent| parent.id)
}

/// The least of two goes to the other: who sits with others to whose cluster is the label's own,
/// then the fewer to the more. Of as many, all below one parent go to those below the other.
fn rank(kin: &Kin) -> (bool, u32, NodeId) {
    let whose = parent_of(kin).unwrap_or(kin.agent.id);
    // As many as can sit below one parent are believed.
    (kin.parent.is_some(), kin.nodes.min(nodes_max(3)), whose)
}

impl Dicast {
    pub(super) fn on_label(&mut self, id: u64, label: Option<Label>) {
        if self.running {
            self.refuse(id, Refusal::Started);
            return;
        }
        self.me.label = label;
    }

    /// Whom our post at `level` lets in.
    pub(super) fn marks_of_post(&self, level: u8) -> Marks {
        let fit = Marks::of(self.is_fit());
        let Some(post) = self.posts.get(&level) else {
            return fit;
        };
        if level == 1 {
            let label = label::owner(&post.view.roster, self.config.size_min);
            let closed = label.is_some();
            return Marks {
                label,
                closed,
                ..fit
            };
        }
        let mut seats = post.view.roster.iter();
        let closed = seats.all(|(_, seat)| seat.marks().closed);
        Marks { closed, ..fit }
    }

    /// Whether our post at `level` takes in a node of this label. A tree of one cluster has to.
    pub(super) fn lets_in(&self, level: u8, label: Option<Label>) -> bool {
        level > 1 || self.is_root(level) || self.marks_of_post(level).lets_in(label)
    }

    /// The seats that go to a cluster of their own: of d or more of one label that sit with
    /// others, or these others. None if those that stay would find no place, or who goes could
    /// hold no post.
    pub(super) fn to_part(&self, level: u8) -> Option<Vec<u8>> {
        let post = self.posts.get(&level).filter(|_| level == 1)?;
        let (size_min, roster) = (self.config.size_min, &post.view.roster);
        label::groups(roster)
            .into_iter()
            .find_map(|(label, group)| {
                let others = roster.len() - group.len();
                let room = others >= size_min || others > 0 && self.is_room_for(others);
                if group.len() < size_min || !room || others == 0 {
                    return None;
                }
                let away: Vec<u8> = if self.me.label == Some(label) {
                    let others = roster.iter().map(|(slot, _)| slot);
                    others.filter(|slot| !group.contains(slot)).collect()
                } else {
                    group
                };
                let fit = |slot: &u8| roster.get(*slot).is_some_and(|seat| seat.marks().fit);
                away.iter().any(fit).then_some(away)
            })
    }

    /// Whether a sibling of our cluster of level 1 could take in so many that have no label.
    fn is_room_for(&self, nodes: usize) -> bool {
        let up = self.posts.get(&1).and_then(|post| post.up.as_ref());
        up.is_some_and(|up| {
            let mut others = up.siblings();
            others.any(|(_, seat)| {
                seat.marks().lets_in(None) && seat.size as usize + nodes <= SEATS_MAX
            })
        })
    }

    /// Once a heartbeat: where the others are of each label in our cluster.
    pub(super) fn look_for_kin(&mut self, now: Time) {
        let post = self.posts.get(&1).filter(|_| self.leaving_since.is_none());
        let groups = post.map_or_else(BTreeMap::new, |post| label::groups(&post.view.roster));
        self.kin.retain(|label, _| groups.contains_key(label));
        let mut looks = 0;
        for label in groups.into_keys() {
            self.watch_anew(now, label);
            if self.gather_beside(now, label) {
                continue;
            }
            let watch = self.kin.get_mut(&label);
            let publishes = watch.and_then(|watch| watch.publish_at.take_if(|at| now >= *at));
            if publishes.is_some() {
                self.publish_kin(label);
            }
            let due = self
                .kin
                .get(&label)
                .is_some_and(|watch| now >= watch.look_at);
            if due && looks < LOOKS_MAX {
                looks += 1;
                self.look_for(now, label);
            }
        }
    }

    fn look_for(&mut self, now: Time, label: Label) {
        let draw = self.rng.random_range(PAUSES.0..PAUSES.1);
        let (first, longest) = (self.config.hello.mul_f64(FIRST), self.config.publish);
        let nodes = self.home(label).map_or(0, |home| home.nodes);
        let Some(watch) = self.kin.get_mut(&label) else {
            return;
        };
        let pause = doubled(first, watch.looks, longest);
        watch.look_at = now + pause.mul_f64(draw);
        watch.looks = watch.looks.saturating_add(1);
        watch.publish_at = Some(now + LOOKED);
        watch.asked.clear();
        watch.idle = if watch.nodes == nodes {
            watch.idle + 1
        } else {
            0
        };
        watch.nodes = nodes;
        self.tell(Event::Want(Name::Label(label)));
    }

    /// What was found holds for where our cluster was, whose it was, and while most of the label
    /// are there: else the search is young again.
    fn watch_anew(&mut self, now: Time, label: Label) {
        let Some(home) = self.home(label) else {
            return;
        };
        let at = (home.above, home.parent.is_some());
        let holds = |watch: &Watch| watch.at == at && home.nodes >= watch.nodes / 2;
        if self.kin.get(&label).is_some_and(holds) {
            return;
        }
        let soon = self.rng.random_range(SOON.0..SOON.1);
        let watch = Watch {
            at,
            look_at: now + self.config.hello.mul_f64(soon),
            looks: 0,
            publish_at: None,
            asked: Vec::new(),
            told_at: Time::ZERO,
            hinted_at: Time::ZERO,
            away: false,
            nodes: 0,
            idle: 0,
        };
        self.kin.insert(label, watch);
    }

    /// Members of a label that sit with others go to a sibling that is their label's own, if there
    /// is one. Returns whether there is.
    fn gather_beside(&mut self, now: Time, label: Label) -> bool {
        let own = self.home(label).is_some_and(|home| home.parent.is_some());
        let up = self.posts.get(&1).and_then(|post| post.up.as_ref());
        let beside = up.and_then(|up| {
            let beside = up
                .siblings()
                .find(|(_, seat)| seat.marks().label == Some(label));
            beside.map(|(_, seat)| seat.contact.clone())
        });
        let Some(agent) = beside.filter(|_| !own) else {
            return false;
        };
        let watch = self.kin.get_mut(&label);
        if let Some(watch) = watch.filter(|it| now.since(it.told_at) >= AGAIN) {
            watch.told_at = now;
            self.gather(now, label, &agent);
        }
        true
    }

    fn publish_kin(&mut self, label: Label) {
        let Some(post) = self.posts.get(&1) else {
            return;
        };
        self.tell(Event::Publish {
            name: Name::Label(label),
            contacts: post.view.ancestor().posts().cloned().collect(),
        });
    }

    /// The directory names some who may sit with others of this label: an agent first.
    pub(super) fn on_kin_found(&mut self, now: Time, label: Label, contacts: &[Contact]) {
        let me = self.id();
        let Some(post) = self.posts.get(&1) else {
            return;
        };
        if contacts.first().is_none_or(|agent| agent.id == me) {
            return;
        }
        let roster = &post.view.roster;
        let others = contacts
            .iter()
            .filter(|it| it.id != me && roster.find(it.id).is_none());
        let others: Vec<Contact> = others.take(ASKED).cloned().collect();
        for to in others {
            self.ask_kin(now, label, &to);
        }
    }

    /// Asks how many of a label sit there.
    fn ask_kin(&mut self, now: Time, label: Label, whom: &Contact) {
        let (Some(home), Some(watch)) = (self.home(label), self.kin.get_mut(&label)) else {
            return;
        };
        if watch.asked.len() < ASKED_MAX && !watch.asked.contains(&whom.id) {
            watch.asked.push(whom.id);
            self.send_to(now, whom, Message::Kin(home.kin(label, true)));
        }
    }

    /// What we know of a label in the cluster of level 1 that we lead, or else sit in.
    fn home(&self, label: Label) -> Option<Home> {
        let post = self.posts.get(&1);
        let leaf = self.leaf.as_ref().map(|leaf| &leaf.view);
        let view = post.map(|post| &post.view).or(leaf)?;
        let up = post.and_then(|post| post.up.as_ref());
        let own = self.marks_of_post(1).label == Some(label);
        let theirs = up.filter(|_| own);
        let siblings = theirs.map_or(0, |up| {
            let kin = up
                .siblings()
                .filter(|(_, seat)| seat.marks().label == Some(label));
            kin.fold(0, |sum: u32, (_, seat)| sum.saturating_add(seat.size))
        });
        let here = u32::try_from(label::count(&view.roster, label)).unwrap_or(u32::MAX);
        Some(Home {
            nodes: here.saturating_add(siblings),
            cluster: view.cluster,
            agent: view.agent.clone(),
            above: up.map(|up| up.view.cluster.id),
            parent: theirs.map(|up| up.view.agent.clone()),
        })
    }

    pub(super) fn on_kin(&mut self, now: Time, from: NodeId, kin: &Kin) {
        let label = kin.label;
        let Some(home) = self.home(label) else {
            return;
        };
        if kin.asks {
            self.send(now, from, Message::Kin(home.kin(label, false)));
        }
        let apart = self.config.want_apart;
        let Some(watch) = self.kin.get_mut(&label) else {
            return;
        };
        let ours = home.kin(label, false);
        let together = ours.parent.is_some() && parent_of(&ours) == parent_of(kin);
        if together || ours.cluster.id == kin.cluster.id {
            watch.publish_at.take_if(|_| !kin.asks);
            return;
        }
        let more = rank(kin) > rank(&ours);
        if kin.asks {
            if more && now.since(watch.hinted_at) >= apart {
                // It publishes when it has our answer; then the directory leads us there.
                watch.hinted_at = now;
                watch.look_at = watch.look_at.min(now + AGAIN);
            }
            return;
        }
        if !watch.asked.contains(&from) {
            return;
        }
        if from != kin.agent.id {
            // A deputy knows little of what is above.
            self.ask_kin(now, label, &kin.agent);
        } else if more && watch.idle < IDLE_MAX {
            watch.publish_at = None;
            watch.look_at = watch.look_at.min(now + AGAIN);
            self.follow_kin(now, kin);
        } else if !more {
            watch.away = false;
            watch.publish_at = Some(now);
        }
    }

    /// Our members of a label go where more of them are; or their cluster does, if nobody else
    /// sits there.
    fn follow_kin(&mut self, now: Time, kin: &Kin) {
        let post = self.posts.get(&1);
        let alone = post.is_some_and(|post| label::common(&post.view.roster) == Some(kin.label));
        match kin.parent.as_ref().filter(|_| alone) {
            Some(parent) => self.follow(now, parent),
            None => self.gather(now, kin.label, &kin.agent),
        }
    }

    /// Our members of this label shall go to that agent. We follow once another has the post.
    fn gather(&mut self, now: Time, label: Label, agent: &Contact) {
        let me = self.id();
        let Some(post) = self.posts.get(&1) else {
            return;
        };
        let alone = label::common(&post.view.roster) == Some(label);
        let gather = Gather {
            tag: post.view.cluster.tag(),
            label,
            agent: agent.clone(),
        };
        let seats = post.view.roster.iter();
        let of_label = seats.filter(|(_, seat)| seat.marks().label == Some(label));
        let members: Vec<NodeId> = of_label.map(|(_, seat)| seat.id()).collect();
        for to in members {
            if to != me {
                self.send(now, to, Message::Gather(gather.clone()));
            } else if let Some(watch) = self.kin.get_mut(&label).filter(|_| !alone) {
                watch.away = true;
            }
        }
    }

    /// Whether we have to give our post of level 1 away to follow the others of our label.
    pub(super) fn has_to_follow(&self, level: u8) -> bool {
        let ours = self.me.label.and_then(|label| self.kin.get(&label));
        level == 1 && ours.is_some_and(|watch| watch.away)
    }

    /// Our agent knows where more of our label are.
    pub(super) fn on_gather(&mut self, now: Time, from: NodeId, gather: &Gather) {
        let ours = self.me.label == Some(gather.label);
        let told = self.level_of_tag(gather.tag, from) == Some(1);
        // A cluster of ours that is about to move goes first.
        let free = self.posts.is_empty() || self.scout.wanted.is_none();
        if ours && told && free && gather.agent.id != from && self.may_follow() {
            self.scout.wanted = Some(gather.agent.id);
            self.ask_to_move(now, &gather.agent, (1, 1));
        }
    }

    /// Whether nothing speaks against a seat beside others of our label. Who leads a cluster above
    /// level 1 need not sit in it.
    pub(super) fn may_follow(&self) -> bool {
        let settled = self
            .leaf
            .as_ref()
            .is_some_and(|leaf| leaf.doubt == Doubt::None);
        self.me.label.is_some()
            && settled
            && !self.posts.contains_key(&1)
            && !self.seeks.contains_key(&1)
            && self.leaving_since.is_none()
    }
}
