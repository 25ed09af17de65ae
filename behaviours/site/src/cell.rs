//! The cell: the nodes that dicast seats in one cluster of level 1 with us, and what they carry.
//!
//! Nodes of one cell are near each other, so those that carry the same overlay belong in each
//! other's views. Each node tells the agent of its cell which overlays it carries, over the
//! connection that they have anyway: soon after a change, when the agent is another, and each
//! minute in case the word was lost. For each overlay that is news the agent names the nearest
//! members that carry it too; they are introduced to the overlay, and gossip does the rest. The
//! agent asks itself in the same way.
//!
//! A cell believes its members: one that claims an overlay which it does not carry costs who is
//! told of it a measurement. Only members of the cell are listed, and only answers of the agent are
//! taken, one for each overlay and telling.
//!
//! Source: Opus 3.1 and 3.3 (knowledge of near nodes comes from the hierarchy).

use std::collections::BTreeSet;

use opus_core::{BoundedMap, Contact, Lane, NodeId, OverlayId, Time};
use opus_dicast::Dicast;
use opus_model::Position;
use rand::RngExt;

use crate::{
    command::{CellNews, Event},
    machine::{Name, Site},
    sync::jitter,
    wire::{CARRIED_MAX, MATES_MAX, Message},
};

/// What a node's cell is, as the site manager knows it.
#[derive(Debug)]
pub(crate) struct Cell {
    agent: Option<NodeId>,
    /// Without this node. Overflow: a further one is in no directory.
    mates: BoundedMap<NodeId, Mate>,
    /// What the agent was told last that we carry.
    told: BTreeSet<OverlayId>,
    /// Of which of these it may still name members.
    awaited: BTreeSet<OverlayId>,
}

/// Another node of the cell.
#[derive(Debug)]
struct Mate {
    contact: Contact,
    place: Option<Position>,
    /// As it said; empty unless it takes us for the agent.
    carried: BTreeSet<OverlayId>,
}

impl Cell {
    pub(crate) fn new(mates_max: usize) -> Self {
        Self {
            agent: None,
            mates: BoundedMap::new(mates_max),
            told: BTreeSet::new(),
            awaited: BTreeSet::new(),
        }
    }

    fn up(&mut self, contact: Contact) {
        let known = self.mates.get_or_insert_with(contact.id, || Mate {
            contact: contact.clone(),
            place: None,
            carried: BTreeSet::new(),
        });
        if let Some(mate) = known {
            mate.contact = contact;
        }
    }

    /// Takes what a mate carries; gives what it did not carry before. `None`: it is no mate.
    fn list(
        &mut self,
        from: NodeId,
        place: Option<Position>,
        carried: BTreeSet<OverlayId>,
    ) -> Option<Vec<OverlayId>> {
        let mate = self.mates.get_mut(&from)?;
        mate.place = place.or(mate.place);
        let before = std::mem::replace(&mut mate.carried, carried);
        Some(mate.carried.difference(&before).copied().collect())
    }

    /// Mates but `asker` that carry `overlay`, and their places.
    fn carriers(
        &self,
        overlay: OverlayId,
        asker: NodeId,
    ) -> impl Iterator<Item = (&Contact, Option<Position>)> {
        let others = self.mates.values();
        others
            .filter(move |mate| mate.contact.id != asker && mate.carried.contains(&overlay))
            .map(|mate| (&mate.contact, mate.place))
    }

    /// Another agent keeps another directory.
    fn lead(&mut self, agent: NodeId, me: NodeId) {
        if self.agent != Some(agent) {
            self.told.clear();
            self.awaited.clear();
        }
        if agent != me {
            for (_, mate) in &mut self.mates {
                mate.carried.clear();
            }
        }
        self.agent = Some(agent);
    }
}

#[cfg(test)]
impl Cell {
    /// Entries in all collections.
    pub(crate) fn len(&self) -> usize {
        let carried = self.mates.values().map(|mate| mate.carried.len());
        self.mates.len() + carried.sum::<usize>() + self.told.len() + self.awaited.len()
    }
}

/// The `MATES_MAX` of `carriers` that are nearest to `place`; those of unknown place come last.
fn nearest<'a>(
    carriers: impl Iterator<Item = (&'a Contact, Option<Position>)>,
    place: Option<Position>,
) -> Vec<Contact> {
    let mut ranked: Vec<(u32, &Contact)> = carriers
        .map(|(contact, theirs)| {
            let both = theirs.zip(place);
            let delay_us = both.map_or(u32::MAX, |(theirs, ours)| theirs.estimate_us(ours));
            (delay_us, contact)
        })
        .collect();
    ranked.sort_unstable();
    ranked.truncate(MATES_MAX);
    ranked
        .into_iter()
        .map(|(_, contact)| contact.clone())
        .collect()
}

impl Site {
    pub(crate) fn on_cell(&mut self, now: Time, news: CellNews) {
        let me = self.me.id;
        match news {
            CellNews::Agent(agent) => {
                self.cell.lead(agent.id, me);
                self.plan_cell(now);
            }
            CellNews::Up(contact) if contact.id != me => {
                self.acquit(contact.id);
                self.cell.up(contact);
            }
            CellNews::Up(_) => {}
            CellNews::Apart(peer) => {
                self.cell.mates.remove(&peer);
            }
            CellNews::Gone(peer) => {
                self.cell.mates.remove(&peer);
                self.suspect(peer);
            }
            CellNews::Alone => self.cell = Cell::new(self.config.mates_max),
        }
    }

