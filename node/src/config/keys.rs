//! The one table of all configuration keys.

use libp2p::Multiaddr;

use super::{Profile, Rule, units};

/// One key of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name with dots between tables.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// One line for `config show` and `env`.
    pub doc: &'static str,
}

/// What the values of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One DNS label.
    Label,
    /// Any text.
    Text,
    /// A file or directory.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number in this range.
    Count(u64, u64),
    /// `512 MiB`.
    Size,
    /// `10 Mbit/s`.
    Rate,
    /// A list of multiaddresses.
    Addresses,
    /// A list of peer ids and address blocks.
    Rules,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key(
        "network",
        Kind::Label,
        "name of the network; sets data_dir and socket apart",
    ),
    key(
        "profile",
        Kind::Choice(&Profile::NAMES),
        "which defaults: home, server or isolated",
    ),
    key(
        "site",
        Kind::Text,
        "where this node stands: nodes of one site share clusters, whatever the delays",
    ),
    key("data_dir", Kind::Path, "identity and state"),
    key("socket", Kind::Path, "the Unix socket for programs"),
    key("listen", Kind::Addresses, "where to listen"),
    key("bootstrap", Kind::Addresses, "whom to dial first"),
    key("mdns", Kind::Flag, "find nodes in the local network"),
    key("upnp", Kind::Flag, "ask the router for a port"),
    key(
        "kademlia",
        Kind::Choice(&["off", "auto", "client", "server"]),
        "part in the distributed hash table",
    ),
    key(
        "autonat_client",
        Kind::Flag,
        "ask others whether this node can be reached",
    ),
    key(
        "autonat_server",
        Kind::Flag,
        "answer that question for others",
    ),
    key(
        "relay_client",
        Kind::Flag,
        "be reachable through circuit relays, for hole punching",
    ),
    key("relay_server", Kind::Flag, "be a circuit relay for others"),
    key(
        "private_addresses",
        Kind::Choice(&["own", "never", "any"]),
        "which private addresses told by others are dialled",
    ),
    key(
        "allow",
        Kind::Rules,
        "only these peers and address blocks, if any",
    ),
    key("deny", Kind::Rules, "never these peers and address blocks"),
    key(
        "psk_file",
        Kind::Path,
        "key of a private network; QUIC is off then",
    ),
    key(
        "drain_ms",
        Kind::Count(0, 3_600_000),
        "how long a drain may take, milliseconds",
    ),
    key(
        "limits.memory",
        Kind::Size,
        "memory of the process; not enforced yet",
    ),
    key(
        "limits.connections",
        Kind::Count(4, 100_000),
        "established connections",
    ),
    key(
        "limits.disk",
        Kind::Size,
        "state and caches on disk; not enforced yet",
    ),
    key("limits.up", Kind::Rate, "sent; not enforced yet"),
    key("limits.down", Kind::Rate, "received; not enforced yet"),
    key(
        "limits.month",
        Kind::Size,
        "sent and received in a month; not enforced yet",
    ),
    key(
        "log.filter",
        Kind::Text,
        "what is logged, such as info,opus_overlay=debug",
    ),
    key(
        "log.format",
        Kind::Choice(&["text", "json"]),
        "the form of a log line",
    ),
];

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc }
}

/// Variables that begin like ours and are no configuration: three of the node's own, then those of
/// tests and of the testnet, in whose environment a node may be started.
pub const OTHER_VARIABLES: &[&str] = &[
    "OPUS_CONFIG",
    "OPUS_LEASE",
    "OPUS_STRICT",
    "OPUS_DATA",
    "OPUS_LOG",
    "OPUS_REQUIRE_DATA",
    "OPUS_REQUIRE_NETNS",
    "OPUS_SEED",
    "OPUS_TIME_FACTOR",
];

