//! Copies a second of the forwarding core alone, on one core: `cargo bench -p opus-relay`.
//!
//! A relay without local sinks takes frames from its parent and writes them to its children, 64 at
//! a time as a substream gives them. One item is one copy written.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::ItemsCount};
use opus_core::{NodeId, OverlayId, Time};
use opus_relay::{Class, Command, Config, Forward};

const OVERLAY: OverlayId = OverlayId(9);
const BATCH: u64 = 64;
const BOOT: u64 = 1 << 40;
const TIMED: Class = Class::Timed {
    deadline: Duration::from_millis(400),
};

fn main() {
    divan::main();
}

fn id(node: u32) -> NodeId {
    NodeId::from_index(node)
}

fn open(forward: &mut Forward, class: Class) {
    let now = Time(1);
    forward.command(
        now,
        Command::Open {
            overlay: OVERLAY,
            class,
            key: [1; 32],
        },
    );
    forward.command(
        now,
        Command::Root {
            overlay: OVERLAY,
            source: id(0),
        },
    );
}

fn edges(forward: &mut Forward, parent: Option<u32>, children: std::ops::Range<u32>) {
    for peer in parent.into_iter().chain(children.clone()) {
        forward.link_up(Time(1), id(peer));
    }
    let command = Command::Edges {
        overlay: OVERLAY,
        parent: parent.map(id),
        children: children.map(id).collect(),
    };
    forward.command(Time(1), command);
}

/// Everything that `from` has for `to`, as frames without length field.
fn fetch(from: &mut Forward, now: Time, to: u32, out: &mut BytesMut) -> Vec<Bytes> {
    while from.poll_send(now, id(to), out, usize::MAX) {}
    let mut rest = out.split().freeze();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        frames.push(rest.split_to(4 + len).slice(4..));
    }
    frames
}

/// Source 0, relay 1 and its children 2.., which are leaves without sinks.
struct Star {
    source: Forward,
    relay: Forward,
    leaves: Vec<Forward>,
    out: BytesMut,
    now: Time,
}

impl Star {
    fn new(class: Class, children: u32) -> Self {
        let make = |node: u32| {
            let mut forward = Forward::new(Config::default(), id(node));
            open(&mut forward, class);
            forward
        };
        let mut star = Self {
            source: make(0),
            relay: make(1),
            leaves: (2..2 + children).map(make).collect(),
            out: BytesMut::with_capacity(16 << 20),
            now: Time(1),
        };
        let seq_first = BOOT | 1;
        star.source.command(
            star.now,
            Command::Source {
                overlay: OVERLAY,
                seq_first,
            },
        );
        edges(&mut star.source, None, 1..2);
        edges(&mut star.relay, Some(0), 2..2 + children);
        for leaf in &mut star.leaves {
            edges(leaf, Some(1), 0..0);
        }
        // Everybody learns where the flow begins.
        let batch = [Bytes::from_static(b"first")];
        star.source
            .send(star.now, OVERLAY, 0, &batch, false, false)
            .expect("nothing is ahead");
        for _ in 0..8 {
            for frame in star.fetch_source() {
                star.relay.on_frame(star.now, id(0), frame);
            }
            star.feed_leaves();
            star.acknowledge();
        }
        star
    }

    fn fetch_source(&mut self) -> Vec<Bytes> {
        fetch(&mut self.source, self.now, 1, &mut self.out)
    }

    fn produce(&mut self, payload: &Bytes) -> Vec<Bytes> {
        let batch = vec![payload.clone(); usize::try_from(BATCH).expect("small")];
        self.source
            .send(self.now, OVERLAY, 0, &batch, false, false)
            .expect("the window is open");
        self.fetch_source()
    }

    fn feed_leaves(&mut self) {
        for (child, leaf) in (2..).zip(&mut self.leaves) {
            for frame in fetch(&mut self.relay, self.now, child, &mut self.out) {
                leaf.on_frame(self.now, id(1), frame);
            }
        }
    }

