//! The node's composed behaviour: limits first, then libp2p's own protocols, then ours.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, autonat, connection_limits, dcutr, identify, identity, kad,
    mdns, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    upnp,
};
use opus_core::Seed;
use opus_dicast::Dicast;
use opus_overlay::Overlay;
use opus_probe::Probe;
use opus_site::Site;
use opus_swarm::{Clock, frames};

use super::{addr::peer_of, book::Book, limits, peers, peers::MeshConfig, transport::Guard};
use crate::data::Data;

/// How often libp2p pings each peer: for `peers` to show, and to hear of a connection over which
/// nothing of ours goes that it is dead. Ours hear of their own within seconds; and at rest these
/// pings were more than half of all bytes.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Everything one node speaks. Field order is poll order, and limits deny before others see a
/// connection.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    limits: connection_limits::Behaviour,
    /// Limits per address block, and the operator's lists.
    pub addresses: limits::Behaviour,
    /// Address book and mesh.
    pub peers: peers::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    /// Peer discovery; hints only.
    pub kad: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    autonat_client: Toggle<autonat::v2::client::Behaviour<opus_core::Rng>>,
    autonat_server: Toggle<autonat::v2::server::Behaviour<opus_core::Rng>>,
    relay_client: Toggle<relay::client::Behaviour>,
    relay_server: Toggle<relay::Behaviour>,
    dcutr: Toggle<dcutr::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
    /// Paths.
    pub probe: opus_swarm::Behaviour<Probe>,
    /// Who is there, and how the whole is.
    pub dicast: opus_swarm::Behaviour<Dicast>,
    /// Overlay edges.
    pub overlay: opus_swarm::Behaviour<Overlay>,
    /// Decisions.
    pub site: opus_swarm::Behaviour<Site>,
    frames: frames::Behaviour<Data>,
}

/// Which of libp2p's protocols run, and the limits.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own for the operator"
)]
pub struct NetOptions {
    /// Nodes of another network are disconnected.
    pub network: String,
    /// The site that the node is of, if it is of one.
    pub site: Option<String>,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// What the operator wrote.
    pub bootstrap: Vec<Multiaddr>,
    /// Whom this node knew in its last life, each ending in `/p2p/ID`: told, not written.
    pub known: Vec<Multiaddr>,
    /// Neighbours.
    pub mesh: MeshConfig,
    /// Established connections at most.
    pub connections_max: u32,
    /// Limits per address block.
    pub address_limits: limits::AddressLimits,
    /// Kademlia: off, or on with this mode (`None`: client until reachable).
    pub kademlia: Option<Option<kad::Mode>>,
    /// Find neighbours in the local network.
    pub mdns: bool,
    /// Ask the router for a port.
    pub upnp: bool,
    /// Ask others whether this node is reachable.
    pub autonat_client: bool,
    /// Answer that question for others.
    pub autonat_server: bool,
    /// Be reachable through others' circuit relays, for hole punching.
    pub relay_client: bool,
    /// Be such a relay.
    pub relay_server: bool,
    /// Behind a home router: private addresses of the own subnets are spoken to.
    pub home: bool,
    /// Tell peers no listen addresses but confirmed ones.
    pub hide_listen_addresses: bool,
    /// The operator's lists.
    pub lists: limits::Lists,
    /// A connection that nobody wants closes after this time.
    pub idle_timeout: Duration,
    /// Identify repeats after this time.
    pub identify_interval: Duration,
}

impl NetOptions {
    /// Nothing but ping, identify and our own protocols: labs, tests, private networks.
    pub fn isolated() -> Self {
        Self {
            network: "main".to_owned(),
            site: None,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            known: Vec::new(),
            mesh: MeshConfig::default(),
            connections_max: 50,
            address_limits: limits::AddressLimits::default(),
            kademlia: None,
            mdns: false,
            upnp: false,
            autonat_client: false,
            autonat_server: false,
            relay_client: false,
            relay_server: false,
            home: false,
            hide_listen_addresses: false,
            lists: limits::Lists::default(),
            idle_timeout: Duration::from_secs(60),
            identify_interval: Duration::from_secs(300),
        }
    }

