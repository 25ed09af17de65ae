//! Connections and addresses: what the swarm says, and what the node makes of it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use libp2p::{
    Multiaddr, PeerId, autonat, identify, kad, mdns,
    multiaddr::Protocol,
    ping,
    swarm::{ConnectionId, SwarmEvent},
};
use opus_core::NodeId;
use opus_swarm::frames;

use super::{Core, told::Level, tree::speaks_dicast};
use crate::net::{
    BehaviourEvent,
    addr::{self, Policy, Reach, ip_of, is_relayed, reach_of},
};

/// Streams in negotiation at once; the default is 128.
pub(super) const NEGOTIATING_STREAMS_MAX: usize = 32;
/// Time between two looks whether Kademlia should find neighbours.
pub(super) const SEEK_INTERVAL: Duration = Duration::from_secs(60);
/// Most addresses taken from one peer's identify message.
const IDENTIFY_ADDRESSES_MAX: usize = 8;
/// Most peers that Kademlia's table is fed with.
const KAD_PEERS_MAX: usize = 256;

/// One connected peer, for `node.peers`.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRow {
    /// Who.
    pub peer: PeerId,
    /// The remote address of the newest connection.
    pub address: Multiaddr,
    /// Whether it goes through a circuit relay.
    pub relayed: bool,
    /// Round trip in milliseconds, if known.
    pub rtt_ms: Option<f64>,
    /// Share of probes lost, if any were sent.
    pub loss: Option<f64>,
    /// What it says it runs.
    pub version: String,
}

#[derive(Debug)]
struct Link {
    connections: BTreeMap<ConnectionId, Multiaddr>,
    ping: Option<Duration>,
    version: String,
    /// Whether identify named dicast among its protocols.
    in_tree: bool,
}

/// Connected peers. Bounded by the connection limits.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<PeerId, Link>);

impl Links {
    /// Peers that speak dicast.
    pub(super) fn speakers(&self) -> impl Iterator<Item = PeerId> {
        let speak = |(peer, link): (&PeerId, &Link)| link.in_tree.then_some(*peer);
        self.0.iter().filter_map(speak)
    }

    /// Whether a peer is connected.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }
}

