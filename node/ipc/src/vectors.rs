//! The golden vectors: frames as bytes and as JSON, for this crate and for other languages.
//!
//! [`files`] makes them; `vectors/*.json` keeps them. A changed vector is a changed wire format and
//! needs a new protocol version. `from` is `client` or `node`; `rule` names the rule of the CDDL
//! that what a call carries obeys (the frame itself always obeys `frame`); `hex` is the frame with
//! its length; `value` is the item, byte strings as `{"hex": ..}`.

mod malformed;
mod methods;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::malformed::Malformed;
use crate::{
    body::Raw,
    json,
    message::{FromClient, FromNode},
};

/// One lawful frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    /// What it shows.
    pub name: String,
    /// `client` or `node`.
    pub from: String,
    /// The CDDL rule of what the call carries; absent for frames without method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The frame with its length.
    pub hex: String,
    /// The item.
    pub value: Value,
}

impl Vector {
    fn client(name: &str, rule: Option<String>, frame: &FromClient) -> Self {
        let mut out = BytesMut::new();
        frame.write(&mut out);
        Self::new(name, "client", rule, &out)
    }

    fn node(name: &str, rule: Option<String>, frame: &FromNode) -> Self {
        let mut out = BytesMut::new();
        frame.write(&mut out);
        Self::new(name, "node", rule, &out)
    }

    fn new(name: &str, from: &str, rule: Option<String>, frame: &[u8]) -> Self {
        let item = Raw(frame[4..].to_vec().into());
        Self {
            name: name.to_owned(),
            from: from.to_owned(),
            rule,
            hex: json::hex(frame),
            value: json::from_raw(&item).expect("what is written here is lawful"),
        }
    }
}

/// All files: name and content.
pub fn files() -> Vec<(String, String)> {
    let mut files = methods::all()
        .into_iter()
        .map(|(name, vectors)| (format!("{name}.json"), lines(&vectors)))
        .collect::<Vec<_>>();
    files.push(("malformed.json".to_owned(), lines(&malformed::all())));
    files
}

/// A JSON array with one element a line: a diff then shows the vector that changed.
fn lines<T: Serialize>(list: &[T]) -> String {
    let text = |element| serde_json::to_string(element).expect("plain data is JSON");
    let elements: Vec<_> = list.iter().map(text).collect();
    format!("[\n{}\n]\n", elements.join(",\n"))
}
