//! Whole nodes in virtual time: every control message and every frame goes through its codec.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one event it is about"
)]

mod scenarios;

use std::{collections::BTreeMap, time::Duration};

use opus_core::{
    Lane, Limits, Malformed, Rng, Wire,
    testing::{Net, Wake, test_seed},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::*;
use crate::{
    AppRef, CellNews, MemberState, Role, SignedApp, Spec,
    spec::{Kind, owner_of},
};

const OWNER: [u8; 32] = [3; 32];
/// Bytes of frames in one write.
const BUDGET: usize = 16 << 10;

/// A peer whose frames travel as messages too, and whose programs take each delivery at once.
#[derive(Debug)]
struct Whole {
    peer: Peer,
    now: Time,
    filling: Vec<NodeId>,
    taken: Vec<(u32, u64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum WholeMessage {
    Control(PeerMessage),
    Frames(ByteBuf),
}

impl Wire for WholeMessage {
    const LIMITS: Limits = Limits {
        bytes: 1 << 20,
        ..PeerMessage::LIMITS
    };

    fn check(&mut self) -> Result<(), Malformed> {
        match self {
            Self::Control(message) => message.check(),
            Self::Frames(_) => Ok(()),
        }
    }
}

impl Whole {
    fn received(&mut self, from: NodeId, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let (frame, tail) = tail.split_at(length);
            assert!(
                self.peer
                    .received(self.now, from, Bytes::copy_from_slice(frame))
            );
            rest = tail;
        }
    }

    fn frames(&mut self) -> Option<Output<WholeMessage, PeerEvent>> {
        while let Some(to) = self.filling.pop().or_else(|| self.peer.poll_wake()) {
            let mut out = BytesMut::new();
            if self.peer.fill(self.now, to, &mut out, BUDGET) {
                self.filling.push(to);
            }
            if !out.is_empty() {
                return Some(Output::Send {
                    to,
                    message: WholeMessage::Frames(ByteBuf::from(out.to_vec())),
                    lane: Lane::Bulk,
                });
            }
        }
        None
    }

    fn take(&mut self) -> bool {
        let taken = std::mem::take(&mut self.taken);
        for &(att, bytes) in &taken {
            let command = PeerCommand::Taken {
                att,
                frames: 1,
                bytes,
            };
            self.peer.handle(self.now, Input::Command(command));
        }
        !taken.is_empty()
    }
}

impl Machine for Whole {
    const PROTOCOL: &'static str = "/opus/whole/1";
    type Command = PeerCommand;
    type Message = WholeMessage;
    type Event = PeerEvent;

    fn handle(&mut self, now: Time, input: Input<PeerCommand, WholeMessage>) {
        self.now = now;
        let input = match input {
            Input::Command(command) => Input::Command(command),
            Input::Connected(peer) => Input::Connected(peer),
            Input::Disconnected(peer) => Input::Disconnected(peer),
            Input::DialFailed(peer) => Input::DialFailed(peer),
            Input::Received {
                from,
                message: WholeMessage::Control(message),
            } => Input::Received { from, message },
            Input::Received {
                from,
                message: WholeMessage::Frames(bytes),
            } => return self.received(from, &bytes),
        };
        self.peer.handle(now, input);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.peer.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.peer.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<Output<WholeMessage, PeerEvent>> {
        loop {
            let Some(output) = self.peer.poll_output() else {
                let frames = self.frames();
                if frames.is_none() && self.take() {
                    continue;
                }
                return frames;
            };
            if let Output::Event(PeerEvent::Delivery(delivery)) = &output {
                self.taken.push((delivery.att, delivery.data.len() as u64));
            }
            return Some(match output {
                Output::Send { to, message, lane } => Output::Send {
                    to,
                    message: WholeMessage::Control(message),
                    lane,
                },
                Output::Dial(peer) => Output::Dial(peer),
                Output::Release(peer) => Output::Release(peer),
                Output::Penalise(peer, offence) => Output::Penalise(peer, offence),
                Output::Event(event) => Output::Event(event),
            });
        }
    }
}

fn node(index: u32) -> NodeId {
    NodeId::from_index(index)
}

fn whole(index: u32, boots: u64, seed: &Seed) -> Whole {
    let mut config = PeerConfig::default();
    config.site.secret = [index.to_le_bytes()[0]; 32];
    let seed = seed.derive("node", u64::from(index));
    Whole {
        peer: Peer::new(config, Contact::bare(node(index)), &seed, boots),
        now: Time::ZERO,
        filling: Vec::new(),
        taken: Vec::new(),
    }
}

/// Nodes in a plane; the source is node 0, all others are sinks.
struct World {
    net: Net<Whole>,
    seed: Seed,
    rng: Rng,
    overlay: OverlayId,
    nodes: u32,
    /// Of the application that is deployed.
    reliability: f64,
    /// Where the source is.
    source: u32,
    /// Which life each node is in.
    boots: BTreeMap<u32, u64>,
    /// First sequence and count of what was sent, by life of the source.
    sent: Vec<Sent>,
}

impl World {
    fn new(nodes: u32, seed: u64) -> Self {
        let seed = Seed::new(test_seed(seed));
        let mut rng = seed.derive("plane", 0).rng();
        let places: Vec<(f64, f64)> = (0..nodes)
            .map(|_| (rng.random_range(0.0..40.0), rng.random_range(0.0..40.0)))
            .collect();
        let delay = move |a: NodeId, b: NodeId| {
            let (a, b) = (places[a.index() as usize], places[b.index() as usize]);
            Duration::from_secs_f64((1.0 + (a.0 - b.0).hypot(a.1 - b.1)) / 1_000.0)
        };
        let net = Net::new((0..nodes).map(|index| (node(index), whole(index, 1, &seed))))
            .with_delay(delay);
        let mut world = Self {
            net,
            seed,
            rng,
            overlay: crate::spec::overlay_of("a", &owner_of(&OWNER)),
            nodes,
            reliability: 1.0,
            source: 0,
            boots: BTreeMap::new(),
            sent: Vec::new(),
        };
        for index in 0..nodes {
            world.bootstrap(index);
        }
        world
    }

    /// Connects a node to two random others, and with its neighbour.
    fn bootstrap(&mut self, index: u32) {
        let next = (index + 1) % self.nodes;
        let others = [
            next,
            self.rng.random_range(0..self.nodes),
            self.rng.random_range(0..self.nodes),
        ];
        for other in others {
            self.net.connect(node(index), node(other));
        }
    }

    fn site(&mut self, at: u32, command: Command) {
        self.net.command(node(at), PeerCommand::Site(command));
    }

    /// Ends a node as `kill -9` does, and starts it again after `secs` with nothing remembered.
    fn restart(&mut self, at: u32, secs: u64) {
        self.net.crash(node(at));
        self.run(secs);
        let boots = self.boots.entry(at).or_insert(1);
        *boots += 1;
        let (boots, seed) = (*boots, self.seed);
        self.net.insert(node(at), whole(at, boots, &seed));
        self.bootstrap(at);
    }

    fn start_source(&mut self) {
        let mut spec = Spec::new("a", Kind::Multicast, 1).unwrap();
        spec.sla.reliability = self.reliability;
        let signed = SignedApp::sign(&spec, "main", &OWNER).unwrap().encode();
        self.site(
            0,
            Command::Deploy {
                id: 1,
                signed,
                dry_run: false,
            },
        );
        self.attach(0, Role::Source);
    }

    fn attach(&mut self, at: u32, role: Role) {
        self.attach_resuming(at, role, None);
    }

    fn attach_resuming(&mut self, at: u32, role: Role, resume: Option<(NodeId, u64)>) {
        let app = AppRef::new("a", owner_of(&OWNER));
        self.site(
            at,
            Command::Attach {
                att: 1,
                app,
                role,
                resume,
            },
        );
    }

    /// Source and sinks, and time until all are in the tree.
    fn settled(nodes: u32, seed: u64) -> Self {
        let mut world = Self::new(nodes, seed);
        world.start_source();
        world.run(2);
        for at in 1..nodes {
            world.attach(at, Role::Sink);
        }
        world.run(20);
        world
    }

    fn run(&mut self, secs: u64) {
        self.net.run_for(Duration::from_secs(secs));
    }

    /// Sends `count` frames, 10 every 20 ms, waiting when the window is full.
    fn publish(&mut self, count: usize) {
        let mut left = count;
        for _ in 0..100_000 {
            if left == 0 {
                return;
            }
            let frames: Vec<Bytes> = (0..left.min(10))
                .map(|i| Bytes::from(vec![i.to_le_bytes()[0]; 100]))
                .collect();
            let before = self.net.events.len();
            self.net.command(
                node(self.source),
                PeerCommand::Publish {
                    overlay: self.overlay,
                    flow: 0,
                    frames,
                    last: false,
                },
            );
            let result = self.net.events[before..]
                .iter()
                .find_map(|(_, _, event)| match event {
                    PeerEvent::Published { result, .. } => Some(*result),
                    _ => None,
                });
            match result.expect("answered at once") {
                Ok(sent) => {
                    left -= sent.n;
                    self.sent.push(sent);
                }
                Err(SendError::Blocked) => {}
                Err(error) => panic!("{error}"),
            }
            self.net.run_for(Duration::from_millis(20));
        }
        panic!("the source never got room for {left} of {count} frames");
    }

    /// All sequences sent, in order.
    fn sequences(&self) -> Vec<u64> {
        self.sent
            .iter()
            .flat_map(|sent| sent.seq..sent.seq + sent.n as u64)
            .collect()
    }

    /// What the sink at each node got, in order.
    fn delivered(&self) -> BTreeMap<NodeId, Vec<u64>> {
        let mut delivered: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (_, at, event) in &self.net.events {
            if let PeerEvent::Delivery(delivery) = event {
                delivered.entry(*at).or_default().push(delivery.seq);
            }
        }
        delivered
    }

    fn joined(&self) -> Vec<NodeId> {
        let root = self.net.machine(node(self.source));
        let members = root.peer.site().members(self.overlay);
        let joined = members
            .into_iter()
            .filter(|member| member.state == MemberState::Joined);
        joined.map(|member| member.contact.id).collect()
    }

    /// A node with children that is not the root.
    fn inner_node(&self) -> u32 {
        let children = |&at: &u32| {
            let edges = self.net.machine(node(at)).peer.site().edges(self.overlay);
            edges.map_or(0, |(_, children)| children.len())
        };
        (1..self.nodes)
            .max_by_key(children)
            .filter(|at| children(at) > 0)
            .expect("a tree has depth")
    }
}
