//! Messages from one inbound substream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::AsyncRead;
use libp2p::Stream;
use opus_core::{Malformed, Wire, codec};

use crate::counters::{Counters, add};

/// Bytes of the length in front of each message.
const PREFIX: usize = 4;
/// Bytes read at once; most messages fit.
const CHUNK: usize = 2 << 10;
/// Reads before other work of the connection gets its turn.
const READS_MAX: usize = 16;

/// A substream and the bytes of a message that has not arrived in full: at most the protocol's
/// limit and one chunk.
#[derive(Debug)]
pub(super) struct Inbound {
    stream: Stream,
    buffer: Vec<u8>,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Read<T> {
    Message(T),
    /// The substream is of no more use.
    Malformed(Malformed),
    Closed,
}

impl Inbound {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) fn poll<T: Wire>(
        &mut self,
        cx: &mut Context<'_>,
        counters: &Counters,
    ) -> Poll<Read<T>> {
        let mut chunk = [0; CHUNK];
        for _ in 0..READS_MAX {
            match parse(&mut self.buffer) {
                Ok(Some(message)) => return Poll::Ready(Read::Message(message)),
                Ok(None) => {}
                Err(why) => return Poll::Ready(Read::Malformed(why)),
            }
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk)) {
                Ok(0) | Err(_) => return Poll::Ready(Read::Closed),
                Ok(count) => {
                    add(&counters.bytes_received, count as u64);
                    self.buffer.extend_from_slice(&chunk[..count]);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Takes one message off the front; `None` when it has not arrived in full.
///
/// A length beyond the limit is refused before its bytes arrive.
fn parse<T: Wire>(buffer: &mut Vec<u8>) -> Result<Option<T>, Malformed> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*prefix) as usize;
    let limit = T::LIMITS.bytes;
    if bytes > limit {
        return Err(Malformed::TooLarge { bytes, limit });
    }
    let Some(body) = rest.get(..bytes) else {
        return Ok(None);
    };
    let message = codec::decode_wire(body)?;
    buffer.drain(..PREFIX + bytes);
    if buffer.is_empty() {
        *buffer = Vec::new();
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Text(String);

    impl Wire for Text {
        fn check(&mut self) -> Result<(), Malformed> {
            Ok(())
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes(), body].concat()
    }

    #[test]
    fn messages_come_off_one_by_one_and_the_rest_stays() {
        let text = |text: &str| Text(text.to_owned());
        let mut buffer = framed(&codec::encode(&text("one")));
        buffer.extend(framed(&codec::encode(&text("two"))));
        let half = buffer.split_off(buffer.len() - 2);
        assert_eq!(parse(&mut buffer), Ok(Some(text("one"))));
        assert_eq!(parse::<Text>(&mut buffer), Ok(None));
        buffer.extend(half);
        assert_eq!(parse(&mut buffer), Ok(Some(text("two"))));
        assert_eq!(buffer.capacity(), 0, "an idle substream holds no buffer");
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once() {
        let mut buffer = u32::MAX.to_be_bytes().to_vec();
        assert!(matches!(
            parse::<Text>(&mut buffer),
            Err(Malformed::TooLarge { .. })
        ));
    }

    #[test]
    fn bytes_after_the_item_are_refused() {
        let mut body = codec::encode(&Text("x".to_owned()));
        body.push(0);
        assert_eq!(
            parse::<Text>(&mut framed(&body)),
            Err(Malformed::Trailing(1))
        );
    }
}
