//! The mathematics of Opus on plain data and dense indices: delay matrices, graphs, the central
//! algorithms that the live overlays are measured against, and network coordinates.
//!
//! A node is a row, `0..n`. A [`Matrix`] holds the round-trip time of every pair in milliseconds,
//! which is both the delay and, by default, the cost of a link. From it come the minimum spanning
//! tree ([`mst`]), the lightest shortest path tree ([`spt`]) and the light approximate shortest
//! path tree between both ([`last`](fn@last)); a [`Tree`] answers what it costs and how much later
//! its nodes hear than they would directly (RDP, the relative delay penalty). A [`Graph`] of
//! routers and links becomes a matrix by [`shortest_paths`]. A [`Coordinate`] estimates a delay
//! that nobody measured.
//!
//! It deliberately knows no peer, no clock and no randomness, and depends on no crate of ours: what
//! is true here is true for the simulator, the node and the offline tool alike.
//!
//! Weaknesses: a matrix is square and dense, 8 bytes a pair, 1.1 GiB at the limit of 12,000 rows;
//! sums of floats are compared with a relative tolerance of 1e-9, so trees whose costs differ by
//! less may be taken for equal. Nothing here uses a function whose last bit differs by platform.
//!
//! Source: Opus 3.1, 3.2.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod coordinate;
mod fit;
pub mod graph;
pub mod last;
pub mod matrix;
pub mod position;
pub mod span;
pub mod stretch;
pub mod tree;

pub use crate::{
    coordinate::Coordinate,
    graph::{Graph, GraphError, shortest_paths},
    last::last,
    matrix::{Matrix, MatrixError},
    position::Position,
    span::{mst, spt, star_cost},
    stretch::{BelowOne, Stretch},
    tree::{Rdp, Tree, TreeError, delays_from_root},
};
