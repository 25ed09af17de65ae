//! The connections to one peer, and which of them carries what we send.

use libp2p::{
    core::{ConnectedPoint, Endpoint},
    swarm::ConnectionId,
};
use opus_core::NodeId;

/// How much we like a connection; the smallest is used. Both ends rank alike, except by age.
///
/// Direct before relayed, dialled by the smaller identity before the other, then the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    relayed: bool,
    dialled_by_larger: bool,
    id: ConnectionId,
}

impl Rank {
    pub(crate) fn new(
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        local: NodeId,
        remote: NodeId,
    ) -> Self {
        let dialled_by_us = match endpoint {
            // After hole punching both ends dialled; the roles were agreed on beforehand.
            ConnectedPoint::Dialer { role_override, .. } => *role_override == Endpoint::Dialer,
            ConnectedPoint::Listener { .. } => false,
        };
        Self {
            relayed: endpoint.is_relayed(),
            dialled_by_larger: dialled_by_us != (local < remote),
            id,
        }
    }
}

/// The usable connections to one peer with what belongs to each. The swarm's connection limits
/// bound their number.
#[derive(Debug)]
pub(crate) struct Connections<P> {
    /// By rising rank: the first is the active one.
    items: Vec<(Rank, P)>,
}

impl<P> Connections<P> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new() }
    }

    pub(crate) fn insert(&mut self, rank: Rank, port: P) {
        let index = self.items.partition_point(|(other, _)| *other < rank);
        self.items.insert(index, (rank, port));
    }

    /// Forgets a connection that closed or cannot be used; tells whether it was known.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> bool {
        let before = self.items.len();
        self.items.retain(|(rank, _)| rank.id != id);
        self.items.len() < before
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&P> {
        let found = self.items.iter().find(|(rank, _)| rank.id == id);
        found.map(|(_, port)| port)
    }

    /// The connection to send on.
    pub(crate) fn active(&self) -> Option<ConnectionId> {
        self.items.first().map(|(rank, _)| rank.id)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::{Multiaddr, core::transport::PortUse};

    use super::*;

    const SMALL: NodeId = NodeId([1; 32]);
    const LARGE: NodeId = NodeId([2; 32]);

    fn id(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    fn dialled(address: &str, role_override: Endpoint) -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override,
            port_use: PortUse::Reuse,
        }
    }

    fn accepted(address: &str) -> ConnectedPoint {
        let address: Multiaddr = address.parse().unwrap();
        ConnectedPoint::Listener {
            local_addr: address.clone(),
            send_back_addr: address,
        }
    }

    /// The active connection at one end, of two that were dialled at once.
    fn active(local: NodeId, remote: NodeId, dialled_id: usize, accepted_id: usize) -> usize {
        let mut connections = Connections::new();
        let own = dialled("/memory/1", Endpoint::Dialer);
        let theirs = accepted("/memory/1");
        connections.insert(Rank::new(id(dialled_id), &own, local, remote), dialled_id);
        connections.insert(
            Rank::new(id(accepted_id), &theirs, local, remote),
            accepted_id,
        );
        let active = connections.active().unwrap();
        *connections.get(active).unwrap()
    }

    #[test]
    fn both_ends_use_the_connection_that_the_smaller_node_dialled() {
        assert_eq!(
            active(SMALL, LARGE, 1, 2),
            1,
            "the small node uses its own dial"
        );
        assert_eq!(
            active(LARGE, SMALL, 1, 2),
            2,
            "the large node uses the other's dial"
        );
    }

    #[test]
    fn both_ends_of_a_punched_hole_rank_it_alike() {
        let as_dialler = dialled("/memory/1", Endpoint::Dialer);
        let as_listener = dialled("/memory/1", Endpoint::Listener);
        let small = Rank::new(id(1), &as_dialler, SMALL, LARGE);
        let large = Rank::new(id(1), &as_listener, LARGE, SMALL);
        assert_eq!(small, large);
    }

    #[test]
    fn a_direct_connection_is_preferred_to_an_older_relayed_one() {
        let relayed = dialled("/memory/1/p2p-circuit", Endpoint::Dialer);
        let direct = dialled("/memory/1", Endpoint::Dialer);
        let mut connections = Connections::new();
        connections.insert(Rank::new(id(1), &relayed, SMALL, LARGE), ());
        assert_eq!(connections.active(), Some(id(1)));
        connections.insert(Rank::new(id(2), &direct, SMALL, LARGE), ());
        assert_eq!(connections.active(), Some(id(2)));
        assert!(connections.remove(id(2)));
        assert_eq!(connections.active(), Some(id(1)));
    }
}