    /// Digests go up, tops come down.
    fn acknowledge(&mut self) {
        self.now = Time(self.now.0 + 200_000);
        for (child, leaf) in (2..).zip(&mut self.leaves) {
            leaf.handle_timeout(self.now);
            for frame in fetch(leaf, self.now, 1, &mut self.out) {
                self.relay.on_frame(self.now, id(child), frame);
            }
        }
        self.relay.handle_timeout(self.now);
        for frame in fetch(&mut self.relay, self.now, 0, &mut self.out) {
            self.source.on_frame(self.now, id(1), frame);
        }
        self.source.handle_timeout(self.now);
    }
}

/// The relay's work for one batch: take it from the parent, write it to each child.
fn relay(bencher: Bencher<'_, '_>, class: Class, children: u32, bytes: usize) {
    let payload = Bytes::from(vec![7; bytes]);
    let star = std::cell::RefCell::new(Star::new(class, children));
    let mut written = Vec::new();
    // The last one is for the parent, who gets digests.
    written.resize_with(children as usize + 1, || BytesMut::with_capacity(8 << 20));
    let written = std::cell::RefCell::new(written);
    bencher
        .counter(ItemsCount::new(BATCH * u64::from(children)))
        .with_inputs(|| {
            let star = &mut *star.borrow_mut();
            for out in written.borrow().iter().take(children as usize) {
                let all = usize::try_from(BATCH).expect("small") * (64 + bytes);
                assert!(
                    out.is_empty() || out.len() >= all,
                    "{} of {all} bytes",
                    out.len()
                );
            }
            // What the last batch left is brought to an end outside of the measured part.
            for (index, out) in written.borrow_mut().iter_mut().enumerate() {
                let mut rest = out.split().freeze();
                while !rest.is_empty() {
                    let len = u32::from_le_bytes(rest[..4].try_into().expect("four bytes"));
                    let frame = rest.split_to(4 + len as usize).slice(4..);
                    match star.leaves.get_mut(index) {
                        Some(leaf) => leaf.on_frame(star.now, id(1), frame),
                        None => star.source.on_frame(star.now, id(1), frame),
                    };
                }
                *out = BytesMut::with_capacity(8 << 20);
            }
            star.acknowledge();
            star.feed_leaves();
            let rest = star.fetch_source();
            for frame in rest {
                star.relay.on_frame(star.now, id(0), frame);
            }
            star.acknowledge();
            star.produce(&payload)
        })
        .bench_local_values(|frames| {
            let star = &mut *star.borrow_mut();
            for frame in frames {
                divan::black_box(star.relay.on_frame(star.now, id(0), frame));
            }
            while let Some(peer) = star.relay.poll_wake() {
                let child = (peer.index() as usize).checked_sub(2);
                let out = &mut written.borrow_mut()[child.unwrap_or(children as usize)];
                while star.relay.poll_send(star.now, peer, out, usize::MAX) {}
            }
        });
}

#[divan::bench(args = [1, 4, 16], consts = [64, 1024])]
fn timed<const BYTES: usize>(bencher: Bencher<'_, '_>, children: u32) {
    relay(bencher, TIMED, children, BYTES);
}

#[divan::bench(args = [1, 4, 16], consts = [64, 1024])]
fn complete<const BYTES: usize>(bencher: Bencher<'_, '_>, children: u32) {
    relay(bencher, Class::Complete, children, BYTES);
}

/// A copy that was here already: what a loop or a second parent costs.
#[divan::bench]
fn duplicate(bencher: Bencher<'_, '_>) {
    let payload = Bytes::from(vec![7; 64]);
    let mut star = Star::new(TIMED, 1);
    let frames = star.produce(&payload);
    for frame in &frames {
        star.relay.on_frame(star.now, id(0), frame.clone());
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for frame in &frames {
            divan::black_box(star.relay.on_frame(star.now, id(0), frame.clone()));
        }
    });
}
