//! Hundreds of real nodes in one process, over an emulated network.
//!
//! Each node is the very runtime of `opus-node`: libp2p swarm, Noise, yamux, our behaviours, data
//! plane and IPC service; only the sockets are replaced, by libp2p's in-process transport under
//! [`EmulatedTransport`]. Run it under tokio's paused clock for tests, where virtual minutes take
//! seconds and figures repeat, or in real time for the demo.
//!
//! It deliberately has no sockets, files or threads. Weaknesses: one process, so a node cannot use
//! up a machine; losses are only late, as on real streams; what depends on the system's clock or
//! on other threads does not follow virtual time.

mod beside;
mod bytes;
mod config;
mod emulated;
mod lab;
mod tree;

pub use crate::{
    beside::{Beside, BesideError, LabRate, Rest, SimRate, beside},
    bytes::{Counted, LabBytes},
    config::{LabConfig, LabError},
    emulated::{EmulatedStream, EmulatedTransport, OnLinks, Wires},
    lab::Lab,
    tree::{TreeReport, TreeView},
};
