//! What the nodes of a lab have sent, in all and by protocol.

use std::collections::BTreeSet;

use opus_core::{Machine as _, Time};
use opus_dicast::{Dicast, Scope, aggregate::KeyId};
use opus_probe::Probe;

use crate::{Lab, OnLinks};

/// Totals of all running nodes at a moment. Only the difference of two means something, and only if
/// no node was killed in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabBytes {
    /// When, on the lab's clock.
    pub at: Time,
    /// Over all links, below the upgrade.
    pub links: OnLinks,
    /// Messages of the probe, encoded, with their lengths.
    pub probe: u64,
    /// Messages of dicast.
    pub dicast: u64,
    /// Messages of the other protocols of ours: the overlay's and the site manager's.
    pub others: u64,
    /// How many messages of the probe and of dicast these are.
    pub messages: u64,
    /// Connected peers of all nodes at that moment: no total.
    pub peers: u64,
}

/// What the nodes of a lab, or of the simulator, say of their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many say the right one.
    pub right: usize,
    /// The smallest that one says; 0 of a node that does not know.
    pub least: u64,
    /// The largest.
    pub most: u64,
    /// Clusters that some node takes for the one at the top.
    pub roots: usize,
}

impl Lab {
    /// What was sent so far.
    pub async fn bytes(&self) -> LabBytes {
        let mut bytes = LabBytes {
            at: self.wires().now(),
            links: self.wires().carried(),
            ..LabBytes::default()
        };
        for handle in (0..self.len()).filter_map(|node| self.handle(node)) {
            let ask = handle.ask(|core| (core.protocols(), core.peer_count()));
            let Ok((protocols, peers)) = ask.await else {
                continue;
            };
            bytes.peers += peers as u64;
            for (name, stats) in protocols {
                match name {
                    Probe::PROTOCOL => bytes.probe += stats.bytes_sent,
                    Dicast::PROTOCOL => bytes.dicast += stats.bytes_sent,
                    _ => bytes.others += stats.bytes_sent,
                }
                if [Probe::PROTOCOL, Dicast::PROTOCOL].contains(&name) {
                    bytes.messages += stats.sent;
                }
            }
        }
        bytes
    }

    /// How the running nodes count each other; `nodes`: the right answer.
    pub async fn counted(&self, nodes: usize) -> Counted {
        let mut roots = BTreeSet::new();
        let mut counted = Counted {
            least: u64::MAX,
            ..Counted::default()
        };
        for handle in (0..self.len()).filter_map(|node| self.handle(node)) {
            let clock = handle.clock();
            let ask = handle.ask(move |core| {
                let dicast = core.dicast();
                let answer = dicast.view(clock.now(), KeyId::MEMBERS, Scope::Root);
                (answer, dicast.root().map(|root| root.cluster.id))
            });
            let (answer, root) = ask.await.unwrap_or_default();
            let count = answer.map_or(0, |answer| answer.count);
            roots.extend(root);
            counted.right += usize::from(count == nodes as u64);
            counted.least = counted.least.min(count);
            counted.most = counted.most.max(count);
        }
        counted.roots = roots.len();
        counted
    }
}
