//! The Opus node as a library: what the binary `opus-node` runs, and what the lab runs hundreds of.
//!
//! [`runtime`] is the loop of one node over any transport: libp2p's swarm with our machines
//! ([`net`]), the data plane ([`data`]) and the mechanical glue between them. [`service`] answers
//! local programs over `opus-ipc/1`. [`daemon`] puts all of it into a process: configuration
//! ([`config`]), [`identity`], [`state`] files, socket, signals, log.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod data;
pub mod identity;
pub mod net;
pub mod runtime;
pub mod service;
pub mod state;
