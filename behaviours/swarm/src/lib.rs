//! The one adapter between the protocols and libp2p: any [`Machine`](opus_core::Machine) becomes a
//! `NetworkBehaviour`, and frames move between substreams and the forwarding core.
//!
//! [`Behaviour`] holds one machine and is plumbing around it: connections become `Connected` and
//! `Disconnected`, decoded messages become `Received`, one timer follows `poll_timeout`, and after
//! each call the outputs are drained, as the contract of a machine asks. Each peer has a mailbox
//! with two bounded lanes; the handler of one of its connections empties it into one long-lived
//! substream. Messages are a length (u32, big endian) and CBOR.
//!
//! [`frames`] is the data plane: length-prefixed frames between substreams and a
//! [`Plane`](frames::Plane), in the connection's own task; the swarm task only learns of peers that
//! come and go.
//!
//! Which connection? Two nodes that dial each other at once have two. Both ends prefer a direct
//! one to a relayed one, then the one dialled by the smaller identity, then the older; both accept
//! on all of them. The spare one idles out.
//!
//! How long does a connection live? While a machine at *either* end wants the peer (`Dial` until
//! `Release`): a machine keeps its outbound substream open as long as it wants the peer, and an
//! inbound substream keeps the connection alive. A substream that is not wanted is closed
//! [`Config::linger`] after its last message, so that two nodes which only answered each other
//! part. Frames keep nothing alive.
//!
//! It deliberately knows no protocol, and no peer whose key is not ed25519. Weaknesses: a message
//! written to a substream that then breaks is lost without notice, as on any network; a peer may
//! keep a connection open by holding a substream, which the node's connection limits must bound.

#![warn(missing_docs)]

mod behaviour;
mod boxed;
mod bucket;
mod clock;
mod connections;
mod counters;
pub mod frames;
mod handler;
mod identity;
mod mailbox;
mod retry;
mod score;
#[cfg(test)]
mod tests;

pub use crate::{
    behaviour::{Behaviour, Config, Event},
    boxed::{Boxed, BoxedHandler},
    clock::Clock,
    counters::Stats,
    handler::{FromHandler, Handler},
    identity::{node_id, peer_id},
};
