//! Reading and writing CBOR heads by hand: a frame's outer array, before serde sees its inside.
//!
//! The bytes have passed `opus_core::codec::scan`; `None` therefore means another shape than asked
//! for, and a cut item cannot occur but is `None` too.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

pub(crate) const UINT: u8 = 0;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;

/// A position in scanned bytes.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Elements of the array that begins here.
    pub(crate) fn array(&mut self) -> Option<u64> {
        self.expect(ARRAY)
    }

    /// Entries of the map that begins here.
    pub(crate) fn map(&mut self) -> Option<u64> {
        self.expect(MAP)
    }

    pub(crate) fn uint(&mut self) -> Option<u64> {
        self.expect(UINT)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.expect(TEXT)?).ok()?;
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        std::str::from_utf8(text).ok()
    }

    /// Steps over one item and returns its range.
    pub(crate) fn item(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            let (major, value) = self.head()?;
            match major {
                2 | 3 => self.at = self.at.checked_add(usize::try_from(value).ok()?)?,
                ARRAY => left = left.checked_add(value)?,
                MAP => left = left.checked_add(value.checked_mul(2)?)?,
                _ => {}
            }
        }
        (self.at <= self.bytes.len()).then_some(start..self.at)
    }

    pub(crate) fn rest(&self) -> Range<usize> {
        self.at..self.bytes.len()
    }

    fn expect(&mut self, major: u8) -> Option<u64> {
        let before = self.at;
        match self.head() {
            Some((found, value)) if found == major => Some(value),
            _ => {
                self.at = before;
                None
            }
        }
    }

    fn head(&mut self) -> Option<(u8, u64)> {
        let head = *self.bytes.get(self.at)?;
        let width = match head & 0x1f {
            0..=23 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return None,
        };
        let tail = self.bytes.get(self.at + 1..self.at + 1 + width)?;
        let value = tail.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        self.at += 1 + width;
        let value = if width == 0 {
            u64::from(head & 0x1f)
        } else {
            value
        };
        Some((head >> 5, value))
    }
}

/// Appends a head in its shortest form.
pub(crate) fn head(out: &mut BytesMut, major: u8, value: u64) {
    let major = major << 5;
    if let Ok(small) = u8::try_from(value) {
        if small < 24 {
            out.put_u8(major | small);
        } else {
            out.put_slice(&[major | 0x18, small]);
        }
    } else if let Ok(value) = u16::try_from(value) {
        out.put_u8(major | 0x19);
        out.put_u16(value);
    } else if let Ok(value) = u32::try_from(value) {
        out.put_u8(major | 0x1a);
        out.put_u32(value);
    } else {
        out.put_u8(major | 0x1b);
        out.put_u64(value);
    }
}

/// Appends a text.
pub(crate) fn text(out: &mut BytesMut, text: &str) {
    head(out, TEXT, text.len() as u64);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::put;

    #[test]
    fn a_head_is_written_as_serde_writes_it_and_read_back() {
        for value in [
            0,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
            head(&mut ours, UINT, value);
            put(&mut theirs, &value);
            assert_eq!(ours, theirs, "{value}");
            assert_eq!(Cursor::new(&ours).uint(), Some(value));
        }
    }

    #[test]
    fn an_item_is_stepped_over_whole() {
        let mut out = BytesMut::new();
        put(
            &mut out,
            &("a", vec![vec![1_u8, 2], vec![]], 1.5_f64, Some("tail")),
        );
        let length = out.len();
        put(&mut out, &7_u8);
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.item(), Some(0..length));
        assert_eq!(cursor.uint(), Some(7));
        assert_eq!(cursor.item(), None);
    }

    #[test]
    fn another_shape_leaves_the_cursor_where_it_was() {
        let mut cursor = Cursor::new(&[0x61, b'x']);
        assert_eq!(cursor.uint(), None);
        assert_eq!(cursor.text(), Some("x"));
    }
}
