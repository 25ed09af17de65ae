//! Frames over the edges of an overlay.

#![forbid(unsafe_code)]

mod command;
mod config;
mod forward;
mod header;
mod source;
mod stats;

pub use crate::{
    command::{Class, Command, Delivery, Event, FlowId},
    config::Config,
    forward::{Forward, Verdict},
    header::{BadFrame, FRAME_MAX, HEADER_BYTES, Header, Kind, flow_tag},
    source::{SendError, Sent},
    stats::{FlowStats, Latency},
};
