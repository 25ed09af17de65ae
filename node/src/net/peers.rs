//! Neighbours: the address book as a behaviour, and a small mesh of connections that stay.
//!
//! The site manager spreads specs and roots among connected peers, so a node needs a few lasting
//! neighbours whether or not an overlay wants them. It dials until it has `mesh_min`, operator's
//! addresses first, then known peers by lot; it keeps what others dial up to `mesh_max`. Beyond
//! that, connections live only as long as a machine wants them: this is what bounds the number of
//! connections when Kademlia and overlays talk to many peers.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use opus_core::{Rng, Time};
use opus_swarm::Clock;
use rand::seq::IteratorRandom;

use super::{addr::peer_of, book::Book, keep::Keep};

/// How many neighbours a node wants and accepts.
#[derive(Clone, Copy, Debug)]
pub struct MeshConfig {
    /// Dials until so many connections are kept.
    pub mesh_min: usize,
    /// Keeps what others dial up to so many.
    pub mesh_max: usize,
    /// Time between two looks at the mesh.
    pub interval: Duration,
}

impl Default for MeshConfig {
    /// 6 and 24: a random graph of degree 6 is connected with high probability at 10,000 nodes.
    fn default() -> Self {
        Self {
            mesh_min: 6,
            mesh_max: 24,
            interval: Duration::from_secs(1),
        }
    }
}

/// Most dials started in one look at the mesh.
const DIALS_PER_LOOK: usize = 3;
/// Longest wait between two dials of a bootstrap address that names no peer.
const NAMELESS_BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Link {
    connections: Vec<ConnectionId>,
    kept: bool,
}

/// A bootstrap address that does not say which peer lives there.
#[derive(Debug)]
struct Nameless {
    address: Multiaddr,
    failures: u32,
    retry_at: Time,
    dialling: Option<ConnectionId>,
    peer: Option<PeerId>,
}

/// The behaviour. `book` is open to the node.
#[derive(Debug)]
pub struct Behaviour {
    /// Where peers may be reached.
    pub book: Book,
    config: MeshConfig,
    clock: Clock,
    rng: Rng,
    links: BTreeMap<PeerId, Link>,
    dialling: BTreeMap<PeerId, ConnectionId>,
    nameless: Vec<Nameless>,
    actions: VecDeque<ToSwarm<Infallible, bool>>,
    look: Delay,
}

impl Behaviour {
    /// No neighbours yet; `bootstrap` is what the operator wrote.
    pub fn new(
        mut book: Book,
        bootstrap: &[Multiaddr],
        config: MeshConfig,
        clock: Clock,
        rng: Rng,
    ) -> Self {
        let mut nameless = Vec::new();
        for address in bootstrap {
            match peer_of(address) {
                Some(peer) => book.write(clock.now(), peer, address.clone()),
                None => nameless.push(Nameless {
                    address: address.clone(),
                    failures: 0,
                    retry_at: Time::ZERO,
                    dialling: None,
                    peer: None,
                }),
            }
        }
        Self {
            book,
            config,
            clock,
            rng,
            links: BTreeMap::new(),
            dialling: BTreeMap::new(),
            nameless,
            actions: VecDeque::new(),
            look: Delay::new(Duration::ZERO),
        }
    }

    /// Peers connected now.
    pub fn connected(&self) -> impl Iterator<Item = &PeerId> {
        self.links.keys()
    }

    /// Connections that the mesh keeps.
    pub fn kept(&self) -> usize {
        self.links.values().filter(|link| link.kept).count()
    }

    /// Looks at the mesh at once, for example after addresses were learned.
    pub fn hurry(&mut self) {
        self.look = Delay::new(Duration::ZERO);
    }

