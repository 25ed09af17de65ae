//! Packed bodies: for messages that a node sends every second, where CBOR's names would be most of
//! the bytes.
//!
//! Values stand one after the other without names: whole numbers as varints of 7 bits a byte,
//! lowest first; floats as little-endian IEEE 754; lists behind their count. The whole is one byte
//! string of CBOR, so that a packed message passes the same codec and limits as any other
//! ([`serialize`], [`deserialize`]).
//!
//! Unpacking never panics and allocates at most what the bytes at hand can fill: a list reserves
//! room for eight items at most, and its count has a limit that the caller gives ([`Few`]). NaN,
//! infinity, a varint that is longer than need be and bytes left over are refused, so each value
//! has one encoding.

use std::time::Duration;

use serde::{Deserializer, Serializer, de};

use crate::{
    codec::Malformed,
    contact::{Contact, Hint},
    id::NodeId,
};

/// A value with a packed form.
pub trait Pack: Sized {
    /// Appends the packed form.
    fn pack(&self, to: &mut Writer);

    /// Takes a value off the front. Errors: [`Malformed`]; the reader is of no more use.
    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Collects packed values.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Takes packed values apart.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

/// A list of at most `MAX` items; a longer one is refused when unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Implements [`Pack`] for a struct, field by field in the order given.
#[macro_export]
macro_rules! packed {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::pack::Pack for $name {
            fn pack(&self, to: &mut $crate::pack::Writer) {
                $($crate::pack::Pack::pack(&self.$field, to);)*
            }

            fn unpack(
                from: &mut $crate::pack::Reader<'_>,
            ) -> ::std::result::Result<Self, $crate::codec::Malformed> {
                $(let $field = $crate::pack::Pack::unpack(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// The packed form of `value`.
pub fn to_bytes<T: Pack>(value: &T) -> Vec<u8> {
    let mut writer = Writer::default();
    value.pack(&mut writer);
    writer.bytes
}

/// The one value that `bytes` hold. Errors: [`Malformed`]; nothing is kept.
pub fn from_bytes<T: Pack>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = T::unpack(&mut reader)?;
    match reader.rest.len() {
        0 => Ok(value),
        left => Err(Malformed::Trailing(left)),
    }
}

/// For `Serialize` of a packed type: one byte string.
pub fn serialize<T: Pack, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&to_bytes(value))
}

/// For `Deserialize` of a packed type.
pub fn deserialize<'de, T: Pack, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Visitor<T>(std::marker::PhantomData<T>);

    impl<T: Pack> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a packed body")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
            from_bytes(bytes).map_err(E::custom)
        }
    }
    deserializer.deserialize_bytes(Visitor(std::marker::PhantomData))
}

impl Writer {
    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a varint.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            total: bytes.len(),
        }
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::Truncated(self.total))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (&head, rest) = self
            .rest
            .split_first()
            .ok_or(Malformed::Truncated(self.total))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next varint, in its shortest form, at most `max`.
    pub fn varint(&mut self, max: u64) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Malformed::Invalid("a varint is not in its shortest form"));
                }
                if value > max {
                    return Err(Malformed::Invalid("a number is too large for its type"));
                }
                return Ok(value);
            }
        }
        Err(Malformed::Invalid("a varint does not end"))
    }

    /// Bytes not yet taken.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Pack for $type {
            fn pack(&self, to: &mut Writer) {
                to.varint(u64::from(*self));
            }

            fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let value = from.varint(u64::from(Self::MAX))?;
                Self::try_from(value).map_err(|_| Malformed::Invalid("a number is too large"))
            }
        }
    )*};
}

whole!(u32, u64);

/// Two bytes: those that are sent are parts of digests, of which a varint would take three.
impl Pack for u16 {
    fn pack(&self, to: &mut Writer) {
        to.raw(&self.to_le_bytes());
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        <[u8; 2]>::unpack(from).map(Self::from_le_bytes)
    }
}

impl Pack for u8 {
    fn pack(&self, to: &mut Writer) {
        to.bytes.push(*self);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.byte()
    }
}

impl Pack for i32 {
    fn pack(&self, to: &mut Writer) {
        let bits = (self << 1) ^ (self >> 31);
        to.varint(u64::from(bits.cast_unsigned()));
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = u32::unpack(from)?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }
}

impl Pack for bool {
    fn pack(&self, to: &mut Writer) {
        to.bytes.push(u8::from(*self));
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Invalid("neither false nor true")),
        }
    }
}

macro_rules! float {
    ($($type:ty, $bytes:literal);*) => {$(
        impl Pack for $type {
            fn pack(&self, to: &mut Writer) {
                to.raw(&self.to_le_bytes());
            }

            fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let value = Self::from_le_bytes(<[u8; $bytes]>::unpack(from)?);
                if value.is_finite() {
                    Ok(value)
                } else {
                    Err(Malformed::Invalid("not a finite number"))
                }
            }
        }
    )*};
}

float!(f32, 4; f64, 8);

impl<const N: usize> Pack for [u8; N] {
    fn pack(&self, to: &mut Writer) {
        to.raw(self);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = from.raw(N)?;
        bytes
            .try_into()
            .map_err(|_| Malformed::Truncated(from.total))
    }
}