impl Core {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum is open; what is not named here needs no answer"
    )]
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let link = self.links.0.entry(peer_id).or_insert_with(|| Link {
                    connections: BTreeMap::new(),
                    ping: None,
                    version: String::new(),
                    in_tree: false,
                });
                link.connections
                    .insert(connection_id, endpoint.get_remote_address().clone());
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => {
                if let Some(link) = self.links.0.get_mut(&peer_id) {
                    link.connections.remove(&connection_id);
                    if link.connections.is_empty() {
                        self.links.0.remove(&peer_id);
                    }
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(&address, true),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listening(&address, false),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                self.tellers
                    .tell(Level::Info, "reach", format!("reachable at {address}"));
                self.refresh_hint();
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.refresh_hint(),
            SwarmEvent::ListenerError { error, .. } => {
                self.tellers
                    .tell(Level::Warn, "reach", format!("a listener failed: {error}"));
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(?peer_id, %error, "dial failed");
            }
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%send_back_addr, %error, "incoming connection failed");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Probe(event) => self.on_probe_event(event),
            BehaviourEvent::Dicast(event) => self.on_dicast_event(event),
            BehaviourEvent::Overlay(event) => self.on_overlay_event(event),
            BehaviourEvent::Site(event) => self.on_site_event(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(ping::Event {
                peer,
                result: Ok(rtt),
                ..
            }) => {
                if let Some(link) = self.links.0.get_mut(&peer) {
                    link.ping = Some(rtt);
                }
            }
            BehaviourEvent::Kad(event) => self.on_kademlia(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.learn(peer, &address);
                }
                self.behaviour().peers.hurry();
            }
            BehaviourEvent::AutonatClient(event) => self.on_autonat(&event),
            BehaviourEvent::Upnp(event) => {
                self.tellers
                    .tell(Level::Debug, "reach", format!("UPnP: {event:?}"));
            }
            BehaviourEvent::Dcutr(event) => {
                let outcome = event
                    .result
                    .map_or_else(|e| e.to_string(), |_| "direct".to_owned());
                let peer = event.remote_peer_id;
                self.tellers.tell(
                    Level::Info,
                    "reach",
                    format!("hole punch to {peer}: {outcome}"),
                );
            }
            BehaviourEvent::Ping(_)
            | BehaviourEvent::Mdns(mdns::Event::Expired(_))
            | BehaviourEvent::AutonatServer(_)
            | BehaviourEvent::RelayClient(_)
            | BehaviourEvent::RelayServer(_) => {}
            BehaviourEvent::Frames(frames::Event::Violated { peer, what }) => {
                self.tell_abuse(&peer, &format!("frames:{}", what.replace(' ', "-")), 0);
            }
            BehaviourEvent::Limits(event)
            | BehaviourEvent::Addresses(event)
            | BehaviourEvent::Peers(event) => match event {},
        }
    }

    /// The line that ban tools read (docs/operations.md).
    pub(super) fn tell_abuse(&mut self, peer: &NodeId, reason: &str, score: u32) {
        let peer = opus_swarm::peer_id(peer);
        let mut addresses = self
            .links
            .0
            .get(&peer)
            .into_iter()
            .flat_map(|l| l.connections.values());
        let ip = addresses.find_map(ip_of);
        let ip = ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        let msg = format!("PEER_ABUSE peer={peer} ip={ip} reason={reason} score={score}");
        self.tellers.tell(Level::Warn, "peer", msg);
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        if info.protocol_version != self.options.protocol_version() {
            let theirs: String = info.protocol_version.chars().take(64).collect();
            self.tellers.tell(
                Level::Debug,
                "peer",
                format!("{peer_id} belongs to another network ({theirs:?}); disconnected"),
            );
            if self.swarm.disconnect_peer_id(peer_id).is_err() {
                tracing::debug!(%peer_id, "gone already");
            }
            return;
        }
        if let Some(link) = self.links.0.get_mut(&peer_id) {
            link.version = info.agent_version.chars().take(64).collect();
        }
        let speaks_kad = self.behaviour().kad.as_ref().is_some_and(|kad| {
            info.protocols
                .iter()
                .any(|name| kad.protocol_names().contains(name))
        });
        for address in info.listen_addrs.iter().take(IDENTIFY_ADDRESSES_MAX) {
            if self.learn(peer_id, address) && speaks_kad {
                self.feed_kademlia(peer_id, address);
            }
        }
        let speaks = speaks_dicast(&info.protocols);
        let link = self.links.0.get_mut(&peer_id).filter(|_| speaks);
        // Told once: identify repeats itself.
        if link.is_some_and(|link| !std::mem::replace(&mut link.in_tree, true)) {
            self.on_tree_neighbour(&peer_id);
        }
    }

    /// Takes an address that somebody told. Returns whether it is good for dialling.
    pub(super) fn learn(&mut self, peer: PeerId, address: &Multiaddr) -> bool {
        let now = self.clock.now();
        self.behaviour()
            .peers
            .book
            .learn(now, peer, address.clone())
    }

    fn feed_kademlia(&mut self, peer: PeerId, address: &Multiaddr) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        let known: usize = kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        if known < KAD_PEERS_MAX {
            kad.add_address(&peer, addr::without_peer(address.clone()));
        }
    }

    fn on_kademlia(&mut self, event: kad::Event) {
        if let kad::Event::InboundRequest { request } = event {
            self.on_record_offered(request);
        } else if let kad::Event::OutboundQueryProgressed {
            id, result, step, ..
        } = event
        {
            if let kad::QueryResult::GetClosestPeers(Ok(found)) = result {
                self.on_peers_found(found.peers);
            } else {
                self.on_lookup(id, result, step.last);
            }
        }
    }

    fn on_peers_found(&mut self, found: Vec<kad::PeerInfo>) {
        for peer in found {
            for address in peer.addrs.iter().take(IDENTIFY_ADDRESSES_MAX) {
                self.learn(peer.peer_id, address);
            }
        }
    }

    /// Asks Kademlia for peers near ourselves while the mesh is short of neighbours. What others
    /// said of our reachability ages meanwhile.
    pub(super) fn fill_mesh(&mut self) {
        self.tell_tree_reach();
        let kept = self.swarm.behaviour().peers.kept();
        if kept < self.options.mesh.mesh_min {
            self.seek(self.peer_id());
        }
    }

    /// Asks Kademlia for peers near a name: to fill the mesh, or to find one peer's address.
    pub fn seek(&mut self, near: PeerId) {
        if let Some(kad) = self.behaviour().kad.as_mut() {
            kad.get_closest_peers(near);
        }
    }

    fn on_autonat(&mut self, event: &autonat::v2::client::Event) {
        let server = event.server;
        let address = self
            .links
            .0
            .get(&server)
            .and_then(|link| link.connections.values().next());
        self.reach
            .answered(self.clock.now(), server, address, event.result.is_ok());
        self.tell_tree_reach();
    }

    fn on_listening(&mut self, address: &Multiaddr, up: bool) {
        let what = if up {
            "listening on"
        } else {
            "no longer listening on"
        };
        self.tellers
            .tell(Level::Info, "reach", format!("{what} {address}"));
        self.reach.listening(address, up);
        self.tell_tree_reach();
        self.refresh_policy();
        self.refresh_hint();
    }

    /// A node whose listeners are all on loopback speaks to loopback only; a home node to its own
    /// subnets. Written policies stay.
    fn refresh_policy(&mut self) {
        let listening: Vec<Multiaddr> = self
            .swarm
            .listeners()
            .filter(|address| !is_relayed(address))
            .cloned()
            .collect();
        let loopback = |address: &Multiaddr| reach_of(address) == Some(Reach::Loopback);
        let policy = match self.guard.policy() {
            Policy::Any => return,
            _ if !listening.is_empty() && listening.iter().all(loopback) => Policy::LoopbackOnly,
            Policy::GlobalOnly if !self.options.home => Policy::GlobalOnly,
            Policy::LoopbackOnly | Policy::GlobalAndOwn(_) | Policy::GlobalOnly => {
                if self.options.home {
                    let own: Vec<IpAddr> = listening.iter().filter_map(ip_of).collect();
                    Policy::GlobalAndOwn(own)
                } else {
                    Policy::GlobalOnly
                }
            }
        };
        self.guard.set_policy(policy.clone());
        self.behaviour().peers.book.set_policy(policy);
    }

    /// Tells the site manager where this node may be reached: confirmed addresses first, then
    /// listeners that reach farther before those that reach less.
    fn refresh_hint(&mut self) {
        let mut addresses: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        let mut listening: Vec<Multiaddr> = self
            .swarm
            .listeners()
            .filter(|address| !is_relayed(address))
            .cloned()
            .collect();
        listening.sort_by_key(|address| match reach_of(address) {
            Some(Reach::Global) => 0,
            Some(Reach::Private) => 1,
            Some(Reach::Loopback | Reach::Memory) => 2,
            None => 3,
        });
        addresses.extend(listening);
        addresses.dedup();
        let hint = addr::hint_of(&addresses);
        self.tell_tree_hint(hint.clone());
        self.behaviour()
            .site
            .command(opus_site::Command::Hint(hint));
    }

    /// Where this node listens, each address ending in `/p2p/ID`.
    pub fn listening(&self) -> Vec<Multiaddr> {
        let me = self.peer_id();
        let full = |address: &Multiaddr| address.clone().with(Protocol::P2p(me));
        self.swarm.listeners().map(full).collect()
    }

    /// `yes`, `no`, `relayed` or `unknown`.
    pub fn reach(&self) -> &'static str {
        self.reach.word(self.clock.now())
    }

    /// Addresses of connected peers, each ending in `/p2p/ID`: worth trying at the next start.
    pub fn anchors(&self) -> Vec<Multiaddr> {
        let book = &self.swarm.behaviour().peers.book;
        let known = |peer: &PeerId| book.addresses(peer).into_iter().next();
        let full = |peer: &PeerId| Some(known(peer)?.with(Protocol::P2p(*peer)));
        self.links.0.keys().filter_map(full).collect()
    }

    /// Connections that the limits per address block denied.
    pub fn connections_denied(&self) -> u64 {
        self.swarm.behaviour().addresses.denied()
    }

    /// Since the node was built.
    pub fn uptime_ms(&self) -> u64 {
        self.clock.now().as_micros() / 1_000
    }

    /// Number of connected peers.
    pub fn peer_count(&self) -> usize {
        self.links.0.len()
    }

    /// Connected peers, by rising id.
    pub fn peer_rows(&self) -> Vec<PeerRow> {
        self.links
            .0
            .iter()
            .map(|(peer, link)| self.row(*peer, link))
            .collect()
    }

    fn row(&self, peer: PeerId, link: &Link) -> PeerRow {
        let now = self.clock.now();
        let path = opus_swarm::node_id(&peer).and_then(|id: NodeId| self.probe().path(now, id));
        let ping_ms = link.ping.map(|rtt| rtt.as_secs_f64() * 1_000.0);
        let probed_ms = path.map(|path| f64::from(path.rtt_smoothed_us) / 1_000.0);
        let sent = path.filter(|path| path.sent > 0);
        let address = link.connections.values().next_back().cloned();
        let address = address.unwrap_or_else(Multiaddr::empty);
        PeerRow {
            peer,
            relayed: link.connections.values().all(is_relayed),
            address,
            rtt_ms: probed_ms.or(ping_ms),
            loss: sent.map(|path| f64::from(path.lost) / f64::from(path.sent)),
            version: link.version.clone(),
        }
    }
}
