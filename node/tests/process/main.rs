//! Real `opus-node` processes on loopback: what an operator starts, kills and asks.
//!
//! Ports are 0 and each test has a directory of its own. Waiting is for events; its limit, times
//! `OPUS_TIME_FACTOR`, is for hangs only, and no test asserts how long something took.

#![cfg(test)]

mod bench;
mod dicast;
mod discovery;
mod files;
mod hostile_peers;
mod hostile_programs;
mod keys;
mod life;
mod restart;
mod state;