impl Key {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("OPUS_{}", self.name.to_uppercase().replace('.', "_"))
    }

    /// Whether `value` fits; the error says what it must be.
    pub fn check(&self, value: &toml::Value) -> Result<(), String> {
        let text = value.as_str();
        let fits = match self.kind {
            Kind::Label => text.is_some_and(is_label),
            Kind::Text => text.is_some(),
            Kind::Path => text.is_some_and(|text| !text.is_empty()),
            Kind::Flag => value.as_bool().is_some(),
            Kind::Count(min, max) => count(value).is_some_and(|n| (min..=max).contains(&n)),
            Kind::Size => count(value).or_else(|| units::size(text?)).is_some(),
            Kind::Rate => text.and_then(units::rate).is_some(),
            Kind::Choice(words) => text.is_some_and(|text| words.contains(&text)),
            Kind::Addresses => {
                return each(value, |text| {
                    let parsed = text.parse::<Multiaddr>();
                    parsed
                        .map(drop)
                        .map_err(|error| format!("{text} is no multiaddress: {error}"))
                });
            }
            Kind::Rules => {
                return each(value, |text| {
                    let parsed = text.parse::<Rule>();
                    parsed
                        .map(drop)
                        .map_err(|error| format!("{text:?} {error}"))
                });
            }
        };
        if fits {
            return Ok(());
        }
        let shown = text.map_or_else(|| value.to_string(), |text| format!("{text:?}"));
        Err(format!("{shown} does not fit, {}", self.kind.wanted()))
    }

    /// The value that a text in the environment means; to be checked.
    pub fn read(&self, text: &str) -> toml::Value {
        match self.kind {
            Kind::Flag => match text {
                "1" | "true" | "yes" | "on" => true.into(),
                "0" | "false" | "no" | "off" => false.into(),
                _ => text.into(),
            },
            Kind::Count(..) => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
            Kind::Addresses | Kind::Rules => {
                let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
                parts.map(Into::into).collect::<Vec<toml::Value>>().into()
            }
            Kind::Label | Kind::Text | Kind::Path | Kind::Size | Kind::Rate | Kind::Choice(_) => {
                text.into()
            }
        }
    }
}

impl Kind {
    fn wanted(self) -> String {
        match self {
            Self::Label => "must be 1 to 32 of a-z, 0-9 and -".to_owned(),
            Self::Text => "must be a text".to_owned(),
            Self::Path => "must be a path".to_owned(),
            Self::Flag => "must be true or false".to_owned(),
            Self::Count(min, max) => format!("must be a whole number from {min} to {max}"),
            Self::Size => "must be a size such as \"512 MiB\"".to_owned(),
            Self::Rate => "must be a rate such as \"10 Mbit/s\"".to_owned(),
            Self::Addresses => "must be a list of multiaddresses".to_owned(),
            Self::Rules => "must be a list of peer ids and address blocks".to_owned(),
            Self::Choice(words) => format!("must be one of {}", words.join(", ")),
        }
    }
}

/// The name among `known` that is nearest to `name`, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| edits(name.as_bytes(), other.as_bytes());
    let nearest = known.into_iter().min_by_key(|other| distance(other))?;
    (distance(nearest) <= (name.len() / 3).max(2)).then_some(nearest)
}

/// Levenshtein's distance: insertions, deletions and replacements.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn is_label(text: &str) -> bool {
    let lawful = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(lawful)
}

fn count(value: &toml::Value) -> Option<u64> {
    value
        .as_integer()
        .and_then(|number| u64::try_from(number).ok())
}

fn each(value: &toml::Value, fits: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    let list = value.as_array().ok_or("must be a list of texts")?;
    for item in list {
        fits(item.as_str().ok_or("must be a list of texts")?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("limits.memroy", names()), Some("limits.memory"));
        assert_eq!(nearest("bootstraps", names()), Some("bootstrap"));
        assert_eq!(nearest("colour_of_the_sky", names()), None);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        assert_eq!(edits(b"kitten", b"sitting"), 3);
        assert_eq!(edits(b"", b"abc"), 3);
        assert_eq!(edits(b"same", b"same"), 0);
    }

    #[test]
    fn names_and_variables_are_unique() {
        let names: std::collections::BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(OTHER_VARIABLES.iter().all(|other| !names.contains(*other)));
    }
}
