//! The lab's tests: real swarms, Noise, yamux, IPC over emulated links, in virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panic"
)]

mod bytes;
mod cell;
mod common;
mod complete;
mod connections;
mod directory;
mod hierarchy;
mod tree;
