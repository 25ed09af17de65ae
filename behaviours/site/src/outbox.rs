//! Where the outputs of several machines become those of one node.
//!
//! A peer stays connected while any of the machines wants it: a dial of each goes on to the driver,
//! a release only when it was the last.

use std::collections::VecDeque;

use opus_core::{FlatMap, NodeId, Output};

/// Outputs of a node of `N` machines, whose messages are `M` and whose events are `E`.
#[derive(Debug)]
pub(crate) struct Outbox<M, E, const N: usize> {
    /// Which machines want each peer connected; bounded by their own tables.
    wanted: FlatMap<NodeId, [bool; N]>,
    /// Drained after each mutation; holds what one mutation makes.
    outputs: VecDeque<Output<M, E>>,
}

impl<M, E, const N: usize> Outbox<M, E, N> {
    pub(crate) const fn new() -> Self {
        Self {
            wanted: FlatMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Passes an output of machine `from` on to the driver; gives an event back, which is for
    /// another machine or for the node.
    pub(crate) fn carry<M1, E1>(
        &mut self,
        from: usize,
        output: Output<M1, E1>,
        wrap: impl FnOnce(M1) -> M,
    ) -> Option<E1> {
        match output {
            Output::Event(event) => return Some(event),
            Output::Send { to, message, lane } => self.outputs.push_back(Output::Send {
                to,
                message: wrap(message),
                lane,
            }),
            Output::Dial(peer) => {
                self.wanted.get_or_insert_with(peer, || [false; N])[from] = true;
                self.outputs.push_back(Output::Dial(peer));
            }
            Output::Release(peer) => self.release(from, peer),
            Output::Penalise(peer, offence) => {
                self.outputs.push_back(Output::Penalise(peer, offence));
            }
        }
        None
    }

    /// Which machines want `peer` connected.
    pub(crate) fn wanted(&self, peer: NodeId) -> [bool; N] {
        self.wanted.get(&peer).copied().unwrap_or([false; N])
    }

    pub(crate) fn tell(&mut self, event: E) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn poll(&mut self) -> Option<Output<M, E>> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Most nodes say a word or two a second: what a burst took is given back.
            self.outputs = VecDeque::new();
        }
        output
    }

    fn release(&mut self, from: usize, peer: NodeId) {
        let Some(wanted) = self.wanted.get_mut(&peer) else {
            return;
        };
        wanted[from] = false;
        if !wanted.contains(&true) {
            self.wanted.remove(&peer);
            self.outputs.push_back(Output::Release(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_released_when_its_last_machine_lets_it_go() {
        let mut outbox: Outbox<(), (), 2> = Outbox::new();
        let peer = NodeId::from_index(1);
        for from in [0, 1] {
            outbox.carry(from, Output::<(), ()>::Dial(peer), |()| ());
        }
        outbox.carry(0, Output::<(), ()>::Release(peer), |()| ());
        let told: Vec<_> = std::iter::from_fn(|| outbox.poll()).collect();
        assert_eq!(told, [Output::Dial(peer), Output::Dial(peer)]);
        assert_eq!(outbox.wanted(peer), [false, true]);
        outbox.carry(1, Output::<(), ()>::Release(peer), |()| ());
        assert_eq!(outbox.poll(), Some(Output::Release(peer)));
    }
}
