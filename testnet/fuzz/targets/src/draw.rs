//! Bytes as a source of choices.

use arbitrary::{Arbitrary, Unstructured};
use opus_core::{Contact, Hint, NodeId, codec, pack};
use opus_model::Position;

/// Peers that an input can name; the machine itself is number 0.
const PEERS: u32 = 8;

/// Takes choices off a string of bytes; zeros once it has come to its end.
pub(crate) struct Draw<'a>(Unstructured<'a>);

impl<'a> Draw<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A whole number below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0.int_in_range(0..=end - 1).unwrap_or(0)
    }

    /// Any value: the odd ones too.
    pub(crate) fn any<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.any::<u8>() & 1 == 1
    }

    /// Yes in about `share` of 16 cases.
    pub(crate) fn share(&mut self, share: u8) -> bool {
        self.any::<u8>() & 0x0f < share
    }

    /// A small number as a rule, else any.
    pub(crate) fn small(&mut self) -> u32 {
        let byte: u8 = self.any();
        if byte == u8::MAX {
            self.any()
        } else {
            u32::from(byte & 0x0f)
        }
    }

    /// The same of 16 bits.
    pub(crate) fn small16(&mut self) -> u16 {
        u16::try_from(self.small() & 0xffff).unwrap_or_default()
    }

    /// Bytes as they are, at most `most`.
    pub(crate) fn raw(&mut self, most: usize) -> &'a [u8] {
        let wanted = usize::from(self.any::<u16>()) % (most + 1);
        let count = wanted.min(self.0.len());
        self.0.bytes(count).unwrap_or_default()
    }

    pub(crate) fn node(&mut self) -> NodeId {
        NodeId::from_index(self.below(PEERS))
    }

    /// A peer of the machine, never itself.
    pub(crate) fn peer(&mut self) -> NodeId {
        NodeId::from_index(1 + self.below(PEERS - 1))
    }

    pub(crate) fn contact(&mut self) -> Contact {
        let id = self.node();
        let hint = if self.share(2) {
            self.raw(Hint::BYTES_MAX).to_vec()
        } else {
            Vec::new()
        };
        Contact {
            id,
            hint: Hint(hint),
        }
    }

    pub(crate) fn contacts(&mut self, most: u32) -> Vec<Contact> {
        (0..self.below(most + 1)).map(|_| self.contact()).collect()
    }

    /// As a peer may say it: far out of range, too.
    pub(crate) fn position(&mut self) -> Position {
        Position(self.any(), self.any(), self.any())
    }

    pub(crate) fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| draw(self))
    }

    /// A packed value out of raw bytes, if they hold one.
    pub(crate) fn packed<T: pack::Pack>(&mut self, most: usize) -> Option<T> {
        pack::from_bytes(self.raw(most)).ok()
    }

    /// A message out of raw bytes, as the driver decodes it, if they are one.
    pub(crate) fn decoded<M: opus_core::Wire>(&mut self, most: usize) -> Option<M> {
        codec::decode_wire(self.raw(most)).ok()
    }
}
