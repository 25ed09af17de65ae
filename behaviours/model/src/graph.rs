//! A compact graph of routers and links, and shortest paths over it.

use std::{cmp::Ordering, collections::BinaryHeap};

use thiserror::Error;

/// More routers than a topology for 10,000 members needs.
pub const NODES_MAX: usize = 100_000;

/// An undirected weighted graph in compressed rows: all links of a node stand side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Where the links of each node begin, and at the end their number; `nodes + 1` values.
    start: Vec<usize>,
    /// Far end and length of each link, twice each, by ascending far end within a node.
    links: Vec<(usize, f64)>,
}

/// Why a list of links is no graph. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum GraphError {
    /// More than [`NODES_MAX`] nodes.
    #[error("{0} nodes: a graph has at most {NODES_MAX}")]
    TooMany(usize),
    /// A link ends at no node.
    #[error("link {link} ends at {end}, which is no node")]
    OutOfRange {
        /// Position in the list.
        link: usize,
        /// The end.
        end: usize,
    },
    /// A length is not a positive finite number.
    #[error("link {link} has length {length}")]
    Length {
        /// Position in the list.
        link: usize,
        /// Its length.
        length: f64,
    },
}

impl Graph {
    /// The graph of nodes `0..nodes` and undirected `links` `(u, v, length)`.
    ///
    /// Of parallel links the shortest counts; a link from a node to itself does not. Errors:
    /// [`GraphError`].
    pub fn new(nodes: usize, links: &[(usize, usize, f64)]) -> Result<Self, GraphError> {
        if nodes > NODES_MAX {
            return Err(GraphError::TooMany(nodes));
        }
        let mut arcs = Vec::with_capacity(2 * links.len());
        for (link, &(u, v, length)) in links.iter().enumerate() {
            let end = u.max(v);
            if end >= nodes {
                return Err(GraphError::OutOfRange { link, end });
            }
            if !(length > 0.0 && length.is_finite()) {
                return Err(GraphError::Length { link, length });
            }
            if u != v {
                arcs.push((u, v, length));
                arcs.push((v, u, length));
            }
        }
        arcs.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
        arcs.dedup_by_key(|&mut (u, v, _)| (u, v));
        let start = (0..=nodes)
            .map(|u| arcs.partition_point(|arc| arc.0 < u))
            .collect();
        let links = arcs.into_iter().map(|(_, v, length)| (v, length)).collect();
        Ok(Self { start, links })
    }

    /// Number of nodes.
    pub const fn nodes(&self) -> usize {
        self.start.len() - 1
    }

    /// Number of links, parallel ones counted once.
    pub const fn edges(&self) -> usize {
        self.links.len() / 2
    }

    /// Neighbours of `u` and the length of the link to each, by ascending neighbour. Panics out of
    /// range.
    pub fn neighbours(&self, u: usize) -> &[(usize, f64)] {
        &self.links[self.start[u]..self.start[u + 1]]
    }

    /// Whether there is a path between any two nodes.
    pub fn is_connected(&self) -> bool {
        self.nodes() == 0
            || shortest_paths(self, 0)
                .iter()
                .all(|distance| distance.is_finite())
    }
}

/// Length of the shortest path from `source` to every node; infinite where there is none.
///
/// `O(m log n)`; exact up to the order of summation, which is from the source outward. Panics if
/// `source` is out of range. Source: Dijkstra 1959.
pub fn shortest_paths(graph: &Graph, source: usize) -> Vec<f64> {
    let mut distance = vec![f64::INFINITY; graph.nodes()];
    distance[source] = 0.0;
    let mut frontier = BinaryHeap::from([Reached {
        distance: 0.0,
        node: source,
    }]);
    while let Some(Reached {
        distance: so_far,
        node: u,
    }) = frontier.pop()
    {
        if so_far > distance[u] {
            continue;
        }
        for &(v, length) in graph.neighbours(u) {
            let through_u = so_far + length;
            if through_u < distance[v] {
                distance[v] = through_u;
                frontier.push(Reached {
                    distance: through_u,
                    node: v,
                });
            }
        }
    }
    distance
}

/// An entry of the frontier; the greatest is the nearest, then the lowest node.
struct Reached {
    distance: f64,
    node: usize,
}

impl Ord for Reached {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .distance
            .total_cmp(&self.distance)
            .then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Reached {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Reached {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_of_parallel_links_counts() {
        let links = [(0, 1, 5.0), (1, 0, 2.0), (1, 1, 1.0), (0, 1, 3.0)];
        let graph = Graph::new(3, &links).unwrap();
        assert_eq!(graph.neighbours(0), [(1, 2.0)]);
        assert_eq!((graph.nodes(), graph.edges()), (3, 1));
        assert_eq!(shortest_paths(&graph, 0), [0.0, 2.0, f64::INFINITY]);
        assert!(!graph.is_connected());
    }

    #[test]
    fn bad_links_are_refused() {
        let of = |link| Graph::new(2, &[(0, 1, 1.0), link]);
        assert_eq!(
            of((0, 2, 1.0)),
            Err(GraphError::OutOfRange { link: 1, end: 2 })
        );
        assert_eq!(
            of((0, 1, 0.0)),
            Err(GraphError::Length {
                link: 1,
                length: 0.0
            })
        );
        assert!(matches!(
            of((0, 1, f64::NAN)),
            Err(GraphError::Length { .. })
        ));
        assert_eq!(
            Graph::new(NODES_MAX + 1, &[]),
            Err(GraphError::TooMany(NODES_MAX + 1))
        );
    }

    /// Floyd and Warshall's algorithm: all pairs, straight from the list of links.
    fn all_pairs(nodes: usize, links: &[(usize, usize, f64)]) -> Vec<Vec<f64>> {
        let mut distance = vec![vec![f64::INFINITY; nodes]; nodes];
        for &(u, v, length) in links {
            distance[u][v] = distance[u][v].min(length);
            distance[v][u] = distance[v][u].min(length);
        }
        for (u, row) in distance.iter_mut().enumerate() {
            row[u] = 0.0;
        }
        for via in 0..nodes {
            for u in 0..nodes {
                for v in 0..nodes {
                    let through = distance[u][via] + distance[via][v];
                    distance[u][v] = distance[u][v].min(through);
                }
            }
        }
        distance
    }

    fn a_graph() -> impl Strategy<Value = (usize, Vec<(usize, usize, f64)>)> {
        (1..12_usize).prop_flat_map(|nodes| {
            // Whole lengths: sums are exact in any order.
            let link = (0..nodes, 0..nodes, (1..50_u32).prop_map(f64::from));
            (Just(nodes), prop::collection::vec(link, 0..3 * nodes))
        })
    }

    proptest! {
        #[test]
        fn shortest_paths_agree_with_all_pairs((nodes, links) in a_graph()) {
            let graph = Graph::new(nodes, &links).unwrap();
            let expected = all_pairs(nodes, &links);
            for (source, expected) in expected.iter().enumerate() {
                prop_assert_eq!(&shortest_paths(&graph, source), expected);
            }
            let whole = expected.iter().flatten().all(|distance| distance.is_finite());
            prop_assert_eq!(graph.is_connected(), whole);
        }
    }
}
