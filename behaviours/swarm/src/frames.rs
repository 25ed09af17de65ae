//! The data plane's share of libp2p: frames between substreams and a [`Plane`], in the task of the
//! connection that carries them.
//!
//! A frame is a length (u32, little endian) and that many bytes. Each peer has one *channel*: one
//! long-lived substream out and one in, on the connection that both ends prefer. What goes out is
//! asked of the plane in batches ([`Plane::fill`]) when the plane woke the channel and the
//! substream takes more; what comes in is handed over in batches without copying it
//! ([`Plane::received`]). The swarm task only says [`Plane::up`] and [`Plane::down`].
//!
//! *Between up and down nothing is lost or reordered*: whatever breaks one of the two substreams
//! breaks the channel, which is told as `down`, and as `up` once frames can flow again. The other
//! end sees its substream break too and does the same. After six failures in a row the connection
//! is of no use for frames until a new one comes.
//!
//! Back-pressure is the transport's: while the peer does not read, `fill` is not called and the
//! plane's own queue is what grows or drops. Memory: a connection without frames holds no buffer;
//! one with frames at most a batch out (64 KiB and a frame) and a chunk in (68 KiB) beyond what
//! the muxer holds. A frame handed over shares its chunk with its neighbours of the same read; when
//! a read fills less than a quarter of the chunk, frames are copied out instead, so that a kept
//! frame never pins more than four times what came with it.
//!
//! It does not keep connections alive; machines do. Weakness: one substream a direction, so one
//! lost packet stalls all flows to that peer; frames in flight when a channel breaks are lost, and
//! which of them is for the plane to find out.

mod counters;
mod handler;
mod reader;
mod wake;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        derive_prelude::Either,
        dummy,
    },
};
use opus_core::NodeId;

use self::{counters::Counters, handler::Port};
pub use self::{
    counters::Stats,
    handler::{FromHandler, Handler},
    wake::Wake,
};
use crate::{
    connections::{Connections, Rank},
    identity::node_id,
};

/// The libp2p protocol name.
pub const PROTOCOL: &str = "/opus/frames/1";
/// Most bytes of a frame after its length: 64 of header and 64 KiB of payload.
pub const FRAME_BYTES_MAX: usize = 64 + (64 << 10);
/// Bytes of the length in front of a frame.
pub const PREFIX_BYTES: usize = 4;

/// Where frames come from and go to. Called from the tasks of many connections at once.
pub trait Plane: Send + Sync + 'static {
    /// A frame channel to `peer` can be used. `wake` makes the handler call [`Plane::fill`]; it
    /// must be called if something waits already, and is dead after [`Plane::down`].
    ///
    /// No promise that the peer speaks frames: if it does not, `down` follows the first wake.
    fn up(&self, peer: NodeId, wake: Wake);

    /// The frame channel to `peer` is gone, and what was under way in both directions may be lost.
    /// An [`Plane::up`] may follow at once, when the channel only broke.
    fn down(&self, peer: NodeId);

    /// Whole frames from `peer`, in order, each without its length prefix. Takes what it likes out
    /// of `frames`; the rest is dropped. `false`: the peer broke the protocol, its substream is
    /// closed.
    fn received(&self, peer: NodeId, frames: &mut Vec<Bytes>) -> bool;

    /// Appends encoded frames (with length prefix) for `peer` to `out` until it holds `budget`
    /// bytes or more, or nothing is left. Whether more is waiting.
    fn fill(&self, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool;
}

/// What [`Behaviour`] tells the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer sent what no honest peer sends: a length out of bounds, frames that the plane
    /// refused, or too many substreams. Its substream was closed.
    Violated {
        /// The offender.
        peer: NodeId,
        /// How.
        what: &'static str,
    },
}

