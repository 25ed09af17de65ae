//! `dicast.*`: who is in the network, and how the whole is, with bounds.

use opus_core::Malformed;
use serde::{Deserialize, Serialize};

use crate::body::{bodies, maybe_num, num};

/// Highest level of a cluster.
const LEVELS_MAX: u8 = 6;
/// Longest name of a key, bytes.
const NAME_MAX: usize = 64;

/// `dicast.show`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DicastShow {}

/// `dicast.view`: one key of one part of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DicastView {
    /// Which key; the count of nodes if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// Which part; the whole tree if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// With `above` alone: the level of the cluster, 1 to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// Whether to tell of the node's neighbours too, one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<bool>,
}

/// A key by its number or its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyName {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

/// A part of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The node that is asked.
    Own,
    /// Its cluster of level 1.
    Cluster,
    /// The cluster of a level that it is in.
    Above,
    /// The whole tree.
    Root,
}

/// A value of which is known how sure it is: for `count` nodes, each at some time within the last
/// `age_ms`, the truth lies in `lo..=hi`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The value, in the key's unit: of a list its last one, of a distribution its median.
    #[serde(with = "num")]
    pub v: f64,
    /// Not above the truth.
    #[serde(with = "num")]
    pub lo: f64,
    /// Not below the truth.
    #[serde(with = "num")]
    pub hi: f64,
    /// Whether the bounds always hold; those of a count of different items are soft.
    pub hard: bool,
    /// Nodes it is for.
    pub count: u64,
    /// At most so many known nodes are left out.
    pub missing: u64,
    /// At most so many nodes may count twice; the bounds hold with and without.
    pub double: u64,
    /// No value in it is older.
    pub age_ms: u64,
}

/// Result of `dicast.view`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The key's number.
    pub key: u16,
    /// Its name, if it has one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of which part of the tree.
    pub scope: Scope,
    /// With `above`: of which level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// The value and its bounds.
    pub answer: Answer,
    /// Of a list: the greatest values and who has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<TopLine>>,
    /// Of a distribution: some of its quantiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Vec<QuantileLine>>,
    /// If they were asked for: the neighbours of which something is known, the nearest level first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<PartLine>>,
}

/// What is known of one neighbour: of a member of the node's cluster, or of a cluster beside its
/// own or beside one above that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartLine {
    /// 0 for a member, else the level of the cluster, to 5.
    pub level: u8,
    /// Its seat in the cluster that both are in.
    pub seat: u64,
    /// Of a member: who sits there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Its value and bounds.
    pub answer: Answer,
}

/// A line of a list of greatest values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopLine {
    /// The first eight bytes of the node's id, in hexadecimal digits.
    pub node: String,
    /// Its value.
    #[serde(with = "num")]
    pub v: f64,
}

/// A quantile with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileLine {
    /// Share of the nodes that are not above it, 0 to 1.
    #[serde(with = "num")]
    pub share: f64,
    /// The value.
    #[serde(with = "num")]
    pub v: f64,
    /// Not above the truth.
    #[serde(with = "num")]
    pub lo: f64,
    /// Not below the truth.
    #[serde(with = "num")]
    pub hi: f64,
}

/// Result of `dicast.show`: the tree as the node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Its cluster of level 1; absent while it has no seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterLine>,
    /// Who sits there.
    pub members: Vec<SeatLine>,
    /// The clusters above, from the nearest to the root.
    pub path: Vec<ClusterLine>,
    /// The clusters whose agent the node is.
    pub posts: Vec<ClusterLine>,
    /// What is aggregated.
    pub keys: Vec<KeyLine>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterLine {
    /// Its name, sixteen hexadecimal digits.
    pub id: String,
    /// Rises with each change of the agent.
    pub epoch: u32,
    /// From 1.
    pub level: u8,
    /// Peer id of its agent.
    pub agent: String,
    /// Peer ids of those who would take over, first come first; above the own cluster three at
    /// most.
    pub deputies: Vec<String>,
    /// Seats taken, where the node knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<u64>,
}

/// A seat in the own cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatLine {
    /// Its number.
    pub slot: u8,
    /// Peer id.
    pub peer: String,
    /// `agent`, `deputy` or `member`.
    pub role: String,
    /// Whether it may hold a post: others can dial it.
    pub fit: bool,
    /// The label of its site, if it is of one: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A key, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyLine {
    /// Its number.
    pub key: u16,
    /// Its name, if it has one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Such as `sum` or `mean`.
    pub function: String,
    /// Of the node alone.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub own: Option<f64>,
    /// Of its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Answer>,
    /// Of the whole tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Answer>,
}

bodies!(DicastShow, DicastView => view, View => viewed, Tree);

fn view(params: &DicastView) -> Result<(), Malformed> {
    match &params.key {
        Some(KeyName::Name(name)) if name.len() > NAME_MAX => {
            return Err(Malformed::Invalid("a key's name of more than 64 bytes"));
        }
        _ => {}
    }
    match (params.scope, params.level) {
        (Some(Scope::Above), Some(1..=LEVELS_MAX)) => Ok(()),
        (Some(Scope::Above), _) => Err(Malformed::Invalid("scope above needs a level, 1 to 6")),
        (_, Some(_)) => Err(Malformed::Invalid("a level goes with scope above only")),
        (_, None) => Ok(()),
    }
}

fn viewed(view: &View) -> Result<(), Malformed> {
    for part in view.parts.iter().flatten() {
        if part.level >= LEVELS_MAX {
            return Err(Malformed::Invalid("a part's level is 0 to 5"));
        }
        if part.level > 0 && part.peer.is_some() {
            return Err(Malformed::Invalid("only a part of level 0 is one peer"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{body::Body, json};

    fn read<T: Body>(value: &Value) -> Result<T, Malformed> {
        json::to_raw(value).unwrap().get()
    }

    #[test]
    fn a_part_is_of_level_0_to_5_and_a_peer_of_level_0_only() {
        let answer = json!({"v": 1, "lo": 1, "hi": 1, "hard": true, "count": 1, "missing": 0,
            "double": 0, "age_ms": 5});
        let view = |part: Value| {
            let parts = json!([part]);
            read::<View>(&json!({"key": 0, "scope": "root", "answer": answer, "parts": parts}))
        };
        let lawful = view(json!({"level": 0, "seat": 63, "peer": "x", "answer": answer}));
        assert_eq!(lawful.unwrap().parts.unwrap()[0].seat, 63);
        assert!(view(json!({"level": 5, "seat": 0, "answer": answer})).is_ok());
        assert!(view(json!({"level": 6, "seat": 0, "answer": answer})).is_err());
        assert!(view(json!({"level": 1, "seat": 0, "peer": "x", "answer": answer})).is_err());
        assert!(view(json!({"level": 0, "seat": 0})).is_err());
    }
}
