//! What the driver drives: all machines of one node as one value.

use std::fmt;

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, Input, Machine, Malformed, NodeId, Output, Time, codec};
use opus_site::{
    Event, Peer, PeerCommand, PeerEvent, PeerMessage, Status, StatusMessage, dicast, probe,
};

/// One node without its network. The calls up to `poll_output` are those of
/// [`opus_core::Machine`], with its contract: *one mutation, then drain*.
pub trait Host: fmt::Debug {
    /// What programs and the driver ask of the node.
    type Command: fmt::Debug;
    /// What nodes say to each other.
    type Message: Clone + fmt::Debug;
    /// What the node tells its programs.
    type Event;

    /// Takes one input.
    fn handle(&mut self, now: Time, input: Input<Self::Command, Self::Message>);
    /// Fires every timer that is due.
    fn handle_timeout(&mut self, now: Time);
    /// When `handle_timeout` is due next.
    fn poll_timeout(&self) -> Option<Deadline>;
    /// The next output, until `None`.
    fn poll_output(&mut self) -> Option<Output<Self::Message, Self::Event>>;

    /// The next peer for which frames wait since `fill` last gave `false` for it.
    fn poll_wake(&mut self) -> Option<NodeId>;
    /// Appends whole frames with their length fields for `peer`, until `out` holds `budget` bytes
    /// or nothing is left. Returns whether more waits.
    fn fill(&mut self, now: Time, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool;
    /// Takes a frame, without its length field. False: the peer broke the protocol.
    fn received(&mut self, now: Time, peer: NodeId, frame: Bytes) -> bool;

    /// The message as it stands on the wire.
    fn encode(message: &Self::Message) -> Vec<u8>;
    /// Appends the same to `out`; worth writing where messages are many.
    fn encode_into(message: &Self::Message, out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::encode(message));
    }
    /// Reads and checks a message. Errors: [`Malformed`].
    fn decode(bytes: &[u8]) -> Result<Self::Message, Malformed>;
    /// As what the message is counted.
    fn tally(message: &Self::Message) -> Tally;
    /// What a reader of a failure wants to see of an event; `None` for what comes by the thousand.
    fn note(event: &Self::Event) -> Option<String>;
}

/// As what a message is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// It measures a delay.
    Ping,
    /// It is of the overlay.
    Overlay,
    /// Anything else.
    Other,
}

impl Host for Peer {
    type Command = PeerCommand;
    type Message = PeerMessage;
    type Event = PeerEvent;

    fn handle(&mut self, now: Time, input: Input<PeerCommand, PeerMessage>) {
        Machine::handle(self, now, input);
    }

    fn handle_timeout(&mut self, now: Time) {
        Machine::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Machine::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<Output<PeerMessage, PeerEvent>> {
        Machine::poll_output(self)
    }

    fn poll_wake(&mut self) -> Option<NodeId> {
        Self::poll_wake(self)
    }

    fn fill(&mut self, now: Time, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool {
        Self::fill(self, now, peer, out, budget)
    }

    fn received(&mut self, now: Time, peer: NodeId, frame: Bytes) -> bool {
        Self::received(self, now, peer, frame)
    }

    fn encode(message: &PeerMessage) -> Vec<u8> {
        codec::encode(message)
    }

    fn decode(bytes: &[u8]) -> Result<PeerMessage, Malformed> {
        codec::decode_wire(bytes)
    }

    fn tally(message: &PeerMessage) -> Tally {
        match message {
            PeerMessage::Probe(_) if message.is_ping() => Tally::Ping,
            PeerMessage::Overlay(_) => Tally::Overlay,
            PeerMessage::Probe(_) | PeerMessage::Site(_) => Tally::Other,
        }
    }

    fn note(event: &PeerEvent) -> Option<String> {
        match event {
            // A contact is for an address book, a delivery one of thousands.
            PeerEvent::Site(Event::Contact(_))
            | PeerEvent::Delivery(_)
            | PeerEvent::Published { .. } => None,
            PeerEvent::Site(event) => Some(format!("{event:?}")),
            PeerEvent::Relay(event) => Some(format!("{event:?}")),
        }
    }
}

impl Host for Status {
    type Command = dicast::Command;
    type Message = StatusMessage;
    type Event = dicast::Event;

    fn handle(&mut self, now: Time, input: Input<dicast::Command, StatusMessage>) {
        Machine::handle(self, now, input);
    }

    fn handle_timeout(&mut self, now: Time) {
        Machine::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Machine::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<Output<StatusMessage, dicast::Event>> {
        Machine::poll_output(self)
    }

    fn poll_wake(&mut self) -> Option<NodeId> {
        None
    }

    fn fill(&mut self, _now: Time, _peer: NodeId, _out: &mut BytesMut, _budget: usize) -> bool {
        false
    }

    fn received(&mut self, _now: Time, _peer: NodeId, _frame: Bytes) -> bool {
        false
    }

    /// As on its own protocol: which machine a message is of, the substream says.
    fn encode(message: &StatusMessage) -> Vec<u8> {
        match message {
            StatusMessage::Probe(message) => codec::encode(message),
            StatusMessage::Dicast(message) => codec::encode(message.as_ref()),
        }
    }

    /// Probe messages are CBOR maps, those of dicast byte strings.
    fn decode(bytes: &[u8]) -> Result<StatusMessage, Malformed> {
        const MAJOR_BYTES: u8 = 2;
        if bytes.first().is_some_and(|head| head >> 5 == MAJOR_BYTES) {
            codec::decode_wire(bytes).map(|message| StatusMessage::Dicast(Box::new(message)))
        } else {
            codec::decode_wire(bytes).map(StatusMessage::Probe)
        }
    }

    fn tally(message: &StatusMessage) -> Tally {
        match message {
            StatusMessage::Probe(probe::Message::Ping { .. }) => Tally::Ping,
            StatusMessage::Probe(_) | StatusMessage::Dicast(_) => Tally::Other,
        }
    }

    fn note(event: &dicast::Event) -> Option<String> {
        use dicast::Event;
        match event {
            Event::Joined(_) | Event::Left | Event::AgentChanged(_) => Some(format!("{event:?}")),
            Event::Refused { .. }
            | Event::Measure { .. }
            | Event::Address(_)
            | Event::WantSeeds
            | Event::Want(_)
            | Event::Publish { .. }
            | Event::MemberUp(_)
            | Event::MemberDown(_)
            | Event::Deposed(_)
            | Event::RootChanged(_) => None,
        }
    }
}
