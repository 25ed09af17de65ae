//! What a node sends at rest is what the simulator says, within a factor.

use std::time::Duration;

use opus_core::Seed;
use opus_lab::{LabConfig, Rest, beside};

use crate::common::seed;

#[tokio::test(start_paused = true)]
async fn at_rest_a_node_sends_at_most_two_and_a_half_times_what_the_simulator_says() {
    let seed = seed(7);
    // With fewer nodes the pings to the neighbours of the mesh, which a large network has no more
    // of, are most of the bytes.
    let config = LabConfig::wide_area(60, Seed::new(seed)).unwrap();
    let rest = Rest {
        form_max: Duration::from_secs(120),
        // Until nobody moves to a nearer cluster any more, which takes the lab longer.
        settle: Duration::from_secs(60),
        window: Duration::from_secs(120),
    };
    let both = beside(config, rest).await.unwrap();
    println!("{both:#?}");
    assert!(both.ratio <= 2.5, "seed {seed}: {both:#?}");
    // Messages alone, without what libp2p and the links add, are the same within a third.
    let lab = both.lab.dicast + both.lab.probe;
    let apart = lab / both.sim.bodies;
    assert!((0.75..1.35).contains(&apart), "seed {seed}: {both:#?}");
}
