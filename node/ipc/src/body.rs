//! Values inside a frame: written by serde into the send buffer, read from one scanned CBOR item.
//!
//! A [`Body`] is read from [`Bytes`], not from `&[u8]`, so that frame payloads stay slices of the
//! read buffer: serde alone would copy each byte string.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use cbor4ii::core::enc::Write;
use opus_core::Malformed;
use serde::{Serialize, de::DeserializeOwned};

/// A parameter, result or item: how to read it from one item that `wire` has already scanned.
pub trait Body: Serialize + Sized + Send + 'static {
    /// Decodes and checks one item. Errors: [`Malformed`]; nothing is kept.
    fn read(item: &Bytes) -> Result<Self, Malformed>;
}

impl Body for String {
    fn read(item: &Bytes) -> Result<Self, Malformed> {
        owned(item)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Body for Vec<T> {
    fn read(item: &Bytes) -> Result<Self, Malformed> {
        owned(item)
    }
}

/// An encoded item of any shape: for tools that carry values which they do not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl Raw {
    /// Encodes a value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut out = BytesMut::new();
        put(&mut out, value);
        Self(out.freeze())
    }

    /// Decodes it. Errors: [`Malformed`]; the bytes stay as they are.
    pub fn get<T: Body>(&self) -> Result<T, Malformed> {
        T::read(&self.0)
    }
}

/// Appends the encoding of `value`.
pub fn put<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    struct Sink<'a>(&'a mut BytesMut);
    impl Write for Sink<'_> {
        type Error = Infallible;

        fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
            self.0.extend_from_slice(input);
            Ok(())
        }
    }
    let mut serializer = cbor4ii::serde::Serializer::new(Sink(out));
    value
        .serialize(&mut serializer)
        .expect("encoding into memory cannot fail");
}

/// Decodes a type that owns all its parts.
pub(crate) fn owned<T: DeserializeOwned>(item: &[u8]) -> Result<T, Malformed> {
    cbor4ii::serde::from_slice(item).map_err(|error| Malformed::Shape(error.to_string()))
}

/// Implements [`Body`] for types that own all their parts, with an optional check after decoding.
macro_rules! bodies {
    ($($type:ty $(=> $check:path)?),* $(,)?) => {$(
        impl $crate::body::Body for $type {
            fn read(item: &::bytes::Bytes) -> Result<Self, ::opus_core::Malformed> {
                let value: Self = $crate::body::owned(item)?;
                $($check(&value)?;)?
                Ok(value)
            }
        }
    )*};
}
pub(crate) use bodies;

/// Serde for `num = int / float`: any of both is read, a float is written.
pub(crate) mod num {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
                Ok(value as f64)
            }

            fn visit_f32<E>(self, value: f32) -> Result<f64, E> {
                Ok(f64::from(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
                Ok(value)
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// The same for two numbers.
pub(crate) mod num_pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    struct Num(#[serde(with = "super::num")] f64);

    pub(crate) fn serialize<S: Serializer>(
        pair: &(f64, f64),
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        pair.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<(f64, f64), D::Error> {
        let (Num(first), Num(second)) = Deserialize::deserialize(from)?;
        Ok((first, second))
    }
}

/// The same for an optional number.
pub(crate) mod maybe_num {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Num(#[serde(with = "super::num")] f64);

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_f64(*value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Num>::deserialize(from)?.map(|Num(value)| value))
    }
}
