//! Loads the driver as dicast will, and says what it carries: events per second, wall time, memory.
//!
//! `cargo run --release -p opus-sim --example load -- NODES VIRTUAL_SECONDS [SEED]`
//!
//! The toy is no protocol. Nodes form a given tree of 20 children; each beats its parent once a
//! second over a kept connection, each parent pulses its children every 5 s, and each node dials a
//! random one every 30 s, says a word and releases it. Messages are datagrams on regions with
//! jitter 10 % and loss 1 %. On a shared machine only events a second of CPU time compare.

use std::{collections::VecDeque, env, fs, time::Duration};

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, Input, Lane, Malformed, NodeId, Output, Rng, Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_sim::{
    Driver, Options, Transport,
    driver::id_of,
    host::{Host, Tally},
};
use rand::RngExt;

const CHILDREN: usize = 20;
const BEAT: Duration = Duration::from_secs(1);
/// In beats.
const PULSE_EVERY: u64 = 5;
/// In beats.
const STROLL_EVERY: u64 = 30;
/// Nodes start within this.
const START_US: u64 = 5_000_000;

#[derive(Debug)]
struct Toy {
    index: usize,
    nodes: usize,
    rng: Rng,
    parent_up: bool,
    beats: u64,
    due: Time,
    heard: u64,
    visited: Option<NodeId>,
    outputs: VecDeque<Output<Word, ()>>,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Beat { number: u64, value: f64 },
    Pulse { number: u64, heard: u64 },
    Hello,
}

impl Toy {
    fn new(index: usize, nodes: usize, seed: &Seed) -> Self {
        let mut rng = seed.derive("toy", index as u64).rng();
        let due = Time(rng.random_range(1..START_US));
        Self {
            index,
            nodes,
            parent_up: false,
            beats: rng.random_range(0..STROLL_EVERY),
            due,
            heard: 0,
            visited: None,
            outputs: VecDeque::new(),
            rng,
        }
    }

    fn parent(&self) -> Option<NodeId> {
        (self.index > 0).then(|| id_of((self.index - 1) / CHILDREN))
    }

    fn say(&mut self, to: NodeId, message: Word) {
        let lane = Lane::Control;
        self.outputs.push_back(Output::Send { to, message, lane });
    }

    fn beat(&mut self) {
        self.beats += 1;
        let number = self.beats;
        match self.parent() {
            Some(parent) if self.parent_up => {
                let value = self.rng.random::<f64>();
                self.say(parent, Word::Beat { number, value });
            }
            Some(parent) => self.outputs.push_back(Output::Dial(parent)),
            None => {}
        }
        if self.beats.is_multiple_of(PULSE_EVERY) {
            let first = self.index * CHILDREN + 1;
            for child in first..(first + CHILDREN).min(self.nodes) {
                let heard = self.heard;
                self.say(id_of(child), Word::Pulse { number, heard });
            }
        }
        if self.beats.is_multiple_of(STROLL_EVERY) {
            let peer = id_of(self.rng.random_range(0..self.nodes));
            if Some(peer) != self.parent() && peer != id_of(self.index) {
                if let Some(before) = self.visited.replace(peer) {
                    self.outputs.push_back(Output::Release(before));
                }
                self.outputs.push_back(Output::Dial(peer));
            }
        }
    }
}

impl Host for Toy {
    type Command = ();
    type Message = Word;
    type Event = ();

