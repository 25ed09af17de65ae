//! `node.*` and `ipc.schema`: looking at a node and steering it.

use opus_core::Malformed;
use serde::{Deserialize, Serialize};

use super::{Lossy, dicast::Answer};
use crate::body::{bodies, maybe_num};

/// Longest log filter, bytes.
const FILTER_MAX: usize = 1_024;

/// `node.status`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {}

/// `node.peers`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePeers {}

/// `node.events`: lossy items; both filters optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvents {
    /// This level and graver ones: `error`, `warn`, `info`, `debug`, `trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Events of this kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// `node.doctor`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDoctor {}

/// `node.drain`, admin only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrain {
    /// Time to hand over, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// `node.log_set`, admin only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLogSet {
    /// A filter of `tracing`, such as `info,opus_overlay=debug`.
    pub filter: String,
    /// After this many ms the filter from before is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// `ipc.schema`: the CDDL as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcSchema {}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, but something is wrong.
    Degraded,
    /// It does not serve.
    Down,
}

/// Result of `node.status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// libp2p peer id.
    pub peer_id: String,
    /// Real addresses, each ending in `/p2p/ID`.
    pub listen: Vec<String>,
    /// Connected peers.
    pub peers: u64,
    /// The first line of what a person sees.
    pub verdict: Verdict,
    /// Why the verdict is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The command that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Of the program.
    pub version: String,
    /// Network name.
    pub network: String,
    /// `home`, `server` or `isolated`.
    pub profile: String,
    /// The socket's path.
    pub socket: String,
    /// Process id.
    pub pid: u32,
    /// Since start, ms.
    pub uptime_ms: u64,
    /// `yes`, `no`, `relayed` or `unknown`.
    pub reach: String,
    /// Whether it is about to leave.
    pub draining: bool,
    /// How many nodes the network has, and how sure that is; absent while the node has no seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Answer>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A connection of our own.
    Direct,
    /// Through a libp2p relay.
    Relay,
}

/// One element of the result of `node.peers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerLine {
    /// libp2p peer id.
    pub peer: String,
    /// Multiaddress in use.
    pub addr: String,
    /// How it is reached.
    pub via: Via,
    /// Smoothed round trip, ms.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub rtt_ms: Option<f64>,
    /// Share of probes lost, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub loss: Option<f64>,
    /// Its program's version.
    pub version: String,
}

/// One line of `node.events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// How long ago, ms.
    pub age_ms: u64,
    /// `error` to `trace`.
    pub level: String,
    /// A stable name.
    pub kind: String,
    /// For people.
    pub msg: String,
}

/// Item of `node.events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EventMap", into = "EventMap")]
pub enum EventItem {
    /// Something happened.
    Event(EventLine),
    /// So many were left out.
    Lost(u64),
}

impl Lossy for EventItem {
    fn lost(n: u64) -> Self {
        Self::Lost(n)
    }
}

/// One element of the result of `node.doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The command that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

bodies!(
    NodeStatus,
    NodePeers,
    NodeEvents => events,
    NodeDoctor,
    NodeDrain,
    NodeLogSet => log_set,
    IpcSchema,
    Status,
    EventItem,
);

fn events(params: &NodeEvents) -> Result<(), Malformed> {
    let levels = ["error", "warn", "info", "debug", "trace"];
    match &params.level {
        Some(level) if !levels.contains(&level.as_str()) => Err(Malformed::Invalid(
            "level is error, warn, info, debug or trace",
        )),
        _ => Ok(()),
    }
}

fn log_set(params: &NodeLogSet) -> Result<(), Malformed> {
    if params.filter.len() > FILTER_MAX {
        return Err(Malformed::Invalid("filter of more than 1,024 bytes"));
    }
    Ok(())
}

/// The two shapes of an [`EventItem`] in one map.
#[derive(Clone, Serialize, Deserialize)]
struct EventMap {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

impl From<EventItem> for EventMap {
    fn from(item: EventItem) -> Self {
        match item {
            EventItem::Event(line) => Self {
                age_ms: Some(line.age_ms),
                level: Some(line.level),
                kind: Some(line.kind),
                msg: Some(line.msg),
                lost: None,
            },
            EventItem::Lost(n) => Self {
                age_ms: None,
                level: None,
                kind: None,
                msg: None,
                lost: Some(n),
            },
        }
    }
}

impl TryFrom<EventMap> for EventItem {
    type Error = &'static str;

    fn try_from(map: EventMap) -> Result<Self, Self::Error> {
        match map {
            EventMap { lost: Some(n), .. } => Ok(Self::Lost(n)),
            EventMap {
                age_ms: Some(age_ms),
                level: Some(level),
                kind: Some(kind),
                msg: Some(msg),
                ..
            } => Ok(Self::Event(EventLine {
                age_ms,
                level,
                kind,
                msg,
            })),
            _ => Err("neither an event nor a count of lost ones"),
        }
    }
}
