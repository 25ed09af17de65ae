//! The codec: what survives, and what is refused.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Beat(u64),
    Named {
        name: String,
        loads: Vec<f64>,
        price: Option<i32>,
    },
}

fn refusal(bytes: &[u8]) -> Malformed {
    decode::<u64>(bytes, Limits::STRICT).unwrap_err()
}

#[test]
fn bytes_left_over_are_refused() {
    assert_eq!(refusal(&[0x01, 0x02]), Malformed::Trailing(1));
}

#[test]
fn a_duplicate_key_is_refused() {
    let twice = [0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x02];
    assert_eq!(refusal(&twice), Malformed::DuplicateKey(4));
}

#[test]
fn a_key_twice_is_seen_whatever_way_its_length_is_written() {
    let twice = [0xa2, 0x61, b'a', 0x01, 0x78, 0x01, b'a', 0x02];
    assert_eq!(refusal(&twice), Malformed::DuplicateKey(4));
    let other = [0xa2, 0x61, b'a', 0x01, 0x41, b'a', 0x02];
    assert_eq!(scan(&other, Limits::STRICT), Ok(()));
}

#[test]
fn foreign_constructs_are_refused() {
    for (bytes, what) in [
        (&[0x9f, 0xff][..], "indefinite length"),
        (&[0xc0, 0x01], "tag"),
        (&[0xf9, 0x7e, 0x00], "NaN or infinity"),
        (&[0xfa, 0x7f, 0x80, 0x00, 0x00], "NaN or infinity"),
        (&[0xf7], "simple value"),
        (&[0x1c], "reserved length"),
        (&[0x61, 0xff], "text that is not UTF-8"),
    ] {
        assert_eq!(
            refusal(bytes),
            Malformed::Unsupported { what, at: 0 },
            "{bytes:x?}"
        );
    }
}

#[test]
fn a_key_must_be_text_where_the_protocol_says_so() {
    let limits = Limits {
        text_keys: true,
        ..Limits::STRICT
    };
    let offence = Malformed::Unsupported {
        what: "map key that is not text",
        at: 1,
    };
    assert_eq!(scan(&[0xa1, 0x01, 0x02], limits), Err(offence));
    assert_eq!(scan(&[0xa1, 0x01, 0x02], Limits::STRICT), Ok(()));
}

#[test]
fn bombs_are_refused_before_anything_is_built() {
    let deep = vec![0x81; 4_000];
    assert_eq!(refusal(&deep), Malformed::TooDeep(Limits::STRICT.depth));
    let mut wide = vec![0x99, 0x1f, 0x00];
    wide.extend(std::iter::repeat_n(0x80, 0x1f00));
    assert_eq!(refusal(&wide), Malformed::TooMany(Limits::STRICT.items));
    let long = [0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refusal(&long), Malformed::Truncated(9));
    assert!(matches!(
        refusal(&[0; 9_000]),
        Malformed::TooLarge { bytes: 9_000, .. }
    ));
}

fn message() -> impl Strategy<Value = Message> {
    let loads = proptest::collection::vec(-1e9..1e9f64, 0..8);
    prop_oneof![
        any::<u64>().prop_map(Message::Beat),
        (".{0,12}", loads, any::<Option<i32>>()).prop_map(|(name, loads, price)| Message::Named {
            name,
            loads,
            price
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(message in message()) {
        let bytes = encode(&message);
        prop_assert_eq!(decode::<Message>(&bytes, Limits::STRICT), Ok(message));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode::<Message>(&bytes, Limits::STRICT));
        let accepted = scan(&bytes, Limits::STRICT).is_ok();
        prop_assert!(!accepted || !bytes.is_empty());
    }

    #[test]
    fn every_truncation_is_refused(message in message()) {
        let bytes = encode(&message);
        for end in 0..bytes.len() {
            prop_assert!(decode::<Message>(&bytes[..end], Limits::STRICT).is_err());
        }
    }
}
