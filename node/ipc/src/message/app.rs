//! `app.*` and `membership.watch`: applications and who is in them.

pub use cbor4ii::core::Value;
use opus_core::{Malformed, NodeId};
use serde::{Deserialize, Serialize};

use crate::body::{bodies, maybe_num, num};

/// Longest `appref`: 32 letters, a dot, 52 letters of owner.
const APPREF_MAX: usize = 85;

/// Most ports of one attachment.
const PORTS_MAX: usize = 16;

/// `app.deploy`: a new application, by its signed spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDeploy {
    /// A `signed-app`, kept as signed.
    #[serde(with = "serde_bytes")]
    pub signed: Vec<u8>,
    /// Only say what would happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// `app.update`: a higher version of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppUpdate {
    /// A `signed-app`, kept as signed.
    #[serde(with = "serde_bytes")]
    pub signed: Vec<u8>,
    /// Only say what would happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// `app.retire`: a higher version with `retired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRetire {
    /// A `signed-app`, kept as signed.
    #[serde(with = "serde_bytes")]
    pub signed: Vec<u8>,
    /// Only say what would happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// `app.list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppList {
    /// Those after this `appref`, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// `app.show`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppShow {
    /// `name.owner`, or `name` when no other owner has it.
    pub app: String,
}

/// `app.attach`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppAttach {
    /// `name.owner`, or `name` when no other owner has it.
    pub app: String,
    /// The part that this program plays.
    #[serde(rename = "as")]
    pub role: As,
    /// A market lease; without it the attachment is an `edge`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub lease: Option<Vec<u8>>,
    /// Ports of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// Feature `resume`: a sink of a complete application that lost its node goes on here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// `app.detach`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDetach {
    /// From `app.attach`.
    pub att: u64,
}

/// `membership.watch`: the whole set, `{synced: true}`, then changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipWatch {
    /// From `app.attach`.
    pub att: u64,
}

/// The kind of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One source, many sinks.
    Multicast,
    /// Peers, each a source and a sink.
    MultiSender,
    /// One source, one sink.
    Unicast,
    /// Replicas that answer requests.
    Service,
}

/// The part of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// Sends.
    Source,
    /// Receives.
    Sink,
    /// Both, in a multi-sender application.
    Peer,
    /// Both, in a service.
    Replica,
}

/// A port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its protocol.
    pub proto: Proto,
    /// 1 to 65,535.
    pub port: u16,
}

/// Transport protocol of a [`Port`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The last frame that a client has: it asks for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The source's node.
    pub src: NodeId,
    /// Its last sequence number that arrived.
    pub seq: u64,
}

/// What a deployment would get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// Whether the application is taken.
    pub admitted: bool,
    /// Slots that it would get.
    #[serde(with = "num")]
    pub slots: f64,
    /// Price of a slot.
    #[serde(with = "num")]
    pub price: f64,
    /// Share of its demand that would be served, 0 to 1.
    #[serde(with = "num")]
    pub served: f64,
    /// Why not, or why not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Result of `app.deploy`, `app.update`, `app.retire`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// `name.owner`.
    pub app: String,
    /// The version in force.
    pub version: u64,
    /// What it would get.
    pub quote: Quote,
}

/// One element of the result of `app.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppLine {
    /// `name.owner`.
    pub app: String,
    /// Its kind.
    pub kind: Kind,
    /// The version in force.
    pub version: u64,
    /// Slots held.
    #[serde(with = "num")]
    pub slots: f64,
    /// For people.
    pub state: String,
}

/// One edge of an application's overlay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Peer id; in a tree, the parent.
    pub a: String,
    /// Peer id.
    pub b: String,
    /// Measured delay, ms.
    #[serde(with = "num")]
    pub delay_ms: f64,
    /// Network cost.
    #[serde(with = "num")]
    pub cost: f64,
}

/// Result of `app.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppView {
    /// `name.owner`.
    pub app: String,
    /// The spec, as its owner signed it.
    pub spec: Value,
    /// Members that this node knows.
    pub members: u64,
    /// Edges that this node knows.
    pub edges: Vec<Edge>,
    /// Relative delay penalty.
    #[serde(with = "num")]
    pub rdp: f64,
    /// Network cost.
    #[serde(with = "num")]
    pub cost: f64,
    /// LAST alpha or spanner k.
    #[serde(with = "num")]
    pub knob: f64,
    /// What passed through this node, by rising source and flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowLine>,
}

