//! What all sides share: where the nodes are, what they are called, when they start, who crashes.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use rand::{RngExt, seq::SliceRandom};

/// Nodes of one run. A roster of foca or chitchat is n entries at each of n nodes.
pub const NODES_MAX: usize = 5_000;
/// All nodes start within this, one after the other. Source: dicast-10k.
pub const START: Duration = Duration::from_secs(20);
/// Contacts that a starting node is given, of those that started before it.
const SEEDS: usize = 3;
/// Share of datagrams that are lost. Source: design page dicast, section 10.
pub const LOSS: f64 = 0.01;
/// Delays vary upward by at most this share of them. Source: dicast-10k.
const JITTER: f64 = 0.1;

/// One setting of a comparison.
#[derive(Clone, Debug)]
pub struct World {
    /// Nodes.
    pub nodes: usize,
    /// Share of datagrams that are lost.
    pub loss: f64,
    /// Of all that is drawn.
    pub seed: Seed,
    regions: Regions,
}

impl World {
    /// `nodes` within 2 and [`NODES_MAX`]; `None` otherwise.
    pub fn new(nodes: usize, seed: u64) -> Option<Self> {
        if !(2..=NODES_MAX).contains(&nodes) {
            return None;
        }
        let seed = Seed::new(seed);
        let regions = Regions::new(&places(), nodes, seed.derive("regions", 0)).ok()?;
        Some(Self {
            nodes,
            loss: LOSS,
            seed,
            regions,
        })
    }

    /// A network of these nodes: one for each side, all alike.
    pub fn network(&self) -> Network {
        let conditions = Conditions {
            jitter: JITTER,
            loss: Loss::Bernoulli { rate: self.loss },
            ..Conditions::default()
        };
        let topology = Topology::from(self.regions.clone());
        Network::new(topology, conditions, self.seed).expect("loss and jitter are lawful")
    }

    /// Places of the nodes.
    pub const fn regions(&self) -> &Regions {
        &self.regions
    }

    /// When a node starts: node 0 at once, the others in their order.
    pub fn start_of(&self, node: usize) -> Time {
        let us = START.as_micros() as f64 * node as f64 / self.nodes as f64;
        Time::ZERO + Duration::from_secs_f64(us / 1e6)
    }

    /// Up to three nodes that started before `node`, without repetition.
    pub fn seeds_of(&self, node: usize) -> Vec<usize> {
        let mut rng = self.seed.derive("seeds", node as u64).rng();
        let mut seeds = BTreeSet::new();
        while seeds.len() < node.min(SEEDS) {
            seeds.insert(rng.random_range(0..node));
        }
        seeds.into_iter().collect()
    }

    /// The name of a node, 32 bytes: its number in the first four, the rest drawn, so that nobody
    /// gains by packing zeros.
    pub fn key_of(&self, node: usize) -> [u8; 32] {
        let mut key: [u8; 32] = self.seed.derive("key", node as u64).rng().random();
        let number = u32::try_from(node).expect("below NODES_MAX");
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// A tenth of all nodes, at least one.
    pub fn victims(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.nodes).collect();
        nodes.shuffle(&mut self.seed.derive("crash", 0).rng());
        nodes.truncate((self.nodes / 10).max(1));
        nodes.sort_unstable();
        nodes
    }
}

/// The number of the node that was given this key.
pub fn node_of(key: &[u8; 32]) -> usize {
    let [a, b, c, d, ..] = *key;
    u32::from_be_bytes([a, b, c, d]) as usize
}

/// 20 to 80 ms one way: two lines of 10 to 14 ms, and up to some 42 ms between two places.
const fn places() -> RegionParameters {
    RegionParameters {
        regions: 24,
        side_ms: 26.0,
        sigma_ms: 1.0,
        access_ms: (10.0, 14.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_delays_are_between_20_and_80_ms() {
        let world = World::new(300, 7).unwrap();
        let network = world.network();
        for from in 0..300 {
            for to in (0..300).filter(|&to| to != from) {
                let least = network.one_way(from, to);
                assert!(least >= Duration::from_millis(20), "{least:?}");
                let most = least.mul_f64(1.0 + JITTER);
                assert!(most <= Duration::from_millis(80), "{most:?}");
            }
        }
    }

    #[test]
    fn keys_are_32_bytes_that_differ_and_name_the_node() {
        let world = World::new(100, 1).unwrap();
        let keys: BTreeSet<[u8; 32]> = (0..100).map(|node| world.key_of(node)).collect();
        assert_eq!(keys.len(), 100);
        assert!((0..100).all(|node| node_of(&world.key_of(node)) == node));
        let distinct = |key: &[u8; 32]| key[4..].iter().collect::<BTreeSet<_>>().len();
        assert!(
            keys.iter().all(|key| distinct(key) > 20),
            "they do not pack"
        );
    }

    #[test]
    fn seeds_started_before_and_a_tenth_crashes() {
        let world = World::new(50, 3).unwrap();
        assert!(world.seeds_of(0).is_empty());
        for node in 1..50 {
            let seeds = world.seeds_of(node);
            assert_eq!(seeds.len(), node.min(3));
            for seed in seeds {
                assert!(world.start_of(seed) < world.start_of(node));
            }
        }
        assert_eq!(world.victims().len(), 5);
        assert!(world.start_of(49) < Time::ZERO + START);
        assert!(World::new(1, 3).is_none() && World::new(NODES_MAX + 1, 3).is_none());
    }
}
