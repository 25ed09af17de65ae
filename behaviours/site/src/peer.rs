//! All machines of one node as one value, for the simulator and for tests.
//!
//! What the node does with libp2p behaviours around each machine, [`Peer`] does in place: an event
//! of the probe, the overlay or the relay becomes a command of the site manager, and each command
//! that the site manager wraps goes on to its machine. Nothing is decided here. Control messages
//! are outputs; frames are asked for by peer ([`Peer::fill`]), as the node's frame handlers do.

use bytes::{Bytes, BytesMut};
use opus_core::{Contact, Deadline, Input, Machine, NodeId, Output, OverlayId, Seed, Time};
use opus_overlay::Overlay;
use opus_probe::Probe;
use opus_relay::{Forward, SendError, Sent, Verdict};

pub use self::surface::{PeerCommand, PeerConfig, PeerEvent, PeerMessage};
use crate::{
    command::{Command, Event},
    machine::Site,
    outbox::Outbox,
};

mod surface;

/// All machines of one node.
#[derive(Debug)]
pub struct Peer {
    probe: Probe,
    overlay: Overlay,
    site: Site,
    relay: Forward,
    now: Time,
    outbox: Outbox<PeerMessage, PeerEvent, 3>,
}

/// The machine an output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Probe,
    Overlay,
    Site,
}

impl Peer {
    /// A node that knows nobody. `boots`: how often it has started.
    pub fn new(config: PeerConfig, me: Contact, seed: &Seed, boots: u64) -> Self {
        let id = me.id;
        Self {
            probe: Probe::new(config.probe, seed.derive("probe", boots).rng()),
            overlay: Overlay::new(id, config.overlay, seed.derive("overlay", boots).rng()),
            site: Site::new(config.site, me, boots, seed.derive("site", boots)),
            relay: Forward::new(config.relay, id),
            now: Time::ZERO,
            outbox: Outbox::new(),
        }
    }

    /// The site manager, to look at.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The overlay machine, to look at.
    pub const fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The probe, to look at.
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The forwarding core, to look at.
    pub const fn relay(&self) -> &Forward {
        &self.relay
    }

    /// The next peer for which frames wait since [`Peer::fill`] last gave `false` for it.
    pub fn poll_wake(&mut self) -> Option<NodeId> {
        self.relay.poll_wake()
    }

