//! The state of one membership, and what can be read off it.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{BoundedMap, Contact, NodeId, OverlayId, Time};
use opus_model::Position;

use crate::{
    Event, Status,
    attach::Search,
    command::Sums,
    commit::{Pending, Transit},
    local::{Local, Timer},
    tree,
    view::{Pool, View},
    wire::{Body, HINTED_HOPS, HOPS_MAX, Hop, Message, Pressure, SLACK_US_MAX, Standing},
};

/// Views and lists until the root has counted the members: 2 log2 of 256.
const MEMBERS_UNKNOWN: u32 = 256;

/// A violator that was refused is reckoned with for this long.
const DEMAND: Duration = Duration::from_secs(5);

/// Requests to yield at the start; another comes with each minute.
pub(crate) const YIELDS_MAX: u8 = 64;

/// This node as a member of one overlay.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) overlay: OverlayId,
    pub(crate) root: Contact,
    /// Most children.
    pub(crate) cap: u8,
    pub(crate) alpha_milli: u32,
    pub(crate) epoch: u32,
    /// Direct round trip to the root, and when it was measured.
    pub(crate) direct_us: Option<u32>,
    pub(crate) direct_at: Time,
    /// Delay over the tree; the last one while there is no parent.
    pub(crate) delay_us: u32,
    pub(crate) parent: Option<Parent>,
    /// At most `cap`. Overflow: offers are refused as full.
    pub(crate) children: BTreeMap<NodeId, Child>,
    /// Rises with each new parent.
    pub(crate) version: u32,
    /// Of the last offer.
    pub(crate) serial: u32,
    /// Rises whenever the path told to children changes.
    pub(crate) path_serial: u32,
    /// The one change under way.
    pub(crate) pending: Option<Pending>,
    /// Runs while there is no parent.
    pub(crate) search: Option<Search>,
    /// Claims and offers whose verdict must find its way down.
    pub(crate) transits: BoundedMap<(NodeId, u32), Transit>,
    pub(crate) view: View,
    pub(crate) pool: Pool,
    /// Early ticks left.
    pub(crate) haste: u8,
    pub(crate) ticks: u32,
    /// Questions for a standing left in this tick.
    pub(crate) asks: u8,
    /// As the root counts them.
    pub(crate) members: u32,
    /// Slack last told to the parent.
    pub(crate) told_slack_us: i64,
    /// Nobody within the bound was found, and the node has heard so.
    pub(crate) stuck: bool,
    /// Ticks since the last change of parent or knob.
    pub(crate) idle: u32,
    /// Ticks in a row over the bound.
    pub(crate) strain: u32,
    /// When a violator was last refused for want of room.
    pub(crate) violator_refused: Option<Time>,
    /// How often a child may still be asked to yield. Where slots are too few for any tree within
    /// the bound, the tree must come to rest nevertheless.
    pub(crate) yields: u8,
    /// When a child was last asked to move.
    pub(crate) pressed: Time,
    told: Option<Edges>,
}

/// The edge towards the root.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) contact: Contact,
    pub(crate) rtt_us: u32,
    /// The parent's delay over the tree.
    pub(crate) delay_us: u32,
    pub(crate) version: u32,
    /// Whether it hangs on the root.
    pub(crate) rooted: bool,
    /// Whether it asks this member to move, and since when.
    pub(crate) pressure: Pressure,
    pub(crate) pressed: Time,
    /// From the parent's parent to the root.
    pub(crate) path: Vec<Hop>,
    pub(crate) path_serial: u32,
    pub(crate) heard: Time,
}

