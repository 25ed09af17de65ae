//! Measured paths between nodes: one measurement a pair, however many overlays ask.
//!
//! A measurement is a dial if needed, then a few pings one after the other. The first round trip
//! after a connect also opens the protocol's substreams and counts only while there is no other.
//! Round trips go into a window of the newest 64 pings per peer, from which the smallest, the
//! smoothed, the 95th percentile and the losses are read. An answer younger than the caller's limit
//! is given at once; a pair under way is joined. Measurements start by a budget per second, because
//! a stranger costs a dial. A *watched* peer (an edge of a tree) is pinged at a steady interval
//! outside of that budget, and its caller learns changes and silence.
//!
//! Each counted round trip also fits the node's network coordinate anew (Vivaldi's, with height, in
//! `opus_model::coordinate`), which travels on every ping and pong.
//!
//! The rooms: `machine` dispatches, `measure` holds measurements under way and their queue, `watch`
//! the watched peers, `path` one window, `table` all of them, `wire`
//! the messages.
//!
//! It deliberately does not decide whom to measure, and never measures on its own but what is
//! watched.
//!
//! Weaknesses: a round trip includes the time in both nodes' queues, so a busy node looks further
//! away, which for a tree is rather wanted. The transport repairs losses, so a *lost* ping is one
//! that came too late. A peer may delay its pongs to look far; it cannot look near, since nonces
//! are random. Outage and correlation between links (relay.md section 6) are not estimated.
//!
//! Source: Opus 3.1 and 3.2 (few probes, approximate knowledge).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod anchors;
mod command;
mod config;
mod machine;
mod measure;
mod path;
mod table;
mod watch;
mod wire;

pub use crate::{
    command::{Command, Event, PathStats, Refusal},
    config::Config,
    machine::Probe,
    wire::Message,
};