    /// Tells the agent soon what we carry; changes of one moment travel together.
    pub(crate) fn plan_cell(&mut self, now: Time) {
        if self.cell.agent.is_some() {
            let soon = now + self.config.flush_delay;
            self.timers.set_earliest(Name::Cell, soon);
        }
    }

    /// The agent may be the one that has just connected.
    pub(crate) fn continue_cell(&mut self, now: Time, peer: NodeId) {
        if self.cell.agent == Some(peer) {
            self.plan_cell(now);
        }
    }

    pub(crate) fn on_cell_due(&mut self, now: Time) {
        let Some(agent) = self.cell.agent else {
            return;
        };
        let carried = self.carried();
        if carried.is_empty() && self.cell.told.is_empty() {
            return;
        }
        let unit = self.rng.random();
        let again = now + jitter(self.config.cell_interval, unit);
        self.timers.set(Name::Cell, again);
        if agent == self.me.id {
            let before = std::mem::replace(&mut self.cell.told, carried);
            let fresh: Vec<OverlayId> = self.cell.told.difference(&before).copied().collect();
            self.meet_mates(&fresh);
        } else if self.is_connected(agent) {
            self.cell.told.clone_from(&carried);
            self.cell.awaited.clone_from(&carried);
            let overlays = carried.into_iter().collect();
            let place = self.place;
            self.send(agent, Lane::Control, Message::Carry { place, overlays });
        }
    }

    /// Overlays in whose trees this node is, or seeks its place.
    fn carried(&self) -> BTreeSet<OverlayId> {
        let carried = self.memberships.iter();
        carried
            .filter(|(_, membership)| membership.told_root.is_some())
            .map(|(&overlay, _)| overlay)
            .take(CARRIED_MAX)
            .collect()
    }

    /// The agent's own overlays: its directory is here.
    fn meet_mates(&mut self, fresh: &[OverlayId]) {
        for &overlay in fresh {
            let mates = nearest(self.cell.carriers(overlay, self.me.id), self.place);
            self.meet(overlay, mates);
        }
    }

    /// A mate takes us for the agent and says what it carries.
    pub(crate) fn on_carry(
        &mut self,
        from: NodeId,
        place: Option<Position>,
        overlays: Vec<OverlayId>,
    ) {
        let overlays = overlays.into_iter().collect();
        let Some(fresh) = self.cell.list(from, place, overlays) else {
            return;
        };
        let own = self.carried();
        for overlay in fresh {
            let us = own.contains(&overlay).then_some((&self.me, self.place));
            let carriers = self.cell.carriers(overlay, from).chain(us);
            let members = nearest(carriers, place);
            if !members.is_empty() {
                self.send(from, Lane::Control, Message::Mates { overlay, members });
            }
        }
    }

    /// The agent names mates that carry an overlay with us.
    pub(crate) fn on_mates(&mut self, from: NodeId, overlay: OverlayId, members: Vec<Contact>) {
        let asked = self.cell.agent == Some(from) && self.cell.awaited.remove(&overlay);
        if asked {
            self.meet(overlay, members);
        }
    }

    fn meet(&mut self, overlay: OverlayId, mates: Vec<Contact>) {
        if !mates.is_empty() {
            let what = format!("meets {} members of its cell", mates.len());
            self.tell_of(overlay, "info", &what);
            self.introduce(overlay, mates);
        }
    }

    /// Names members of an overlay to its machine, and to the address book.
    pub(crate) fn introduce(&mut self, overlay: OverlayId, members: Vec<Contact>) {
        let within = self
            .memberships
            .get(&overlay)
            .is_some_and(|membership| membership.told_root.is_some());
        if members.is_empty() || !within {
            return;
        }
        for contact in &members {
            self.emit(Event::Contact(contact.clone()));
        }
        let introduce = opus_overlay::Command::Introduce { overlay, members };
        self.emit(Event::Overlay(introduce));
    }
}

/// Turns what dicast says into [`CellNews`].
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// We took a seat, and the rosters of the old and the new cluster are being compared.
    moving: bool,
    agent: Option<Contact>,
}

impl Watch {
    /// What an event of dicast says about the cell, if anything.
    pub fn on_event(&mut self, event: &opus_dicast::Event) -> Option<CellNews> {
        use opus_dicast::Event;
        match event {
            Event::Joined(_) => {
                self.moving = true;
                None
            }
            Event::AgentChanged(agent) => {
                self.moving = false;
                self.agent = Some(agent.clone());
                Some(CellNews::Agent(agent.clone()))
            }
            Event::MemberUp(contact) => Some(CellNews::Up(contact.clone())),
            Event::MemberDown(peer) if self.moving => Some(CellNews::Apart(*peer)),
            Event::MemberDown(peer) => Some(CellNews::Gone(*peer)),
            Event::Left => {
                *self = Self::default();
                Some(CellNews::Alone)
            }
            Event::Refused { .. }
            | Event::Measure { .. }
            | Event::Address(_)
            | Event::WantSeeds
            | Event::Want(_)
            | Event::Publish { .. }
            | Event::Deposed(_)
            | Event::RootChanged(_) => None,
        }
    }

    /// What no event says: a node that founds a tree is its agent, and a new roster may name
    /// another one. To be called now and then, when no events wait.
    pub fn look(&mut self, dicast: &Dicast) -> Option<CellNews> {
        let (view, _) = dicast.leaf()?;
        self.moving = false;
        if self.agent.as_ref() == Some(&view.agent) {
            return None;
        }
        self.agent = Some(view.agent.clone());
        Some(CellNews::Agent(view.agent.clone()))
    }
}

#[cfg(test)]
mod tests;
