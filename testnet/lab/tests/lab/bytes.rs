//! What a node sends at rest is what the simulator says, within a factor.

use std::time::Duration;

use opus_core::Seed;
use opus_lab::{LabConfig, Rest, beside};
use opus_node::net::peers::MeshConfig;

use crate::common::seed;

#[tokio::test(start_paused = true)]
async fn at_rest_a_node_sends_at_most_two_and_a_half_times_what_the_simulator_says() {
    let seed = seed(43);
    let mut config = LabConfig::wide_area(40, Seed::new(seed)).unwrap();
    // What each neighbour of the mesh costs (pings) does not shrink with the tree: as many of them
    // as a large network has would be most of the bytes of 40 nodes.
    config.mesh = MeshConfig {
        mesh_min: 2,
        mesh_max: 4,
        ..config.mesh
    };
    let rest = Rest {
        form_max: Duration::from_secs(120),
        settle: Duration::from_secs(30),
        window: Duration::from_secs(60),
    };
    let both = beside(config, rest).await.unwrap();
    println!("{both:#?}");
    assert!(both.ratio <= 2.5, "seed {seed}: {both:#?}");
    // Messages alone, without what libp2p and the links add, are the same within a third.
    let lab = both.lab.dicast + both.lab.probe;
    let apart = lab / both.sim.bodies;
    assert!((0.75..1.35).contains(&apart), "seed {seed}: {both:#?}");
}