/// See the module.
pub struct Behaviour<P> {
    plane: Arc<P>,
    local: NodeId,
    counters: Arc<Counters>,
    /// The swarm's connection limits bound it.
    peers: BTreeMap<NodeId, Peer>,
    /// The port of a handler whose connection may still be denied by another behaviour. The swarm
    /// tells the outcome before it makes another handler: one is enough.
    prepared: Option<(ConnectionId, Arc<Port>)>,
    /// Drained by each poll of the swarm; connections wait before they add more.
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Peer {
    usable: Connections<Arc<Port>>,
    established: usize,
    /// The connection that the plane was told of.
    up: Option<ConnectionId>,
}

impl<P> fmt::Debug for Behaviour<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("local", &self.local)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl<P: Plane> Behaviour<P> {
    /// Frames of node `local`, from and to `plane`.
    pub fn new(plane: Arc<P>, local: NodeId) -> Self {
        Self {
            plane,
            local,
            counters: Arc::default(),
            peers: BTreeMap::new(),
            prepared: None,
            events: VecDeque::new(),
        }
    }

    /// Counts since the start, over all peers.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId) -> THandler<Self> {
        let Some(node) = node_id(&peer) else {
            return Either::Right(dummy::ConnectionHandler);
        };
        let port = Arc::new(Port::default());
        self.prepared = Some((id, Arc::clone(&port)));
        Either::Left(Handler::new(
            node,
            port,
            Arc::clone(&self.plane),
            Arc::clone(&self.counters),
        ))
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let prepared = self.prepared.take();
        let Some(node) = node_id(&event.peer_id) else {
            return;
        };
        let Some((_, port)) = prepared.filter(|(id, _)| *id == event.connection_id) else {
            return;
        };
        let rank = Rank::new(event.connection_id, event.endpoint, self.local, node);
        let peer = self.peers.entry(node).or_insert_with(|| Peer {
            usable: Connections::new(),
            established: 0,
            up: None,
        });
        peer.established += 1;
        peer.usable.insert(rank, port);
        peer.settle(node, &*self.plane);
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        let Some(node) = node_id(&event.peer_id) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.usable.remove(event.connection_id);
        peer.settle(node, &*self.plane);
        peer.established -= 1;
        if peer.established == 0 {
            self.peers.remove(&node);
        }
    }

    fn on_broken(&mut self, node: NodeId, id: ConnectionId, breaks: u32, gone: bool) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        // Also when it broke on a connection that only the peer uses: frames may be lost there.
        peer.lower(node, &*self.plane);
        if let Some(port) = peer.usable.get(id) {
            port.acknowledge(breaks);
        }
        if gone {
            tracing::debug!(peer = ?node, %id, "no frames on this connection");
            peer.usable.remove(id);
        }
        peer.settle(node, &*self.plane);
    }
}

impl Peer {
    /// Tells the plane, if it thinks otherwise, which connection carries frames.
    fn settle<P: Plane>(&mut self, node: NodeId, plane: &P) {
        let active = self.usable.active();
        if self.up == active {
            return;
        }
        self.lower(node, plane);
        if let Some(port) = active.and_then(|id| self.usable.get(id)) {
            plane.up(node, port.wake());
            port.set_active(true);
            self.up = active;
        }
    }

    fn lower<P: Plane>(&mut self, node: NodeId, plane: &P) {
        let Some(up) = self.up.take() else {
            return;
        };
        if let Some(port) = self.usable.get(up) {
            port.set_active(false);
        }
        plane.down(node);
    }
}

impl<P: Plane> NetworkBehaviour for Behaviour<P> {
    type ConnectionHandler = Either<Handler<P>, dummy::ConnectionHandler>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "FromSwarm is non-exhaustive; only connections concern frames"
    )]
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Some(node) = node_id(&peer) else {
            return;
        };
        match event {
            Either::Left(FromHandler::Broken { breaks, gone }) => {
                self.on_broken(node, id, breaks, gone);
            }
            Either::Left(FromHandler::Violated(what)) => {
                self.events.push_back(Event::Violated { peer: node, what });
            }
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Events only come from callbacks, after which the swarm polls anyway.
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ToSwarm::GenerateEvent(event)),
            None => Poll::Pending,
        }
    }
}

/// A frame of `bytes`, with its length in front: for planes and tests that make frames by hand.
///
/// # Panics
/// If `bytes` are more than [`FRAME_BYTES_MAX`].
pub fn put_frame(out: &mut BytesMut, bytes: &[u8]) {
    assert!(bytes.len() <= FRAME_BYTES_MAX, "frame too long");
    let length = u32::try_from(bytes.len()).expect("the limit is below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}
