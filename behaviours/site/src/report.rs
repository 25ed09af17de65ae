//! Live membership: news of members travel up the tree, to the root.
//!
//! A member reports itself to its parent when it attaches, twice more soon after, and then each 30
//! seconds; parents collect rows for a moment and pass them on. A parent takes `joined` only from
//! those it forwards frames to, so that what the root lists as joined is due its frames. A lost
//! child that does not come back is reported gone by its last parent; whoever is silent for three
//! reports is forgotten by the root.

use std::time::Duration;

use opus_core::{Lane, NodeId, OverlayId, Time};
use rand::RngExt;

use crate::{
    command::{Event, MemberState, Role},
    machine::{Name, Site},
    sync::jitter,
    wire::{Message, ROWS_MAX, Row},
};

/// Reports soon after an attachment: the first may come before the parent took us as a child.
const REPORTS_EARLY: u8 = 3;
/// Time between those.
const EARLY: Duration = Duration::from_millis(300);

impl Site {
    /// Reports at once and a few times soon after: we have a new place in the tree.
    pub(crate) fn report_self_soon(&mut self, now: Time, overlay: OverlayId) {
        let generation = self.fresh_generation();
        let membership = self.membership(overlay);
        membership.generation = generation;
        membership.reports_early = REPORTS_EARLY;
        self.on_report_due(now, overlay);
    }

    pub(crate) fn on_report_due(&mut self, now: Time, overlay: OverlayId) {
        let (me, unit) = (self.me.id, self.rng.random());
        let interval = self.config.report_interval;
        let Some(membership) = self
            .memberships
            .get_mut(&overlay)
            .filter(|m| m.is_attached())
        else {
            return;
        };
        if membership.is_rooted() {
            return;
        }
        let row = Row {
            member: me,
            role: Role::Sink,
            state: MemberState::Joined,
            generation: membership.generation,
        };
        // Overflow as written at the field.
        membership.pending.insert(me, row).ok();
        let wait = if membership.reports_early > 0 {
            membership.reports_early -= 1;
            EARLY
        } else {
            jitter(interval, unit)
        };
        self.timers.set(Name::Report(overlay), now + wait);
        self.flush(overlay);
    }

    /// Sends collected rows to the parent; without one they wait.
    pub(crate) fn flush(&mut self, overlay: OverlayId) {
        self.timers.clear(Name::Flush(overlay));
        let Some(membership) = self.memberships.get_mut(&overlay) else {
            return;
        };
        let Some(parent) = membership.edges.parent else {
            return;
        };
        let rows: Vec<Row> = membership.pending.values().copied().collect();
        membership.pending = opus_core::BoundedMap::new(membership.pending.capacity());
        for chunk in rows.chunks(ROWS_MAX) {
            let rows = chunk.to_vec();
            self.send(parent, Lane::Control, Message::Report { overlay, rows });
        }
    }

    pub(crate) fn on_report(&mut self, now: Time, from: NodeId, overlay: OverlayId, rows: &[Row]) {
        let Some(membership) = self.memberships.get_mut(&overlay) else {
            return;
        };
        let child = membership.edges.children.contains(&from);
        let known = membership.below.contains_key(&from);
        for row in rows {
            let farewell = match row.state {
                MemberState::Leaving | MemberState::Gone => true,
                MemberState::Joining | MemberState::Joined => false,
            };
            if !(child || (known && farewell)) {
                continue;
            }
            if row.member == from {
                self.on_child_row(overlay, row);
            }
            self.pass_up(now, overlay, row);
        }
    }

    fn on_child_row(&mut self, overlay: OverlayId, row: &Row) {
        let membership = self.membership(overlay);
        match row.state {
            MemberState::Joining | MemberState::Joined => membership.note_below(*row),
            MemberState::Leaving | MemberState::Gone => {
                membership.below.remove(&row.member);
                let child = row.member;
                self.emit(Event::Relay(opus_relay::Command::ChildLeft {
                    overlay,
                    child,
                }));
            }
        }
    }

    /// Applies a row at the root; elsewhere keeps it for the next report to the parent.
    pub(crate) fn pass_up(&mut self, now: Time, overlay: OverlayId, row: &Row) {
        let delay = self.config.flush_delay;
        let me = self.me.id;
        let membership = self.membership(overlay);
        if row.member == me {
            return;
        }
        if membership.is_rooted() {
            if let Some(state) = membership.roster.apply(row, now) {
                self.announce_member(overlay, row.member, row.role, state);
            }
            return;
        }
        let waiting = membership.pending.get(&row.member);
        if waiting.is_none_or(|waiting| row.generation >= waiting.generation) {
            // Overflow as written at the field.
            membership.pending.insert(row.member, *row).ok();
        }
        self.timers.set_earliest(Name::Flush(overlay), now + delay);
    }

    /// Tells the node of a change among the members of an overlay rooted here.
    pub(crate) fn announce_member(
        &mut self,
        overlay: OverlayId,
        member: NodeId,
        role: Role,
        state: MemberState,
    ) {
        self.emit(Event::Member {
            overlay,
            member,
            role,
            state,
        });
    }

    /// Forgets lost children, and members that nobody has heard of.
    pub(crate) fn on_sweep(&mut self, now: Time) {
        let overlays: Vec<OverlayId> = self.memberships.keys().copied().collect();
        for overlay in overlays {
            self.sweep(now, overlay);
        }
        self.arm_sweep(now);
    }

    fn sweep(&mut self, now: Time, overlay: OverlayId) {
        let hold = u64::try_from(self.config.hold.as_micros()).unwrap_or(u64::MAX);
        let age_max = self.config.member_age_max;
        let rows = match now.0.checked_sub(hold) {
            Some(before) => self.membership(overlay).take_lost(Time(before)),
            None => Vec::new(),
        };
        for row in rows {
            let gone = Row {
                state: MemberState::Gone,
                ..row
            };
            self.pass_up(now, overlay, &gone);
        }
        if !self.membership(overlay).is_rooted() {
            return;
        }
        self.refresh_self(now, overlay);
        for (member, role) in self.membership(overlay).roster.expire(now, age_max) {
            self.announce_member(overlay, member, role, MemberState::Gone);
        }
    }
}
