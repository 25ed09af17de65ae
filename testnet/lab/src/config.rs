//! What a lab is made of, and why it could not be made.

use std::time::Duration;

use opus_core::Seed;
use opus_net::{Conditions, Topology, TransitStub, transit_stub::Parameters};
use opus_node::{net::peers::MeshConfig, runtime::MachineConfigs};

/// Settings of a lab.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Delays; its nodes are the lab's nodes.
    pub topology: Topology,
    /// Jitter, loss and capacity of every link.
    pub conditions: Conditions,
    /// Everything random follows from it.
    pub seed: Seed,
    /// Neighbours that each node keeps.
    pub mesh: MeshConfig,
    /// Known nodes that each one starts from.
    pub bootstraps: usize,
    /// Settings of the machines.
    pub machines: MachineConfigs,
    /// Connections of one node.
    pub connections_max: u32,
    /// Whether the nodes run Kademlia, as servers.
    pub kademlia: bool,
}

/// Why a lab could not be made. Nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The generator refused.
    #[error("the topology cannot be generated: {0}")]
    Topology(String),
    /// The conditions are out of their range.
    #[error("the link conditions are not lawful: {0}")]
    Conditions(#[from] opus_net::BadConditions),
    /// A node could not start.
    #[error("node {node} cannot start: {reason}")]
    Node {
        /// Which.
        node: usize,
        /// Why.
        reason: String,
    },
}

impl LabConfig {
    /// A lab on `topology` with perfect links.
    pub fn new(topology: Topology, seed: Seed) -> Self {
        Self {
            topology,
            conditions: Conditions::default(),
            seed,
            mesh: MeshConfig {
                mesh_min: 3,
                mesh_max: 8,
                interval: Duration::from_secs(1),
            },
            bootstraps: 3,
            machines: MachineConfigs::default(),
            connections_max: 200,
            kademlia: false,
        }
    }

    /// A lab of `nodes` drawn from a generated wide-area network (transit-stub, as GT-ITM's).
    pub fn wide_area(nodes: usize, seed: Seed) -> Result<Self, LabError> {
        let parameters = Parameters::for_members(nodes);
        let network = TransitStub::new(&parameters, seed.derive("transit-stub", 0))
            .map_err(|error| LabError::Topology(error.to_string()))?;
        let topology = Topology::of_transit_stub(network, nodes, seed.derive("places", 0))
            .map_err(|error| LabError::Topology(error.to_string()))?;
        Ok(Self::new(topology, seed))
    }
}
