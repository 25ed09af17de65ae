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
    // Looks 5, 15, 35 and 75 s after a node became the root, with a record 5 s after each.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let (mut published, mut kept, mut found) = (0, 0, 0);
    for node in 0..nodes {
        let handle = lab.handle(node).unwrap();
        let counts = handle.ask(|core| (core.directory_counts(), core.dicast().root()));
        let (counts, root) = counts.await.unwrap();
        assert_eq!(counts.refused, 0, "seed {seed}: node {node}");
        let root = root.expect("it is in a tree");
        let is_root = root.agent.id == lab.id(node);
        assert_eq!(counts.published > 1, is_root, "seed {seed}: node {node}");
        published += counts.published;
        kept += counts.kept;
        found += counts.found;
    }
    // Eight others keep each record; the root finds its own.
    assert!(published >= 2, "seed {seed}: {published} published");
    assert!(kept >= 2 * 4, "seed {seed}: {kept} kept");
    assert!(found >= 1, "seed {seed}: {found} found");
}
