//! A deterministic network of forwarding cores: links with delay, jitter, loss and copies, local
//! programs that take what they are given, and a clock that only the test moves.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses another part of the driver"
)]

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use opus_core::{NodeId, OverlayId, Rng, Seed, Time};
use opus_relay::{
    Class, Command, Config, Delivery, Event, FlowId, FlowStats, Forward, SendError, Sent, Verdict,
};
use rand::RngExt;

pub(crate) const OVERLAY: OverlayId = OverlayId(77);
pub(crate) const KEY: [u8; 32] = [3; 32];
pub(crate) const BOOT: u64 = 1 << 40;

/// What links do to frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) delay: Duration,
    /// Up to this much more, each frame anew; beyond zero, frames are reordered.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) copies: f64,
}

pub(crate) const CALM: Faults = Faults {
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    loss: 0.0,
    copies: 0.0,
};

/// A link with a rate takes no more than this ahead: what a socket buffers.
const BUFFERED: Duration = Duration::from_millis(10);

enum Ev {
    Frame {
        from: usize,
        to: usize,
        life: (u32, u32),
        frame: Bytes,
    },
    /// The socket takes more.
    Writable { from: usize, to: usize },
}

pub(crate) struct Node {
    pub(crate) forward: Forward,
    pub(crate) alive: bool,
    /// Counts its restarts: frames of an earlier life are not delivered.
    life: u32,
    pub(crate) got: BTreeMap<u32, Vec<(Time, Delivery)>>,
    pub(crate) events: Vec<Event>,
    /// Sinks that do not take.
    pub(crate) stuck: Vec<u32>,
    pub(crate) verdicts: BTreeMap<&'static str, u64>,
}

pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    pub(crate) faults: Faults,
    /// Bytes a second of each link; `None`: as many as come.
    pub(crate) rate: Option<u64>,
    config: Config,
    class: Class,
    queue: BTreeMap<(Time, u64), Ev>,
    counter: u64,
    last: BTreeMap<(usize, usize), Time>,
    busy: BTreeMap<(usize, usize), Time>,
    rng: Rng,
    pub(crate) parents: Vec<Option<usize>>,
    pub(crate) bytes_sent: u64,
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId::from_index(u32::try_from(node).expect("small"))
}

pub(crate) fn att(node: usize) -> u32 {
    u32::try_from(node).expect("small") * 10
}

pub(crate) fn flow_of(source: usize) -> FlowId {
    FlowId {
        overlay: OVERLAY,
        source: id(source),
        flow: 0,
    }
}

