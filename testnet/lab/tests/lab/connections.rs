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
    let kept_max = config.mesh.mesh_max;
    let lab = Lab::start(config).unwrap();
    // Long enough for Kademlia's periodic bootstrap (5 minutes) and for idle ones to close.
    tokio::time::sleep(Duration::from_secs(330)).await;
    let mut ends = 0;
    for node in 0..nodes {
        let peers = lab
            .handle(node)
            .unwrap()
            .ask(|core| core.peer_count())
            .await
            .unwrap();
        assert!(peers >= 1, "seed {seed}: node {node} is alone");
        ends += peers;
    }
    let full = nodes * (nodes - 1);
    assert!(
        ends <= nodes * kept_max,
        "seed {seed}: {ends} ends of {full} in a full mesh"
    );
}
