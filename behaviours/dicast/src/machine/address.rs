//! Where this node may be dialled, and how those who know an older address learn it.
//!
//! A node hears of its own addresses bit by bit: from its listeners at once, from others who dial
//! back after minutes. Seats are compared by who sits there in which life, so a new address begins
//! a new one: the agent takes the seat anew and tells all members. What others hold of our own
//! posts is found by the digests of views and paths.

use opus_core::{Hint, Time};

use super::Dicast;
use crate::{Message, wire::Join};

impl Dicast {
    pub(super) fn on_hint(&mut self, now: Time, hint: Hint) {
        if hint == self.me.contact.hint {
            return;
        }
        self.me.contact.hint = hint;
        if !self.running {
            return;
        }
        self.me.incarnation = self.me.incarnation.saturating_add(1);
        let levels: Vec<u8> = self.posts.keys().copied().collect();
        for level in levels {
            if let Some(post) = self.posts.get_mut(&level) {
                post.view.agent = self.me.contact.clone();
            }
            self.on_path_changed(level);
        }
        for level in self.membership_levels() {
            self.take_seat_anew(now, level);
        }
    }

    /// Asks our agent at `level` for the seat that we have.
    fn take_seat_anew(&mut self, now: Time, level: u8) {
        let seat = match level {
            1 => Some(self.seat(now, None, 1)),
            _ => self.seat_of_post(now, level - 1),
        };
        let agent = self.membership(level).map(|m| m.view.agent.clone());
        if let (Some(seat), Some(agent)) = (seat, agent) {
            let join = Join {
                target: level,
                at: level,
                moves: false,
                counted: true,
                seat,
            };
            self.send_to(now, &agent, Message::Join(join));
        }
    }
}
