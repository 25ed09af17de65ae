//! What the nodes of a lab have sent, in all and by protocol.

use opus_core::{Machine as _, Time};
use opus_dicast::Dicast;
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
            let Ok(protocols) = handle.ask(|core| core.protocols()).await else {
                continue;
            };
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

    /// Of the running nodes, those that have a seat and count exactly `nodes`.
    pub async fn count_right(&self, nodes: usize) -> usize {
        let mut right = 0;
        for handle in (0..self.len()).filter_map(|node| self.handle(node)) {
            let clock = handle.clock();
            let ask = handle.ask(move |core| {
                let dicast = core.dicast();
                let key = opus_dicast::aggregate::KeyId::MEMBERS;
                dicast.view(clock.now(), key, opus_dicast::Scope::Root)
            });
            let count = ask.await.ok().flatten().map(|answer| answer.count);
            right += usize::from(count == Some(nodes as u64));
        }
        right
    }
}