/// Counters of one flow at one node, since it came to carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowLine {
    /// Peer id of the source.
    pub src: String,
    /// 0 to 15.
    pub flow: u8,
    /// At the source: frames taken. Elsewhere: frames due to local sinks.
    pub offered: u64,
    /// Frames delivered within the promise.
    pub on_time: u64,
    /// Frames dropped because they came after their deadline.
    pub late: u64,
    /// Frames given up.
    pub lost: u64,
    /// At the source: frames not taken because the window was full.
    pub refused: u64,
    /// Copies that were here already, and never went to a program.
    pub duplicates: u64,
    /// Frames that filled a hole.
    pub repaired: u64,
    /// Copies written to neighbours.
    pub copies: u64,
    /// 99th percentile from source to sink, ms, at most 1.5 times too high; none before a frame.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub p99_ms: Option<f64>,
}

/// How a lease came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// Bought.
    Market,
    /// A local program's own.
    Edge,
}

/// The right under which an attachment runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    #[serde(with = "serde_bytes")]
    pub id: Vec<u8>,
    /// How it came about.
    pub kind: LeaseKind,
    /// Slots held.
    #[serde(with = "num")]
    pub slots: f64,
    /// Price of a slot.
    #[serde(with = "num")]
    pub price: f64,
    /// Until it ends, ms; none for `edge`.
    pub left_ms: Option<u64>,
}

impl Lease {
    /// An `edge` lease: no slot, no price, no end.
    pub fn edge(id: Vec<u8>) -> Self {
        Self {
            id,
            kind: LeaseKind::Edge,
            slots: 0.0,
            price: 0.0,
            left_ms: None,
        }
    }
}

/// Result of `app.attach`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// Names the attachment; ends with its connection.
    pub att: u64,
    /// `name.owner`.
    pub app: String,
    /// This node's peer id.
    pub node: String,
    /// This node, as in `src` of frames.
    pub id: NodeId,
    /// The right under which it runs.
    pub lease: Lease,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Not yet reached by frames.
    Joining,
    /// Each later frame is due to it.
    Joined,
    /// About to go.
    Leaving,
    /// Gone.
    Gone,
}

/// Item of `membership.watch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MemberMap", into = "MemberMap")]
pub enum MemberItem {
    /// A member, or a change of one.
    Member {
        /// Peer id.
        node: String,
        /// The node, as in `src` of frames.
        id: NodeId,
        /// Its part.
        role: As,
        /// Where it stands.
        state: MemberState,
        /// Age of this news, ms.
        age_ms: u64,
    },
    /// The whole set has been said.
    Synced,
}

bodies!(
    AppDeploy,
    AppUpdate,
    AppRetire,
    AppList,
    AppShow => show,
    AppAttach => attach,
    AppDetach,
    MembershipWatch,
    Deployed,
    AppView,
    Attached,
    MemberItem,
);

fn show(params: &AppShow) -> Result<(), Malformed> {
    appref(&params.app)
}

fn attach(params: &AppAttach) -> Result<(), Malformed> {
    appref(&params.app)?;
    let ports = params.ports.as_deref().unwrap_or_default();
    if ports.len() > PORTS_MAX || ports.iter().any(|port| port.port == 0) {
        return Err(Malformed::Invalid("at most 16 ports, 1 to 65535"));
    }
    Ok(())
}

fn appref(app: &str) -> Result<(), Malformed> {
    let lawful =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if app.is_empty() || app.len() > APPREF_MAX || !app.bytes().all(lawful) {
        return Err(Malformed::Invalid("app is name or name.owner: a-z 0-9 - ."));
    }
    Ok(())
}

/// The two shapes of a [`MemberItem`] in one map.
#[derive(Clone, Serialize, Deserialize)]
struct MemberMap {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "as")]
    role: Option<As>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<MemberState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synced: Option<bool>,
}

impl From<MemberItem> for MemberMap {
    fn from(item: MemberItem) -> Self {
        let mut map = Self {
            node: None,
            id: None,
            role: None,
            state: None,
            age_ms: None,
            synced: None,
        };
        match item {
            MemberItem::Member {
                node,
                id,
                role,
                state,
                age_ms,
            } => {
                map.node = Some(node);
                map.id = Some(id);
                map.role = Some(role);
                map.state = Some(state);
                map.age_ms = Some(age_ms);
            }
            MemberItem::Synced => map.synced = Some(true),
        }
        map
    }
}

impl TryFrom<MemberMap> for MemberItem {
    type Error = &'static str;

    fn try_from(map: MemberMap) -> Result<Self, Self::Error> {
        match map {
            MemberMap {
                synced: Some(true), ..
            } => Ok(Self::Synced),
            MemberMap {
                node: Some(node),
                id: Some(id),
                role: Some(role),
                state: Some(state),
                age_ms: Some(age_ms),
                ..
            } => Ok(Self::Member {
                node,
                id,
                role,
                state,
                age_ms,
            }),
            _ => Err("neither a member nor synced"),
        }
    }
}
