//! The shape of a protocol: a state machine without I/O, and the contract its drivers rely on.
//!
//! The contract, which `testing::contract` checks for any machine:
//!
//! 1. *One mutation, then drain*: after [`Machine::handle`] or [`Machine::handle_timeout`] the
//!    driver calls [`Machine::poll_output`] until it gives `None`.
//! 2. *Time only rises*: `now` never decreases. An early `handle_timeout` is a no-op, and after a
//!    due one [`Machine::poll_timeout`] lies later than `now`, or the driver would spin.
//! 3. *Equal in, equal out*: equal seed, configuration and inputs give equal outputs, byte for
//!    byte.
//! 4. *No silence*: every command carries an id, and a refusal is an event with that id.
//! 5. *Timers are state*: a table of named optional deadlines ([`crate::Timers`]), cancelled by
//!    assignment.

use std::fmt::Debug;

use crate::{
    codec::Wire,
    id::NodeId,
    time::{Deadline, Time},
};

/// A protocol as a value. See the module for the contract.
pub trait Machine {
    /// The libp2p protocol name, `/opus/<name>/<major>`.
    const PROTOCOL: &'static str;
    /// What our own node asks of this machine.
    type Command: Debug + Send + 'static;
    /// What travels to and from the same machine on other nodes.
    type Message: Wire;
    /// What this machine tells our own node.
    type Event: Debug + Send + 'static;

    /// Takes one input.
    fn handle(&mut self, now: Time, input: Input<Self::Command, Self::Message>);

    /// Fires every timer that is due; a no-op when none is.
    fn handle_timeout(&mut self, now: Time);

    /// When `handle_timeout` is due next, if ever.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// The next output, until `None`.
    fn poll_output(&mut self) -> Option<Output<Self::Message, Self::Event>>;
}

/// What a driver tells a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<C, M> {
    /// A wish of our own node.
    Command(C),
    /// The first connection to this peer is up. Told to every machine of the node.
    Connected(NodeId),
    /// The last connection to this peer is gone.
    Disconnected(NodeId),
    /// A dial that this machine asked for failed; the peer is not connected.
    DialFailed(NodeId),
    /// A message, decoded and checked ([`Wire::check`]).
    Received {
        /// The authenticated sender.
        from: NodeId,
        /// What it says.
        message: M,
    },
}

/// What a machine tells its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M, E> {
    /// Send to a peer. Dropped by the driver when the peer is not connected.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: M,
        /// Its lane.
        lane: Lane,
    },
    /// Take an interest in this peer: connect if needed, and keep the connection until `Release`.
    /// Answered by `Connected` or `DialFailed` unless the peer is connected already.
    Dial(NodeId),
    /// Lose the interest; the connection may close when no other machine keeps it.
    Release(NodeId),
    /// The peer broke the protocol.
    Penalise(NodeId, Offence),
    /// Something our own node wants to know.
    Event(E),
}

/// Priority of a message at the sender. Each lane has its own bounded queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small and urgent: sent first. A full lane drops its oldest message.
    Control,
    /// Everything that may wait. A full lane drops its oldest message.
    Bulk,
}

/// How a peer broke the protocol; the driver keeps the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// Bytes that do not decode, or values that no honest peer sends.
    Malformed,
    /// More than the protocol allows per time.
    Flood,
    /// A signature or an identity that does not fit its claim.
    Forged,
    /// A message that makes no sense in the state both should share.
    Protocol,
}
