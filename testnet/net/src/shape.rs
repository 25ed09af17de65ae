//! Links that are worse than the rest: other conditions and a longer way between two sets of nodes.

use std::time::Duration;

use crate::{
    conditions::{BadConditions, Conditions},
    fault::{FaultError, marked},
};

/// Shapes at a time; each frame looks at all of them.
pub const SHAPES_MAX: usize = 64;

/// Names a shape until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShapeId(u64);

/// What the links between two sets of nodes are like, whatever the network's conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// Conditions of each link.
    pub conditions: Conditions,
    /// Added to the delay of the topology, one way.
    pub delay: Duration,
    /// Whether the way back is like that too.
    pub both_ways: bool,
}

/// The shapes in force, oldest first; of several the newest counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    /// At most [`SHAPES_MAX`]; more are refused.
    rows: Vec<Row>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Row {
    id: ShapeId,
    from: Vec<bool>,
    to: Vec<bool>,
    shape: Shape,
}

/// Why a shape cannot be. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// Its conditions.
    #[error(transparent)]
    Conditions(#[from] BadConditions),
    /// Its nodes.
    #[error(transparent)]
    Nodes(#[from] FaultError),
    /// [`SHAPES_MAX`] are in force.
    #[error("{SHAPES_MAX} shapes are in force")]
    TooMany,
}

impl Shapes {
    pub(crate) fn insert(
        &mut self,
        nodes: usize,
        (from, to): (&[usize], &[usize]),
        shape: Shape,
    ) -> Result<ShapeId, ShapeError> {
        let conditions = shape.conditions.checked()?;
        let (from, to) = (marked(nodes, from)?, marked(nodes, to)?);
        if self.rows.len() >= SHAPES_MAX {
            return Err(ShapeError::TooMany);
        }
        let id = ShapeId(self.next);
        self.next += 1;
        self.rows.push(Row {
            id,
            from,
            to,
            shape: Shape {
                conditions,
                ..shape
            },
        });
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: ShapeId) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.id != id);
        self.rows.len() < before
    }

    /// The shape of a link, if it has one of its own.
    pub(crate) fn between(&self, from: usize, to: usize) -> Option<&Shape> {
        let hit = |row: &&Row| {
            let there = row.from[from] && row.to[to];
            there || (row.shape.both_ways && row.from[to] && row.to[from])
        };
        self.rows.iter().rev().find(hit).map(|row| &row.shape)
    }
}