impl Pack for NodeId {
    fn pack(&self, to: &mut Writer) {
        self.0.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Pack::unpack(from).map(Self)
    }
}

/// Whole milliseconds, rounded up: an age never shrinks on the wire.
impl Pack for Duration {
    fn pack(&self, to: &mut Writer) {
        let ms = self.as_micros().div_ceil(1_000);
        to.varint(u64::try_from(ms).unwrap_or(u64::MAX).min(MS_MAX));
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.varint(MS_MAX).map(Self::from_millis)
    }
}

/// Longest packed duration: 194 days, which fits five bytes and overflows no sum of durations.
const MS_MAX: u64 = (1 << 34) - 1;

impl Pack for Hint {
    fn pack(&self, to: &mut Writer) {
        to.varint(self.0.len() as u64);
        to.raw(&self.0);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.varint(Self::BYTES_MAX as u64)?;
        let count = usize::try_from(count).map_err(|_| Malformed::Truncated(from.total))?;
        Ok(Self(from.raw(count)?.into()))
    }
}

packed!(Contact { id, hint });

impl<T: Pack> Pack for Box<T> {
    fn pack(&self, to: &mut Writer) {
        T::pack(self, to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::unpack(from).map(Self::new)
    }
}

impl<T: Pack> Pack for Option<T> {
    fn pack(&self, to: &mut Writer) {
        self.is_some().pack(to);
        if let Some(value) = self {
            value.pack(to);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::unpack(from)? {
            T::unpack(from).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack(&self, to: &mut Writer) {
        self.0.pack(to);
        self.1.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::unpack(from)?, B::unpack(from)?))
    }
}

/// Items of a list for which room is made before they are read.
const ROOM: usize = 8;

impl<T: Pack, const MAX: usize> Pack for Few<T, MAX> {
    fn pack(&self, to: &mut Writer) {
        debug_assert!(self.0.len() <= MAX, "a list keeps to its own limit");
        to.varint(self.0.len() as u64);
        for item in &self.0 {
            item.pack(to);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.varint(u64::MAX)?;
        if count > MAX as u64 {
            return Err(Malformed::TooMany(MAX));
        }
        // Short lists take what they hold; what a peer claims of long ones is not believed.
        let room = usize::try_from(count).map_or(ROOM, |count| count.min(ROOM));
        let mut items = Vec::with_capacity(room);
        for _ in 0..count {
            items.push(T::unpack(from)?);
        }
        Ok(Self(items))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Sample {
        small: u8,
        number: u64,
        signed: i32,
        real: f64,
        maybe: Option<u16>,
        list: Few<u32, 4>,
    }

    packed!(Sample {
        small,
        number,
        signed,
        real,
        maybe,
        list
    });

    fn sample() -> impl Strategy<Value = Sample> {
        let list = proptest::collection::vec(any::<u32>(), 0..4);
        let real = -1e300_f64..1e300;
        let maybe = proptest::option::of(any::<u16>());
        (any::<u8>(), any::<u64>(), any::<i32>(), real, maybe, list).prop_map(
            |(small, number, signed, real, maybe, list)| Sample {
                small,
                number,
                signed,
                real,
                maybe,
                list: Few(list),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(value in sample()) {
            prop_assert_eq!(from_bytes::<Sample>(&to_bytes(&value)), Ok(value));
        }

        #[test]
        fn each_value_has_one_packed_form(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = from_bytes::<Sample>(&bytes) {
                prop_assert_eq!(to_bytes(&value), bytes);
            }
        }

        #[test]
        fn every_shorter_form_is_refused(value in sample(), cut in any::<prop::sample::Index>()) {
            let bytes = to_bytes(&value);
            let cut = cut.index(bytes.len());
            prop_assert!(from_bytes::<Sample>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_list_over_its_limit_is_refused() {
        let long = to_bytes(&Few::<u32, 9>(vec![1; 5]));
        assert_eq!(from_bytes::<Few<u32, 4>>(&long), Err(Malformed::TooMany(4)));
        assert_eq!(
            from_bytes::<Few<u32, 4>>(&[0xff, 0xff, 0x03]),
            Err(Malformed::TooMany(4))
        );
    }

    #[test]
    fn numbers_that_no_honest_peer_sends_are_refused() {
        assert!(from_bytes::<u32>(&[0x80, 0x00]).is_err());
        assert!(from_bytes::<u16>(&[0xff, 0xff, 0x7f]).is_err());
        assert!(from_bytes::<u64>(&[0xff; 11]).is_err());
        assert!(from_bytes::<f64>(&f64::NAN.to_le_bytes()).is_err());
        assert!(from_bytes::<f32>(&f32::INFINITY.to_le_bytes()).is_err());
        assert!(from_bytes::<bool>(&[2]).is_err());
    }

    #[test]
    fn an_age_never_shrinks() {
        let age = Duration::from_micros(1_001);
        let read: Duration = from_bytes(&to_bytes(&age)).unwrap();
        assert_eq!(read, Duration::from_millis(2));
    }
}