/// An edge away from the root.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) contact: Contact,
    pub(crate) rtt_us: u32,
    pub(crate) direct_us: Option<u32>,
    pub(crate) position: Option<Position>,
    /// Of its branch, lowered by claims in between.
    pub(crate) slack_us: i64,
    /// The epoch in which the slack was reckoned.
    pub(crate) epoch: u32,
    pub(crate) sums: Sums,
    pub(crate) slots: u8,
    /// How often it was asked to move.
    pub(crate) asked: u16,
    /// The last path it confirmed.
    pub(crate) path_serial: Option<u32>,
    pub(crate) heard: Time,
    /// Its claim is under way until then: it takes a slot, but is no child yet.
    pub(crate) reserved: Option<Time>,
}

impl Parent {
    /// What the parent asks at present; a request holds for one beat.
    pub(crate) fn pressure(&self, local: &Local) -> Pressure {
        if self.pressed + local.config.beat > local.now {
            self.pressure
        } else {
            Pressure::None
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Edges {
    parent: Option<NodeId>,
    children: Vec<NodeId>,
    path: Vec<NodeId>,
}

impl Member {
    pub(crate) fn new(
        local: &Local,
        overlay: OverlayId,
        root: Contact,
        alpha_milli: u32,
        cap: u8,
    ) -> Self {
        let is_root = root.id == local.id;
        Self {
            overlay,
            root,
            cap: cap.clamp(1, 64),
            alpha_milli,
            epoch: u32::from(is_root),
            direct_us: is_root.then_some(0),
            direct_at: local.now,
            delay_us: 0,
            parent: None,
            children: BTreeMap::new(),
            version: 0,
            serial: 0,
            path_serial: 1,
            pending: None,
            search: None,
            transits: BoundedMap::new(local.config.claims_max),
            view: View::default(),
            pool: Pool::new(local.config.pool_max),
            haste: local.config.ticks_early,
            ticks: 0,
            asks: 0,
            members: 0,
            told_slack_us: 0,
            stuck: false,
            idle: 0,
            strain: 0,
            violator_refused: None,
            yields: YIELDS_MAX,
            pressed: Time::ZERO,
            told: None,
        }
    }

    pub(crate) fn send(&self, local: &mut Local, to: NodeId, body: Body) {
        let message = Message {
            overlay: self.overlay,
            epoch: self.epoch,
            body,
        };
        local.send(to, message);
    }

    /// Tells the node of changed edges; at the end of each mutation.
    pub(crate) fn tell_edges(&mut self, local: &mut Local) {
        let edges = Edges {
            parent: self.parent.as_ref().map(|parent| parent.contact.id),
            children: self.live_children().map(|(id, _)| id).collect(),
            path: self.path().collect(),
        };
        if self.told.as_ref() == Some(&edges) {
            return;
        }
        self.told = Some(edges.clone());
        let Edges {
            parent,
            children,
            path,
        } = edges;
        local.event(Event::Edges {
            overlay: self.overlay,
            parent,
            children,
            path,
        });
    }

    /// Sets a timer of this overlay.
    pub(crate) fn set_timer(&self, local: &mut Local, timer: fn(OverlayId) -> Timer, at: Time) {
        local.timers.set(timer(self.overlay), at);
    }

    /// A life sign from the parent or a new epoch: more early ticks, beginning soon.
    pub(crate) fn hurry(&mut self, local: &mut Local, ticks: u8) {
        self.haste = self.haste.max(ticks);
        let at = local.now + local.jittered(local.config.tick_early);
        local.timers.set_earliest(Timer::Tick(self.overlay), at);
    }

    pub(crate) fn is_root(&self, local: &Local) -> bool {
        self.root.id == local.id
    }

    /// Whether this member hangs, over its ancestors, on the root.
    pub(crate) fn rooted(&self, local: &Local) -> bool {
        self.is_root(local) || self.parent.as_ref().is_some_and(|parent| parent.rooted)
    }

    pub(crate) fn has_edge(&self, peer: NodeId) -> bool {
        self.parent.as_ref().is_some_and(|p| p.contact.id == peer)
            || self.children.contains_key(&peer)
            || self.pending.as_ref().is_some_and(|p| p.target == peer)
    }

    /// Whether the tree here hangs on `peer`: by an edge, or because it is the root.
    pub(crate) fn relies_on(&self, peer: NodeId) -> bool {
        self.has_edge(peer) || self.root.id == peer
    }

    /// Whether `peer` is in a view or among the strangers.
    pub(crate) fn knows(&self, peer: NodeId) -> bool {
        self.view.get(peer).is_some() || self.pool.contains(peer)
    }

    pub(crate) fn live_children(&self) -> impl Iterator<Item = (NodeId, &Child)> {
        self.children
            .iter()
            .filter(|(_, child)| child.reserved.is_none())
            .map(|(&id, child)| (id, child))
    }

    /// From the parent to the root.
    pub(crate) fn path(&self) -> impl Iterator<Item = NodeId> {
        let parent = self.parent.iter();
        parent.flat_map(|parent| {
            std::iter::once(parent.contact.id).chain(parent.path.iter().map(|hop| hop.contact.id))
        })
    }

    /// The same as children are told it.
    pub(crate) fn hops(&self) -> Vec<Hop> {
        let Some(parent) = &self.parent else {
            return Vec::new();
        };
        let first = Hop {
            contact: parent.contact.clone(),
            delay_us: parent.delay_us,
            version: parent.version,
        };
        let mut hops: Vec<Hop> = std::iter::once(first)
            .chain(parent.path.iter().cloned())
            .take(HOPS_MAX)
            .collect();
        for hop in hops.iter_mut().skip(HINTED_HOPS) {
            hop.contact = Contact::bare(hop.contact.id);
        }
        hops
    }

    pub(crate) fn bound_us(&self) -> Option<u32> {
        self.direct_us
            .map(|direct_us| tree::bound_us(self.alpha_milli, direct_us))
    }

    pub(crate) fn violates(&self) -> bool {
        let bound = self.bound_us();
        self.parent.is_some() && bound.is_some_and(|bound_us| self.delay_us > bound_us)
    }

    /// How much later this member may hear without breaking anyone in its branch. A slack of
    /// another epoch counts 0: the knob may have been lowered since.
    pub(crate) fn slack_us(&self, local: &Local) -> i64 {
        let own = match self.bound_us() {
            _ if self.is_root(local) => SLACK_US_MAX,
            Some(bound_us) => i64::from(bound_us) - i64::from(self.delay_us),
            None => 0,
        };
        let below = self.children.values().map(|child| {
            if child.epoch == self.epoch {
                child.slack_us
            } else {
                child.slack_us.min(0)
            }
        });
        below.fold(own, i64::min)
    }

    /// Children that this member would still take; `spare` opens the quarter kept for orphans and
    /// violators.
    pub(crate) fn slots(&self, spare: bool) -> u8 {
        let kept = if spare { 0 } else { self.cap / 4 };
        let taken = u8::try_from(self.children.len()).unwrap_or(u8::MAX);
        (self.cap - kept).saturating_sub(taken)
    }

    /// The child that should move, and how hard it should try: the one with the largest slack, of
    /// its branch, or its own if a violator was refused; each earlier request counts against it.
    pub(crate) fn superfluous(&self, now: Time) -> Option<(NodeId, Pressure)> {
        if self.children.len() <= usize::from(self.cap - self.cap / 4) {
            return None;
        }
        let lately = self.violator_refused.is_some_and(|at| at + DEMAND > now);
        let refused = lately && self.yields > 0;
        let slack_us = |child: &Child| match child.direct_us {
            Some(direct_us) if refused => {
                let bound_us = tree::bound_us(self.alpha_milli, direct_us);
                i64::from(bound_us) - i64::from(self.delay_us.saturating_add(child.rtt_us))
            }
            Some(_) | None => child.slack_us,
        };
        let tolerance = |child: &Child| slack_us(child).max(1) / i64::from(child.asked + 1);
        let (id, _) = self
            .live_children()
            .max_by_key(|&(_, child)| tolerance(child))?;
        let pressure = if refused {
            Pressure::Yield
        } else {
            Pressure::Move
        };
        Some((id, pressure))
    }

    /// Slots as others are told them: none while this member could not answer an offer.
    pub(crate) fn open_slots(&self, local: &Local) -> u8 {
        if self.rooted(local) {
            self.slots(false)
        } else {
            0
        }
    }

    pub(crate) fn standing(&self, local: &Local) -> Standing {
        Standing {
            hint: local.hint.clone(),
            position: local.position,
            direct_us: self.direct_us,
            delay_us: self.delay_us,
            rooted: self.rooted(local),
            slots: self.open_slots(local),
            version: self.version,
            path: self.path().take(HOPS_MAX).collect(),
        }
    }

    /// Capacity of each view.
    pub(crate) fn view_capacity(&self, local: &Local) -> usize {
        let members = if self.members == 0 {
            MEMBERS_UNKNOWN
        } else {
            self.members.max(2)
        };
        let log = (members - 1).ilog2() as usize + 1;
        let factor = if members > 2_000 { 3 } else { 2 };
        (factor * log).clamp(local.config.view_min, local.config.view_max)
    }

    /// Sums over this member and its branch.
    pub(crate) fn sums(&self, now: Time) -> Sums {
        let mut sums = Sums {
            covered: 1,
            ..Sums::default()
        };
        if let Some(parent) = &self.parent {
            let rdp_milli = match self.direct_us {
                Some(direct_us @ 1..) => {
                    let milli = u64::from(self.delay_us) * 1_000 / u64::from(direct_us);
                    u32::try_from(milli).unwrap_or(u32::MAX)
                }
                Some(0) | None => 1_000,
            };
            sums.attached = 1;
            sums.cost_us = parent.rtt_us.into();
            sums.rdp_max_milli = rdp_milli;
            sums.rdp_sum_milli = rdp_milli.into();
            sums.violators = self.violates().into();
        }
        for (_, child) in self.live_children() {
            let waited = now.since(child.heard).as_millis();
            let waited = u32::try_from(waited).unwrap_or(u32::MAX);
            sums.add(&child.sums, waited);
        }
        // What each child says is within the limits, what they say together need not be.
        sums.clamp();
        sums
    }

    pub(crate) fn status(&self, local: &Local) -> Status {
        let rtt = |(id, child): (NodeId, &Child)| (id, child.rtt_us);
        Status {
            overlay: self.overlay,
            root: self.root.id,
            parent: self.parent.as_ref().map(|parent| parent.contact.id),
            children: self.live_children().map(rtt).collect(),
            path: self.path().collect(),
            parent_rtt_us: self.parent.as_ref().map_or(0, |parent| parent.rtt_us),
            delay_us: self.delay_us,
            direct_us: self.direct_us,
            alpha_milli: self.alpha_milli,
            epoch: self.epoch,
            sums: self.sums(local.now),
        }
    }
}

impl Sums {
    /// Adds those of a branch, heard `waited_ms` ago.
    fn add(&mut self, branch: &Self, waited_ms: u32) {
        self.covered = self.covered.saturating_add(branch.covered);
        self.cost_us = self.cost_us.saturating_add(branch.cost_us);
        self.rdp_max_milli = self.rdp_max_milli.max(branch.rdp_max_milli);
        self.rdp_sum_milli = self.rdp_sum_milli.saturating_add(branch.rdp_sum_milli);
        self.attached = self.attached.saturating_add(branch.attached);
        self.violators = self.violators.saturating_add(branch.violators);
        self.age_ms = self.age_ms.max(branch.age_ms.saturating_add(waited_ms));
    }
}

#[cfg(test)]
impl Member {
    pub(crate) fn state_len(&self) -> usize {
        let lists = self.children.len() + self.transits.len() + self.path().count();
        lists + self.view.iter().count() + self.pool.len()
    }
}
