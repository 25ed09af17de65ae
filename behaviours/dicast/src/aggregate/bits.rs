//! Bits in bytes, the lowest first.

/// Collects bits.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet.
    rest: u64,
    count: u32,
}

/// Takes bits off the front.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitWriter {
    /// The lowest `count` bits of `bits`; at most 32.
    pub(super) fn put(&mut self, bits: u32, count: u32) {
        self.rest |= (u64::from(bits) & ((1 << count) - 1)) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.rest.to_le_bytes()[0]);
            self.rest >>= 8;
            self.count -= 8;
        }
    }

    /// All bytes; the last is filled up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.rest.to_le_bytes()[0]);
        }
        self.bytes
    }
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32; none if there are not as many.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let mut bits = 0;
        for place in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            bits |= u32::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(bits)
    }

    /// Whether nothing is left but zeros that fill the last byte up.
    pub(super) fn is_over(&self) -> bool {
        let mut left = (self.at..self.bytes.len() * 8).map(|at| self.bytes[at / 8] >> (at % 8) & 1);
        self.at + 8 > self.bytes.len() * 8 && left.all(|bit| bit == 0)
    }
}
