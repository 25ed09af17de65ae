//! Nodes unlike others: whom strangers cannot dial, and who do not say what their machines say.

use opus_core::Rng;

use super::{Driver, Host};

/// Changes a message on its way out of a node. The draws are the node's own.
pub type Tamper<M> = fn(&mut M, &mut Rng);

impl<H: Host> Driver<H> {
    /// From the present on dials to `node` are swallowed, as by a router that translates addresses,
    /// and fail after the dial's timeout. What it dials itself works both ways.
    pub fn hide(&mut self, node: usize) {
        self.nodes[node].hidden = true;
    }

    /// Whether strangers cannot dial the node.
    pub fn is_hidden(&self, node: usize) -> bool {
        self.nodes[node].hidden
    }

    /// From the present on each message of `node` is changed before it is sent. With
    /// [`super::Options::encode`] its receiver reads what the bytes say, and refuses what no codec
    /// admits; that is no defect of a node that tampers.
    pub fn tamper(&mut self, node: usize, how: Tamper<H::Message>, rng: Rng) {
        self.tampers.insert(node, (how, rng));
    }

    /// Whether the node's messages are changed.
    pub fn tampers(&self, node: usize) -> bool {
        self.tampers.contains_key(&node)
    }

    pub(super) fn tampered(&mut self, node: usize, message: &mut H::Message) {
        if let Some((how, rng)) = self.tampers.get_mut(&node) {
            how(message, rng);
        }
    }
}
