//! Keys of programs' own: what their names are in the tree, who may define them and set values.
//!
//! The tree knows keys by number, and its table has no names. So the number of a program's key *is*
//! a hash of its name: whoever knows the name can ask for it anywhere, whether or not a program
//! there defined it. Two names of one number are told apart only by what they are, and by the node
//! that remembers under which name it took the number; where neither shows, the two are one key.
//!
//! *A definition lives as long as there are values, a value as long as its connection.* The table
//! of all nodes has room for 63 keys, and forgets one once nobody has had a value of it for ten
//! minutes; so a node has few. A node has one value of a key: while one program holds it no other
//! may set it.
//!
//! What is decided here is decided before dicast is asked: each method says which [`Change`] is
//! lawful, the driver gives its command to dicast, and [`Programs::apply`] remembers it once
//! [`Change::is_in`] says that dicast took it.

use std::collections::BTreeMap;

use opus_core::{NodeId, Time};
use opus_dicast::{
    Command, Dicast, Scope,
    aggregate::{Answer, Function, KeyError, KeyId, KeySpec, Record, Sample, Summary, Tolerance},
};

use crate::summary;

/// Least number of a program's key. Below are those that every node has, and room for more.
pub const NUMBER_MIN: u16 = 1_024;
/// Longest name of a key, bytes.
pub const NAME_MAX: usize = 64;
/// What the hash of a name begins with, so that it is equal to no other hash of it.
const DOMAIN: &[u8] = b"opus/key/1\0";

/// The number of the key that programs call `name`. Errors: [`NameError`].
pub fn number_of(name: &str) -> Result<KeyId, NameError> {
    if summary::by_name(name).is_some() {
        return Err(NameError::BuiltIn(name.to_owned()));
    }
    let lawful = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.len() > NAME_MAX || !name.chars().all(lawful) {
        let shown = name.chars().take(NAME_MAX).collect();
        return Err(NameError::Unlawful(shown));
    }
    Ok(KeyId(hashed(name)))
}

fn hashed(name: &str) -> u16 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(name.as_bytes());
    let mut word = [0; 8];
    hasher.finalize_xof().fill(&mut word);
    let numbers = u64::from(u16::MAX - NUMBER_MIN) + 1;
    let offset = u16::try_from(u64::from_le_bytes(word) % numbers).expect("below 2^16");
    NUMBER_MIN + offset
}

/// Why a name is none that a program may give. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Of other signs, too long, or it begins with another sign than a letter.
    #[error("{0:?} cannot name a key: a name is a-z, then a-z 0-9 . _ -, 64 bytes at most")]
    Unlawful(String),
    /// Every node has a key of this name.
    #[error("{0} is a key that every node has; take another name, such as my-app.{0}")]
    BuiltIn(String),
}

/// The function that `word` says, as [`word`] writes it; `-` may stand for a space.
pub fn function(word: &str) -> Option<Function> {
    let word = word.replace('-', " ");
    Some(match word.as_str() {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "weighted mean" => Function::WeightedMean,
        "variance" => Function::Variance,
        "min" => Function::Min,
        "max" => Function::Max,
        "quantiles" => Function::Quantiles,
        "distinct" => Function::Distinct,
        other => Function::TopK(other.strip_prefix("top ")?.parse().ok()?),
    })
}

/// A function, for people and programs.
pub fn word(function: Function) -> String {
    match function {
        Function::Count => "count".to_owned(),
        Function::Sum => "sum".to_owned(),
        Function::Mean => "mean".to_owned(),
        Function::WeightedMean => "weighted mean".to_owned(),
        Function::Variance => "variance".to_owned(),
        Function::Min => "min".to_owned(),
        Function::Max => "max".to_owned(),
        Function::TopK(length) => format!("top {length}"),
        Function::Quantiles => "quantiles".to_owned(),
        Function::Distinct => "distinct".to_owned(),
    }
}

