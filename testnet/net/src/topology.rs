//! Who is how far from whom: the delay of every ordered pair of nodes.

use std::time::Duration;

use opus_core::Seed;
use opus_model::{
    Graph, Matrix, MatrixError,
    matrix::{ROWS_MAX, RTT_MS_MAX},
    shortest_paths,
};
use thiserror::Error;

use crate::{regions::Regions, transit_stub::TransitStub};

/// Nodes `0..n` and the round-trip time of each pair.
#[derive(Clone, Debug)]
pub struct Topology {
    delays: Delays,
    /// The router that each node stands at; none for a matrix and for regions.
    members: Option<Vec<usize>>,
}

#[derive(Clone, Debug)]
enum Delays {
    /// By pair of nodes; 8 bytes a pair.
    Matrix(Matrix),
    /// By pair of routers, computed when asked; memory grows with the routers only.
    TransitStub(TransitStub),
    /// By places, computed when asked; memory grows with the nodes only.
    Regions(Regions),
}

/// Members cannot be drawn as asked. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadMembers {
    /// Fewer than two, or more than there are places.
    #[error("{asked} members of {places} places: at least 2, at most all")]
    Number {
        /// Members asked for.
        asked: usize,
        /// Routers that members may stand at, or rows that a matrix may have.
        places: usize,
    },
    /// There is no way between two members, or it is too long.
    #[error("no way from router {from} to router {to} below {RTT_MS_MAX} ms")]
    NotConnected {
        /// A drawn router.
        from: usize,
        /// Another.
        to: usize,
    },
}

impl From<Matrix> for Topology {
    fn from(matrix: Matrix) -> Self {
        Self {
            delays: Delays::Matrix(matrix),
            members: None,
        }
    }
}

impl From<Regions> for Topology {
    fn from(regions: Regions) -> Self {
        Self {
            delays: Delays::Regions(regions),
            members: None,
        }
    }
}

impl Topology {
    /// `members` different routers of `graph`, drawn by `seed`; lengths are milliseconds of round
    /// trip. Dijkstra from each member; 8 bytes a pair. Errors: [`BadMembers`].
    pub fn of_graph(graph: &Graph, members: usize, seed: Seed) -> Result<Self, BadMembers> {
        let members = drawn(members, graph.nodes().min(ROWS_MAX), graph.nodes(), seed)?;
        let mut from_member = (usize::MAX, Vec::new());
        let matrix = Matrix::from_fn(members.len(), |u, v| {
            if from_member.0 != u {
                from_member = (u, shortest_paths(graph, members[u]));
            }
            from_member.1[members[v]]
        });
        let matrix = matrix.map_err(|error| unconnected(&error, &members))?;
        Ok(Self {
            delays: Delays::Matrix(matrix),
            members: Some(members),
        })
    }

    /// `members` different routers of a generated network, drawn by `seed` from transit and stub
    /// routers alike, as the literature draws them. Errors: [`BadMembers`].
    pub fn of_transit_stub(
        network: TransitStub,
        members: usize,
        seed: Seed,
    ) -> Result<Self, BadMembers> {
        let members = drawn(members, network.routers(), network.routers(), seed)?;
        Ok(Self {
            delays: Delays::TransitStub(network),
            members: Some(members),
        })
    }

    /// Number of nodes; at least 2.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a topology has at least two nodes"
    )]
    pub fn len(&self) -> usize {
        match &self.delays {
            Delays::Matrix(matrix) => matrix.len(),
            Delays::Regions(regions) => regions.len(),
            Delays::TransitStub(_) => self.routers().map_or(0, <[usize]>::len),
        }
    }

    /// Where the nodes are, if they were drawn in regions.
    pub const fn regions(&self) -> Option<&Regions> {
        match &self.delays {
            Delays::Regions(regions) => Some(regions),
            Delays::Matrix(_) | Delays::TransitStub(_) => None,
        }
    }

    /// The router that each node stands at, by node; none for a matrix and for regions.
    pub fn routers(&self) -> Option<&[usize]> {
        self.members.as_deref()
    }

    /// Round-trip time in whole microseconds; 0 only from a node to itself. Panics out of range.
    pub fn rtt_us(&self, u: usize, v: usize) -> u64 {
        match &self.delays {
            Delays::Matrix(matrix) => micros(matrix.rtt_ms(u, v)),
            Delays::Regions(regions) => 2 * u64::from(regions.one_way_us(u, v)),
            Delays::TransitStub(network) => {
                let members = self.members.as_deref().unwrap_or_default();
                u64::from(network.rtt_us(members[u], members[v]))
            }
        }
    }

    /// One-way delay from `from` to `to`: half the round trip. Both ways together are the round
    /// trip exactly; of an odd microsecond the way to the higher node gets more. Panics out of
    /// range.
    pub fn one_way(&self, from: usize, to: usize) -> Duration {
        let rtt_us = self.rtt_us(from, to);
        Duration::from_micros(if from < to {
            rtt_us.div_ceil(2)
        } else {
            rtt_us / 2
        })
    }

    /// All round-trip times. Errors: more nodes than a matrix has rows.
    pub fn to_matrix(&self) -> Result<Matrix, MatrixError> {
        match &self.delays {
            Delays::Matrix(matrix) => Ok(matrix.clone()),
            Delays::TransitStub(_) | Delays::Regions(_) => {
                Matrix::from_fn(self.len(), |u, v| self.rtt_us(u, v) as f64 / 1e3)
            }
        }
    }
}

