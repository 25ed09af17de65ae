//! chitchat's transport without sockets: the emulated network on tokio's paused clock.
//!
//! The crate does not show how it writes an envelope, so its own transport by channels carries them
//! and tells their lengths; it delivers at once. Behind it stands a mailbox for each node, from
//! which envelopes go on after the delay of the network, or not at all.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use chitchat::{
    ChitchatEnvelope,
    transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport},
};
use opus_core::Time;
use opus_net::{Network, link::Fate};
use opus_sim::driver::account::wire_bytes;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

/// Envelopes that wait at a node. Overflow: the newest is dropped, as a full socket buffer does.
const WAITING_MAX: usize = 4_096;

/// The most that one datagram of IPv4 holds; chitchat's own limit too.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Nodes listen at 10.0.0.0/8, each at an address of its own.
const NET: u32 = 0x0a00_0000;
const PORT: u16 = 1;
const MAILBOX_PORT: u16 = 2;

/// All sockets of one run. A clone is the same.
#[derive(Clone)]
pub(crate) struct Wire {
    inner: ChannelTransport,
    shared: Arc<Mutex<Shared>>,
    began: Instant,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    sent: Vec<u64>,
    unsent: u64,
}

/// Where a node listens.
pub(crate) fn address_of(node: usize) -> SocketAddr {
    let number = u32::try_from(node).expect("below NODES_MAX");
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(NET + number)), PORT)
}

/// The node that listens there; any number of an address of another kind.
pub(crate) const fn node_at(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => ip.to_bits().wrapping_sub(NET) as usize,
        IpAddr::V6(_) => usize::MAX,
    }
}

const fn mailbox_of(mut address: SocketAddr) -> SocketAddr {
    address.set_port(MAILBOX_PORT);
    address
}

impl Wire {
    /// To be called on the runtime whose clock it follows.
    pub(crate) fn new(network: Network) -> Self {
        let shared = Shared {
            sent: vec![0; network.len()],
            network,
            unsent: 0,
        };
        Self {
            inner: ChannelTransport::with_mtu(DATAGRAM_BYTES_MAX),
            shared: Arc::new(Mutex::new(shared)),
            began: Instant::now(),
        }
    }

    /// When the run began.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// Bytes that a node has sent, with headers.
    pub(crate) fn sent(&self, node: usize) -> u64 {
        self.lock().sent[node]
    }

    /// Envelopes that were larger than a datagram, and so never sent.
    pub(crate) fn unsent(&self) -> u64 {
        self.lock().unsent
    }

    /// Nothing reaches the node or leaves it from now on.
    pub(crate) fn crash(&self, node: usize) {
        self.lock().network.crash(node);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an envelope is under way; none: it is lost.
    fn delay(&self, from: usize, to: usize, bytes: usize) -> Option<Duration> {
        let now = Time::ZERO + self.began.elapsed();
        match self.lock().network.send(now, from, to, bytes) {
            // The conditions double nothing and hold nothing up.
            Fate::Deliver(at) | Fate::Twice(at, _) => Some(at.since(now)),
            Fate::Lost | Fate::Held => None,
        }
    }

    /// Carries on what comes into the mailbox of `node`.
    async fn carry(self, node: usize, mut mailbox: Box<dyn Socket>, to: Sender<RecvOutcome>) {
        while let Ok(outcome) = mailbox.recv().await {
            let from = node_at(outcome.from_addr);
            if let Some(delay) = self.delay(from, node, outcome.num_bytes_received) {
                tokio::spawn(arrive(delay, to.clone(), outcome));
            }
        }
    }
}

async fn arrive(delay: Duration, to: Sender<RecvOutcome>, outcome: RecvOutcome) {
    tokio::time::sleep(delay).await;
    // The socket is closed or full: the datagram is lost.
    drop(to.try_send(outcome));
}

#[async_trait]
impl Transport for Wire {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let node = node_at(address);
        ensure!(node < self.lock().sent.len(), "no node has {address}");
        let out = self.inner.open(address).await?;
        let mailbox = self.inner.open(mailbox_of(address)).await?;
        let (to, arrivals) = channel(WAITING_MAX);
        tokio::spawn(self.clone().carry(node, mailbox, to));
        let wire = self.clone();
        Ok(Box::new(WireSocket {
            node,
            wire,
            out,
            arrivals,
        }))
    }
}

struct WireSocket {
    node: usize,
    wire: Wire,
    out: Box<dyn Socket>,
    arrivals: Receiver<RecvOutcome>,
}

#[async_trait]
impl Socket for WireSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.out.local_addr()
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let outcome = self.out.send(mailbox_of(to), envelope).await;
        let mut shared = self.wire.lock();
        match &outcome {
            Ok(outcome) => shared.sent[self.node] += wire_bytes(outcome.num_bytes_sent),
            Err(_) => shared.unsent += 1,
        }
        drop(shared);
        outcome
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.arrivals.recv().await.context("the wire is gone")
    }
}

#[cfg(test)]
mod tests {
    use chitchat::{ChitchatMessage, ProtocolVersion};
    use tokio::runtime::Builder;

    use super::*;
    use crate::world::World;

    fn envelope() -> ChitchatEnvelope {
        ChitchatEnvelope {
            version: ProtocolVersion::V1,
            message: ChitchatMessage::BadCluster,
        }
    }

    #[test]
    fn an_envelope_costs_its_length_and_headers_and_takes_the_delay() {
        let clock = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        clock.unwrap().block_on(async {
            let mut world = World::new(3, 1).unwrap();
            world.loss = 0.0;
            let wire = Wire::new(world.network());
            let mut one = wire.open(address_of(0)).await.unwrap();
            let mut other = wire.open(address_of(1)).await.unwrap();
            let sent = one.send(address_of(1), envelope()).await.unwrap();
            // A magic number, the version and the kind.
            assert_eq!(sent.num_bytes_sent, 4);
            assert_eq!((wire.sent(0), wire.sent(1)), (32, 0));
            let outcome = other.recv().await.unwrap();
            assert_eq!(outcome.from_addr, address_of(0));
            let took = wire.began().elapsed();
            let expected = Duration::from_millis(20)..=Duration::from_millis(81);
            assert!(expected.contains(&took), "{took:?}");
            wire.crash(1);
            one.send(address_of(1), envelope()).await.unwrap();
            assert_eq!(wire.sent(0), 64, "the sender pays");
            let long = tokio::time::timeout(Duration::from_secs(9), other.recv());
            assert!(long.await.is_err(), "nothing arrives");
        });
    }
}
