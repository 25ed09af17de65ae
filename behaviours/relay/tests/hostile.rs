//! Peers that do not keep to the protocol: nothing panics, nothing forged is delivered, memory is
//! bounded, and who did it is named.

mod net;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use net::{BOOT, KEY, OVERLAY, id, payload};
use opus_core::{Offence, Seed, Time};
use opus_relay::{
    Class, Command, Config, Event, FLAG_COMPLETE, Forward, HEADER_BYTES, Header, Kind, Verdict,
    flow_tag,
};
use rand::RngExt;

const TIMED: Class = Class::Timed {
    deadline: Duration::from_millis(400),
};

/// Node 1: parent 0, which is the source, child 2, and a local sink.
fn node(class: Class) -> Forward {
    let mut forward = Forward::new(Config::default(), id(1));
    let now = Time(1);
    forward.command(
        now,
        Command::Open {
            overlay: OVERLAY,
            class,
            key: KEY,
        },
    );
    forward.command(
        now,
        Command::Root {
            overlay: OVERLAY,
            source: id(0),
        },
    );
    for peer in [0, 2, 3] {
        forward.link_up(now, id(peer));
    }
    forward.command(
        now,
        Command::Edges {
            overlay: OVERLAY,
            parent: Some(id(0)),
            children: vec![id(2)],
        },
    );
    forward.command(
        now,
        Command::Sink {
            overlay: OVERLAY,
            att: 1,
            resume: None,
        },
    );
    forward
}

/// The source's own core, to make genuine frames.
fn genuine(class: Class, count: u64) -> Vec<Bytes> {
    let mut source = Forward::new(Config::default(), id(0));
    let now = Time(1);
    source.command(
        now,
        Command::Open {
            overlay: OVERLAY,
            class,
            key: KEY,
        },
    );
    source.command(
        now,
        Command::Source {
            overlay: OVERLAY,
            seq_first: BOOT | 1,
        },
    );
    source.link_up(now, id(1));
    source.command(
        now,
        Command::Edges {
            overlay: OVERLAY,
            parent: None,
            children: vec![id(1)],
        },
    );
    let mut frames = fetch(&mut source, now, 1);
    if class == Class::Complete {
        // The child says hello; then frames come.
        let mut child = node(class);
        child.link_up(now, id(0));
        for frame in fetch(&mut child, now, 0) {
            source.on_frame(now, id(1), frame);
        }
        frames.extend(fetch(&mut source, now, 1));
    }
    for n in 0..count {
        source
            .send(now, OVERLAY, 0, &[payload(n)], false, true)
            .expect("the window takes it");
    }
    frames.extend(fetch(&mut source, now, 1));
    frames
}

fn fetch(forward: &mut Forward, now: Time, peer: usize) -> Vec<Bytes> {
    let mut out = BytesMut::new();
    while forward.poll_send(now, id(peer), &mut out, usize::MAX) {}
    let mut rest = out.freeze();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        frames.push(rest.split_to(4 + len).slice(4..));
    }
    frames
}

fn data(frames: &[Bytes]) -> Vec<Bytes> {
    let is_data = |frame: &&Bytes| Header::read(frame).is_ok_and(|h| h.kind == Kind::Data);
    frames.iter().filter(is_data).cloned().collect()
}

fn delivered(forward: &mut Forward) -> usize {
    std::iter::from_fn(|| forward.poll_deliver()).count()
}

fn offences(forward: &mut Forward) -> Vec<(usize, Offence)> {
    let mut all = Vec::new();
    while let Some(event) = forward.poll_event() {
        if let Event::Offence { peer, offence } = event {
            all.push((peer.index() as usize, offence));
        }
    }
    all
}

