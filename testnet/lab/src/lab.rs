//! The nodes of a lab: start, crash, restart, attach programs, ask.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, core::transport::MemoryTransport, identity::Keypair, multiaddr::Protocol};
use opus_core::{NodeId, Seed};
use opus_ipc::serve::{About, Peer, Roles, Server};
use opus_net::Network;
use opus_node::{
    net::{Guard, NetOptions, addr::Policy, limits::AddressLimits, transport},
    runtime::{Handle, Parts, Runtime},
    service::{Facts, NodeService},
};
use rand::seq::index;
use tokio::{io::DuplexStream, task::JoinHandle};

use crate::{EmulatedTransport, LabConfig, LabError, Wires};

/// In-process ports of one lab: more than it has nodes.
const PORTS: u64 = 1 << 20;
/// Bytes between a program and its node.
const DUPLEX_BYTES: usize = 16 << 10;

/// A running lab. Dropping it ends its nodes.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    wires: Wires,
    nodes: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    keypair: Keypair,
    id: NodeId,
    boots: u32,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    handle: Handle,
    server: Server,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lab {
    /// A connection that nobody wants closes after this. Every probe of a stranger is a dial, and
    /// hundreds of nodes share one memory here.
    pub const IDLE: Duration = Duration::from_secs(5);

    /// Makes the network and starts all its nodes. Must be called in a tokio runtime.
    pub fn start(config: LabConfig) -> Result<Self, LabError> {
        // The in-process transport's ports are the process's: labs must not collide.
        static BASE: AtomicU64 = AtomicU64::new(1);
        let base = BASE.fetch_add(1, Ordering::Relaxed) * PORTS;
        let network = Network::new(config.topology.clone(), config.conditions, config.seed)?;
        let count = config.topology.len();
        let nodes = (0..count)
            .map(|node| Slot::new(node, config.seed))
            .collect::<Result<_, _>>()?;
        let mut lab = Self {
            config,
            wires: Wires::new(network, base),
            nodes,
        };
        for node in 0..count {
            lab.launch(node)?;
        }
        Ok(lab)
    }

    fn launch(&mut self, node: usize) -> Result<(), LabError> {
        let failed = |reason: String| LabError::Node { node, reason };
        let options = self.options(node);
        let slot = &mut self.nodes[node];
        let emulated = EmulatedTransport::new(MemoryTransport::default(), node, self.wires.clone());
        let transport = transport::secure(emulated, &slot.keypair)
            .map_err(|error| failed(error.to_string()))?;
        let seed = self.config.seed.derive("node", node as u64);
        let parts = Parts {
            keypair: slot.keypair.clone(),
            transport,
            relay_client: None,
            guard: Guard::new(Policy::Any, &[]),
            options,
            machines: self.config.machines.clone(),
            boots: slot.boots,
            seed: seed.derive("boot", u64::from(slot.boots)),
        };
        slot.boots += 1;
        let (runtime, handle) = Runtime::new(parts).map_err(|error| failed(error.to_string()))?;
        let task = tokio::spawn(runtime.run());
        let about = About {
            node: slot.keypair.public().to_peer_id().to_string(),
            id: slot.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: "main".to_owned(),
        };
        let service = NodeService::new(handle.clone(), Facts::in_process());
        let server = Server::new(Arc::new(service), about);
        slot.running = Some(Running {
            handle,
            server,
            task,
        });
        self.wires.network().restart(node);
        Ok(())
    }

    fn options(&self, node: usize) -> NetOptions {
        let mut rng = self.config.seed.derive("bootstrap", node as u64).rng();
        let count = self.config.bootstraps.min(self.nodes.len() - 1);
        let others = index::sample(&mut rng, self.nodes.len() - 1, count).into_iter();
        let bootstrap = others
            .map(|other| if other >= node { other + 1 } else { other })
            .map(|other| self.full_address(other))
            .collect();
        NetOptions {
            listen: vec![self.wires.address(node)],
            bootstrap,
            mesh: self.config.mesh,
            connections_max: self.config.connections_max,
            kademlia: self
                .config
                .kademlia
                .then_some(Some(libp2p::kad::Mode::Server)),
            address_limits: AddressLimits::default(),
            idle_timeout: Self::IDLE,
            // Once is enough: nothing about a node of a lab changes.
            identify_interval: Duration::from_secs(24 * 3_600),
            ..NetOptions::isolated()
        }
    }

    /// The address of a node, ending in its peer id.
    pub fn full_address(&self, node: usize) -> Multiaddr {
        let peer = self.nodes[node].keypair.public().to_peer_id();
        self.wires.address(node).with(Protocol::P2p(peer))
    }

    /// Number of nodes, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The emulated network, to cut and repair.
    pub fn wires(&self) -> &Wires {
        &self.wires
    }

    /// The settings.
    pub fn config(&self) -> &LabConfig {
        &self.config
    }

    /// The identity of a node.
    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    /// The node with this identity.
    pub fn index_of(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|slot| slot.id == id)
    }

    /// Whether a node runs.
    pub fn is_running(&self, node: usize) -> bool {
        self.nodes[node].running.is_some()
    }

    /// A running node.
    pub fn handle(&self, node: usize) -> Option<&Handle> {
        self.nodes[node]
            .running
            .as_ref()
            .map(|running| &running.handle)
    }

    /// Connects a program to a running node's IPC; `None` if it does not run.
    pub fn dial_ipc(&self, node: usize) -> Option<DuplexStream> {
        let running = self.nodes[node].running.as_ref()?;
        let (program, side) = tokio::io::duplex(DUPLEX_BYTES);
        let server = running.server.clone();
        tokio::spawn(async move { server.serve(side, Peer::admin()).await });
        Some(program)
    }

    /// Accepts programs of a running node on a Unix socket, until dropped; `None` if it does not
    /// run.
    pub fn serve_ipc(
        &self,
        node: usize,
        listener: tokio::net::UnixListener,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let server = self.nodes[node].running.as_ref()?.server.clone();
        Some(async move { server.accept(listener, Roles::of_this_machine()).await })
    }

    /// Ends a node at once, as a power cut does: nothing is said to anybody, its connections just
    /// break. Its programs lose their node.
    pub async fn kill(&mut self, node: usize) {
        if let Some(mut running) = self.nodes[node].running.take() {
            self.wires.network().crash(node);
            running.server.close();
            running.task.abort();
            // Its address is free again only when the task is gone, however it ended.
            drop((&mut running.task).await);
        }
    }

    /// Starts a killed node again, with its identity and the next boot count.
    pub fn restart(&mut self, node: usize) -> Result<(), LabError> {
        if self.is_running(node) {
            return Ok(());
        }
        self.launch(node)
    }
}

impl Slot {
    fn new(node: usize, seed: Seed) -> Result<Self, LabError> {
        let secret = seed.derive("identity", node as u64).bytes();
        let keypair = Keypair::ed25519_from_bytes(secret);
        let keypair = keypair.map_err(|e| LabError::Node {
            node,
            reason: e.to_string(),
        })?;
        let id = opus_swarm::node_id(&keypair.public().to_peer_id());
        let reason = "not an ed25519 key".to_owned();
        let id = id.ok_or(LabError::Node { node, reason })?;
        Ok(Self {
            keypair,
            id,
            boots: 1,
            running: None,
        })
    }
}
