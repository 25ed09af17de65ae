//! Inputs to the relay's forwarding core, which is driven like a machine but is none.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use opus_core::{NodeId, OverlayId, Time, testing::Draw};
use opus_relay::{
    Class, Command, Config, FLAG_COMPLETE, Forward, HEADER_BYTES, Header, Kind, flow_tag,
};

use crate::drive;

const OVERLAY: OverlayId = OverlayId(1);
const KEY: [u8; 32] = [7; 32];

/// Sequences begin here: the first start of the source.
const FIRST: u64 = 1 << 40 | 1;

/// Frames that one call may give out: what a ring holds, and words about it.
const FRAMES_MAX: usize = 4_000;

/// Any inputs: commands, links, frames of peers and of the source, time.
pub fn core(bytes: &[u8]) {
    drive::run(bytes, script);
}

struct Node {
    forward: Forward,
    now: Time,
    said: DefaultHasher,
}

fn script(bytes: &[u8]) -> u64 {
    let mut draw = Draw::new(bytes);
    let config = Config {
        window_frames: 64,
        ring_bytes: 64 << 10,
        ring_share_bytes: 8 << 10,
        queue_frames: 64,
        queue_bytes: 16 << 10,
        ..Config::default()
    };
    let (queue_frames, queue_bytes) = (config.queue_frames, config.queue_bytes);
    let rings_max = config.ring_bytes + config.window_bytes;
    let mut node = Node {
        forward: Forward::new(config, NodeId::from_index(0)),
        now: Time(1),
        said: DefaultHasher::new(),
    };
    node.begin(&mut draw);
    while !draw.is_empty() {
        node.step(&mut draw);
        node.drain();
        assert!(node.forward.ring_bytes() <= rings_max);
        for peer in 1..8 {
            let (frames, bytes) = node.forward.queued(NodeId::from_index(peer));
            assert!(
                frames <= queue_frames && bytes <= queue_bytes,
                "{frames} {bytes}"
            );
        }
    }
    node.said.finish()
}

impl Node {
    /// An overlay with a parent, a child, both, or neither.
    fn begin(&mut self, draw: &mut Draw<'_>) {
        let class = class(draw);
        let (overlay, key) = (OVERLAY, KEY);
        let open = Command::Open {
            overlay,
            class,
            key,
        };
        self.forward.command(self.now, open);
        let source = NodeId::from_index(1);
        self.forward
            .command(self.now, Command::Root { overlay, source });
        for peer in 1..4 {
            self.forward.link_up(self.now, NodeId::from_index(peer));
        }
        let edges = edges(draw, overlay);
        self.forward.command(self.now, edges);
    }

    fn step(&mut self, draw: &mut Draw<'_>) {
        match draw.below(16) {
            0..3 => {
                let command = command(draw);
                self.forward.command(self.now, command);
            }
            3 => self.forward.link_up(self.now, draw.peer()),
            4 => self.forward.link_down(self.now, draw.peer()),
            5 => {
                let frames: Vec<_> = (0..draw.below(4))
                    .map(|_| Bytes::copy_from_slice(draw.raw(40)))
                    .collect();
                let flow = draw.any::<u8>() % 20;
                let sent =
                    self.forward
                        .send(self.now, OVERLAY, flow, &frames, draw.flag(), draw.flag());
                format!("{sent:?}").hash(&mut self.said);
            }
            6..8 => self.pass(Duration::from_millis(u64::from(draw.any::<u16>() % 5_000))),
            8 => self.jump(Duration::from_millis(u64::from(draw.any::<u32>()))),
            9 => {
                let from = draw.peer();
                let frame = Bytes::copy_from_slice(draw.raw(200));
                self.hear(from, frame);
            }
            _ => {
                let from = draw.peer();
                let frame = frame(draw);
                self.hear(from, frame);
            }
        }
    }

    fn hear(&mut self, from: NodeId, frame: Bytes) {
        let verdict = self.forward.on_frame(self.now, from, frame);
        format!("{verdict:?}").hash(&mut self.said);
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut firings = 0;
        while let Some(next) = self.forward.poll_timeout().filter(|next| next.at <= end) {
            firings += 1;
            assert!(firings < 20_000, "timer {:?} spins", next.reason);
            self.now = self.now.max(next.at);
            self.fire();
        }
        self.now = end;
    }

    fn jump(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.fire();
    }

    fn fire(&mut self) {
        self.forward.handle_timeout(self.now);
        let next = self.forward.poll_timeout();
        assert!(
            next.is_none_or(|next| next.at > self.now),
            "only later: {next:?}"
        );
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(peer) = self.forward.poll_wake() {
            let mut out = BytesMut::new();
            let mut count = 0;
            while self.forward.poll_send(self.now, peer, &mut out, 4 << 10) {
                count += 1;
                assert!(count < FRAMES_MAX, "a peer is told without end");
            }
            lawful(&out);
            out.hash(&mut self.said);
        }
        while let Some(delivery) = self.forward.poll_deliver() {
            format!("{delivery:?}").hash(&mut self.said);
        }
        while let Some(event) = self.forward.poll_event() {
            format!("{event:?}").hash(&mut self.said);
        }
    }
}

