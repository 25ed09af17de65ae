//! What goes into a [`super::Peer`] and what comes out of it.

use bytes::Bytes;
use opus_core::{Limits, Malformed, OverlayId, Wire};
use opus_relay::{Delivery, SendError, Sent};
use serde::{Deserialize, Serialize};

use crate::{
    command::{Command, Event},
    config::Config,
    wire::Message,
};

/// The configuration of every machine.
#[derive(Clone, Debug, Default)]
pub struct PeerConfig {
    /// Paths.
    pub probe: opus_probe::Config,
    /// Edges.
    pub overlay: opus_overlay::Config,
    /// Frames.
    pub relay: opus_relay::Config,
    /// Everything between them.
    pub site: Config,
}

/// What programs on the node ask.
#[derive(Clone, Debug)]
pub enum PeerCommand {
    /// Of the site manager.
    Site(Command),
    /// Send frames of the local source; answered by [`PeerEvent::Published`].
    Publish {
        /// The overlay of its application.
        overlay: OverlayId,
        /// 0 to 15.
        flow: u8,
        /// Payloads, in order.
        frames: Vec<Bytes>,
        /// Whether the final one is the last of its stream.
        last: bool,
    },
    /// A local sink has taken what it was given: room for more.
    Taken {
        /// Which sink.
        att: u32,
        /// Deliveries.
        frames: u32,
        /// Payload bytes.
        bytes: u64,
    },
}

/// What programs on the node are told.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// By the site manager; never a command wrapped for another machine.
    Site(Event),
    /// By the forwarding core; the site manager heard it too.
    Relay(opus_relay::Event),
    /// A frame for a local sink.
    Delivery(Delivery),
    /// Answer to [`PeerCommand::Publish`].
    Published {
        /// Which overlay.
        overlay: OverlayId,
        /// How many were taken, or why none.
        result: Result<Sent, SendError>,
    },
}

/// A message of any machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Of the probe.
    Probe(opus_probe::Message),
    /// Of the overlay.
    Overlay(opus_overlay::Message),
    /// Of the site manager.
    Site(Message),
}

impl Wire for PeerMessage {
    /// The widest of the three; each machine's own limits hold where it stands alone.
    const LIMITS: Limits = Limits {
        bytes: 16 << 10,
        depth: Limits::DEPTH_MAX,
        items: 8_192,
        text_keys: false,
    };

    fn check(&mut self) -> Result<(), Malformed> {
        match self {
            Self::Probe(message) => message.check(),
            Self::Overlay(message) => message.check(),
            Self::Site(message) => message.check(),
        }
    }
}
