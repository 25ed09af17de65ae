//! Overlay edges from measured delays.

#![forbid(unsafe_code)]

mod command;

pub use crate::command::{Command, Event, Refusal, Status, Sums};
