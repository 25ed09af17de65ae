//! Frames over the edges of an overlay.

#![forbid(unsafe_code)]

mod command;

pub use crate::command::{Class, Command, Delivery, Event, FlowId};
