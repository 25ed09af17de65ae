//! How a member's view comes to be its agent's again: it says what it has, and is told the rest.

use opus_core::{NodeId, Time};

use super::Dicast;
use crate::{
    Message,
    cluster::{Seat, View},
    wire::{Compare, Renewed, Welcome},
};

impl Dicast {
    /// A member's view is not ours.
    pub(super) fn on_compare(&mut self, now: Time, from: NodeId, compare: &Compare) {
        let level = self.post_of_tag(compare.tag);
        let post = level.and_then(|level| self.posts.get(&level));
        let seated = post.and_then(|post| Some((post, post.view.roster.find(from)?)));
        let answer = match seated {
            Some((post, slot)) => {
                Message::Renewed(Renewed::of(&post.view, slot, post.path(), compare))
            }
            None => Message::Stranger(compare.tag),
        };
        self.send(now, from, answer);
    }

    /// What our view lacked.
    pub(super) fn on_renewed(&mut self, now: Time, from: NodeId, renewed: Renewed) {
        let me = self.id();
        let Some(level) = self.level_of_tag(renewed.tag, from) else {
            return;
        };
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if membership.asked_at.is_none() {
            return;
        }
        let view = renewed.renew(&membership.view);
        let lowest = renewed.path.as_ref().and_then(|path| path.0.first());
        let joins = lowest.is_none_or(|lowest| lowest.level == level + 1);
        let lawful = |view: &View| {
            let mine = view.roster.get(renewed.slot);
            let fits = |seat: &Seat| seat.child().is_some() == (level > 1);
            joins
                && mine.is_some_and(|seat| seat.id() == me)
                && view.roster.iter().all(|(_, seat)| fits(seat))
        };
        let Some(view) = view.filter(lawful) else {
            membership.asked_at = Some(now);
            self.send(now, from, Message::Ask(renewed.tag));
            return;
        };
        let path = renewed.path.unwrap_or_else(|| membership.path.clone());
        let slot = renewed.slot;
        self.refresh(now, level, Welcome { view, slot, path });
    }
}
