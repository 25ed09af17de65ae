//! dicast's directory over libp2p's Kademlia: the root writes where it is, others keep and read it.

use std::time::Duration;

use opus_core::Seed;
use opus_lab::{Lab, LabConfig};

use crate::common::seed;

#[tokio::test(start_paused = true)]
async fn the_root_writes_where_it_is_and_others_keep_it() {
    let nodes = 12;
    let seed = seed(33);
    let mut config = LabConfig::wide_area(nodes, Seed::new(seed)).unwrap();
    config.kademlia = true;
    let lab = Lab::start(config).unwrap();
    // A root looks soon, then at intervals that double from 10 s on, and writes after each look.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let (mut kept, mut roots) = (0, 0);
    for node in 0..nodes {
        let handle = lab.handle(node).unwrap();
        let counts = handle.ask(|core| (core.directory_counts(), core.dicast().root()));
        let (counts, root) = counts.await.unwrap();
        assert_eq!(counts.refused, 0, "seed {seed}: node {node}");
        let root = root.expect("it is in a tree");
        if root.agent.id == lab.id(node) {
            roots += 1;
            assert!(counts.published >= 1, "seed {seed}: {counts:?}");
        }
        kept += counts.kept;
    }
    assert_eq!(roots, 1, "seed {seed}");
    // Each record is sent to eight others.
    assert!(kept >= 4, "seed {seed}: {kept} kept");
}
