//! Beats: life signs on edges. Down they carry the knob, the delay and the path, up the slack and
//! the sums of the branch.
//!
//! A path is told until the child has confirmed it, and at once when it changes; so does a delay
//! that moved by a hundredth. Last guard against loops: who sees itself among its ancestors leaves.

use opus_core::{NodeId, Time};

use crate::{
    Event,
    local::{Local, Timer},
    member::{Member, YIELDS_MAX},
    wire::{Beat, Body, Down, HOPS_MAX, Leave, Parting, Pressure, SLACK_US_MAX, Up},
};

/// A delay that moved by less than this share is told with the next beat.
const NEWS_SHARE: u32 = 100;

impl Member {
    /// Ends silent edges, sends a beat on the others.
    pub(crate) fn on_beat_timer(&mut self, local: &mut Local) {
        let period = if self.haste > 0 {
            local.config.beat_early
        } else {
            local.config.beat
        };
        let at = local.now + local.jittered(period);
        self.set_timer(local, Timer::Beat, at);
        self.expire_claims(local.now);
        let silent = local.config.beat * local.config.beats_missed_max;
        let gone = |heard: Time| heard + silent <= local.now;
        self.children.retain(|_, child| !gone(child.heard));
        if self
            .parent
            .as_ref()
            .is_some_and(|parent| gone(parent.heard))
        {
            self.orphan(local, None);
        }
        if self.is_root(local) {
            self.members = self.sums(local.now).covered;
        }
        self.send_up(local);
        self.press(local);
        self.beat_children(local);
    }

    /// Asks a child to move if there are too many.
    pub(crate) fn press(&mut self, local: &mut Local) {
        if let Some((id, pressure)) = self.superfluous(local.now) {
            if let Some(child) = self.children.get_mut(&id) {
                child.asked = child.asked.saturating_add(1);
            }
            self.pressed = local.now;
            self.yields -= u8::from(pressure == Pressure::Yield);
            self.send_down(local, id, pressure);
        }
    }

    /// What the parent says.
    pub(crate) fn on_down(&mut self, local: &mut Local, from: NodeId, epoch: u32, mut down: Down) {
        let Some(parent) = self.parent.as_mut().filter(|p| p.contact.id == from) else {
            let pending = self.pending.as_ref().is_some_and(|p| p.target == from);
            if !pending {
                self.part(local, from, Parting::NoEdge, None);
            }
            return;
        };
        parent.heard = local.now;
        let news = parent.rooted != down.rooted;
        parent.rooted = down.rooted;
        parent.delay_us = down.delay_us;
        parent.version = down.version;
        if down.pressure > Pressure::None {
            parent.pressure = down.pressure;
            parent.pressed = local.now;
        }
        let mut moved = false;
        if let Some(path) = down.path.take() {
            moved = parent.path != path;
            parent.path_serial = down.path_serial;
            parent.path = path;
        }
        if moved {
            if self.path().any(|ancestor| ancestor == local.id) || self.path().count() >= HOPS_MAX {
                self.part(local, from, Parting::Moved, None);
                self.orphan(local, None);
                return;
            }
            self.on_path_changed(local);
        }
        let turned = self.adopt_knob(local, epoch, &down);
        let later = self.settle_delay(local);
        if news || moved || turned || later {
            self.beat_children(local);
        }
        self.members = down.members;
        if down.pressure > Pressure::None {
            self.drift(local);
        }
    }

    /// What a child says.
    pub(crate) fn on_up(&mut self, local: &mut Local, from: NodeId, epoch: u32, up: &Up) {
        let Some(child) = self.children.get_mut(&from) else {
            self.part(local, from, Parting::NoEdge, None);
            return;
        };
        child.heard = local.now;
        child.rtt_us = up.rtt_us;
        child.direct_us = up.direct_us.or(child.direct_us);
        child.position = up.position.or(child.position);
        child.slack_us = up.slack_us;
        child.epoch = epoch;
        child.sums = up.sums;
        child.slots = up.slots;
        child.path_serial = Some(up.path_serial);
        self.send_up_if_tighter(local);
    }

    /// The other end says that the edge ends.
    pub(crate) fn on_leave(&mut self, local: &mut Local, from: NodeId, leave: Leave) {
        if self.children.remove(&from).is_some() {
            if leave.why == Parting::Moved {
                let (overlay, child) = (self.overlay, from);
                local.event(Event::ChildMoved { overlay, child });
            }
            return;
        }
        if self.parent.as_ref().is_some_and(|p| p.contact.id == from) {
            if leave.why == Parting::Goodbye && from == self.root.id {
                let overlay = self.overlay;
                local.event(Event::RootLost { overlay });
            }
            self.orphan(local, leave.to);
        } else {
            self.on_target_gone(local, from);
        }
    }

