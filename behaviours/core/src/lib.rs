//! What every Opus protocol is built from: the [`Machine`] trait, time as a value, identities,
//! timers, the bounded CBOR codec, bounded collections, budgets and seeds.
//!
//! A protocol is a value, not a task. It takes inputs and the time, and gives outputs and its next
//! deadline; the same code then runs in the simulator, in the lab and in the node. This crate holds
//! the contract of such a machine ([`machine`]), the few pieces that all of them share, and, behind
//! the feature `testing`, drivers in virtual time that check the contract for any machine.
//!
//! It deliberately knows no protocol, no transport, no clock and no system randomness.
//!
//! Weaknesses: bounds are counts, not bytes, except in the codec; a machine that stores large
//! values must choose its counts accordingly.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bounded;
pub mod bucket;
pub mod codec;
pub mod contact;
pub mod flat;
pub mod id;
pub mod machine;
pub mod pack;
pub mod seed;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod timers;

pub use crate::{
    bounded::{BoundedMap, BoundedQueue, BoundedSet},
    bucket::Bucket,
    codec::{Limits, Malformed, Wire},
    contact::{Contact, Hint},
    flat::FlatMap,
    id::{NodeId, OverlayId},
    machine::{Input, Lane, Machine, Offence, Output},
    seed::{Draws, Rng, Seed},
    time::{Deadline, Time},
    timers::Timers,
};
