//! Kademlia must not grow a full mesh: with libp2p's defaults, 300 nodes fed by identify opened
//! 88,000 connection ends.

use std::time::Duration;

use opus_core::Seed;
use opus_lab::{Lab, LabConfig};

use crate::common::seed;

#[tokio::test(start_paused = true)]
async fn with_kademlia_the_connections_stay_bounded_and_the_network_connected() {
    let nodes = 40;
    let seed = seed(31);
    let mut config = LabConfig::wide_area(nodes, Seed::new(seed)).unwrap();
    config.kademlia = true;
    // Room for the members of one agent, far from the 39 peers of a full mesh for everybody.
    config.connections_max = 64;
    let (kept_max, limit) = (config.mesh.mesh_max, config.connections_max as usize);
    let lab = Lab::start(config).unwrap();
    // Kademlia fills its tables in the first seconds; long enough then for idle ones to close, and
    // for a periodic bootstrap of libp2p's default (5 minutes) to show itself.
    for _ in 0..33 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for (node, peers) in peers_of(&lab).await.into_iter().enumerate() {
            assert!(peers <= limit, "seed {seed}: node {node} has {peers} peers");
        }
    }
    let peers = peers_of(&lab).await;
    let alone: Vec<_> = (0..nodes).filter(|&node| peers[node] == 0).collect();
    assert!(alone.is_empty(), "seed {seed}: alone: {alone:?}");
    let (ends, full) = (peers.iter().sum::<usize>(), nodes * (nodes - 1));
    // Beside the mesh each node keeps a connection to its agent.
    assert!(
        ends <= nodes * (kept_max + 2),
        "seed {seed}: {ends} ends of {full} in a full mesh"
    );
}

async fn peers_of(lab: &Lab) -> Vec<usize> {
    let mut counts = Vec::new();
    for node in 0..lab.len() {
        let count = lab.handle(node).unwrap().ask(|core| core.peer_count());
        counts.push(count.await.unwrap());
    }
    counts
}
