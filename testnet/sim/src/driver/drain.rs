//! A host's inputs and timers, and what it answers: *one mutation, then drain*.

use std::time::Duration;

use opus_core::{Input, Output, Time};

use super::{
    Driver, Host,
    happening::{Happening, Index},
};
use crate::trace::Kind;

impl<H: Host> Driver<H> {
    pub(super) fn on_timeout(&mut self, node: usize) {
        if self.nodes[node].armed != Some(self.now) {
            return;
        }
        self.nodes[node].armed = None;
        if !self.nodes[node].stalled {
            self.fire(node);
        }
    }

    /// Fires the timers of a host that are due, and arms the next.
    pub(super) fn fire(&mut self, node: usize) {
        let now = self.local_time(node);
        let Some(host) = &self.nodes[node].host else {
            return;
        };
        let due = host.poll_timeout().filter(|deadline| deadline.at <= now);
        let Some(reason) = due.map(|deadline| deadline.reason) else {
            self.arm(node);
            return;
        };
        self.note(node, Kind::Timeout, None, reason.as_bytes());
        if let Some(host) = &mut self.nodes[node].host {
            host.handle_timeout(now);
            if host.poll_timeout().is_some_and(|next| next.at <= now) {
                let sentence = "after a due timeout the next one lies later";
                self.defect(node, sentence, format!("{reason} is due again"));
            }
        }
        self.settle(node);
    }

    pub(super) fn input(&mut self, node: usize, input: Input<H::Command, H::Message>) {
        let now = self.local_time(node);
        if let Some(host) = &mut self.nodes[node].host {
            host.handle(now, input);
        }
        self.settle(node);
    }

    /// Drains a host after a mutation and arms its timer. A stalled one keeps its answers.
    pub(super) fn settle(&mut self, node: usize) {
        if self.nodes[node].stalled {
            return;
        }
        while let Some(output) = self.host_mut(node).and_then(Host::poll_output) {
            match output {
                Output::Send {
                    to,
                    message,
                    lane: _,
                } => {
                    if let Some(to) = self.index_of(to) {
                        self.post(node, to, message);
                    }
                }
                Output::Dial(peer) => self.on_dial(node, peer),
                Output::Release(peer) => self.on_release(node, peer),
                Output::Penalise(peer, offence) => {
                    self.counts.penalties += 1;
                    if self.trace.remembers() {
                        let text = format!("penalises {peer:?} for {offence:?}");
                        self.trace.remark(self.now, node, &text);
                    }
                }
                Output::Event(event) => {
                    let words = self.trace.remembers().then(|| H::note(&event));
                    if let Some(text) = words.flatten() {
                        self.trace.remark(self.now, node, &text);
                    }
                    self.events.push_back((node, event));
                }
            }
        }
        while let Some(peer) = self.host_mut(node).and_then(Host::poll_wake) {
            if let Some(peer) = self.index_of(peer) {
                self.pump(node, peer);
            }
        }
        self.arm(node);
    }

    /// Sees to it that a timeout is due when the host's next one is. An earlier one that is under
    /// way already will look again: a deadline that moves on with each message costs nothing.
    pub(super) fn arm(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(deadline) = state.host.as_ref().and_then(Host::poll_timeout) else {
            return;
        };
        // A deadline in the past fires at the next microsecond, so that a defect cannot spin.
        let soonest = self.now + Duration::from_micros(1);
        let at = state.clock.moment_of(deadline.at).max(soonest);
        if state.armed.is_none_or(|armed| armed > at) {
            state.armed = Some(at);
            let node = Index::of(node);
            self.schedule(at, Happening::Timeout { node });
        }
    }

    /// What the clock of a node reads: the present moment, unless its clock is skewed.
    pub fn local_time(&self, node: usize) -> Time {
        self.nodes[node].clock.read(self.now)
    }

    pub(super) fn host_mut(&mut self, node: usize) -> Option<&mut H> {
        self.nodes[node].host.as_mut()
    }
}
