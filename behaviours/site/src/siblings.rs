//! News of the other machines, and what follows from them: the decisions that span two protocols.

use std::time::Duration;

use opus_core::{Contact, NodeId, OverlayId, Time};

use crate::{
    command::{Event, Role},
    machine::{Name, Site},
    membership::Edges,
};

/// The probe is asked again after this when it had no room.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);
/// Targets of one command to the probe.
const TARGETS_MAX: usize = 64;
/// Targets kept for asking again. Overflow: not measured; the overlay asks in a later tick.
const UNMEASURED_MAX: usize = 1_024;

impl Site {
    pub(crate) fn on_probe(&mut self, now: Time, event: &opus_probe::Event) {
        match event {
            opus_probe::Event::Measured {
                id,
                peer,
                path,
                coordinate,
            } => {
                let (peer, coordinate) = (*peer, *coordinate);
                self.forget_measured(*id, peer);
                self.judge(now, *id, peer, path.is_some());
                if let Some(path) = path.as_ref().filter(|_| self.watches.contains_key(&peer)) {
                    let rtt = Duration::from_micros(u64::from(path.rtt_smoothed_us));
                    let one_way = rtt / 2;
                    self.emit(Event::Relay(opus_relay::Command::Delay { peer, one_way }));
                }
                let rtt_us = path.as_ref().map(|path| path.rtt_min_us);
                self.emit(Event::Overlay(opus_overlay::Command::Measured {
                    peer,
                    rtt_us,
                    coordinate,
                }));
            }
            opus_probe::Event::Moved(coordinate) => {
                self.place = Some((*coordinate).into());
                self.emit(Event::Overlay(opus_overlay::Command::Coordinate(
                    *coordinate,
                )));
            }
            opus_probe::Event::Refused { id, .. } => {
                let targets = self.measuring.remove(id).unwrap_or_default();
                for target in targets {
                    if self.unmeasured.len() < UNMEASURED_MAX {
                        self.unmeasured.insert(target);
                    }
                }
                self.timers.set_earliest(Name::Measure, now + MEASURE_AGAIN);
            }
        }
    }

    fn forget_measured(&mut self, id: u64, peer: NodeId) {
        if let Some(targets) = self.measuring.get_mut(&id) {
            targets.retain(|&target| target != peer);
            if targets.is_empty() {
                self.measuring.remove(&id);
            }
        }
    }

    pub(crate) fn on_measure_again(&mut self) {
        let targets = std::mem::take(&mut self.unmeasured).into_iter();
        let (suspects, targets): (Vec<NodeId>, Vec<NodeId>) =
            targets.partition(|target| self.suspects.contains_key(target));
        for suspect in suspects {
            self.check(suspect);
        }
        let age_max = self.config.measure_age_max;
        for chunk in targets.chunks(TARGETS_MAX) {
            self.measure(chunk.to_vec(), age_max);
        }
    }

    /// Has the probe measure `targets`, unless it did within `age_max`; gives the number of this.
    pub(crate) fn measure(&mut self, targets: Vec<NodeId>, age_max: Duration) -> u64 {
        let id = self.fresh_id();
        if self.measuring.is_full()
            && let Some(&oldest) = self.measuring.keys().next()
        {
            self.measuring.remove(&oldest);
        }
        self.measuring.insert(id, targets.clone()).ok();
        self.emit(Event::Probe(opus_probe::Command::Measure {
            id,
            targets,
            age_max,
        }));
        id
    }

    pub(crate) fn on_overlay(&mut self, now: Time, event: opus_overlay::Event) {
        match event {
            opus_overlay::Event::Measure { targets } => self.on_measure(&targets),
            opus_overlay::Event::Edges {
                overlay,
                parent,
                children,
                path,
            } => {
                let edges = Edges {
                    parent,
                    children,
                    path,
                };
                self.on_edges(now, overlay, edges);
            }
            opus_overlay::Event::Unattached { overlay } => {
                self.tell_of(overlay, "info", "looks for a parent");
            }
            opus_overlay::Event::BoundMissed { overlay } => {
                self.tell_of(
                    overlay,
                    "info",
                    "has no parent within the bound and took the best",
                );
            }
            opus_overlay::Event::ChildMoved { overlay, child } => {
                self.emit(Event::Relay(opus_relay::Command::ChildMoved {
                    overlay,
                    child,
                }));
            }
            opus_overlay::Event::RootLost { overlay } => {
                self.tell_of(overlay, "warn", "has lost its root");
            }
            opus_overlay::Event::Refused { id, reason } => {
                self.on_overlay_refused(now, id, reason);
            }
        }
    }