pub(crate) fn payload(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

pub(crate) fn number(data: &[u8]) -> u64 {
    u64::from_le_bytes(data[..8].try_into().expect("eight bytes"))
}

impl Net {
    pub(crate) fn new(n: usize, class: Class, config: Config, seed: u64, faults: Faults) -> Self {
        let mut net = Self {
            now: Time::from_millis(1),
            nodes: Vec::new(),
            faults,
            rate: None,
            config,
            class,
            queue: BTreeMap::new(),
            counter: 0,
            last: BTreeMap::new(),
            busy: BTreeMap::new(),
            rng: Seed::new(opus_core::testing::test_seed(seed))
                .derive("net", 0)
                .rng(),
            parents: vec![None; n],
            bytes_sent: 0,
        };
        for node in 0..n {
            let forward = net.fresh(node);
            net.nodes.push(Node {
                forward,
                alive: true,
                life: 0,
                got: BTreeMap::new(),
                events: Vec::new(),
                stuck: Vec::new(),
                verdicts: BTreeMap::new(),
            });
        }
        net
    }

    fn fresh(&self, node: usize) -> Forward {
        let mut forward = Forward::new(self.config.clone(), id(node));
        forward.command(
            self.now,
            Command::Open {
                overlay: OVERLAY,
                class: self.class,
                key: KEY,
            },
        );
        forward
    }

    /// Names the source everywhere and attaches its program.
    pub(crate) fn source(&mut self, node: usize, seq_first: u64) {
        for other in 0..self.nodes.len() {
            self.command(
                other,
                Command::Root {
                    overlay: OVERLAY,
                    source: id(node),
                },
            );
        }
        self.command(
            node,
            Command::Source {
                overlay: OVERLAY,
                seq_first,
            },
        );
    }

    pub(crate) fn sink(&mut self, node: usize, resume: Option<u64>) {
        self.command(
            node,
            Command::Sink {
                overlay: OVERLAY,
                att: att(node),
                resume,
            },
        );
    }

    pub(crate) fn command(&mut self, node: usize, command: Command) {
        if self.nodes[node].alive {
            self.nodes[node].forward.command(self.now, command);
            self.drain(node);
        }
    }

    /// Makes the edges those of `parents`; channels come up with edges and stay.
    pub(crate) fn tree(&mut self, parents: &[Option<usize>]) {
        self.parents = parents.to_vec();
        for (child, parent) in parents.iter().enumerate() {
            if let Some(parent) = *parent {
                self.connect(child, parent);
            }
        }
        // Parents first: a child learns that it is accepted after its parent decided so.
        for node in 0..parents.len() {
            self.edges(node);
        }
    }

    /// Connects two nodes and notes the edge; [`Self::edges`] tells each node.
    pub(crate) fn set_parent(&mut self, child: usize, parent: usize) {
        self.parents[child] = Some(parent);
        self.connect(child, parent);
    }

    pub(crate) fn edges(&mut self, node: usize) {
        let is_alive = |other: &usize| self.nodes[*other].alive;
        let parent = self.parents[node].filter(is_alive).map(id);
        let children = (0..self.parents.len())
            .filter(|child| self.parents[*child] == Some(node))
            .filter(is_alive)
            .map(id)
            .collect();
        self.command(
            node,
            Command::Edges {
                overlay: OVERLAY,
                parent,
                children,
            },
        );
    }

    fn connect(&mut self, a: usize, b: usize) {
        for (node, peer) in [(a, b), (b, a)] {
            let both = self.nodes[node].alive && self.nodes[peer].alive;
            if both && !self.nodes[node].forward.is_up(id(peer)) {
                self.nodes[node].forward.link_up(self.now, id(peer));
                let told = Command::Delay {
                    peer: id(peer),
                    one_way: self.faults.delay,
                };
                self.nodes[node].forward.command(self.now, told);
                self.drain(node);
            }
        }
    }

    /// The channel between two nodes goes down at both.
    pub(crate) fn disconnect(&mut self, a: usize, b: usize) {
        for (node, peer) in [(a, b), (b, a)] {
            self.nodes[node].forward.link_down(self.now, id(peer));
            self.drain(node);
        }
    }

    pub(crate) fn reconnect(&mut self, a: usize, b: usize) {
        self.connect(a, b);
    }

    /// The process dies; neighbours see their channels go down at once.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.nodes[node].life += 1;
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].alive {
                self.nodes[other].forward.link_down(self.now, id(node));
                self.drain(other);
            }
        }
    }

    /// The process starts anew, with nothing.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].alive = true;
        self.nodes[node].forward = self.fresh(node);
    }

    pub(crate) fn send(&mut self, node: usize, frames: &[Bytes]) -> Result<Sent, SendError> {
        let sent = self.nodes[node]
            .forward
            .send(self.now, OVERLAY, 0, frames, false, true);
        self.drain(node);
        sent
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let next_frame = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = |node: &Node| node.forward.poll_timeout().map(|deadline| deadline.at);
            let next_timer = (0..self.nodes.len())
                .filter(|&node| self.nodes[node].alive)
                .filter_map(|node| timer(&self.nodes[node]).map(|at| (at, node)))
                .min();
            let frame_first = match (next_frame, next_timer) {
                (Some(frame), Some((timer, _))) => frame <= timer,
                (frame, _) => frame.is_some(),
            };
            if frame_first {
                let at = next_frame.expect("a frame is first");
                if at > until {
                    break;
                }
                self.now = self.now.max(at);
                self.deliver_frame();
            } else if let Some((at, node)) = next_timer.filter(|(at, _)| *at <= until) {
                self.now = self.now.max(at);
                self.nodes[node].forward.handle_timeout(self.now);
                let next = self.nodes[node].forward.poll_timeout();
                assert!(
                    next.is_none_or(|next| next.at > self.now),
                    "spins: {next:?}"
                );
                self.drain(node);
            } else {
                break;
            }
        }
        self.now = until;
    }

    fn deliver_frame(&mut self) {
        let (from, to, life, frame) = match self.queue.pop_first() {
            Some((
                _,
                Ev::Frame {
                    from,
                    to,
                    life,
                    frame,
                },
            )) => (from, to, life, frame),
            Some((_, Ev::Writable { from, to })) => return self.fetch(from, to),
            None => return,
        };
        let whole = self.nodes[to].alive && (self.nodes[from].life, self.nodes[to].life) == life;
        if !whole || !self.nodes[to].forward.is_up(id(from)) {
            return;
        }
        let verdict = self.nodes[to].forward.on_frame(self.now, id(from), frame);
        let name = match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Duplicate => "duplicate",
            Verdict::Late => "late",
            Verdict::Dropped => "dropped",
            Verdict::Forged => "forged",
            Verdict::Offence => "offence",
        };
        *self.nodes[to].verdicts.entry(name).or_default() += 1;
        self.drain(to);
    }

    /// One mutation, then drain.
    pub(crate) fn drain(&mut self, at: usize) {
        if !self.nodes[at].alive {
            return;
        }
        loop {
            let mut progress = false;
            while let Some(event) = self.nodes[at].forward.poll_event() {
                self.nodes[at].events.push(event);
            }
            while let Some(delivery) = self.nodes[at].forward.poll_deliver() {
                progress = true;
                let (sink, bytes) = (delivery.att, delivery.data.len() as u64);
                self.nodes[at]
                    .got
                    .entry(sink)
                    .or_default()
                    .push((self.now, delivery));
                if !self.nodes[at].stuck.contains(&sink) {
                    let taken = Command::Taken {
                        att: sink,
                        frames: 1,
                        bytes,
                    };
                    self.nodes[at].forward.command(self.now, taken);
                }
            }
            while let Some(peer) = self.nodes[at].forward.poll_wake() {
                progress = true;
                self.fetch(at, peer.index() as usize);
            }
            if !progress {
                break;
            }
        }
    }

    fn fetch(&mut self, from: usize, to: usize) {
        loop {
            let busy = self.busy.get(&(from, to)).copied().unwrap_or_default();
            if busy - self.now > BUFFERED {
                self.counter += 1;
                let at = self.now + BUFFERED;
                let writable = Ev::Writable { from, to };
                self.queue.insert((at, self.counter), writable);
                break;
            }
            let mut out = BytesMut::new();
            let budget = if self.rate.is_some() { 256 } else { 16 << 10 };
            let forward = &mut self.nodes[from].forward;
            let more = forward.poll_send(self.now, id(to), &mut out, budget);
            let mut rest = out.freeze();
            while !rest.is_empty() {
                let len = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
                let mut frame = rest.split_to(4 + len);
                let frame = frame.split_off(4);
                self.transmit(from, to, &frame);
            }
            if !more {
                break;
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, frame: &Bytes) {
        self.bytes_sent += frame.len() as u64 + 4;
        let mut starts = self.now;
        if let Some(rate) = self.rate {
            let busy = self.busy.entry((from, to)).or_default();
            starts = starts.max(*busy);
            let micros = (frame.len() as u64 + 4) * 1_000_000 / rate.max(1);
            starts = starts + Duration::from_micros(micros);
            *busy = starts;
        }
        if self.rng.random_bool(self.faults.loss) {
            return;
        }
        let times = if self.rng.random_bool(self.faults.copies) {
            2
        } else {
            1
        };
        for _ in 0..times {
            let jitter = u64::try_from(self.faults.jitter.as_micros()).expect("small");
            let mut at = starts + self.faults.delay;
            if jitter == 0 {
                let last = self.last.entry((from, to)).or_default();
                at = at.max(*last);
                *last = at;
            } else {
                at = at + Duration::from_micros(self.rng.random_range(0..=jitter));
            }
            self.counter += 1;
            let life = (self.nodes[from].life, self.nodes[to].life);
            let ev = Ev::Frame {
                from,
                to,
                life,
                frame: frame.clone(),
            };
            self.queue.insert((at, self.counter), ev);
        }
    }

    /// What the sink of `node` got, as numbers of [`payload`].
    pub(crate) fn numbers(&self, node: usize) -> Vec<u64> {
        let got = self.nodes[node].got.get(&att(node));
        got.into_iter()
            .flatten()
            .map(|(_, delivery)| number(&delivery.data))
            .collect()
    }

    pub(crate) fn stats(&self, node: usize, source: usize) -> FlowStats {
        self.nodes[node]
            .forward
            .stats(flow_of(source))
            .unwrap_or_default()
    }

    /// Sends `count` frames with numbers from `first`, `period` apart, waiting when blocked.
    pub(crate) fn stream(&mut self, source: usize, first: u64, count: u64, period: Duration) {
        for n in first..first + count {
            let mut tries = 0;
            while self.send(source, &[payload(n)]).is_err() {
                self.run_for(Duration::from_millis(20));
                tries += 1;
                assert!(tries < 10_000, "the source is blocked for 200 s");
            }
            self.run_for(period);
        }
    }
}
