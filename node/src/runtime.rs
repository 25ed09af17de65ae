//! The loop of a node: one swarm, the glue between the machines, and what the service asks.
//!
//! All decisions are the site manager's; this loop carries words between it, the other machines,
//! the data plane and the service. It runs over any transport: real sockets in the daemon, the
//! emulated network in the lab.

mod directory;
mod glue;
mod handle;
mod keys;
mod network;
mod reach;
mod told;
mod tree;

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Swarm, identity};
use opus_core::{Contact, Machine as _, NodeId, Seed, Time};
use opus_dicast::Dicast;
use opus_overlay::Overlay;
use opus_probe::Probe;
use opus_relay::Forward;
use opus_site::{Role, Site};
use opus_swarm::{Boxed, Clock, Stats};
use tokio::sync::{broadcast, mpsc, oneshot};

pub use self::{
    directory::DirectoryCounts,
    glue::{AttachReply, Attached, DeployReply, MemberChange},
    handle::{Handle, Place, Stopped},
    keys::KeyReply,
    network::PeerRow,
    reach::Reachability,
    told::{Level, Told},
};
use self::{keys::Keys, network::Links, told::Tellers, tree::Tree};
use crate::{
    data::Data,
    net::{Behaviour, Connections, Guard, Machines, NetOptions},
};

/// Most questions of the service that wait for the loop. Overflow: the asker waits.
const ASKS_MAX: usize = 256;
/// Most member changes that a slow watcher may lag behind before it is sent the whole set again.
const MEMBER_LAG_MAX: usize = 256;

/// Each better address of a node begins a new life of its seat in the tree; so many of them fit
/// between two starts.
const HINTS_BITS: u32 = 20;

/// What a node starts from.
pub struct Parts {
    /// Its identity; must be ed25519.
    pub keypair: identity::Keypair,
    /// How connections are made.
    pub transport: Connections,
    /// The circuit relay client that belongs to the transport, if it has one.
    pub relay_client: Option<libp2p::relay::client::Behaviour>,
    /// What may be dialled; shared with the transport where it checks too.
    pub guard: Guard,
    /// Protocols and limits.
    pub options: NetOptions,
    /// Settings of the machines.
    pub machines: MachineConfigs,
    /// How often this identity has started before: makes sequences rise over restarts.
    pub boots: u32,
    /// All randomness of the node.
    pub seed: Seed,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Settings of the machines.
#[derive(Clone, Debug, Default)]
pub struct MachineConfigs {
    /// Paths.
    pub probe: opus_probe::Config,
    /// The hierarchy; equal on all nodes of a network.
    pub dicast: opus_dicast::Config,
    /// Overlay edges.
    pub overlay: opus_overlay::Config,
    /// The data plane.
    pub relay: opus_relay::Config,
    /// Decisions.
    pub site: opus_site::Config,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The identity is not an ed25519 key.
    #[error("the identity must be an ed25519 key")]
    Identity,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another --listen address")]
    Listen {
        /// Which.
        address: Multiaddr,
        /// Why.
        reason: String,
    },
}

/// The loop's state. Questions of the service get it by mutable reference.
pub struct Core {
    swarm: Swarm<Boxed<Behaviour>>,
    data: Arc<Data>,
    guard: Guard,
    options: NetOptions,
    me: NodeId,
    clock: Clock,
    links: Links,
    reach: Reachability,
    tree: Tree,
    keys: Keys,
    tellers: Tellers,
    deploys: BTreeMap<u64, oneshot::Sender<DeployReply>>,
    attaches: BTreeMap<u32, (Role, oneshot::Sender<AttachReply>)>,
    ended: BTreeMap<u32, oneshot::Sender<String>>,
    members: broadcast::Sender<MemberChange>,
    ids: u64,
    draining: bool,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// A node that is not running yet.
#[derive(Debug)]
pub struct Runtime {
    core: Core,
    asks: mpsc::Receiver<handle::Ask>,
}

impl Runtime {
    /// Builds the node and starts listening. Run it with [`Runtime::run`].
    pub fn new(parts: Parts) -> Result<(Self, Handle), StartError> {
        let clock = Clock::new();
        let peer = parts.keypair.public().to_peer_id();
        let me = opus_swarm::node_id(&peer).ok_or(StartError::Identity)?;
        let rng = |purpose| parts.seed.derive(purpose, 0).rng();
        let data = Arc::new(Data::new(Forward::new(parts.machines.relay, me), clock));
        let keys = Keys::new(me, parts.machines.site.keys_max);
        let machines = Machines {
            probe: Probe::new(parts.machines.probe, rng("probe")),
            dicast: Dicast::new(
                parts.machines.dicast,
                Contact::bare(me),
                u64::from(parts.boots) << HINTS_BITS,
                rng("dicast"),
            ),
            overlay: Overlay::new(me, parts.machines.overlay, rng("overlay")),
            site: Site::new(
                opus_site::Config {
                    network: parts.options.network.clone(),
                    ..parts.machines.site
                },
                Contact::bare(me),
                u64::from(parts.boots),
                parts.seed,
            ),
            data: Arc::clone(&data),
        };
        let behaviour = Behaviour::new(
            &parts.keypair,
            &parts.options,
            &parts.guard,
            machines,
            parts.relay_client,
            clock,
            &parts.seed,
        );
        let config = swarm_config(&parts.options);
        let mut swarm = Swarm::new(parts.transport, Boxed::new(behaviour), peer, config);
        for address in &parts.options.listen {
            swarm
                .listen_on(address.clone())
                .map_err(|error| StartError::Listen {
                    address: address.clone(),
                    reason: error.to_string(),
                })?;
        }
        let (asks_in, asks) = mpsc::channel(ASKS_MAX);
        let (members, _) = broadcast::channel(MEMBER_LAG_MAX);
        let tellers = Tellers::new(clock);
        let handle = Handle::new(asks_in, Arc::clone(&data), me, clock, tellers.clone());
        let core = Core {
            swarm,
            data,
            guard: parts.guard,
            options: parts.options,
            me,
            clock,
            links: Links::default(),
            reach: Reachability::default(),
            tree: Tree::new(rng("tree")),
            keys,
            tellers,
            deploys: BTreeMap::new(),
            attaches: BTreeMap::new(),
            ended: BTreeMap::new(),
            members,
            ids: 0,
            draining: false,
        };
        Ok((Self { core, asks }, handle))
    }

