//! Drivers in virtual time, for tests: a network of a few machines, and the contract as a check.
//!
//! Every message goes through the real codec, so that a test also proves the wire.

pub mod contract;
mod net;

pub use self::net::{LinkFault, Net};
pub use crate::seed::test_seed;