    /// Appends whole frames with their length fields for `peer` until `out` holds `budget` bytes
    /// or nothing is left. Returns whether more waits.
    pub fn fill(&mut self, now: Time, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool {
        self.now = now;
        let more = self.relay.poll_send(now, peer, out, budget);
        self.pump();
        more
    }

    /// Takes a frame from `peer`, without its length field. False: it broke the protocol.
    pub fn received(&mut self, now: Time, peer: NodeId, frame: Bytes) -> bool {
        self.now = now;
        let verdict = self.relay.on_frame(now, peer, frame);
        self.pump();
        verdict != Verdict::Offence
    }

    /// Sends frames of the local source of `overlay`; all or none.
    ///
    /// Errors: [`SendError`]; state is unchanged.
    pub fn publish(
        &mut self,
        now: Time,
        overlay: OverlayId,
        flow: u8,
        frames: &[Bytes],
        last: bool,
    ) -> Result<Sent, SendError> {
        self.now = now;
        let sent = self.relay.send(now, overlay, flow, frames, last, false);
        self.pump();
        sent
    }

    fn on_command(&mut self, command: PeerCommand) {
        let now = self.now;
        match command {
            PeerCommand::Site(command) => self.site.handle(now, Input::Command(command)),
            PeerCommand::Publish {
                overlay,
                flow,
                frames,
                last,
            } => {
                let result = self.relay.send(now, overlay, flow, &frames, last, false);
                let published = PeerEvent::Published { overlay, result };
                self.outbox.tell(published);
            }
            PeerCommand::Taken { att, frames, bytes } => {
                let taken = opus_relay::Command::Taken { att, frames, bytes };
                self.relay.command(now, taken);
            }
        }
    }

    fn on_message(&mut self, from: NodeId, message: PeerMessage) {
        let now = self.now;
        match message {
            PeerMessage::Probe(message) => {
                self.probe.handle(now, Input::Received { from, message });
            }
            PeerMessage::Overlay(message) => {
                self.overlay.handle(now, Input::Received { from, message });
            }
            PeerMessage::Site(message) => self.site.handle(now, Input::Received { from, message }),
        }
    }

    fn on_dial_failed(&mut self, peer: NodeId) {
        let now = self.now;
        let [probe, overlay, site] = self.outbox.wanted(peer);
        if probe {
            self.probe.handle(now, Input::DialFailed(peer));
        }
        if overlay {
            self.overlay.handle(now, Input::DialFailed(peer));
        }
        if site {
            self.site.handle(now, Input::DialFailed(peer));
        }
    }

    /// Carries events and commands between the machines until all are quiet.
    fn pump(&mut self) {
        loop {
            if let Some(output) = self.site.poll_output() {
                if let Some(event) =
                    self.outbox
                        .carry(Origin::Site as usize, output, PeerMessage::Site)
                {
                    self.on_site_event(event);
                }
            } else if let Some(output) = self.overlay.poll_output() {
                if let Some(event) =
                    self.outbox
                        .carry(Origin::Overlay as usize, output, PeerMessage::Overlay)
                {
                    self.inform_site(Command::Overlay(event));
                }
            } else if let Some(output) = self.probe.poll_output() {
                if let Some(event) =
                    self.outbox
                        .carry(Origin::Probe as usize, output, PeerMessage::Probe)
                {
                    self.inform_site(Command::Probe(event));
                }
            } else if let Some(event) = self.relay.poll_event() {
                self.outbox.tell(PeerEvent::Relay(event.clone()));
                self.inform_site(Command::Relay(event));
            } else {
                return;
            }
        }
    }

    fn inform_site(&mut self, command: Command) {
        self.site.handle(self.now, Input::Command(command));
    }

    fn on_site_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Probe(command) => self.probe.handle(now, Input::Command(command)),
            Event::Overlay(command) => self.overlay.handle(now, Input::Command(command)),
            Event::Relay(command) => self.relay.command(now, command),
            Event::Deployed { .. }
            | Event::Attached { .. }
            | Event::Refused { .. }
            | Event::Ended { .. }
            | Event::Member { .. }
            | Event::Contact(_)
            | Event::Told { .. } => self.outbox.tell(PeerEvent::Site(event)),
        }
    }
}

impl Machine for Peer {
    const PROTOCOL: &'static str = "/opus/peer/1";
    type Command = PeerCommand;
    type Message = PeerMessage;
    type Event = PeerEvent;

    fn handle(&mut self, now: Time, input: Input<PeerCommand, PeerMessage>) {
        self.now = now;
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Connected(peer) => {
                self.relay.link_up(now, peer);
                self.probe.handle(now, Input::Connected(peer));
                self.overlay.handle(now, Input::Connected(peer));
                self.site.handle(now, Input::Connected(peer));
            }
            Input::Disconnected(peer) => {
                self.relay.link_down(now, peer);
                self.probe.handle(now, Input::Disconnected(peer));
                self.overlay.handle(now, Input::Disconnected(peer));
                self.site.handle(now, Input::Disconnected(peer));
            }
            Input::DialFailed(peer) => self.on_dial_failed(peer),
            Input::Received { from, message } => self.on_message(from, message),
        }
        self.pump();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.probe.handle_timeout(now);
        self.overlay.handle_timeout(now);
        self.site.handle_timeout(now);
        self.relay.handle_timeout(now);
        self.pump();
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let deadlines = [
            self.probe.poll_timeout(),
            self.overlay.poll_timeout(),
            self.site.poll_timeout(),
            self.relay.poll_timeout(),
        ];
        deadlines
            .into_iter()
            .flatten()
            .min_by_key(|deadline| deadline.at)
    }

    fn poll_output(&mut self) -> Option<Output<PeerMessage, PeerEvent>> {
        if let Some(output) = self.outbox.poll() {
            return Some(output);
        }
        let delivery = self.relay.poll_deliver()?;
        Some(Output::Event(PeerEvent::Delivery(delivery)))
    }
}

impl PeerMessage {
    /// The protocol that it belongs to.
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Probe(_) => Probe::PROTOCOL,
            Self::Overlay(_) => Overlay::PROTOCOL,
            Self::Site(_) => Site::PROTOCOL,
        }
    }

    /// Whether it measures a delay: what probing costs is counted by these.
    pub const fn is_ping(&self) -> bool {
        matches!(self, Self::Probe(opus_probe::Message::Ping { .. }))
    }
}

#[cfg(test)]
mod tests;
