//! The site manager: every decision that spans two protocols.

#![forbid(unsafe_code)]

mod command;
pub mod spec;

pub use crate::command::{Command, Event, MemberState, Refusal, Role};
