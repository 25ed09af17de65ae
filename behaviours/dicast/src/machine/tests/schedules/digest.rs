//! What makes two states the same: all that decides who sits where and holds what.
//!
//! Left out are values on their way up and down with their numbers and round trips, what was asked
//! of the directory, how often an agent was heard, and the state of the generator: two states that
//! differ by these alone count as one.

use std::{
    fmt::{Debug, Write},
    hash::{DefaultHasher, Hash, Hasher},
};

use opus_core::Time;

use super::scene::{Scene, What};
use crate::{
    Dicast,
    cluster::{Ancestor, View},
    state::{Membership, Post},
};

/// Of one machine at this time of its clock.
pub(super) fn of(machine: &Dicast, clock: Time) -> u64 {
    let mut to = Digest(DefaultHasher::new());
    clock.hash(&mut to.0);
    (machine.running, machine.leaving_since, machine.hello_at).hash(&mut to.0);
    machine.stray_at.hash(&mut to.0);
    if let Some(leaf) = &machine.leaf {
        to.membership(leaf);
    }
    for (level, post) in &machine.posts {
        level.hash(&mut to.0);
        to.post(post);
    }
    for contact in machine.seeds.iter().chain(&machine.far) {
        contact.id.hash(&mut to.0);
    }
    to.debug(&machine.health);
    to.debug(&machine.timers);
    to.debug(&machine.links);
    to.debug(&machine.seeks);
    to.debug(&machine.checks);
    to.debug(&machine.questions);
    to.debug(&machine.measures);
    to.debug(&machine.formers);
    machine.audits.digest(&mut to.0);
    for (level, handover) in &machine.handovers {
        (level, handover.tries, handover.office.old).hash(&mut to.0);
        to.view(&handover.office.view);
    }
    to.0.finish()
}

/// Of everything. `spare`: what the schedule may still do.
pub(super) fn of_scene(scene: &Scene, spare: impl Hash) -> u64 {
    let mut to = DefaultHasher::new();
    spare.hash(&mut to);
    (scene.side, &scene.groups).hash(&mut to);
    for node in &scene.nodes {
        node.as_ref().map(|node| node.digest).hash(&mut to);
    }
    // In which order they were sent says nothing.
    let mut flights: Vec<u64> = scene
        .flights
        .iter()
        .map(|flight| {
            let mut to = DefaultHasher::new();
            (flight.id.0, flight.to).hash(&mut to);
            match &flight.what {
                What::Message(bytes, _) => bytes.hash(&mut to),
                What::Connected(peer) => (1, peer).hash(&mut to),
                What::Disconnected(peer) => (2, peer).hash(&mut to),
                What::DialFailed(peer) => (3, peer).hash(&mut to),
            }
            to.finish()
        })
        .collect();
    flights.sort_unstable();
    flights.hash(&mut to);
    for (cluster, node) in scene.holders.iter() {
        (cluster, node).hash(&mut to);
    }
    to.finish()
}

struct Digest(DefaultHasher);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Digest {
    fn debug(&mut self, value: &impl Debug) {
        write!(self, "{value:?}").expect("a hasher takes everything");
    }

    fn membership(&mut self, it: &Membership) {
        self.view(&it.view);
        (it.slot, it.heard, it.asked_at).hash(&mut self.0);
        self.debug(&it.doubt);
        for ancestor in &it.path.0 {
            self.ancestor(ancestor);
        }
    }

    fn post(&mut self, it: &Post) {
        self.view(&it.view);
        (it.since, it.calm_until, it.round).hash(&mut self.0);
        self.debug(&it.phase);
        for (slot, child) in &it.children {
            let silent = child.seq == 0;
            (slot, child.heard, silent, child.native, child.before).hash(&mut self.0);
            self.debug(&child.trial);
        }
        if let Some(up) = &it.up {
            self.membership(up);
        }
    }

    fn view(&mut self, it: &View) {
        (it.cluster, it.level, it.agent.id, &it.deputies.0).hash(&mut self.0);
        for (slot, seat) in it.roster.iter() {
            (
                slot,
                seat.id(),
                seat.incarnation,
                seat.marks().fit,
                seat.child(),
            )
                .hash(&mut self.0);
        }
    }

    fn ancestor(&mut self, it: &Ancestor) {
        (it.level, it.cluster, it.agent.id).hash(&mut self.0);
        for deputy in &it.deputies.0 {
            deputy.id.hash(&mut self.0);
        }
    }
}
