//! Codecs: no bytes panic, and what was read comes back the same after it was written.

use std::fmt::Debug;

use opus_core::{
    Contact, Limits, Wire,
    codec::{self, decode_wire, encode},
    pack::{self, Few, Pack},
};
use opus_dicast::{
    Definition,
    aggregate::{Down, Report},
    cluster::{Path, View},
};
use opus_relay::{HEADER_BYTES, Header};
use opus_site::{
    SignedApp, Spec,
    spec::{AppRef, SignedError},
};

/// What any item of CBOR is read as here: the shapes that the codec's own tests use.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Sample {
    Number(u64),
    Signed(i64),
    Real(f64),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    List(Vec<Sample>),
    Pair(Box<Sample>, Option<Box<Sample>>),
    Fields { a: bool, b: Vec<(u8, i32)> },
}

/// The bounded codec under all messages: whatever passes the scan is decoded, or refused.
pub fn core_cbor(bytes: &[u8]) {
    let scanned = codec::scan(bytes, Limits::STRICT);
    match codec::decode::<Sample>(bytes, Limits::STRICT) {
        Ok(value) => {
            assert_eq!(scanned, Ok(()), "decoded what the scan refuses");
            let again = codec::decode::<Sample>(&encode(&value), Limits::STRICT);
            assert_eq!(again, Ok(value));
        }
        Err(error) => assert!(scanned.is_ok() || scanned == Err(error)),
    }
}

/// Packed bodies: each value has one form, but where numbers are clamped or lists sorted on the
/// way.
pub fn core_pack(bytes: &[u8]) {
    let Some((&kind, body)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => packed::<(u64, (i32, Option<u16>))>(body, true),
        1 => packed::<Few<(f64, f32), 9>>(body, true),
        2 => packed::<Few<Contact, 5>>(body, true),
        3 => packed::<Report>(body, false),
        4 => packed::<Down>(body, false),
        5 => packed::<Definition>(body, false),
        6 => packed::<View>(body, false),
        _ => packed::<Path>(body, true),
    }
}

/// `exact`: nothing in it is clamped or sorted.
fn packed<T: Pack + Debug>(bytes: &[u8], exact: bool) {
    if let Ok(value) = pack::from_bytes::<T>(bytes) {
        let once = pack::to_bytes(&value);
        assert!(!exact || once == bytes, "{value:?} has two forms");
        let read: T = pack::from_bytes(&once).expect("what is written can be read");
        assert_eq!(pack::to_bytes(&read), once, "{value:?} is changed twice");
    }
}

/// Messages of dicast; the bytes are the body of the CBOR byte string that a message is.
pub fn dicast_wire(bytes: &[u8]) {
    message::<opus_dicast::Message>(&encode(&serde_bytes::Bytes::new(bytes)));
}

/// Messages of the overlay.
pub fn overlay_wire(bytes: &[u8]) {
    message::<opus_overlay::Message>(bytes);
}

/// Messages of the probe.
pub fn probe_wire(bytes: &[u8]) {
    message::<opus_probe::Message>(bytes);
}

/// Messages of the site manager, and of the whole peer as the simulator sends them.
pub fn site_wire(bytes: &[u8]) {
    message::<opus_site::Message>(bytes);
    message::<opus_site::PeerMessage>(bytes);
    message::<opus_site::StatusMessage>(bytes);
}

/// Reads, writes and reads again.
fn message<M: Wire + PartialEq>(bytes: &[u8]) {
    if let Ok(read) = decode_wire::<M>(bytes) {
        assert_eq!(
            decode_wire::<M>(&encode(&read)),
            Ok(read),
            "from {bytes:02x?}"
        );
    }
}

/// Headers of frames: `floor`, `tried`, the plan epoch and the tag pass through and are not read.
pub fn relay_header(bytes: &[u8]) {
    let Ok(header) = Header::read(bytes) else {
        return;
    };
    let payload = bytes.len() + 4 - HEADER_BYTES;
    let mut written = header.write(payload)[4..].to_vec();
    written.extend_from_slice(&bytes[HEADER_BYTES - 4..]);
    assert_eq!(Header::read(&written), Ok(header));
}

/// Specs of applications: as signed, as CBOR, as the TOML that an owner writes; and their names.
pub fn site_spec(bytes: &[u8]) {
    match SignedApp::decode(bytes) {
        Ok(signed) => {
            assert_eq!(SignedApp::decode(&signed.encode()).as_ref(), Ok(&signed));
            spec(signed.spec_bytes());
            // Nobody signs by chance: whoever verifies is in the corpus, with this network.
            let refused = signed.verify("fuzz").is_err_and(|error| match error {
                SignedError::Signature | SignedError::Spec(_) => true,
                SignedError::Malformed(_) => false,
            });
            assert!(refused || bytes.len() > 100);
        }
        Err(_) => spec(bytes),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(spec) = Spec::from_toml(text) {
            comes_back(&spec);
        }
        if let Ok(name) = text.parse::<AppRef>() {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}

fn spec(cbor: &[u8]) {
    if let Ok(spec) = Spec::from_cbor(cbor) {
        comes_back(&spec);
    }
}

fn comes_back(spec: &Spec) {
    // A spec of nearly 8 KiB may grow beyond it when its defaults are written out.
    if let Ok(cbor) = spec.to_cbor() {
        assert_eq!(Spec::from_cbor(&cbor).as_ref(), Ok(spec));
    }
}
