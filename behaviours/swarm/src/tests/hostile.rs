//! A peer that opens and accepts substreams of any protocol and lets the test write raw bytes.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
};

use futures::AsyncWriteExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, handler::ConnectionEvent,
    },
};
use opus_core::Machine;
use tokio::sync::{mpsc, watch};

use super::{
    lab::{Node, Over, Running, run},
    toy::Toy,
};
use crate::{frames, peer_id};

pub(super) const TOY: StreamProtocol = StreamProtocol::new(Toy::PROTOCOL);
pub(super) const FRAMES: StreamProtocol = StreamProtocol::new(frames::PROTOCOL);
pub(super) const NEITHER: StreamProtocol = StreamProtocol::new("/hostile/1");

/// What becomes of substreams that the honest node opens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Accepts {
    /// Held and never read.
    AndHolds,
    /// Dropped at once.
    AndDrops,
}

/// A hostile peer in its task, and the substreams that it opened.
pub(super) struct Hostile {
    pub(super) swarm: Running<Raw>,
    opened: mpsc::Receiver<Stream>,
}

impl Hostile {
    /// An honest node and a hostile peer that dialled it. The peer listens for `listens` only.
    pub(super) async fn and_node(listens: StreamProtocol, accepts: Accepts) -> (Node, Self) {
        let (changed, _) = watch::channel(0);
        let node = Node::start(0, Over::Memory, &changed).await;
        let (opened_in, opened) = mpsc::channel(2_000);
        let raw = Raw {
            listens,
            accepts,
            opened: opened_in,
            requests: VecDeque::new(),
        };
        let swarm = run(9, Over::Memory, changed, raw, |never| match never {}).await;
        node.learn(swarm.id, &swarm.address).await;
        let hostile = Self { swarm, opened };
        hostile.connect(&node).await;
        (node, hostile)
    }

    pub(super) async fn connect(&self, node: &Node) {
        self.swarm.dial(node.swarm.address.clone()).await;
        self.swarm
            .until("the hostile peer is connected", async || {
                self.swarm.connections().await > 0
            })
            .await;
    }

    /// Asks for `count` substreams.
    pub(super) async fn request(&self, node: &Node, protocol: StreamProtocol, count: usize) {
        let peer = peer_id(&node.id());
        self.swarm
            .with(move |swarm| {
                let requests = &mut swarm.behaviour_mut().requests;
                requests.extend(std::iter::repeat_n((peer, protocol), count));
            })
            .await;
    }

    pub(super) async fn open(&mut self, node: &Node, protocol: StreamProtocol) -> Stream {
        self.request(node, protocol, 1).await;
        self.opened.recv().await.unwrap()
    }

    /// Opens a substream and writes `bytes`; the substream stays open.
    pub(super) async fn write(
        &mut self,
        node: &Node,
        protocol: StreamProtocol,
        bytes: &[u8],
    ) -> Stream {
        let mut stream = self.open(node, protocol).await;
        stream.write_all(bytes).await.unwrap();
        // The node may have closed it already for what it read.
        stream.flush().await.ok();
        stream
    }
}

pub(super) struct Raw {
    listens: StreamProtocol,
    accepts: Accepts,
    opened: mpsc::Sender<Stream>,
    requests: VecDeque<(PeerId, StreamProtocol)>,
}

impl Raw {
    fn handler(&self) -> RawHandler {
        RawHandler {
            listens: self.listens.clone(),
            accepts: self.accepts,
            opened: self.opened.clone(),
            requests: VecDeque::new(),
            held: Vec::new(),
        }
    }
}

impl NetworkBehaviour for Raw {
    type ConnectionHandler = RawHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.requests.pop_front() {
            Some((peer_id, event)) => Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::Any,
                event,
            }),
            None => Poll::Pending,
        }
    }
}

pub(super) struct RawHandler {
    listens: StreamProtocol,
    accepts: Accepts,
    opened: mpsc::Sender<Stream>,
    requests: VecDeque<StreamProtocol>,
    held: Vec<Stream>,
}

impl ConnectionHandler for RawHandler {
    type FromBehaviour = StreamProtocol;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.listens.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Infallible>> {
        match self.requests.pop_front() {
            Some(protocol) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(protocol), ()),
            }),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, protocol: StreamProtocol) {
        self.requests.push_back(protocol);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ConnectionEvent is non-exhaustive"
    )]
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(event) => {
                self.opened.try_send(event.protocol).unwrap();
            }
            ConnectionEvent::FullyNegotiatedInbound(event) => match self.accepts {
                Accepts::AndHolds => self.held.push(event.protocol),
                Accepts::AndDrops => {}
            },
            _ => {}
        }
    }
}