    fn look_at_mesh(&mut self) {
        let now = self.clock.now();
        self.dial_nameless(now);
        let kept = self.kept() + self.dialling.len();
        let wanted = self
            .config
            .mesh_min
            .saturating_sub(kept)
            .min(DIALS_PER_LOOK);
        if wanted == 0 {
            return;
        }
        let free = |peer: &PeerId| {
            !self.links.get(peer).is_some_and(|link| link.kept) && !self.dialling.contains_key(peer)
        };
        let candidates = self.book.dialable(now).filter(|(peer, _)| free(peer));
        let (written, learned): (Vec<_>, Vec<_>) = candidates.partition(|(_, written)| *written);
        let mut chosen: Vec<PeerId> = written.into_iter().map(|(peer, _)| *peer).collect();
        chosen.truncate(wanted);
        let more = wanted - chosen.len();
        chosen.extend(
            learned
                .into_iter()
                .map(|(peer, _)| *peer)
                .sample(&mut self.rng, more),
        );
        for peer in chosen {
            self.want(peer);
        }
    }

    fn want(&mut self, peer: PeerId) {
        if let Some(link) = self.links.get_mut(&peer) {
            keep(&mut self.actions, peer, link);
            return;
        }
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
        let opts = opts.build();
        self.dialling.insert(peer, opts.connection_id());
        self.actions.push_back(ToSwarm::Dial { opts });
    }

    fn dial_nameless(&mut self, now: Time) {
        for entry in &mut self.nameless {
            let there = entry
                .peer
                .is_some_and(|peer| self.links.contains_key(&peer));
            if there || entry.dialling.is_some() || entry.retry_at > now {
                continue;
            }
            let opts = DialOpts::unknown_peer_id()
                .address(entry.address.clone())
                .build();
            entry.dialling = Some(opts.connection_id());
            self.actions.push_back(ToSwarm::Dial { opts });
        }
    }

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId) {
        let now = self.clock.now();
        let mut wanted = self.dialling.remove(&peer).is_some();
        for entry in &mut self.nameless {
            if entry.dialling == Some(connection) {
                entry.dialling = None;
                entry.failures = 0;
                entry.peer = Some(peer);
                self.book.write(now, peer, entry.address.clone());
                wanted = true;
            }
        }
        self.book.connected(now, &peer);
        let room = self.kept() < self.config.mesh_max;
        let link = self.links.entry(peer);
        let link = link.or_insert_with(|| Link {
            connections: Vec::new(),
            kept: false,
        });
        link.connections.push(connection);
        if wanted || link.kept || room {
            keep(&mut self.actions, peer, link);
        }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.connections.retain(|other| *other != connection);
            if link.connections.is_empty() {
                self.links.remove(&peer);
            }
        }
    }

    fn on_dial_failed(
        &mut self,
        peer: Option<PeerId>,
        connection: ConnectionId,
        error: &DialError,
    ) {
        let now = self.clock.now();
        for entry in self
            .nameless
            .iter_mut()
            .filter(|e| e.dialling == Some(connection))
        {
            entry.dialling = None;
            let wait = Duration::from_secs(1 << entry.failures.min(6)).min(NAMELESS_BACKOFF_MAX);
            entry.failures = entry.failures.saturating_add(1);
            entry.retry_at = now + wait;
        }
        let Some(peer) = peer else { return };
        if self.dialling.get(&peer) == Some(&connection) {
            self.dialling.remove(&peer);
        }
        // Somebody else's dial to the same peer is under way or up: no news about the address.
        if !matches!(error, DialError::DialPeerConditionFalse(_)) {
            self.book.failed(now, &peer);
        }
    }
}

fn keep(actions: &mut VecDeque<ToSwarm<Infallible, bool>>, peer: PeerId, link: &mut Link) {
    link.kept = true;
    // Told for each connection: a peer may have two, and either may be the one that stays.
    for connection in &link.connections {
        actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(*connection),
            event: true,
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Keep;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Keep::default())
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer
            .map(|peer| self.book.addresses(&peer))
            .unwrap_or_default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Keep::default())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum is open; what is not named here is no concern of this behaviour"
    )]
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                self.on_established(up.peer_id, up.connection_id);
            }
            FromSwarm::ConnectionClosed(down) => self.on_closed(down.peer_id, down.connection_id),
            FromSwarm::DialFailure(failed) => {
                self.on_dial_failed(failed.peer_id, failed.connection_id, failed.error);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            match self.look.poll_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {
                    self.look = Delay::new(self.config.interval);
                    self.look_at_mesh();
                }
            }
        }
    }
}
