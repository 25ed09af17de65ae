//! One pass over encoded CBOR that refuses everything this project does not speak.

use super::{Limits, Malformed};

/// Checks that `bytes` hold exactly one item within `limits`. Allocates only for map keys' offsets.
///
/// Errors: the first offence found, with its offset.
pub fn scan(bytes: &[u8], limits: Limits) -> Result<(), Malformed> {
    if bytes.len() > limits.bytes {
        return Err(Malformed::TooLarge {
            bytes: bytes.len(),
            limit: limits.bytes,
        });
    }
    let mut scanner = Scanner {
        bytes,
        at: 0,
        items: 0,
        limits,
    };
    scanner.item(0)?;
    match bytes.len() - scanner.at {
        0 => Ok(()),
        left => Err(Malformed::Trailing(left)),
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    limits: Limits,
}

impl Scanner<'_> {
    fn item(&mut self, depth: usize) -> Result<(), Malformed> {
        self.items += 1;
        if self.items > self.limits.items {
            return Err(Malformed::TooMany(self.limits.items));
        }
        let start = self.at;
        let [head] = self.take()?;
        let (major, info) = (head >> 5, head & 0x1f);
        match major {
            0 | 1 => self.argument(info, start).map(drop),
            2 => self.string(info, start).map(drop),
            3 => {
                let text = self.string(info, start)?;
                match std::str::from_utf8(&self.bytes[text]) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(unsupported("text that is not UTF-8", start)),
                }
            }
            4 => self.array(info, start, depth),
            5 => self.map(info, start, depth),
            6 => Err(unsupported("tag", start)),
            _ => self.simple(info, start),
        }
    }

    fn array(&mut self, info: u8, start: usize, depth: usize) -> Result<(), Malformed> {
        let count = self.count(info, start, 1)?;
        self.descend(depth)?;
        for _ in 0..count {
            self.item(depth + 1)?;
        }
        Ok(())
    }

    fn map(&mut self, info: u8, start: usize, depth: usize) -> Result<(), Malformed> {
        let count = self.count(info, start, 2)?;
        self.descend(depth)?;
        let mut keys = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let key = self.at;
            if self.limits.text_keys && self.bytes.get(key).is_some_and(|head| head >> 5 != 3) {
                return Err(unsupported("map key that is not text", key));
            }
            self.item(depth + 1)?;
            keys.push((key, self.at));
            self.item(depth + 1)?;
        }
        // By content: a length may be written in several ways, and the key is the same.
        let content = |&(start, end): &(usize, usize)| {
            let head = self.bytes[start];
            let head_len = if head >> 5 == 3 { head_len(head) } else { 0 };
            (head >> 5, &self.bytes[start + head_len..end])
        };
        keys.sort_unstable_by(|a, b| content(a).cmp(&content(b)));
        let twice = keys
            .windows(2)
            .find(|pair| content(&pair[0]) == content(&pair[1]));
        twice.map_or(Ok(()), |pair| {
            Err(Malformed::DuplicateKey(pair[0].0.max(pair[1].0)))
        })
    }

    fn descend(&self, depth: usize) -> Result<(), Malformed> {
        let limit = self.limits.depth.min(Limits::DEPTH_MAX);
        if depth >= limit {
            Err(Malformed::TooDeep(limit))
        } else {
            Ok(())
        }
    }

    fn simple(&mut self, info: u8, start: usize) -> Result<(), Malformed> {
        let finite = match info {
            20..=22 => true,
            25 => u16::from_be_bytes(self.take()?) & 0x7c00 != 0x7c00,
            26 => f32::from_be_bytes(self.take()?).is_finite(),
            27 => f64::from_be_bytes(self.take()?).is_finite(),
            _ => return Err(unsupported("simple value", start)),
        };
        if finite {
            Ok(())
        } else {
            Err(unsupported("NaN or infinity", start))
        }
    }

    /// The range of a string's bytes.
    fn string(&mut self, info: u8, start: usize) -> Result<std::ops::Range<usize>, Malformed> {
        let length = self.argument(info, start)?;
        let left = self.bytes.len() - self.at;
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length <= left);
        let Some(length) = length else {
            return Err(Malformed::Truncated(self.bytes.len()));
        };
        let range = self.at..self.at + length;
        self.at = range.end;
        Ok(range)
    }

    /// The count of an array or map whose elements take at least `least` bytes each.
    fn count(&mut self, info: u8, start: usize, least: usize) -> Result<usize, Malformed> {
        let count = self.argument(info, start)?;
        let left = (self.bytes.len() - self.at) / least;
        match usize::try_from(count) {
            Ok(count) if count <= left => Ok(count),
            _ => Err(Malformed::Truncated(self.bytes.len())),
        }
    }

    fn argument(&mut self, info: u8, start: usize) -> Result<u64, Malformed> {
        match info {
            0..=23 => Ok(u64::from(info)),
            24 => self.take().map(|[byte]| u64::from(byte)),
            25 => self
                .take()
                .map(|bytes| u64::from(u16::from_be_bytes(bytes))),
            26 => self
                .take()
                .map(|bytes| u64::from(u32::from_be_bytes(bytes))),
            27 => self.take().map(u64::from_be_bytes),
            31 => Err(unsupported("indefinite length", start)),
            _ => Err(unsupported("reserved length", start)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.bytes.get(self.at..self.at + N);
        let taken = taken.and_then(|bytes| bytes.try_into().ok());
        let taken = taken.ok_or(Malformed::Truncated(self.bytes.len()))?;
        self.at += N;
        Ok(taken)
    }
}

/// Bytes of an item's head and its argument.
fn head_len(head: u8) -> usize {
    match head & 0x1f {
        24 => 2,
        25 => 3,
        26 => 5,
        27 => 9,
        _ => 1,
    }
}

fn unsupported(what: &'static str, at: usize) -> Malformed {
    Malformed::Unsupported { what, at }
}
