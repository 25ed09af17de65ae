//! dicast: a hierarchy of clusters with elected agents, through which every node knows its
//! neighbourhood exactly and the whole approximately.
#![forbid(unsafe_code)]

pub mod cluster;
mod config;
mod decide;
mod event;
mod links;
mod machine;
mod state;
mod wire;

pub use crate::{
    config::Config,
    event::{Command, Event, Refusal},
    machine::Dicast,
    wire::Message,
};
