//! Overlay edges from measured delays.

#![forbid(unsafe_code)]

mod attach;
mod beat;
mod clip;
mod command;
mod commit;
mod config;
mod drift;
mod life;
mod links;
mod local;
mod machine;
mod member;
mod position;
mod rtt;
#[cfg(test)]
mod tests;
mod tree;
mod view;
pub mod wire;

pub use crate::{
    command::{Command, Event, Refusal, Status, Sums},
    config::Config,
    machine::Overlay,
    position::Position,
    wire::Message,
};
