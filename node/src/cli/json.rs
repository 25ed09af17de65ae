//! Between JSON, which people type, and CBOR, which travels. Byte strings are `{"$hex": "00ff"}`.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess},
    ser::{Error, SerializeMap, SerializeSeq},
};
use serde_json::{Map, Number, Value};

/// The one key of a byte string.
const HEX: &str = "$hex";

/// Any value, of CBOR or of JSON. `Serialize` writes CBOR, `Deserialize` reads CBOR.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Any(pub Value);

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write(&self.0, to)
    }
}

impl Any {
    /// Reads JSON. Errors: what is wrong, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check(&value)?;
        Ok(Self(value))
    }
}

/// Finds byte strings that are no hex: encoding could not refuse them.
fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(entries) => match hex_of(entries) {
            Some(hex) => {
                let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
                bytes
                    .map(drop)
                    .map_err(|error| format!("{HEX} {hex:?}: {error}"))
            }
            None => entries.values().try_for_each(check),
        },
    }
}

/// A part of a value, by reference.
struct Part<'a>(&'a Value);

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write(self.0, to)
    }
}

fn write<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Value::Null => to.serialize_none(),
        Value::Bool(flag) => to.serialize_bool(*flag),
        Value::Number(number) => number.serialize(to),
        Value::String(text) => to.serialize_str(text),
        Value::Array(items) => {
            let mut list = to.serialize_seq(Some(items.len()))?;
            for item in items {
                list.serialize_element(&Part(item))?;
            }
            list.end()
        }
        Value::Object(entries) => {
            if let Some(hex) = hex_of(entries) {
                let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
                let bytes = bytes.map_err(|error| S::Error::custom(format!("{HEX}: {error}")))?;
                return to.serialize_bytes(&bytes);
            }
            let mut map = to.serialize_map(Some(entries.len()))?;
            for (key, value) in entries {
                map.serialize_entry(key, &Part(value))?;
            }
            map.end()
        }
    }
}

fn hex_of(entries: &Map<String, Value>) -> Option<&str> {
    if entries.len() == 1 {
        entries.get(HEX)?.as_str()
    } else {
        None
    }
}

/// A byte string as JSON.
pub(super) fn hex(bytes: &[u8]) -> Value {
    let entry = (HEX.to_owned(), HEXLOWER.encode(bytes).into());
    Value::Object(Map::from_iter([entry]))
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Any;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Any, E> {
        Ok(Any(flag.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Any, E> {
        Ok(Any(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Any, E> {
        Ok(Any(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Any, E> {
        Ok(Any(
            Number::from_f64(number).map_or(Value::Null, Value::Number)
        ))
    }

    fn visit_str<E>(self, text: &str) -> Result<Any, E> {
        Ok(Any(text.into()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Any, E> {
        Ok(Any(hex(bytes)))
    }

    fn visit_none<E>(self) -> Result<Any, E> {
        Ok(Any(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Any, D::Error> {
        Any::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Any, A::Error> {
        let mut items = Vec::new();
        while let Some(Any(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Any(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
        let mut entries = Map::new();
        while let Some((key, Any(value))) = map.next_entry::<String, Any>()? {
            entries.insert(key, value);
        }
        Ok(Any(Value::Object(entries)))
    }
}

#[cfg(test)]
mod tests {
    use opus_core::codec::{Limits, decode, encode};
    use serde_json::json;

    use super::*;

    fn there_and_back(value: Value) -> Value {
        let bytes = encode(&Any(value));
        decode::<Any>(&bytes, Limits::STRICT).unwrap().0
    }

    #[test]
    fn every_json_value_survives_cbor() {
        let value = json!({
            "a": [1, -2, 1.5, true, null, "text"],
            "b": {"c": {}, "d": []},
            "e": u64::MAX,
        });
        assert_eq!(there_and_back(value.clone()), value);
    }

    #[test]
    fn byte_strings_are_hex_in_both_directions() {
        let value = json!({"signed": {"$hex": "00FF"}});
        let bytes = encode(&Any(value.clone()));
        assert!(bytes.ends_with(&[0x42, 0x00, 0xff]));
        assert_eq!(there_and_back(value), json!({"signed": {"$hex": "00ff"}}));
    }

    #[test]
    fn what_is_no_hex_is_refused() {
        for text in ["{\"a\": [{\"$hex\": \"0\"}]}", "{\"$hex\": \"zz\"}", "{"] {
            assert!(Any::parse(text).is_err(), "{text}");
        }
        assert!(Any::parse("{\"$hex\": 1}").is_ok(), "an ordinary map");
    }
}
