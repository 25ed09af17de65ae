//! `dicast.*`: who is in the network, and how the whole is, with bounds.

use opus_core::Malformed;
use serde::{Deserialize, Serialize};

use crate::body::{bodies, maybe_num, num, num_pair};

/// Highest level of a cluster.
const LEVELS_MAX: u8 = 6;
/// Longest name of a key, bytes.
const NAME_MAX: usize = 64;
/// Longest word for a function, bytes.
const FUNCTION_MAX: usize = 32;

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

/// `dicast.define`: what a key of programs' own is, for the whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DicastDefine {
    /// Its name.
    pub name: String,
    /// What is made of the values, as `dicast.show` says it: such as `sum`, `mean` or `top 3`.
    pub function: String,
    /// Least and greatest value of a node.
    #[serde(with = "num_pair")]
    pub range: (f64, f64),
    /// By how much an answer for the whole may be wrong; not at all if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub eps: Option<f64>,
    /// Whether a change travels at once, instead of with the next beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eager: Option<bool>,
    /// Whether a node knows its own cluster exactly, as it does if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Whether `eps` is for three standard deviations of independent errors, not for the worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistical: Option<bool>,
    /// A change within `eps` is told after this all the same; 60,000 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// Result of `dicast.define`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// The key's number, which follows from its name.
    pub key: u16,
    /// Its name.
    pub name: String,
    /// Whether it was not defined, or otherwise, before.
    pub new: bool,
}

/// `dicast.set`: this node's value of a program's key, until the connection ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DicastSet {
    /// The key's name.
    pub key: String,
    /// The value.
    #[serde(with = "num")]
    pub value: f64,
    /// With a weighted mean alone: how much the value counts, 0 to 1; 1 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub weight: Option<f64>,
}

/// `dicast.unset`: withdraws the value that this connection set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DicastUnset {
    /// The key's name.
    pub key: String,
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

bodies!(
    DicastShow,
    DicastView => view,
    DicastDefine => define,
    DicastSet => set,
    DicastUnset => unset,
    Defined,
    View => viewed,
    Tree,
);

fn name(name: &str) -> Result<(), Malformed> {
    match name.len() {
        0 => Err(Malformed::Invalid("a key's name of no bytes")),
        1..=NAME_MAX => Ok(()),
        _ => Err(Malformed::Invalid("a key's name of more than 64 bytes")),
    }
}

fn define(params: &DicastDefine) -> Result<(), Malformed> {
    name(&params.name)?;
    if params.function.len() > FUNCTION_MAX {
        return Err(Malformed::Invalid("a function of more than 32 bytes"));
    }
    if params.eps.is_some_and(|eps| eps < 0.0) {
        return Err(Malformed::Invalid("eps is 0 or more"));
    }
    Ok(())
}

fn set(params: &DicastSet) -> Result<(), Malformed> {
    name(&params.key)?;
    let weight = params.weight.unwrap_or(1.0);
    let within = (0.0..=1.0).contains(&weight);
    within
        .then_some(())
        .ok_or(Malformed::Invalid("a weight is 0 to 1"))
}

fn unset(params: &DicastUnset) -> Result<(), Malformed> {
    name(&params.key)
}

fn view(params: &DicastView) -> Result<(), Malformed> {
    if let Some(KeyName::Name(text)) = &params.key {
        name(text)?;
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
    use crate::{
        body::{Body, Raw},
        json,
    };

    fn raw(value: &Value) -> Raw {
        json::to_raw(value).unwrap()
    }

    fn read<T: Body>(value: &Value) -> Result<T, Malformed> {
        raw(value).get()
    }

    #[test]
    fn a_definition_is_read_with_whole_numbers_and_refused_beyond_its_limits() {
        let with = |key: &str, value: Value| {
            let mut params = json!({"name": "a.b", "function": "sum", "range": [0, 1.5]});
            params[key] = value;
            read::<DicastDefine>(&params)
        };
        let read = with("eps", json!(1)).unwrap();
        assert_eq!((read.range, read.eps), ((0.0, 1.5), Some(1.0)));
        for (key, value) in [
            ("name", json!("")),
            ("name", json!("a".repeat(65))),
            ("function", json!("a".repeat(33))),
            ("eps", json!(-0.5)),
            ("eps", json!("1")),
            ("range", json!([0])),
            ("range", json!([0, 1, 2])),
            ("range", json!(["0", 1])),
            ("exact", json!(1)),
            ("age_ms", json!(-1)),
        ] {
            assert!(with(key, value.clone()).is_err(), "{key}: {value}");
        }
    }

    #[test]
    fn a_value_is_a_number_with_a_weight_of_0_to_1() {
        let of = |value: Value| read::<DicastSet>(&value);
        let plain = of(json!({"key": "a", "value": 7})).unwrap();
        assert_eq!(
            (plain.value.to_bits(), plain.weight),
            (7_f64.to_bits(), None)
        );
        let weighted = of(json!({"key": "a", "value": -0.5, "weight": 1}));
        assert_eq!(weighted.unwrap().weight, Some(1.0));
        for refused in [
            json!({"key": "a"}),
            json!({"key": "", "value": 1}),
            json!({"key": 40, "value": 1}),
            json!({"key": "a", "value": "1"}),
            json!({"key": "a", "value": 1, "weight": 1.5}),
            json!({"key": "a", "value": 1, "weight": -1}),
        ] {
            assert!(of(refused.clone()).is_err(), "{refused}");
        }
        assert!(read::<DicastUnset>(&json!({"key": "a".repeat(65)})).is_err());
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