    /// Runs until every [`Handle`] is gone, or a question stops it.
    pub async fn run(self) {
        let Self { mut core, mut asks } = self;
        let data = Arc::clone(&core.data);
        let mut timers = std::pin::pin!(data.run());
        let mut looks = tokio::time::interval(network::SEEK_INTERVAL);
        let mut seat = std::pin::pin!(tokio::time::sleep(core.seat_wait()));
        let mut waits = true;
        let mut publish = tokio::time::interval(opus_site::summary::LOOK);
        loop {
            tokio::select! {
                event = core.swarm.select_next_some() => core.on_swarm_event(event),
                ask = asks.recv() => match ask {
                    Some(ask) => ask(&mut core),
                    None => return,
                },
                event = data.next_event() => core.on_relay_event(event),
                _ = looks.tick() => core.fill_mesh(),
                _ = publish.tick() => {
                    core.publish_summary();
                    core.look_at_cell();
                    core.look_at_keys();
                }
                () = &mut seat, if waits => {
                    waits = false;
                    core.seek_seat();
                }
                () = &mut timers => return,
            }
        }
    }
}

fn swarm_config(options: &NetOptions) -> libp2p::swarm::Config {
    libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(options.idle_timeout)
        .with_max_negotiating_inbound_streams(network::NEGOTIATING_STREAMS_MAX)
        .with_smart_dial()
}

impl Core {
    /// Since the node was built.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Its libp2p name.
    pub fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// The data plane.
    pub fn data(&self) -> &Data {
        &self.data
    }

    fn behaviour(&mut self) -> &mut Behaviour {
        self.swarm.behaviour_mut()
    }

    /// The machines, to read.
    pub fn site(&self) -> &Site {
        self.swarm.behaviour().site.machine()
    }

    /// The overlay machine, to read.
    pub fn overlay(&self) -> &Overlay {
        self.swarm.behaviour().overlay.machine()
    }

    /// What each of the node's own protocols sent, received and refused since the start, by the
    /// protocol's name: all but frames, which the data plane counts by flow.
    pub fn protocols(&self) -> [(&'static str, Stats); 4] {
        let behaviour = self.swarm.behaviour();
        [
            (Probe::PROTOCOL, behaviour.probe.stats()),
            (Dicast::PROTOCOL, behaviour.dicast.stats()),
            (Overlay::PROTOCOL, behaviour.overlay.stats()),
            (Site::PROTOCOL, behaviour.site.stats()),
        ]
    }

    /// The probe machine, to read.
    pub fn probe(&self) -> &Probe {
        self.swarm.behaviour().probe.machine()
    }
}
