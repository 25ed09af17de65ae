//! Frames on a stream, whole and in pieces, lawful and not.

use bytes::BufMut;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::{
    Body,
    body::Raw,
    message::{FramesSend, FromClient, FromNode, frame::Named},
    method::Method,
};

fn frame(item: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(item.len()).unwrap());
    out.put_slice(item);
    out
}

#[test]
fn a_payload_is_a_slice_of_the_read_buffer() {
    let sent = FramesSend {
        att: 1,
        data: vec![Bytes::from(vec![7; 1_024]), Bytes::from(vec![8; 600])],
        flow: None,
        to: None,
        now: None,
        last: None,
    };
    let mut buffer = BytesMut::new();
    FromClient::Req {
        call: 1,
        method: Named::Known(Method::FramesSend),
        params: Raw::of(&sent),
    }
    .write(&mut buffer);
    let memory = buffer.as_ptr_range();
    let item = split(&mut buffer, FRAME_MAX).unwrap().unwrap();
    let FromClient::Req { params, .. } = FromClient::read(&item).unwrap() else {
        panic!("no REQ");
    };
    let read = FramesSend::read(&params.0).unwrap();
    assert_eq!(read, sent);
    for payload in &read.data {
        assert!(memory.contains(&payload.as_ptr()), "a payload was copied");
    }
}

#[test]
fn a_frame_is_split_off_only_when_it_is_whole() {
    let whole = frame(&[0x83, 1, 2, 3]);
    for end in 0..whole.len() {
        let mut cut = BytesMut::from(&whole[..end]);
        assert_eq!(split(&mut cut, FRAME_MAX), Ok(None));
        assert_eq!(cut.len(), end);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_frame_is_there() {
    let mut buffer = BytesMut::from(&[0, 0x10, 0, 1][..]);
    assert_eq!(
        split(&mut buffer, FRAME_MAX).unwrap_err().code,
        Code::TooLarge
    );
    let mut buffer = BytesMut::from(&[0, 0x10, 0, 0][..]);
    assert_eq!(split(&mut buffer, FRAME_MAX), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn the_buffer_grows_with_what_came_not_with_what_was_announced() {
    let (mut theirs, ours) = tokio::io::duplex(1 << 20);
    let mut reader = Reader::new(ours, FRAME_MAX);
    theirs.write_all(&[0, 0x10, 0, 0, 0x5a]).await.unwrap();
    reader.fill().await.unwrap();
    let pending = tokio::time::timeout(Duration::from_secs(1), reader.fill()).await;
    assert!(pending.is_err());
    assert!(
        reader.buffer.capacity() < 32 << 10,
        "{}",
        reader.buffer.capacity()
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut buffer = frame(&bytes);
        if let Ok(Some(item)) = split(&mut buffer, FRAME_MAX) {
            // Whatever is read is written to something that is read the same.
            if let Ok(read) = FromClient::read(&item) {
                let mut again = BytesMut::new();
                read.write(&mut again);
                let item = split(&mut again, FRAME_MAX).unwrap().unwrap();
                prop_assert_eq!(FromClient::read(&item).unwrap(), read);
            }
            drop(FromNode::read(&item));
        }
    }

    #[test]
    fn a_lawful_request_with_one_byte_changed_never_panics(
        at in 0_usize..1_000,
        byte: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..900),
        flow in proptest::option::of(0_u8..16),
    ) {
        let sent = FramesSend {
            att: 3,
            data: vec![payload.into()],
            flow,
            to: None,
            now: Some(true),
            last: None,
        };
        let raw = Raw::of(&sent);
        prop_assert_eq!(FramesSend::read(&raw.0).unwrap(), sent);
        let mut out = BytesMut::new();
        let method = Named::Known(Method::FramesSend);
        FromClient::Req { call: 1, method, params: raw }.write(&mut out);
        let at = at % out.len();
        out[at] = byte;
        if let Ok(Some(item)) = split(&mut out, FRAME_MAX)
            && let Ok(FromClient::Req { params, .. }) = FromClient::read(&item)
        {
            drop(FramesSend::read(&params.0));
        }
    }
}