/// What is sent are whole frames that a peer reads.
fn lawful(mut out: &[u8]) {
    while let Some((length, rest)) = out.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        Header::read(frame).expect("what is sent is a frame");
        out = rest;
    }
}

fn class(draw: &mut Draw<'_>) -> Class {
    if draw.flag() {
        return Class::Complete;
    }
    let deadline = Duration::from_millis(u64::from(draw.any::<u16>()));
    Class::Timed { deadline }
}

fn edges(draw: &mut Draw<'_>, overlay: OverlayId) -> Command {
    Command::Edges {
        overlay,
        parent: draw.maybe(Draw::peer),
        children: (0..draw.below(4)).map(|_| draw.peer()).collect(),
    }
}

fn command(draw: &mut Draw<'_>) -> Command {
    let overlay = if draw.share(14) {
        OVERLAY
    } else {
        OverlayId(2)
    };
    match draw.below(13) {
        0 => Command::Open {
            overlay,
            class: class(draw),
            key: [draw.any(); 32],
        },
        1 => Command::Close { overlay },
        2 => Command::Root {
            overlay,
            source: draw.node(),
        },
        3 => Command::Delay {
            peer: draw.peer(),
            one_way: Duration::from_micros(u64::from(draw.any::<u32>())),
        },
        4..6 => edges(draw, overlay),
        6 => Command::ChildLeft {
            overlay,
            child: draw.peer(),
        },
        7 => Command::ChildMoved {
            overlay,
            child: draw.peer(),
        },
        8 => Command::Source {
            overlay,
            seq_first: if draw.share(2) { draw.any() } else { FIRST },
        },
        9 => Command::SourceGone { overlay },
        10 => Command::Sink {
            overlay,
            att: draw.small(),
            resume: draw.maybe(sequence),
        },
        11 => Command::SinkGone {
            overlay,
            att: draw.small(),
        },
        _ => Command::Taken {
            att: draw.small(),
            frames: draw.small(),
            bytes: u64::from(draw.small()),
        },
    }
}

fn sequence(draw: &mut Draw<'_>) -> u64 {
    match draw.below(8) {
        0 => draw.any(),
        1 => u64::from(draw.small()),
        _ => FIRST + u64::from(draw.any::<u8>()),
    }
}

/// A frame with any fields. Its tag is good only by chance: data is taken where nobody checks.
fn frame(draw: &mut Draw<'_>) -> Bytes {
    let kinds = [Kind::Data, Kind::Digest, Kind::Top, Kind::Nack];
    let kind = kinds[usize::from(draw.any::<u8>()) % kinds.len()];
    let payload = payload(draw, kind);
    let header = Header {
        hop_seq: draw.small(),
        hop_clock: draw.any(),
        left: draw.any(),
        hop_limit: draw.any(),
        kind,
        flags: if draw.flag() {
            FLAG_COMPLETE
        } else {
            draw.any()
        },
        flow: flow_tag(OVERLAY, NodeId::from_index(1), draw.any::<u8>() % 2),
        seq: sequence(draw),
        ms: draw.any(),
    };
    let mut bytes = BytesMut::from(&header.write(payload.len())[4..]);
    debug_assert_eq!(bytes.len() + 4, HEADER_BYTES);
    bytes.extend_from_slice(&payload);
    bytes.freeze()
}

/// Whole numbers as digests and tops hold them, or any bytes.
fn payload(draw: &mut Draw<'_>, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    if kind == Kind::Data || draw.share(2) {
        bytes.extend_from_slice(draw.raw(100));
        return bytes;
    }
    let mut words = |draw: &mut Draw<'_>, count: usize| {
        for _ in 0..count {
            bytes.extend_from_slice(&sequence(draw).to_le_bytes());
        }
    };
    words(draw, 3);
    let count = draw.any::<u8>() % 4;
    if kind == Kind::Top {
        bytes.extend_from_slice(&u64::from(count).to_le_bytes());
        for _ in 0..2 * count {
            bytes.extend_from_slice(&sequence(draw).to_le_bytes());
        }
    } else {
        bytes.extend_from_slice(&draw.small().to_le_bytes());
        let branches = draw.any::<u8>() % 3;
        bytes.extend_from_slice(&[draw.any::<u8>() & 7, count, branches, 0]);
        for _ in 0..count + branches {
            bytes.extend_from_slice(&sequence(draw).to_le_bytes());
        }
    }
    bytes
}