/// What a key is, in a few words: function, range and tolerance.
fn described(spec: &KeySpec) -> String {
    let (lo, hi) = spec.range;
    let within = match spec.tolerance {
        Tolerance::Total(eps) if eps > 0.0 => format!(", to within {eps}"),
        Tolerance::Total(_) => String::new(),
        Tolerance::PerLevel(_) => ", to within a part at each level".to_owned(),
    };
    format!("the {} of {lo} to {hi}{within}", word(spec.function))
}

/// Why a program may not do this. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No key can be like this.
    #[error("no key can be like this: {0}")]
    Spec(#[from] KeyError),
    /// Values of this function are sets of items.
    #[error("a program cannot define a key of the function distinct: its values are sets of items")]
    Distinct,
    /// A key of another name has the number.
    #[error(
        "another key has this number: {name} is {number}, as {other} is here; take another name"
    )]
    Number {
        /// What was asked for.
        name: String,
        /// The number of both.
        number: u16,
        /// The key that is there.
        other: String,
    },
    /// Somebody defined the key, and otherwise.
    #[error(
        "another key has this number: {name} is {number}, which is {known} in this network; \
         define it alike, or take another name"
    )]
    Differs {
        /// What was asked for.
        name: String,
        /// Its number.
        number: u16,
        /// What the key is.
        known: String,
    },
    /// A definition cannot change below a value.
    #[error("{0} has a value of a program here; it can be defined anew once that is withdrawn")]
    InUse(String),
    /// The node has as many keys of programs as it may.
    #[error(
        "this node has {0} keys of programs, and may have no more; one is gone ten minutes after \
         its last value"
    )]
    Full(usize),
    /// Nobody defined the key, as far as is known here.
    #[error("no key {0:?} is known here; define it first, or wait until its definition arrives")]
    Undefined(String),
    /// The value is no value of the key.
    #[error("{value} is no value of {name}, which is {known}")]
    Value {
        /// Which key.
        name: String,
        /// What was to be set.
        value: String,
        /// What the key is.
        known: String,
    },
    /// Another connection's value stands.
    #[error(
        "the value of {name} is held by another connection, of {app:?}; a node has one of a key"
    )]
    Held {
        /// Which key.
        name: String,
        /// The program there.
        app: String,
    },
    /// There is nothing to withdraw.
    #[error("this connection has no value of {0}")]
    NoValue(String),
}

/// A connection of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number, never used again.
    pub conn: u64,
    /// What the program calls itself.
    pub app: String,
}

/// A key that programs of this node defined, or hold a value of.
#[derive(Clone, Debug)]
struct Held {
    name: String,
    /// As it was defined here in this life of the node; none if others did.
    defined: Option<KeySpec>,
    /// Who set a value, and of what.
    holder: Option<(Program, KeySpec)>,
}

impl Held {
    fn holder(&self) -> Option<&Program> {
        self.holder.as_ref().map(|(program, _)| program)
    }
}

/// What is lawful, and yet to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    key: KeyId,
    name: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Define(KeySpec),
    Set(Program, Sample, KeySpec),
    Unset,
}

impl Change {
    /// Which key.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// What dicast is to be told under this number.
    pub fn command(&self, id: u64) -> Command {
        let key = self.key;
        match &self.what {
            What::Define(spec) => Command::Spec {
                id,
                key,
                spec: *spec,
            },
            What::Set(_, sample, _) => Command::Set {
                id,
                key,
                sample: sample.clone(),
            },
            What::Unset => Command::Unset { id, key },
        }
    }

    /// Whether dicast did as it was told. It has no word for that, only for a refusal.
    pub fn is_in(&self, now: Time, me: NodeId, dicast: &Dicast) -> bool {
        let own = || dicast.view(now, self.key, Scope::Own);
        match &self.what {
            What::Define(spec) => dicast.spec(self.key) == Some(spec),
            What::Set(_, sample, spec) => {
                let expected = summary_of(sample, me, spec);
                own() == expected.and_then(|it| Answer::of(&Record::of_one(it), 0.0, spec))
            }
            What::Unset => own().is_none(),
        }
    }
}

