//! From merged values to the typed configuration, and the rules between values.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Config, ConfigError, Kademlia, Limits, Log, LogFormat, Places, PrivateAddresses, Profile,
    Settled, is_loopback, units,
};

/// Why values are off that the profile has on.
const LOOPBACK: &str = "listens on loopback only";

/// Builds the configuration; puts what follows from other values into `settled` too.
///
/// Errors: [`ConfigError::NoHome`], and [`ConfigError::Value`] for a node without a listener.
pub(super) fn build(settled: &mut Settled, places: &Places) -> Result<Config, ConfigError> {
    quiet_on_loopback(settled);
    place(settled, places)?;
    let read = Reader(settled);
    let listen = read.list("listen");
    if listen.is_empty() {
        return Err(ConfigError::Value {
            key: "listen".to_owned(),
            origin: settled.values["listen"].1.clone(),
            problem: "needs at least one address".to_owned(),
        });
    }
    Ok(Config {
        network: read.text("network"),
        site: read.get("site").map(|_| read.text("site")),
        data_dir: read.path("data_dir"),
        socket: read.path("socket"),
        profile: Profile::parse(&read.text("profile")).expect("checked: a profile"),
        listen,
        bootstrap: read.list("bootstrap"),
        mdns: read.flag("mdns"),
        upnp: read.flag("upnp"),
        kademlia: kademlia(&read.text("kademlia")),
        autonat_client: read.flag("autonat_client"),
        autonat_server: read.flag("autonat_server"),
        relay_client: read.flag("relay_client"),
        relay_server: read.flag("relay_server"),
        private_addresses: private_addresses(&read.text("private_addresses")),
        limits: limits(&read),
        allow: read.list("allow"),
        deny: read.list("deny"),
        psk_file: read.get("psk_file").map(|_| read.path("psk_file")),
        log: Log {
            filter: read.text("log.filter"),
            format: match read.text("log.format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
        },
        drain: Duration::from_millis(read.count("drain_ms")),
    })
}

/// A node that listens on loopback only sends nothing elsewhere, whatever the profile says.
fn quiet_on_loopback(settled: &mut Settled) {
    let listen: Vec<libp2p::Multiaddr> = Reader(settled).list("listen");
    if !listen.iter().all(is_loopback) {
        return;
    }
    for name in [
        "mdns",
        "upnp",
        "autonat_client",
        "autonat_server",
        "relay_client",
        "relay_server",
    ] {
        if Reader(settled).flag(name) {
            settled.set(name, false.into(), LOOPBACK);
        }
    }
}

/// Puts the default places where none are set.
fn place(settled: &mut Settled, places: &Places) -> Result<(), ConfigError> {
    let network = Reader(settled).text("network");
    if !settled.values.contains_key("data_dir") {
        let data_dir = places.data_dir(&network).ok_or(ConfigError::NoHome)?;
        settled.set("data_dir", shown(&data_dir), "follows from network");
    }
    if !settled.values.contains_key("socket") {
        let data_dir = Reader(settled).path("data_dir");
        let socket = places.socket(&network, &data_dir);
        settled.set("socket", shown(&socket), "follows from network");
    }
    Ok(())
}

fn shown(path: &Path) -> toml::Value {
    path.to_string_lossy().into_owned().into()
}

fn kademlia(word: &str) -> Kademlia {
    match word {
        "auto" => Kademlia::Auto,
        "client" => Kademlia::Client,
        "server" => Kademlia::Server,
        _ => Kademlia::Off,
    }
}

fn private_addresses(word: &str) -> PrivateAddresses {
    match word {
        "own" => PrivateAddresses::Own,
        "any" => PrivateAddresses::Any,
        _ => PrivateAddresses::Never,
    }
}

fn limits(read: &Reader<'_>) -> Limits {
    let connections = read.count("limits.connections");
    Limits {
        memory_bytes: read.size("limits.memory").unwrap_or(u64::MAX),
        connections: u32::try_from(connections).unwrap_or(u32::MAX),
        disk_bytes: read.size("limits.disk").unwrap_or(u64::MAX),
        up_bits_per_s: read.rate("limits.up"),
        down_bits_per_s: read.rate("limits.down"),
        month_bytes: read.size("limits.month"),
    }
}

/// Typed reading of values that [`super::keys::Key::check`] has accepted.
struct Reader<'a>(&'a Settled);

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<&toml::Value> {
        self.0.values.get(name).map(|(value, _)| value)
    }

    fn text(&self, name: &str) -> String {
        let text = self.get(name).and_then(toml::Value::as_str);
        text.unwrap_or_default().to_owned()
    }

    /// A path; the form `unix:/path` of a socket is one too.
    fn path(&self, name: &str) -> PathBuf {
        let text = self.text(name);
        PathBuf::from(text.strip_prefix("unix:").unwrap_or(&text))
    }

    fn flag(&self, name: &str) -> bool {
        let flag = self.get(name).and_then(toml::Value::as_bool);
        flag.unwrap_or_default()
    }

    fn count(&self, name: &str) -> u64 {
        let count = self.get(name).and_then(toml::Value::as_integer);
        count
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or_default()
    }

    fn size(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        match value.as_str() {
            Some(text) => units::size(text),
            None => Some(self.count(name)),
        }
    }

    fn rate(&self, name: &str) -> Option<u64> {
        units::rate(self.get(name)?.as_str()?)
    }

    fn list<T: std::str::FromStr>(&self, name: &str) -> Vec<T> {
        let list = self.get(name).and_then(toml::Value::as_array);
        let items = list.into_iter().flatten();
        items
            .filter_map(|item| item.as_str()?.parse().ok())
            .collect()
    }
}
