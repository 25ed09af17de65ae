//! Drivers in virtual time, for tests: a network of a few machines, the contract as a check, and
//! bytes as a source of choices.
//!
//! Every message goes through the real codec, so that a test also proves the wire.

pub mod contract;
mod draw;
mod net;

pub use self::{
    draw::{Draw, Drawn},
    net::{LinkFault, Net, Wake},
};
pub use crate::seed::test_seed;