fn summary_of(sample: &Sample, me: NodeId, spec: &KeySpec) -> Option<Summary> {
    Summary::of(sample, first_8(me), spec)
}

/// What dicast calls a node in a list of the greatest values.
fn first_8(me: NodeId) -> u64 {
    let first: [u8; 8] = me.0[..8].try_into().expect("there are 32");
    u64::from_be_bytes(first)
}

/// Whether a value is one of the key, without being clamped to it.
fn fits(sample: &Sample, me: NodeId, spec: &KeySpec) -> bool {
    let within = match sample {
        Sample::Number(x) => (spec.range.0..=spec.range.1).contains(x),
        Sample::Weighted(x, weight) => {
            (spec.range.0..=spec.range.1).contains(x) && (0.0..=1.0).contains(weight)
        }
        Sample::Items(_) => true,
    };
    // A count has no values, only nodes that have one.
    let within = within || spec.function == Function::Count;
    within && summary_of(sample, me, spec).is_some()
}

fn shown(sample: &Sample) -> String {
    match sample {
        Sample::Number(x) => x.to_string(),
        Sample::Weighted(x, weight) => format!("{x} of weight {weight}"),
        Sample::Items(_) => "a set of items".to_owned(),
    }
}

/// What the programs of this node defined and set.
#[derive(Clone, Debug)]
pub struct Programs {
    me: NodeId,
    keys_max: usize,
    /// Overflow: [`Refusal::Full`].
    keys: BTreeMap<KeyId, Held>,
}

impl Programs {
    /// Of the node `me`, which may have `keys_max` keys of programs.
    pub fn new(me: NodeId, keys_max: usize) -> Self {
        Self {
            me,
            keys_max,
            keys: BTreeMap::new(),
        }
    }

    /// The name of a key that a program here defined or has a value of.
    pub fn name_of(&self, key: KeyId) -> Option<&str> {
        self.keys.get(&key).map(|held| held.name.as_str())
    }

    /// The number of the key, unless another name here has it. Errors: [`Refusal::Name`],
    /// [`Refusal::Number`].
    pub fn key_of(&self, name: &str) -> Result<KeyId, Refusal> {
        let key = number_of(name)?;
        match self.name_of(key) {
            Some(other) if other != name => Err(Refusal::Number {
                name: name.to_owned(),
                number: key.0,
                other: other.to_owned(),
            }),
            Some(_) | None => Ok(key),
        }
    }

    /// Whether a program may say what the key `name` is; `None` if it is so already. What this
    /// node defined may change as long as nobody here has a value of it. Errors: [`Refusal`].
    pub fn define(
        &mut self,
        name: &str,
        spec: KeySpec,
        dicast: &Dicast,
    ) -> Result<(KeyId, Option<Change>), Refusal> {
        let key = self.key_of(name)?;
        let spec = spec.checked()?;
        if spec.function == Function::Distinct {
            return Err(Refusal::Distinct);
        }
        let held = self.keys.get(&key);
        match dicast.spec(key) {
            Some(known) if *known == spec => {
                self.yield_to(key, spec);
                return Ok((key, None));
            }
            Some(known) if held.and_then(|held| held.defined) != Some(*known) => {
                return Err(Refusal::Differs {
                    name: name.to_owned(),
                    number: key.0,
                    known: described(known),
                });
            }
            Some(_) if held.is_some_and(|held| held.holder.is_some()) => {
                return Err(Refusal::InUse(name.to_owned()));
            }
            Some(_) => {}
            None => self.check_room(key)?,
        }
        let what = What::Define(spec);
        let name = name.to_owned();
        Ok((key, Some(Change { key, name, what })))
    }