    /// The round trip of the edge to the parent changed.
    pub(crate) fn on_edge_measured(&mut self, local: &mut Local, rtt_us: u32) {
        if let Some(parent) = &mut self.parent {
            parent.rtt_us = rtt_us;
        }
        if self.settle_delay(local) {
            self.beat_children(local);
            self.send_up(local);
        }
    }

    /// Reckons the delay anew; a rise comes off the slacks of the children until they tell theirs.
    /// Gives whether the children should hear at once.
    pub(crate) fn settle_delay(&mut self, local: &mut Local) -> bool {
        let Some(parent) = &self.parent else {
            return false;
        };
        let delay_us = parent.delay_us.saturating_add(parent.rtt_us);
        let rise_us = i64::from(delay_us) - i64::from(self.delay_us);
        if rise_us > 0 {
            for child in self.children.values_mut() {
                child.slack_us -= rise_us;
            }
        }
        let news = delay_us.abs_diff(self.delay_us) > self.delay_us / NEWS_SHARE;
        self.delay_us = delay_us;
        if self.violates() && self.strain == 0 {
            self.hurry(local, 1);
        } else if !self.violates() {
            self.stuck = false;
            self.strain = 0;
        }
        news
    }

    /// Takes over the root's knob from the parent; gives whether it changed.
    ///
    /// The parent's word counts, not the higher epoch: knobs flow down a tree from one root, which
    /// may have begun anew.
    pub(crate) fn adopt_knob(&mut self, local: &mut Local, epoch: u32, down: &Down) -> bool {
        if (self.epoch, self.alpha_milli) == (epoch, down.alpha_milli) {
            return false;
        }
        self.epoch = epoch;
        self.alpha_milli = down.alpha_milli;
        self.idle = 0;
        self.yields = YIELDS_MAX;
        self.hurry(local, local.config.ticks_early);
        true
    }

    /// Children must hear of another path, and its nearest and last node may be parents one day.
    pub(crate) fn on_path_changed(&mut self, local: &Local) {
        self.path_serial = self.path_serial.wrapping_add(1);
        let Some(parent) = &self.parent else {
            return;
        };
        let grandparent = parent.path.first().map(|hop| hop.contact.clone());
        let root = self.root.clone();
        for contact in grandparent.into_iter().chain([root]) {
            if contact.id != local.id {
                self.view.heard(local.now, &contact);
            }
        }
    }

    /// What children are told; without the path.
    pub(crate) fn down(&self, local: &Local, pressure: Pressure) -> Down {
        Down {
            alpha_milli: self.alpha_milli,
            delay_us: self.delay_us,
            version: self.version,
            rooted: self.rooted(local),
            pressure,
            members: self.members,
            path_serial: self.path_serial,
            path: None,
        }
    }

    pub(crate) fn send_down(&self, local: &mut Local, child: NodeId, pressure: Pressure) {
        let mut down = self.down(local, pressure);
        let confirmed = self.children.get(&child).and_then(|c| c.path_serial);
        if confirmed != Some(self.path_serial) {
            down.path = Some(self.hops());
        }
        self.send(local, child, Body::Beat(Box::new(Beat::Down(down))));
    }

    pub(crate) fn beat_children(&self, local: &mut Local) {
        for (child, _) in self.live_children() {
            self.send_down(local, child, Pressure::None);
        }
    }

    pub(crate) fn send_up(&mut self, local: &mut Local) {
        let slack_us = self.slack_us(local).clamp(-SLACK_US_MAX, SLACK_US_MAX);
        self.told_slack_us = slack_us;
        let Some(parent) = &self.parent else {
            return;
        };
        let up = Up {
            slack_us,
            sums: self.sums(local.now),
            path_serial: parent.path_serial,
            slots: self.open_slots(local),
            rtt_us: parent.rtt_us,
            direct_us: self.direct_us,
            position: local.position,
            version: self.version,
        };
        self.send(local, parent.contact.id, Body::Beat(Box::new(Beat::Up(up))));
    }

    /// A branch that tolerates less than its ancestors believe must say so before they rise.
    pub(crate) fn send_up_if_tighter(&mut self, local: &mut Local) {
        let slack_us = self.slack_us(local);
        let share = self.told_slack_us.abs() / i64::from(NEWS_SHARE);
        if slack_us < self.told_slack_us - share {
            self.send_up(local);
        }
    }
}
