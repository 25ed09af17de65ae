//! Configuration: what an operator may set, where each value came from, and what follows from it.
//!
//! Order, the later wins: defaults < profile < `/etc/opus/opus.toml` < `~/.config/opus/opus.toml` <
//! `--config` < `OPUS_*` < flags. [`layers`] merges these by key and keeps the origin of each
//! value; [`keys`] is the one table of all keys; `build` makes the typed [`Config`] that the daemon
//! reads.
//! An unknown key is a warning with the nearest known one, and a refusal only with `--strict`; a
//! value that does not fit its key is always refused.

mod build;
pub mod keys;
pub mod layers;
mod places;
mod profile;
mod rule;
#[cfg(test)]
mod tests;
pub mod units;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

pub use self::{
    layers::{Origin, Settled, Sources},
    places::{Places, socket_in},
    profile::Profile,
    rule::{Block, Rule},
};

/// Everything that the daemon reads at its start. Made by [`Config::load`].
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch that an operator may turn"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Nodes of different networks do not speak to each other. `main` unless set.
    pub network: String,
    /// The site that the node is of, if the operator named one. Nodes of one site share clusters
    /// of the hierarchy, whatever the delays.
    pub site: Option<String>,
    /// Identity and state; exclusively this node's.
    pub data_dir: PathBuf,
    /// The Unix socket of opus-ipc.
    pub socket: PathBuf,
    /// From which most defaults follow.
    pub profile: Profile,
    /// Where to listen; at least one.
    pub listen: Vec<Multiaddr>,
    /// Whom to dial first; may name the peer at their end.
    pub bootstrap: Vec<Multiaddr>,
    /// Find neighbours in the local network.
    pub mdns: bool,
    /// Ask the router for a port.
    pub upnp: bool,
    /// Peer discovery by a distributed hash table.
    pub kademlia: Kademlia,
    /// Ask others whether this node can be reached.
    pub autonat_client: bool,
    /// Answer that question for others.
    pub autonat_server: bool,
    /// Be reachable through others' circuit relays, for hole punching (`DCUtR`) only.
    pub relay_client: bool,
    /// Be such a circuit relay for others.
    pub relay_server: bool,
    /// What of private addresses, learned from others, is dialled and passed on.
    pub private_addresses: PrivateAddresses,
    /// The knobs.
    pub limits: Limits,
    /// Only these peers and address blocks, if any are named.
    pub allow: Vec<Rule>,
    /// Never these peers and address blocks.
    pub deny: Vec<Rule>,
    /// A 32-byte private network key in libp2p's key file format; QUIC is off then.
    pub psk_file: Option<PathBuf>,
    /// What is logged and how.
    pub log: Log,
    /// How long a drain may take.
    pub drain: Duration,
}

/// Whether and how the node takes part in the hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kademlia {
    /// Not at all.
    Off,
    /// As a client until the node is known to be reachable, then as a server.
    Auto,
    /// Only asks.
    Client,
    /// Also answers.
    Server,
}

/// What of private addresses (RFC 1918, CGNAT, ULA) is dialled and passed on; never loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// Those of the node's own subnets.
    Own,
    /// None.
    Never,
    /// All: a company's network, a lab.
    Any,
}

/// The four knobs of a volunteer; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the process, bytes.
    pub memory_bytes: u64,
    /// Established connections.
    pub connections: u32,
    /// State and caches on disk, bytes.
    pub disk_bytes: u64,
    /// Sent, bits per second.
    pub up_bits_per_s: Option<u64>,
    /// Received, bits per second.
    pub down_bits_per_s: Option<u64>,
    /// Sent and received in a calendar month, bytes.
    pub month_bytes: Option<u64>,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter of `tracing`, such as `info,opus_overlay=debug`.
    pub filter: String,
    /// Lines or JSON.
    pub format: LogFormat,
}

/// The form of a log line, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// Why there is no configuration. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A configuration file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A configuration file is not TOML.
    #[error("{path} is not TOML: {error}")]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
    /// A value does not fit its key.
    #[error("{key} ({origin}): {problem}")]
    Value {
        /// Which key.
        key: String,
        /// Where the value is from.
        origin: Origin,
        /// What it must be.
        problem: String,
    },
    /// `--strict` and something to warn of.
    #[error("refused by --strict: {0}")]
    Strict(String),
    /// Neither a home directory nor a flag says where the state lives.
    #[error("there is no home directory for the node's state; give --data-dir DIR")]
    NoHome,
}

impl Config {
    /// Merges all sources. Also gives the merged values with their origins, and the warnings.
    ///
    /// Errors: [`ConfigError`].
    pub fn load(sources: &Sources) -> Result<(Self, Settled), ConfigError> {
        let mut settled = layers::settle(sources)?;
        let config = build::build(&mut settled, &sources.places)?;
        Ok((config, settled))
    }

    /// Whether every listener is on loopback: such a node sends nothing elsewhere.
    pub fn is_loopback_only(&self) -> bool {
        self.listen.iter().all(is_loopback)
    }

    /// The peers among `allow`.
    pub fn allowed_peers(&self) -> BTreeSet<PeerId> {
        self.allow.iter().filter_map(Rule::peer).collect()
    }

    /// The peers among `deny`.
    pub fn denied_peers(&self) -> BTreeSet<PeerId> {
        self.deny.iter().filter_map(Rule::peer).collect()
    }
}

/// Whether an address begins with a loopback IP.
fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        Some(Protocol::Memory(_)) => true,
        _ => false,
    }
}