    fn handle(&mut self, _now: Time, input: Input<(), Word>) {
        match input {
            Input::Connected(peer) if Some(peer) == self.parent() => self.parent_up = true,
            Input::Connected(peer) if Some(peer) == self.visited => self.say(peer, Word::Hello),
            Input::Disconnected(peer) if Some(peer) == self.parent() => self.parent_up = false,
            Input::Received { message, .. } => {
                self.heard += match message {
                    Word::Beat { .. } => 1,
                    Word::Pulse { heard, .. } => heard & 1,
                    Word::Hello => 0,
                };
            }
            Input::Command(())
            | Input::Connected(_)
            | Input::Disconnected(_)
            | Input::DialFailed(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if now >= self.due {
            self.beat();
            self.due = self.due + BEAT;
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline {
            at: self.due,
            reason: "beat",
        })
    }

    fn poll_output(&mut self) -> Option<Output<Word, ()>> {
        self.outputs.pop_front()
    }

    fn poll_wake(&mut self) -> Option<NodeId> {
        None
    }

    fn fill(&mut self, _now: Time, _peer: NodeId, _out: &mut BytesMut, _budget: usize) -> bool {
        false
    }

    fn received(&mut self, _now: Time, _peer: NodeId, _frame: Bytes) -> bool {
        true
    }

    fn encode(message: &Word) -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::encode_into(message, &mut bytes);
        bytes
    }

    fn encode_into(message: &Word, bytes: &mut Vec<u8>) {
        match *message {
            Word::Beat { number, value } => {
                bytes.push(0);
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Word::Pulse { number, heard } => {
                bytes.push(1);
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&heard.to_le_bytes());
            }
            Word::Hello => bytes.push(2),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Word, Malformed> {
        let number = |at: usize| {
            let eight = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
            eight.map_or(0, u64::from_le_bytes)
        };
        Ok(match bytes.first() {
            Some(0) => Word::Beat {
                number: number(1),
                value: f64::from_bits(number(9)),
            },
            Some(1) => Word::Pulse {
                number: number(1),
                heard: number(9),
            },
            Some(_) | None => Word::Hello,
        })
    }

    fn tally(_message: &Word) -> Tally {
        Tally::Other
    }

    fn note((): &()) -> Option<String> {
        None
    }
}

#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]
fn main() {
    let numbers: Vec<u64> = env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let nodes = usize::try_from(number(0, 10_000)).expect("nodes fit memory");
    let seconds = number(1, 60);
    let seed = Seed::new(number(2, 1));
    let started = std::time::Instant::now();
    let regions = Regions::new(
        &RegionParameters::default(),
        nodes,
        seed.derive("regions", 0),
    );
    let topology = Topology::from(regions.expect("the default fits 2 to 2^24 nodes"));
    let conditions = Conditions {
        jitter: 0.1,
        loss: Loss::Bernoulli { rate: 0.01 },
        ..Conditions::default()
    };
    let network = Network::new(topology, conditions, seed).expect("conditions are lawful");
    let options = Options {
        transport: Transport::Datagrams,
        ..Options::default()
    };
    let mut driver = Driver::new(network, options);
    let bare_kib = status_kib("VmRSS:");
    let hosts: Vec<Toy> = (0..nodes).map(|n| Toy::new(n, nodes, &seed)).collect();
    let hosts_kib = status_kib("VmRSS:").saturating_sub(bare_kib);
    for (node, host) in hosts.into_iter().enumerate() {
        driver.start(node, host);
    }
    // As a scenario does: a look at every host each virtual second, bytes of the second half.
    let (mut heard, mut before) = (0, driver.traffic());
    for second in 1..=seconds {
        driver.run_until(Time::from_secs(second));
        heard += driver.hosts().map(|(_, toy)| toy.heard).sum::<u64>();
        if second == seconds / 2 {
            before = driver.traffic();
        }
    }
    let usage = driver.traffic().usage(&before, 0..nodes);
    let wall_s = started.elapsed().as_secs_f64();
    let events = driver.trace.events();
    println!("nodes {nodes}, virtual {seconds} s, events {events}, wall {wall_s:.2} s");
    let cpu_s = cpu_s();
    println!(
        "CPU {cpu_s:.2} s, events a CPU second {:.0}",
        events as f64 / cpu_s
    );
    println!(
        "peak RSS {} KiB, of these hosts {hosts_kib} KiB",
        status_kib("VmHWM:")
    );
    println!(
        "bytes/s a node: sent {:.1}, received {:.1}, worst {:.0}; seen {heard}",
        usage.sent_mean, usage.received_mean, usage.worst
    );
    println!("trace {}", driver.trace.hash());
}

/// Time on a core so far, 0 where nobody tells.
fn cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = text
        .split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok());
    ns.map_or(0.0, |ns: f64| ns / 1e9)
}

/// A line of `/proc/self/status`, 0 where there is none.
fn status_kib(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