    pub(crate) fn tell_of(&mut self, overlay: OverlayId, level: &'static str, what: &str) {
        if let Some(membership) = self.memberships.get(&overlay) {
            let msg = format!("{} {what}", membership.app);
            self.tell(level, "overlay", msg);
        }
    }

    fn on_measure(&mut self, targets: &[Contact]) {
        for contact in targets {
            self.emit(Event::Contact(contact.clone()));
        }
        let age_max = self.config.measure_age_max;
        for chunk in targets.chunks(TARGETS_MAX) {
            let chunk = chunk.iter().map(|contact| contact.id);
            self.measure(chunk.collect(), age_max);
        }
    }

    /// The tree changed here: frames, measurements and reports follow it.
    fn on_edges(&mut self, now: Time, overlay: OverlayId, edges: Edges) {
        let Some(membership) = self.memberships.get_mut(&overlay) else {
            return;
        };
        if membership.told_root.is_none() {
            return;
        }
        let before = std::mem::replace(&mut membership.edges, edges);
        membership.mark_children(now);
        let parent = membership.edges.parent;
        let (old, new) = (before.neighbours(), membership.edges.neighbours());
        self.carry_edges(overlay);
        for &peer in new.difference(&old) {
            self.watch(peer);
        }
        for &peer in old.difference(&new) {
            self.unwatch(peer);
        }
        if parent.is_some() && parent != before.parent {
            self.report_self_soon(now, overlay);
        }
    }

    /// Tells the relay our edges, if it carries the overlay.
    pub(crate) fn carry_edges(&mut self, overlay: OverlayId) {
        let membership = self.membership(overlay);
        if membership.carried.is_none() {
            return;
        }
        let (parent, children) = (membership.edges.parent, membership.edges.children.clone());
        self.emit(Event::Relay(opus_relay::Command::Edges {
            overlay,
            parent,
            children,
        }));
    }

    fn watch(&mut self, peer: NodeId) {
        let count = self.watches.entry(peer).or_default();
        *count += 1;
        if *count == 1 {
            self.emit(Event::Probe(opus_probe::Command::Watch(peer)));
        }
    }

    fn unwatch(&mut self, peer: NodeId) {
        let Some(count) = self.watches.get_mut(&peer) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.watches.remove(&peer);
            self.emit(Event::Probe(opus_probe::Command::Unwatch(peer)));
        }
    }

    pub(crate) fn unwatch_all(&mut self, edges: &Edges) {
        for peer in edges.neighbours() {
            self.unwatch(peer);
        }
    }

    fn on_overlay_refused(&mut self, now: Time, id: u64, reason: opus_overlay::Refusal) {
        let joining = self
            .memberships
            .iter()
            .find(|(_, membership)| membership.join_id == id)
            .map(|(&overlay, _)| overlay);
        match (reason, joining) {
            (opus_overlay::Refusal::TooMany, Some(overlay)) => {
                self.end_all(
                    now,
                    overlay,
                    None,
                    "this node carries as many overlays as it may",
                );
            }
            (
                opus_overlay::Refusal::TooMany
                | opus_overlay::Refusal::NotMember
                | opus_overlay::Refusal::Member
                | opus_overlay::Refusal::NotRoot
                | opus_overlay::Refusal::Knob,
                _,
            ) => self.tell(
                "warn",
                "overlay",
                format!("the overlay machine refused: {reason}"),
            ),
        }
    }

    pub(crate) fn on_relay(&mut self, now: Time, event: &opus_relay::Event) {
        match event {
            // The node and its clients follow these; nothing here hangs on them.
            opus_relay::Event::Stable { .. } | opus_relay::Event::Room { .. } => {}
            opus_relay::Event::SlowSink { att, .. } => {
                self.tell(
                    "warn",
                    "relay",
                    format!("sink {att} is too slow and is cut"),
                );
                let attachment = self.attachments.get(att);
                if attachment.is_some_and(|attachment| attachment.role == Role::Sink) {
                    self.end_attachment(now, *att, "slow_consumer: took no frame for too long");
                }
            }
            opus_relay::Event::SlowBranch { overlay, child } => {
                self.tell_of(
                    *overlay,
                    "warn",
                    &format!("no longer waits for the branch of {child:?}"),
                );
            }
            opus_relay::Event::Lost { overlay, seq } => {
                self.tell_of(
                    *overlay,
                    "warn",
                    &format!("lost frames before sequence {seq}"),
                );
            }
            opus_relay::Event::Refused { overlay, reason } => {
                self.tell_of(
                    *overlay,
                    "warn",
                    &format!("is not carried in full: {reason}"),
                );
            }
            opus_relay::Event::Offence { peer, offence } => self.penalise(*peer, *offence),
        }
    }
}
