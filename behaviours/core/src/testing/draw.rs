//! Bytes as a source of choices: a fuzzer's, or a generator's. What reads them makes of any bytes
//! an input for a machine, and of a few changed bytes a few changed choices.

use crate::{
    codec::{self, Wire},
    contact::{Contact, Hint},
    id::NodeId,
    pack,
};

/// Peers that an input can name; the machine itself is number 0.
const PEERS: u32 = 8;

/// Takes choices off a string of bytes; zeros once it has come to its end.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a>(&'a [u8]);

/// What may be any bits.
pub trait Drawn {
    /// The next value.
    fn next(from: &mut Draw<'_>) -> Self;
}

impl<'a> Draw<'a> {
    /// Choices out of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether only zeros follow.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A whole number below `end`, out of as few bytes as can tell it.
    pub fn below(&mut self, end: u32) -> u32 {
        let most = end.saturating_sub(1);
        let needed = (u32::BITS - most.leading_zeros()).div_ceil(8) as usize;
        let bytes = self.take(needed).iter();
        let number = bytes.fold(0, |number, &byte| number << 8 | u32::from(byte));
        number % end.max(1)
    }

    /// Any value: the odd ones too.
    pub fn any<T: Drawn>(&mut self) -> T {
        T::next(self)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.any::<u8>() & 1 == 1
    }

    /// Yes in about `share` of 16 cases.
    pub fn share(&mut self, share: u8) -> bool {
        self.any::<u8>() & 0x0f < share
    }

    /// A small number as a rule, else any.
    pub fn small(&mut self) -> u32 {
        let byte: u8 = self.any();
        if byte == u8::MAX {
            self.any()
        } else {
            u32::from(byte & 0x0f)
        }
    }

    /// The same of 16 bits.
    pub fn small16(&mut self) -> u16 {
        u16::try_from(self.small() & 0xffff).unwrap_or_default()
    }

    /// Bytes as they are, at most `most`.
    pub fn raw(&mut self, most: usize) -> &'a [u8] {
        let wanted = usize::from(self.any::<u16>()) % (most + 1);
        self.take(wanted)
    }

    /// The machine or a peer of it.
    pub fn node(&mut self) -> NodeId {
        NodeId::from_index(self.below(PEERS))
    }

    /// A peer of the machine, never itself.
    pub fn peer(&mut self) -> NodeId {
        NodeId::from_index(1 + self.below(PEERS - 1))
    }

    /// The machine or a peer of it, sometimes with a hint that leads anywhere.
    pub fn contact(&mut self) -> Contact {
        let id = self.node();
        let hint = if self.share(2) {
            self.raw(Hint::BYTES_MAX).to_vec()
        } else {
            Vec::new()
        };
        Contact {
            id,
            hint: Hint(hint.into()),
        }
    }

    /// At most `most` of them.
    pub fn contacts(&mut self, most: u32) -> Vec<Contact> {
        (0..self.below(most + 1)).map(|_| self.contact()).collect()
    }

    /// What `draw` makes, or nothing.
    pub fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| draw(self))
    }

    /// A packed value out of raw bytes, if they hold one.
    pub fn packed<T: pack::Pack>(&mut self, most: usize) -> Option<T> {
        pack::from_bytes(self.raw(most)).ok()
    }

    /// A message out of raw bytes, as the driver decodes it, if they are one.
    pub fn decoded<M: Wire>(&mut self, most: usize) -> Option<M> {
        codec::decode_wire(self.raw(most)).ok()
    }

    /// So many bytes, or as many as there are.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(count.min(self.0.len()));
        self.0 = left;
        taken
    }
}

macro_rules! drawn {
    ($($number:ty)*) => {$(
        impl Drawn for $number {
            fn next(from: &mut Draw<'_>) -> Self {
                let mut bytes = [0; size_of::<$number>()];
                let taken = from.take(bytes.len());
                bytes[..taken.len()].copy_from_slice(taken);
                Self::from_le_bytes(bytes)
            }
        }
    )*};
}

drawn!(u8 u16 u32 u64 i16 i32 i64 f32 f64);

impl<T: Drawn, const N: usize> Drawn for [T; N] {
    fn next(from: &mut Draw<'_>) -> Self {
        std::array::from_fn(|_| T::next(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_taken_from_the_front_and_end_in_zeros() {
        let mut draw = Draw::new(&[7, 1, 2, 9, 0xff, 3, 0, 0, 0, 5]);
        assert_eq!(draw.below(4), 3);
        assert_eq!(draw.any::<u16>(), 0x0201);
        assert_eq!(draw.below(1), 0);
        assert!(draw.flag());
        assert_eq!(draw.small(), 3);
        assert_eq!(draw.below(300), 5);
        assert!(draw.is_empty());
        assert_eq!(draw.any::<[u32; 2]>(), [0, 0]);
    }

    #[test]
    fn a_wide_choice_takes_two_bytes() {
        let mut draw = Draw::new(&[1, 2, 3]);
        assert_eq!(draw.below(1_000), 0x0102);
        assert_eq!(draw.any::<u8>(), 3);
    }
}
