//! What survives `kill -9`: the identity, and a socket that the next start takes without a hand.

use super::bench::{Bench, TCP};

/// So many sudden ends in a row.
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_twenty_times_is_the_same_node_each_time() {
    let bench = Bench::new();
    let mut node = bench.unstarted("n", &format!("--listen {TCP} --no-mdns"));
    let first = node.start().await;
    for _ in 0..KILLS {
        node.kill().await;
        let again = node.start().await;
        assert_eq!(again.peer_id, first.peer_id);
        assert_ne!(again.pid, first.pid);
        assert!(
            node.doctor().await.iter().all(|check| check.ok),
            "{:?}",
            node.doctor().await
        );
    }
}