/// `members` of `0..places`, in the order drawn.
fn drawn(
    members: usize,
    members_max: usize,
    places: usize,
    seed: Seed,
) -> Result<Vec<usize>, BadMembers> {
    if members < 2 || members > members_max {
        return Err(BadMembers::Number {
            asked: members,
            places: members_max,
        });
    }
    let mut rng = seed.derive("members", 0).rng();
    Ok(rand::seq::index::sample(&mut rng, places, members).into_vec())
}

/// Lengths are positive and members were counted: only an infinite or far too long way is left.
fn unconnected(error: &MatrixError, members: &[usize]) -> BadMembers {
    let (line, column) = match *error {
        MatrixError::NotANumber { line, column, .. }
        | MatrixError::Negative { line, column }
        | MatrixError::TooLong { line, column } => (line, column),
        MatrixError::Ragged { .. }
        | MatrixError::NotSquare { .. }
        | MatrixError::TooFew(_)
        | MatrixError::TooMany(_) => (1, 1),
    };
    BadMembers::NotConnected {
        from: members[line - 1],
        to: members[column - 1],
    }
}

/// Whole microseconds of a matrix value.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a matrix value is within 0 and 1e7 ms"
)]
fn micros(rtt_ms: f64) -> u64 {
    (rtt_ms * 1e3).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{regions::RegionParameters, transit_stub::Parameters};

    #[test]
    fn both_ways_together_are_the_round_trip() {
        let topology = Topology::from(Matrix::parse("0 0.005\n0.005 0").unwrap());
        assert_eq!(topology.rtt_us(0, 1), 5);
        assert_eq!(topology.one_way(0, 1), Duration::from_micros(3));
        assert_eq!(topology.one_way(1, 0), Duration::from_micros(2));
        assert_eq!(topology.one_way(1, 1), Duration::ZERO);
        assert_eq!(topology.routers(), None);
    }

    #[test]
    fn members_of_a_graph_are_as_far_apart_as_their_shortest_path() {
        let graph = Graph::new(4, &[(0, 1, 1.5), (1, 2, 2.0), (2, 3, 4.0), (0, 3, 20.0)]).unwrap();
        let topology = Topology::of_graph(&graph, 4, Seed::new(2)).unwrap();
        let routers = topology.routers().unwrap();
        let node = |router| routers.iter().position(|&at| at == router).unwrap();
        assert_eq!(topology.rtt_us(node(0), node(3)), 7_500);
        assert_eq!(topology.rtt_us(node(2), node(0)), 3_500);
        let drawn = |seed| {
            let topology = Topology::of_graph(&graph, 3, Seed::new(seed)).unwrap();
            topology.routers().unwrap().to_vec()
        };
        assert_eq!(drawn(1), drawn(1));
        assert!((0..20).any(|seed| drawn(seed) != drawn(1)));
    }

    #[test]
    fn members_that_cannot_be_drawn_are_refused() {
        let graph = Graph::new(3, &[(0, 1, 1.0)]).unwrap();
        let of = |members| Topology::of_graph(&graph, members, Seed::new(0)).unwrap_err();
        assert_eq!(
            of(1),
            BadMembers::Number {
                asked: 1,
                places: 3
            }
        );
        assert_eq!(
            of(4),
            BadMembers::Number {
                asked: 4,
                places: 3
            }
        );
        assert!(matches!(of(3), BadMembers::NotConnected { .. }));
        let network = TransitStub::new(&Parameters::default(), Seed::new(0)).unwrap();
        let too_many = Topology::of_transit_stub(network, 601, Seed::new(0)).unwrap_err();
        assert_eq!(
            too_many,
            BadMembers::Number {
                asked: 601,
                places: 600
            }
        );
    }

    #[test]
    fn the_matrix_of_a_generated_topology_says_the_same() {
        let network = TransitStub::new(&Parameters::default(), Seed::new(3)).unwrap();
        let regions = Regions::new(&RegionParameters::default(), 50, Seed::new(3)).unwrap();
        for topology in [
            Topology::of_transit_stub(network, 50, Seed::new(3)).unwrap(),
            Topology::from(regions),
        ] {
            assert_eq!(topology.len(), 50);
            let copy = Topology::from(topology.to_matrix().unwrap());
            for (u, v) in (0..50).flat_map(|u| (0..50).map(move |v| (u, v))) {
                assert_eq!(copy.rtt_us(u, v), topology.rtt_us(u, v));
                assert_eq!(copy.one_way(u, v), topology.one_way(u, v));
            }
        }
    }
}