/// A frame with any fields, well formed.
fn frame(kind: Kind, seq: u64, payload: &[u8]) -> Bytes {
    let header = Header {
        hop_seq: 1,
        hop_clock: 1,
        left: u32::MAX,
        hop_limit: 9,
        kind,
        flags: FLAG_COMPLETE,
        flow: flow_tag(OVERLAY, id(0), 0),
        seq,
        ms: 0,
    };
    let mut bytes = BytesMut::from(&header.write(payload.len())[4..]);
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

#[test]
fn random_bytes_are_refused_without_harm() {
    let mut rng = Seed::new(4).derive("hostile", 0).rng();
    for class in [TIMED, Class::Complete] {
        let mut forward = node(class);
        for _ in 0..20_000 {
            let len = rng.random_range(0..300);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            if len > 60 && rng.random_bool(0.9) {
                // A frame of ours as far as the header goes.
                bytes[16] = 1;
                bytes[17] = rng.random_range(0..7);
                bytes[20..28].copy_from_slice(&flow_tag(OVERLAY, id(0), 0).to_le_bytes());
            }
            let from = id(rng.random_range(0..3));
            forward.on_frame(Time(rng.random_range(2..1_000)), from, Bytes::from(bytes));
            assert_eq!(delivered(&mut forward), 0);
        }
        assert!(forward.ring_bytes() <= 1 << 20);
        assert!(!offences(&mut forward).is_empty());
        forward.handle_timeout(Time::from_secs(1_000));
    }
}

#[test]
fn changed_genuine_frames_are_never_delivered() {
    let mut rng = Seed::new(5).derive("hostile", 0).rng();
    for class in [TIMED, Class::Complete] {
        let frames = genuine(class, 50);
        let originals = data(&frames);
        assert_eq!(originals.len(), 50);
        let mut forward = node(class);
        for _ in 0..5_000 {
            let mut bytes = originals[rng.random_range(0..50)].to_vec();
            // The hop's bytes may differ; anything else is forged.
            let at = rng.random_range(16..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            forward.on_frame(Time(2), id(0), Bytes::from(bytes));
        }
        assert_eq!(delivered(&mut forward), 0);
        let found = offences(&mut forward);
        assert!(found.iter().all(|(peer, _)| *peer == 0) && !found.is_empty());
        for frame in frames {
            forward.on_frame(Time(3), id(0), frame);
        }
        assert_eq!(delivered(&mut forward), 50, "the true ones still are");
    }
}

#[test]
fn a_frame_forged_on_the_way_does_not_take_the_place_of_the_true_one() {
    let frames = genuine(Class::Complete, 50);
    let mut forward = node(Class::Complete);
    let (before, after) = frames.split_at(frames.len() - 20);
    for frame in before {
        forward.on_frame(Time(2), id(0), frame.clone());
    }
    for frame in after {
        let mut bytes = frame.to_vec();
        *bytes.last_mut().expect("a payload") ^= 1;
        let verdict = forward.on_frame(Time(2), id(0), Bytes::from(bytes));
        assert_eq!(verdict, Verdict::Forged);
    }
    assert_eq!(offences(&mut forward), vec![(0, Offence::Forged); 20]);
    assert_eq!(delivered(&mut forward), 30);
    for frame in after {
        forward.on_frame(Time(3), id(0), frame.clone());
    }
    assert_eq!(delivered(&mut forward), 20);
}

#[test]
fn replayed_frames_are_delivered_once() {
    for class in [TIMED, Class::Complete] {
        let frames = genuine(class, 50);
        let mut forward = node(class);
        let mut got = 0;
        for round in 0..20 {
            for frame in &frames {
                forward.on_frame(Time(2 + round), id(0), frame.clone());
            }
            got += delivered(&mut forward);
        }
        assert_eq!(got, 50);
        // 5 minutes later the window still knows them.
        for frame in &frames {
            forward.on_frame(Time::from_secs(300), id(0), frame.clone());
        }
        assert_eq!(delivered(&mut forward), 0);
    }
}

#[test]
fn a_stranger_is_not_believed_and_named_when_it_goes_on() {
    let frames = genuine(TIMED, 10);
    let mut forward = node(TIMED);
    for frame in &frames {
        assert_eq!(
            forward.on_frame(Time(2), id(3), frame.clone()),
            Verdict::Dropped
        );
        assert_eq!(
            forward.on_frame(Time(2), id(2), frame.clone()),
            Verdict::Dropped,
            "a child"
        );
        assert_eq!(
            forward.on_frame(Time(2), id(9), frame.clone()),
            Verdict::Dropped,
            "no channel"
        );
    }
    assert_eq!(delivered(&mut forward), 0);
    assert_eq!(offences(&mut forward), [], "its edge may be new");
    // Now and then is no offence, two seconds on end are.
    for millis in [3_000, 5_000, 5_800, 6_600] {
        let at = Time::from_millis(millis);
        assert_eq!(
            forward.on_frame(at, id(3), frames[0].clone()),
            Verdict::Dropped
        );
    }
    let later = Time::from_millis(7_400);
    assert_eq!(
        forward.on_frame(later, id(3), frames[0].clone()),
        Verdict::Offence
    );
    assert_eq!(offences(&mut forward), [(3, Offence::Protocol)]);
}

#[test]
fn a_former_parent_may_send_for_two_seconds() {
    let frames = genuine(TIMED, 10);
    let mut forward = node(TIMED);
    let edges = Command::Edges {
        overlay: OVERLAY,
        parent: Some(id(3)),
        children: vec![],
    };
    forward.command(Time::from_secs(1), edges);
    let late = Time::from_millis(2_900);
    assert_eq!(
        forward.on_frame(late, id(0), frames[0].clone()),
        Verdict::Accepted
    );
    let too_late = Time::from_millis(3_001);
    assert_eq!(
        forward.on_frame(too_late, id(0), frames[1].clone()),
        Verdict::Dropped
    );
}

#[test]
fn far_jumps_need_a_genuine_frame() {
    for class in [TIMED, Class::Complete] {
        // No sink: this node checks no tags otherwise.
        let mut forward = node(class);
        forward.command(
            Time(1),
            Command::SinkGone {
                overlay: OVERLAY,
                att: 1,
            },
        );
        let frames = genuine(class, 20);
        for frame in &frames[..frames.len() - 10] {
            forward.on_frame(Time(2), id(0), frame.clone());
        }
        for seq in [u64::MAX, u64::MAX - 1, 9 << 40, BOOT + (1 << 30)] {
            let verdict = forward.on_frame(Time(2), id(0), frame(Kind::Data, seq, b"forged"));
            assert!(
                matches!(verdict, Verdict::Forged | Verdict::Dropped),
                "{verdict:?}"
            );
        }
        for frame in &frames[frames.len() - 10..] {
            assert_eq!(
                forward.on_frame(Time(3), id(0), frame.clone()),
                Verdict::Accepted
            );
        }
    }
}

#[test]
fn lying_tops_and_digests_move_nothing() {
    let mut forward = node(Class::Complete);
    let frames = genuine(Class::Complete, 50);
    for frame in &frames[..frames.len() - 20] {
        forward.on_frame(Time(2), id(0), frame.clone());
    }
    assert_eq!(delivered(&mut forward), 30);
    let top = |stable: u64, first: u64, end: u64| {
        let mut bytes = Vec::new();
        for word in [stable, 0, BOOT + 31, 1, first, end] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        frame(Kind::Top, 0, &bytes)
    };
    for lie in [
        top(u64::MAX, BOOT + 10_000, BOOT + 20_000),
        top(u64::MAX, u64::MAX - 5, u64::MAX - 3),
        top(0, 9 << 40, (9 << 40) + 5),
    ] {
        forward.on_frame(Time(2), id(0), lie);
    }
    let digest = |next: u64, ack: u64, hop: u32, flags: u8| {
        let mut bytes = Vec::new();
        for word in [next, ack, u64::MAX] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&hop.to_le_bytes());
        bytes.extend_from_slice(&[flags, 0, 0, 0]);
        frame(Kind::Digest, 0, &bytes)
    };
    for lie in [
        digest(u64::MAX - 2, u64::MAX - 3, 0, 2),
        digest(1, 0, 0, 2),
        digest(BOOT + 1, 0, 0, 2),
        digest(BOOT + 40, BOOT + 39, u32::MAX, 2),
        digest(u64::MAX - 2, 0, 0, 3),
    ] {
        forward.on_frame(Time(2), id(2), lie);
        let mut out = BytesMut::new();
        forward.poll_send(Time(2), id(2), &mut out, 1 << 20);
        assert!(out.len() < 64 << 10);
    }
    assert_eq!(delivered(&mut forward), 0);
    // The true stream goes on.
    let honest = genuine(Class::Complete, 50);
    for frame in honest {
        forward.on_frame(Time(3), id(0), frame);
    }
    assert_eq!(delivered(&mut forward), 20);
}

#[test]
fn memory_is_bounded_whatever_the_parent_sends() {
    // A parent that skips every other frame, never fills the holes, and is big.
    let config = Config {
        window_frames: 1_024,
        ..Config::default()
    };
    let bound = 2 * config.window_bytes + (128 << 10);
    let mut forward = node(Class::Complete);
    forward.command(
        Time(1),
        Command::SinkGone {
            overlay: OVERLAY,
            att: 1,
        },
    );
    for frame in genuine(Class::Complete, 1) {
        forward.on_frame(Time(2), id(0), frame);
    }
    let big = vec![0; Config::PAYLOAD_MAX];
    for n in 0..8_000 {
        forward.on_frame(Time(2), id(0), frame(Kind::Data, BOOT + 2 + 2 * n, &big));
    }
    assert!(forward.ring_bytes() <= bound, "{}", forward.ring_bytes());
    // A child that never takes anything of a timed flow.
    let mut timed = node(TIMED);
    timed.command(
        Time(1),
        Command::SinkGone {
            overlay: OVERLAY,
            att: 1,
        },
    );
    for frame in genuine(TIMED, 1) {
        timed.on_frame(Time(2), id(0), frame);
    }
    for n in 0..8_000 {
        timed.on_frame(Time(2), id(0), frame(Kind::Data, BOOT + 2 + n, &big));
    }
    let (frames, bytes) = timed.queued(id(2));
    assert!(
        frames <= config.queue_frames && bytes <= config.queue_bytes,
        "{frames} {bytes}"
    );
}

#[test]
fn time_left_of_any_size_is_no_more_than_the_deadline() {
    let mut forward = node(TIMED);
    for original in genuine(TIMED, 10) {
        let mut bytes = original.to_vec();
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        forward.on_frame(Time(2), id(0), Bytes::from(bytes));
    }
    assert_eq!(delivered(&mut forward), 10);
    // The child's copies expire with the deadline of the class.
    let mut out = BytesMut::new();
    forward.poll_send(Time::from_millis(402), id(2), &mut out, usize::MAX);
    assert!(out.is_empty());
}

#[test]
fn limits_are_refused_by_an_event() {
    let config = Config {
        overlays_max: 1,
        sinks_max: 1,
        ..Config::default()
    };
    let mut forward = Forward::new(config, id(1));
    let now = Time(1);
    forward.command(
        now,
        Command::Open {
            overlay: OVERLAY,
            class: TIMED,
            key: KEY,
        },
    );
    let other = opus_core::OverlayId(5);
    forward.command(
        now,
        Command::Open {
            overlay: other,
            class: TIMED,
            key: KEY,
        },
    );
    assert!(
        matches!(forward.poll_event(), Some(Event::Refused { overlay, .. }) if overlay == other)
    );
    for att in 1..=2 {
        forward.command(
            now,
            Command::Sink {
                overlay: OVERLAY,
                att,
                resume: None,
            },
        );
    }
    assert!(matches!(forward.poll_event(), Some(Event::Refused { .. })));
    assert_eq!(forward.poll_event(), None);
    let whole = vec![Bytes::from(vec![0; HEADER_BYTES]); 1];
    assert!(
        forward.send(now, OVERLAY, 0, &whole, false, true).is_err(),
        "no source here"
    );
}
