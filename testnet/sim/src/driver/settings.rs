//! What a driver is given, and what it counts and finds.

use std::time::Duration;

use opus_core::Time;

use crate::trace::RECENT_MAX;

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// As over a connection: in order, late rather than lost.
    #[default]
    Streams,
    /// Each message alone: lost, doubled, overtaken as the conditions say. Frames still stream.
    Datagrams,
}

/// Settings of a driver.
#[derive(Clone, Debug)]
pub struct Options {
    /// How messages travel.
    pub transport: Transport,
    /// Whether each message is decoded from its bytes at the receiver.
    pub encode: bool,
    /// Whether the whole trace is kept.
    pub record: bool,
    /// The last events of each node that are kept for a failure, at most
    /// [`crate::trace::RECENT_MAX`]; 0 saves some 2 kB a node.
    pub recent: usize,
    /// A dial into a cut, or to a machine that is silent, fails after this.
    pub dial_timeout: Duration,
    /// A connection over which nothing passes breaks after this: QUIC's idle timeout in libp2p.
    pub silence: Duration,
    /// A connection that nobody wants closes after this, as the node sets it.
    pub idle: Duration,
    /// A node dials a lost bootstrap contact again after this.
    pub redial: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::Streams,
            encode: false,
            record: false,
            recent: RECENT_MAX,
            dial_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            redial: Duration::from_secs(5),
        }
    }
}

/// What was counted, over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Control messages sent.
    pub messages: u64,
    /// Their encoded bytes.
    pub message_bytes: u64,
    /// Writes of frames.
    pub writes: u64,
    /// Their bytes, headers included.
    pub frame_bytes: u64,
    /// Connections made.
    pub connections: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Penalties told by hosts.
    pub penalties: u64,
    /// Messages that did not decode.
    pub malformed: u64,
    /// Writes of frames that the receiver refused.
    pub refused: u64,
    /// Commands and messages that a stalled node had no room for, and messages that a cut had none
    /// for.
    pub overflowed: u64,
}

/// What one node sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Control messages of all protocols.
    pub messages: u64,
    /// Of these, those of the overlay.
    pub overlay: u64,
    /// Delay measurements begun: pings to a peer that was not pinged for a while.
    pub probes: u64,
}

/// A defect of a host that the driver itself sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// When.
    pub at: Time,
    /// Which node.
    pub node: usize,
    /// The sentence that does not hold.
    pub sentence: &'static str,
    /// What was found instead.
    pub got: String,
}
