//! Profiles: what a node at home, on a public address or in a lab begins with.

use std::fmt;

/// Three kinds of places where a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Behind a router; the default.
    Home,
    /// On a public address.
    Server,
    /// In a lab, a company, a test.
    Isolated,
}

impl Profile {
    /// All names.
    pub const NAMES: [&'static str; 3] = ["home", "server", "isolated"];

    /// The profile of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "home" => Some(Self::Home),
            "server" => Some(Self::Server),
            "isolated" => Some(Self::Isolated),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Server => "server",
            Self::Isolated => "isolated",
        }
    }

    /// Its values as TOML, in the form of a configuration file (docs/operations.md, the table).
    pub(crate) const fn values(self) -> &'static str {
        match self {
            Self::Home => HOME,
            Self::Server => SERVER,
            Self::Isolated => ISOLATED,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What no profile sets otherwise.
pub(crate) const DEFAULTS: &str = r#"
network = "main"
profile = "home"
listen = [
  "/ip4/0.0.0.0/udp/4801/quic-v1", "/ip6/::/udp/4801/quic-v1",
  "/ip4/0.0.0.0/tcp/4801", "/ip6/::/tcp/4801",
]
bootstrap = []
allow = []
deny = []
drain_ms = 30000
relay_server = false
[log]
filter = "info"
format = "text"
"#;

const HOME: &str = r#"
mdns = true
upnp = true
kademlia = "auto"
autonat_client = true
autonat_server = false
relay_client = true
private_addresses = "own"
[limits]
memory = "512 MiB"
connections = 100
disk = "1 GiB"
up = "10 Mbit/s"
down = "50 Mbit/s"
month = "500 GiB"
"#;

const SERVER: &str = r#"
mdns = false
upnp = false
kademlia = "server"
autonat_client = true
autonat_server = true
relay_client = false
private_addresses = "never"
[limits]
memory = "2 GiB"
connections = 500
disk = "10 GiB"
up = "100 Mbit/s"
down = "100 Mbit/s"
"#;

const ISOLATED: &str = r#"
mdns = false
upnp = false
kademlia = "off"
autonat_client = false
autonat_server = false
relay_client = false
private_addresses = "any"
[limits]
memory = "512 MiB"
connections = 100
disk = "1 GiB"
"#;
