//! Sample applications: small real programs over `opus-ipc/1`, used by the demo and the tests.
//!
//! [`ticker`] is a market-data feed: one sender, a LAST tree, every tick once and in order.

#![forbid(unsafe_code)]

pub mod ticker;
