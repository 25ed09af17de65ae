//! Values of the wire as JSON, for `opus-node call`, `--json` and the golden vectors.
//!
//! JSON has no byte strings: they are `{"hex": "00ff"}`, both ways. A float without fraction is
//! written with its point (`1.0`), so that it stays a float.

use bytes::BytesMut;
use cbor4ii::core::Value as Cbor;
use opus_core::{Malformed, codec};
use serde_json::{Map, Number, Value};

use crate::{
    body::{Raw, put},
    wire,
};

/// The key of a byte string.
const HEX: &str = "hex";

/// An encoded item as JSON. Errors: it is not one item within the limits of a frame.
pub fn from_raw(raw: &Raw) -> Result<Value, Malformed> {
    let value: Cbor = codec::decode(&raw.0, wire::limits(wire::FRAME_MAX))?;
    from_cbor(value)
}

/// JSON as an encoded item. Errors: a `hex` that is none, or nested too deeply for a frame.
pub fn to_raw(value: &Value) -> Result<Raw, Malformed> {
    let mut out = BytesMut::new();
    put(&mut out, &to_cbor(value)?);
    codec::scan(&out, wire::limits(wire::FRAME_MAX))?;
    Ok(Raw(out.freeze()))
}

/// `00ff`
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into memory cannot fail");
        text
    })
}

/// The bytes of `00ff`, if it is of that form.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

fn from_cbor(value: Cbor) -> Result<Value, Malformed> {
    Ok(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => Value::Bool(value),
        Cbor::Integer(value) => Value::Number(integer(value)?),
        Cbor::Float(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        Cbor::Bytes(bytes) => {
            let text = Value::String(hex(&bytes));
            Value::Object(Map::from_iter([(HEX.to_owned(), text)]))
        }
        Cbor::Text(text) => Value::String(text),
        Cbor::Array(items) => {
            let items: Result<_, _> = items.into_iter().map(from_cbor).collect();
            Value::Array(items?)
        }
        Cbor::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Cbor::Text(key) = key else {
                    return Err(Malformed::Invalid("a key that is not text"));
                };
                map.insert(key, from_cbor(value)?);
            }
            Value::Object(map)
        }
        Cbor::Tag(..) | _ => return Err(Malformed::Invalid("a kind of value that JSON has not")),
    })
}

fn integer(value: i128) -> Result<Number, Malformed> {
    let small = i64::try_from(value).map(Number::from);
    let number = small.or_else(|_| u64::try_from(value).map(Number::from));
    number.map_err(|_| Malformed::Invalid("an integer below -2^63"))
}

fn to_cbor(value: &Value) -> Result<Cbor, Malformed> {
    Ok(match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Cbor::Integer(value.into()),
            (None, Some(value)) => Cbor::Integer(value.into()),
            (None, None) => Cbor::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Array(items) => {
            let items: Result<_, _> = items.iter().map(to_cbor).collect();
            Cbor::Array(items?)
        }
        Value::Object(map) => {
            if let (1, Some(Value::String(text))) = (map.len(), map.get(HEX)) {
                let bytes = unhex(text);
                return bytes
                    .map(Cbor::Bytes)
                    .ok_or(Malformed::Invalid("hex that is none"));
            }
            let entry = |(key, value): (&String, &Value)| {
                to_cbor(value).map(|value| (Cbor::Text(key.clone()), value))
            };
            let entries: Result<_, _> = map.iter().map(entry).collect();
            Cbor::Map(entries?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_round_trip_with_bytes_and_floats() {
        let value = json!({"a": [1, -1, 1.0, 2.5, u64::MAX, null, true], "b": {"hex": "00ff"}});
        let raw = to_raw(&value).unwrap();
        assert_eq!(from_raw(&raw).unwrap(), value);
        assert!(raw.0.windows(3).any(|bytes| bytes == [0x42, 0x00, 0xff]));
    }

    #[test]
    fn a_hex_that_is_none_is_refused() {
        for hex in ["0", "0g", "é"] {
            assert!(to_raw(&json!({"hex": hex})).is_err(), "{hex}");
        }
    }
}
