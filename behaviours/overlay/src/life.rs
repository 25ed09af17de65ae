//! Begin, end and turning points of a membership: what is neither edge nor tick.

use opus_core::{Contact, NodeId};
use opus_model::Position;

use crate::{
    local::{Local, Timer},
    member::{Member, YIELDS_MAX},
    wire::Parting,
};

impl Member {
    /// The first mutation: a newcomer looks for a parent, all begin to tick and to beat.
    pub(crate) fn begin(&mut self, local: &mut Local) {
        let beat = local.now + local.jittered(local.config.beat_early);
        self.set_timer(local, Timer::Beat, beat);
        let tick = local.now + local.jittered(local.config.tick_early);
        self.set_timer(local, Timer::Tick, tick);
        if !self.is_root(local) {
            self.orphan(local, None);
        }
    }

    /// The last mutation: the children are handed over to the parent.
    pub(crate) fn say_goodbye(self, local: &mut Local) {
        let heir = self.parent.as_ref().map(|parent| parent.contact.clone());
        for &child in self.children.keys() {
            self.part(local, child, Parting::Goodbye, heir.clone());
        }
        if let Some(parent) = &self.parent {
            self.part(local, parent.contact.id, Parting::Goodbye, None);
        }
        if let Some(pending) = &self.pending {
            self.part(local, pending.target, Parting::Goodbye, None);
        }
    }

    /// At the root: the knob has another value from here on.
    pub(crate) fn turn_knob(&mut self, local: &mut Local, alpha_milli: u32) {
        self.alpha_milli = alpha_milli;
        self.epoch = self.epoch.wrapping_add(1);
        self.yields = YIELDS_MAX;
        self.hurry(local, local.config.ticks_early);
        self.beat_children(local);
    }

    /// The root is another node. The new one lets its parent go; the old one looks for a parent,
    /// and its branch comes with it; all measure their direct delay anew.
    pub(crate) fn reroot(&mut self, local: &mut Local, root: Contact) {
        if self.root.id == root.id {
            self.root = root;
            // It came back after a restart: who lost it asks it at once, not at the end of a wait.
            if self.search.is_some() {
                self.orphan(local, None);
            }
            return;
        }
        let was_root = self.is_root(local);
        self.root = root;
        if self.is_root(local) {
            if let Some(parent) = self.parent.take() {
                self.part(local, parent.contact.id, Parting::Moved, None);
            }
            self.pending = None;
            self.search = None;
            local.timers.clear(Timer::Pending(self.overlay));
            local.timers.clear(Timer::Search(self.overlay));
            self.direct_us = Some(0);
            self.delay_us = 0;
            self.epoch = self.epoch.wrapping_add(1);
            self.on_path_changed(local);
            self.beat_children(local);
        } else {
            self.direct_us = local.rtt(self.root.id);
            self.direct_at = local.now;
            if self.direct_us.is_none() {
                local.measure(&self.root);
            }
            if was_root || self.parent.is_none() {
                self.orphan(local, None);
            }
        }
        self.hurry(local, local.config.ticks_early);
    }

    /// A measured round trip, to whomever.
    pub(crate) fn on_measured(
        &mut self,
        local: &mut Local,
        peer: NodeId,
        rtt_us: Option<u32>,
        position: Option<Position>,
    ) {
        if let Some(rtt_us) = rtt_us {
            if peer == self.root.id && !self.is_root(local) {
                self.direct_us = Some(rtt_us);
                self.direct_at = local.now;
            }
            if self.parent.as_ref().is_some_and(|p| p.contact.id == peer) {
                self.on_edge_measured(local, rtt_us);
            }
            if let Some(known) = self.view.get_mut(peer) {
                known.position = position.or(known.position);
            }
        } else if !self.has_edge(peer) {
            self.forget(peer);
        }
        if self.search.is_some() && self.pending.is_none() {
            self.on_search_measured(local, peer, rtt_us.is_some());
        } else if self.view.get(peer).is_some() {
            self.drift(local);
        }
    }

    /// The root may have come back while this member waited for its next round.
    pub(crate) fn on_connected(&mut self, local: &mut Local, peer: NodeId) {
        if peer == self.root.id {
            self.search_anew(local);
        }
    }

    /// The connection to `peer` is gone, or there never was one.
    pub(crate) fn on_gone(&mut self, local: &mut Local, peer: NodeId) {
        self.children.remove(&peer);
        self.on_target_gone(local, peer);
        if self.parent.as_ref().is_some_and(|p| p.contact.id == peer) {
            self.orphan(local, None);
        }
    }
}
