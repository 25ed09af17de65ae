//! Truthful reachability: what others found out about this node, and how long ago.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use libp2p::{Multiaddr, PeerId};
use opus_core::Time;

use crate::net::addr::{block_of, ip_of, is_relayed};

/// `yes` needs the word of so many nodes in different address blocks.
const WITNESSES_MIN: usize = 3;
/// Most answers kept. Overflow: the oldest goes.
const ANSWERS_MAX: usize = 64;
/// An answer older than this no longer counts.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Time,
    reachable: bool,
    block: Option<IpAddr>,
}

/// What is known of this node's reachability.
#[derive(Debug, Default)]
pub struct Reachability {
    answers: BTreeMap<PeerId, Answer>,
    circuits: usize,
}

impl Reachability {
    /// Takes the answer of an `AutoNAT` server at `address`.
    pub fn answered(&mut self, now: Time, server: PeerId, address: Option<&Multiaddr>, ok: bool) {
        if self.answers.len() >= ANSWERS_MAX && !self.answers.contains_key(&server) {
            let oldest = self.answers.iter().min_by_key(|(_, answer)| answer.at);
            if let Some(peer) = oldest.map(|(peer, _)| *peer) {
                self.answers.remove(&peer);
            }
        }
        let block = address.and_then(ip_of).map(block_of);
        self.answers.insert(
            server,
            Answer {
                at: now,
                reachable: ok,
                block,
            },
        );
    }

    /// A listen address came up or went; circuit addresses count.
    pub fn listening(&mut self, address: &Multiaddr, up: bool) {
        if is_relayed(address) {
            self.circuits = if up {
                self.circuits + 1
            } else {
                self.circuits.saturating_sub(1)
            };
        }
    }

    /// `yes`, `no`, `relayed` or `unknown`.
    pub fn word(&self, now: Time) -> &'static str {
        let fresh = self
            .answers
            .values()
            .filter(|answer| now - answer.at <= ANSWER_AGE_MAX);
        let (yes, no): (Vec<&Answer>, Vec<&Answer>) = fresh.partition(|answer| answer.reachable);
        let mut blocks: Vec<_> = yes.iter().map(|answer| answer.block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        if blocks.len() >= WITNESSES_MIN {
            "yes"
        } else if self.circuits > 0 {
            "relayed"
        } else if yes.is_empty() && no.len() >= WITNESSES_MIN {
            "no"
        } else {
            "unknown"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(reach: &mut Reachability, block: u8, ok: bool) {
        let address = format!("/ip4/203.0.{block}.9/tcp/1").parse().unwrap();
        reach.answered(Time::ZERO, PeerId::random(), Some(&address), ok);
    }

    #[test]
    fn three_witnesses_of_one_block_are_one_witness() {
        let mut reach = Reachability::default();
        for _ in 0..3 {
            witness(&mut reach, 7, true);
        }
        assert_eq!(reach.word(Time::ZERO), "unknown");
        witness(&mut reach, 8, true);
        witness(&mut reach, 9, true);
        assert_eq!(reach.word(Time::ZERO), "yes");
        assert_eq!(reach.word(Time::from_secs(3_601)), "unknown");
    }

    #[test]
    fn three_failures_mean_no_and_a_circuit_means_relayed() {
        let mut reach = Reachability::default();
        for block in 0..3 {
            witness(&mut reach, block, false);
        }
        assert_eq!(reach.word(Time::ZERO), "no");
        reach.listening(&"/memory/1/p2p-circuit".parse().unwrap(), true);
        assert_eq!(reach.word(Time::ZERO), "relayed");
    }
}