    /// What identify calls this network; peers that say otherwise are disconnected.
    pub fn protocol_version(&self) -> String {
        format!("/opus/{}/1", self.network)
    }
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Behaviour")
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// The machines and what they share with the node.
#[derive(Debug)]
pub struct Machines {
    /// Paths.
    pub probe: Probe,
    /// The hierarchy.
    pub dicast: Dicast,
    /// Overlay edges.
    pub overlay: Overlay,
    /// Decisions.
    pub site: Site,
    /// The data plane.
    pub data: std::sync::Arc<Data>,
}

/// Kademlia's records are those of dicast's directory alone: of the root, for which there is always
/// room ([`crate::runtime`]), and of sites.
pub const KAD_RECORDS_MAX: usize = 256;
/// Four contacts with their address hints.
const KAD_RECORD_BYTES_MAX: usize = 1_024;
/// After this a record that was not written again is gone: three times as long as between two.
pub const KAD_RECORD_TTL: Duration = Duration::from_secs(900);
/// mDNS asks again after this time: a node that comes later is found within it.
const MDNS_QUERY_INTERVAL: Duration = Duration::from_secs(30);

impl Behaviour {
    /// Composes the behaviour of the node with identity `keypair`.
    pub fn new(
        keypair: &identity::Keypair,
        options: &NetOptions,
        guard: &Guard,
        machines: Machines,
        relay_client: Option<relay::client::Behaviour>,
        clock: Clock,
        seed: &Seed,
    ) -> Self {
        let me = keypair.public().to_peer_id();
        let rng = |purpose| seed.derive(purpose, 0).rng();
        let mut book = Book::new(me, guard.policy());
        for address in &options.known {
            if let Some(peer) = peer_of(address) {
                book.learn(clock.now(), peer, address.clone());
            }
        }
        let local = opus_swarm::node_id(&me).unwrap_or(opus_core::NodeId([0; 32]));
        let swarm = opus_swarm::Config::new(local);
        Self {
            limits: connection_limits::Behaviour::new(connection_limits_of(options)),
            addresses: limits::Behaviour::new(options.address_limits, options.lists.clone(), clock),
            peers: peers::Behaviour::new(
                book,
                &options.bootstrap,
                options.mesh,
                clock,
                rng("mesh"),
            ),
            identify: identify::Behaviour::new(identify_of(keypair, options)),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY)),
            kad: options
                .kademlia
                .map(|mode| kademlia(me, &options.network, mode))
                .into(),
            mdns: options.mdns.then(|| local_discovery(me)).flatten().into(),
            autonat_client: options
                .autonat_client
                .then(|| {
                    autonat::v2::client::Behaviour::new(
                        rng("autonat"),
                        autonat::v2::client::Config::default(),
                    )
                })
                .into(),
            autonat_server: options
                .autonat_server
                .then(|| autonat::v2::server::Behaviour::new(rng("autonat-server")))
                .into(),
            dcutr: relay_client
                .is_some()
                .then(|| dcutr::Behaviour::new(me))
                .into(),
            relay_client: relay_client.into(),
            relay_server: options
                .relay_server
                .then(|| relay::Behaviour::new(me, relay::Config::default()))
                .into(),
            upnp: options.upnp.then(upnp::tokio::Behaviour::default).into(),
            probe: opus_swarm::Behaviour::new(machines.probe, clock, swarm),
            dicast: opus_swarm::Behaviour::new(machines.dicast, clock, swarm),
            overlay: opus_swarm::Behaviour::new(machines.overlay, clock, swarm),
            site: opus_swarm::Behaviour::new(machines.site, clock, swarm),
            frames: frames::Behaviour::new(machines.data, local),
        }
    }
}

fn connection_limits_of(options: &NetOptions) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(64))
        .with_max_pending_outgoing(Some(64))
        .with_max_established(Some(options.connections_max))
        .with_max_established_per_peer(Some(2))
}

fn identify_of(keypair: &identity::Keypair, options: &NetOptions) -> identify::Config {
    identify::Config::new(options.protocol_version(), keypair.public())
        .with_agent_version(format!("opus-node/{}", env!("CARGO_PKG_VERSION")))
        .with_interval(options.identify_interval)
        .with_push_listen_addr_updates(true)
        // The address book keeps addresses, filtered; identify's own cache would bypass it.
        .with_cache_size(0)
        .with_hide_listen_addrs(options.hide_listen_addresses)
}

fn kademlia(
    me: PeerId,
    network: &str,
    mode: Option<kad::Mode>,
) -> kad::Behaviour<kad::store::MemoryStore> {
    let name = StreamProtocol::try_from_owned(format!("/opus/{network}/kad/1"))
        .unwrap_or(StreamProtocol::new("/opus/kad/1"));
    let mut config = kad::Config::new(name);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_record_ttl(Some(KAD_RECORD_TTL))
        // dicast writes again what shall last, and knows when it is out of date.
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .disjoint_query_paths(true)
        // The mesh asks when it is short of neighbours; a bootstrap of everybody every five
        // minutes would connect small networks to a full mesh for a minute each time.
        .set_periodic_bootstrap_interval(None)
        .set_replication_factor(NonZeroUsize::new(8).expect("8 is not 0"));
    let store = kad::store::MemoryStoreConfig {
        max_records: KAD_RECORDS_MAX,
        max_value_bytes: KAD_RECORD_BYTES_MAX,
        max_provided_keys: 0,
        ..Default::default()
    };
    let store = kad::store::MemoryStore::with_config(me, store);
    let mut behaviour = kad::Behaviour::with_config(me, store, config);
    if mode.is_some() {
        behaviour.set_mode(mode);
    }
    behaviour
}

fn local_discovery(me: PeerId) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config {
        query_interval: MDNS_QUERY_INTERVAL,
        ..mdns::Config::default()
    };
    mdns::tokio::Behaviour::new(config, me)
        .inspect_err(|error| tracing::warn!(%error, "mDNS cannot start; nodes nearby stay unseen"))
        .ok()
}
