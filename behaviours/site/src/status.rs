//! Probe and dicast of one node as one value: who is there, measured by those who are.
//!
//! dicast asks for delays and hears of coordinates; the probe measures. Neither knows the other:
//! what one tells is carried to the other here, as [`crate::Peer`] does it for the machines that
//! carry applications. Scenarios of the hierarchy alone run this, 10,000 nodes and more at a time.

use std::sync::Arc;

use opus_core::{Contact, Deadline, Input, Limits, Machine, Malformed, Output, Seed, Time, Wire};
use opus_dicast::Dicast;
use opus_probe::Probe;
use serde::{Deserialize, Serialize};

use crate::{measure, outbox::Outbox};

/// See the module.
#[derive(Debug)]
pub struct Status {
    probe: Probe,
    dicast: Dicast,
    /// Of the probe, machine 0, and of dicast, machine 1.
    outbox: Outbox<StatusMessage, opus_dicast::Event, 2>,
}

/// A message of either machine. One letter stands for it on the wire, since most are small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StatusMessage {
    /// Of the probe.
    #[serde(rename = "p")]
    Probe(opus_probe::Message),
    /// Of dicast.
    #[serde(rename = "d")]
    Dicast(Box<opus_dicast::Message>),
}

impl Wire for StatusMessage {
    /// The larger of both, and the name of the machine.
    const LIMITS: Limits = Limits {
        bytes: <opus_dicast::Message as Wire>::LIMITS.bytes + 16,
        depth: 8,
        items: 64,
        text_keys: false,
    };

    fn check(&mut self) -> Result<(), Malformed> {
        match self {
            Self::Probe(message) => message.check(),
            Self::Dicast(message) => message.check(),
        }
    }
}

impl Status {
    /// A node that knows nobody. `boots`: how often it has started.
    pub fn new(
        probe: impl Into<Arc<opus_probe::Config>>,
        dicast: impl Into<Arc<opus_dicast::Config>>,
        me: Contact,
        seed: &Seed,
        boots: u64,
    ) -> Self {
        let rng = |machine| seed.derive(machine, boots).rng();
        Self {
            probe: Probe::new(probe, rng("probe")),
            dicast: Dicast::new(dicast, me, boots, rng("dicast")),
            outbox: Outbox::new(),
        }
    }

    /// The hierarchy as this node knows it.
    pub const fn dicast(&self) -> &Dicast {
        &self.dicast
    }

    /// The measured paths.
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Carries events and commands between both until they are quiet.
    fn pump(&mut self, now: Time) {
        loop {
            if let Some(output) = self.dicast.poll_output() {
                if let Some(event) = self.outbox.carry(1, output, |message| {
                    StatusMessage::Dicast(Box::new(message))
                }) {
                    self.on_dicast_event(now, event);
                }
            } else if let Some(output) = self.probe.poll_output() {
                if let Some(event) = self.outbox.carry(0, output, StatusMessage::Probe) {
                    self.on_probe_event(now, &event);
                }
            } else {
                return;
            }
        }
    }

    fn on_dicast_event(&mut self, now: Time, event: opus_dicast::Event) {
        if let opus_dicast::Event::Measure { id, targets } = event {
            let command = measure::order(id, &targets);
            self.probe.handle(now, Input::Command(command));
        } else {
            self.outbox.tell(event);
        }
    }

    fn on_probe_event(&mut self, now: Time, event: &opus_probe::Event) {
        if let Some(command) = measure::answer(event) {
            self.dicast.handle(now, Input::Command(command));
        }
    }
}

impl Machine for Status {
    const PROTOCOL: &'static str = "/opus/status/1";
    type Command = opus_dicast::Command;
    type Message = StatusMessage;
    type Event = opus_dicast::Event;

    fn handle(&mut self, now: Time, input: Input<opus_dicast::Command, StatusMessage>) {
        match input {
            Input::Command(command) => self.dicast.handle(now, Input::Command(command)),
            Input::Connected(peer) => {
                self.probe.handle(now, Input::Connected(peer));
                self.dicast.handle(now, Input::Connected(peer));
            }
            Input::Disconnected(peer) => {
                self.probe.handle(now, Input::Disconnected(peer));
                self.dicast.handle(now, Input::Disconnected(peer));
            }
            Input::DialFailed(peer) => {
                let [probe, dicast] = self.outbox.wanted(peer);
                if probe {
                    self.probe.handle(now, Input::DialFailed(peer));
                }
                if dicast {
                    self.dicast.handle(now, Input::DialFailed(peer));
                }
            }
            Input::Received { from, message } => match message {
                StatusMessage::Probe(message) => {
                    self.probe.handle(now, Input::Received { from, message });
                }
                StatusMessage::Dicast(message) => {
                    let message = *message;
                    self.dicast.handle(now, Input::Received { from, message });
                }
            },
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.probe.handle_timeout(now);
        self.dicast.handle_timeout(now);
        self.pump(now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let deadlines = [self.probe.poll_timeout(), self.dicast.poll_timeout()];
        let due = deadlines.into_iter().flatten();
        due.min_by_key(|deadline| deadline.at)
    }

    fn poll_output(&mut self) -> Option<Output<StatusMessage, opus_dicast::Event>> {
        self.outbox.poll()
    }
}
