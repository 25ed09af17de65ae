//! Measured paths between nodes.

#![forbid(unsafe_code)]

mod command;

pub use crate::command::{Command, Event, PathStats, Refusal};
