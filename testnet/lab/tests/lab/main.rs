//! The lab's tests: real swarms, Noise, yamux, IPC over emulated links, in virtual time.

mod common;
mod complete;
mod connections;
mod tree;