    /// Whether a program may set this node's value of the key `name`. A number stands for itself
    /// with weight 1 where a weight is due. Errors: [`Refusal`].
    pub fn set(
        &self,
        program: &Program,
        name: &str,
        sample: Sample,
        dicast: &Dicast,
    ) -> Result<Change, Refusal> {
        let key = self.key_of(name)?;
        let Some(spec) = dicast.spec(key) else {
            return Err(Refusal::Undefined(name.to_owned()));
        };
        let held = self.keys.get(&key);
        let defined = held.and_then(|held| held.defined);
        if defined.is_some_and(|defined| defined != *spec) {
            // Another node defined it at the same time, and its definition is the one in force.
            return Err(Refusal::Differs {
                name: name.to_owned(),
                number: key.0,
                known: described(spec),
            });
        }
        let holder = held.and_then(Held::holder);
        if let Some(holder) = holder.filter(|holder| holder.conn != program.conn) {
            return Err(Refusal::Held {
                name: name.to_owned(),
                app: holder.app.clone(),
            });
        }
        if !fits(&sample, self.me, spec) {
            return Err(Refusal::Value {
                name: name.to_owned(),
                value: shown(&sample),
                known: described(spec),
            });
        }
        self.check_room(key)?;
        Ok(Change {
            key,
            name: name.to_owned(),
            what: What::Set(program.clone(), sample, *spec),
        })
    }

    /// Whether there is a value of the connection to withdraw. Errors: [`Refusal`].
    pub fn unset(&self, conn: u64, name: &str) -> Result<Change, Refusal> {
        let key = self.key_of(name)?;
        let holder = self.keys.get(&key).and_then(Held::holder);
        if holder.is_none_or(|holder| holder.conn != conn) {
            return Err(Refusal::NoValue(name.to_owned()));
        }
        Ok(Change {
            key,
            name: name.to_owned(),
            what: What::Unset,
        })
    }

    /// Remembers what dicast took.
    pub fn apply(&mut self, change: Change) {
        let held = self.keys.entry(change.key).or_insert_with(|| Held {
            name: change.name,
            defined: None,
            holder: None,
        });
        match change.what {
            What::Define(spec) => held.defined = Some(spec),
            What::Set(program, _, spec) => held.holder = Some((program, spec)),
            What::Unset => held.holder = None,
        }
        self.forget_unused();
        assert!(self.keys.len() <= self.keys_max, "changes are checked");
    }

    /// A connection has ended, and with it its values: which keys dicast is to unset.
    pub fn end(&mut self, conn: u64) -> Vec<KeyId> {
        let mut ended = Vec::new();
        for (key, held) in &mut self.keys {
            if held.holder().is_some_and(|it| it.conn == conn) {
                held.holder = None;
                ended.push(*key);
            }
        }
        self.forget_unused();
        ended
    }

    /// Forgets definitions that are gone, and withdraws values of keys that have become others: a
    /// node elsewhere may change what it defined, and of two that defined a key at once one
    /// prevails. A value of a key that is gone stays, for it may come back. Returns which keys
    /// dicast is to unset, and their names.
    pub fn look(&mut self, dicast: &Dicast) -> Vec<(KeyId, String)> {
        let mut withdrawn = Vec::new();
        for (key, held) in &mut self.keys {
            match (dicast.spec(*key), &mut held.holder) {
                (None, None) => held.defined = None,
                (None, Some(_)) | (Some(_), None) => {}
                (Some(known), Some((_, of))) => {
                    if (known.function, known.range) == (of.function, of.range) {
                        *of = *known;
                    } else {
                        held.holder = None;
                        withdrawn.push((*key, held.name.clone()));
                    }
                }
            }
        }
        self.forget_unused();
        withdrawn
    }

    /// Another node's definition is taken over, if ours was another one.
    fn yield_to(&mut self, key: KeyId, spec: KeySpec) {
        if let Some(held) = self.keys.get_mut(&key)
            && held.defined != Some(spec)
        {
            held.defined = None;
            self.forget_unused();
        }
    }

    fn forget_unused(&mut self) {
        let used = |held: &Held| held.defined.is_some() || held.holder.is_some();
        self.keys.retain(|_, held| used(held));
    }

    fn check_room(&self, key: KeyId) -> Result<(), Refusal> {
        let room = self.keys.len() < self.keys_max || self.keys.contains_key(&key);
        room.then_some(()).ok_or(Refusal::Full(self.keys_max))
    }
}

#[cfg(test)]
mod tests;
