//! A tree as an array of parents, and its two figures: relative delay penalty and network cost.

use thiserror::Error;

use crate::matrix::Matrix;

/// A spanning tree over nodes `0..n`: exactly one root, no loop, nobody left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    root: usize,
    parent: Vec<Option<usize>>,
    /// All nodes, each after its parent; the root first.
    order: Vec<usize>,
}

/// Why an array of parents is not one tree. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// No node, or none without a parent.
    #[error("no node is the root")]
    NoRoot,
    /// A second node has no parent.
    #[error("node {orphan} has no parent, but node {root} is the root")]
    Orphan {
        /// The first node without a parent.
        root: usize,
        /// The next one.
        orphan: usize,
    },
    /// A parent is not a node.
    #[error("the parent of node {node} is {parent}, which is no node")]
    OutOfRange {
        /// The child.
        node: usize,
        /// What it names as its parent.
        parent: usize,
    },
    /// Following parents from this node never reaches the root.
    #[error("node {0} hangs on a loop")]
    Loop(usize),
}

/// Relative delay penalties of a tree: delay over the tree by direct delay, over non-root nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rdp {
    /// The largest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
}

impl Tree {
    /// The tree in which node `v` hangs on `parent[v]`; `None` marks the root.
    ///
    /// Errors: [`TreeError`], the first fault by ascending node.
    pub fn new(parent: Vec<Option<usize>>) -> Result<Self, TreeError> {
        let root = parent
            .iter()
            .position(Option::is_none)
            .ok_or(TreeError::NoRoot)?;
        if let Some(beyond) = parent[root + 1..].iter().position(Option::is_none) {
            return Err(TreeError::Orphan {
                root,
                orphan: root + 1 + beyond,
            });
        }
        for (node, &parent_of) in parent.iter().enumerate() {
            if let Some(above) = parent_of.filter(|&above| above >= parent.len()) {
                return Err(TreeError::OutOfRange {
                    node,
                    parent: above,
                });
            }
        }
        let order = order_below(root, &parent);
        if order.len() < parent.len() {
            let mut reached = vec![false; parent.len()];
            for &v in &order {
                reached[v] = true;
            }
            let lost = reached.iter().position(|&reached| !reached);
            return Err(TreeError::Loop(
                lost.expect("fewer were reached than exist"),
            ));
        }
        Ok(Self {
            root,
            parent,
            order,
        })
    }

    /// The one node without a parent.
    pub const fn root(&self) -> usize {
        self.root
    }

    /// Number of nodes; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a tree has a root")]
    pub const fn len(&self) -> usize {
        self.parent.len()
    }

    /// The node that `v` hangs on. Panics out of range.
    pub fn parent(&self, v: usize) -> Option<usize> {
        self.parent[v]
    }

    /// The parent of every node, `None` for the root.
    pub fn parents(&self) -> &[Option<usize>] {
        &self.parent
    }

    /// All nodes, each after its parent.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The children of every node, each list ascending.
    pub fn children(&self) -> Vec<Vec<usize>> {
        children_of(&self.parent)
    }

    /// Delay of each node from the root over the tree, milliseconds of round trip.
    ///
    /// Panics if the matrix is not of the same nodes.
    pub fn delays_ms(&self, matrix: &Matrix) -> Vec<f64> {
        assert_eq!(self.len(), matrix.len(), "tree and matrix differ in nodes");
        let mut delay = vec![0.0; self.len()];
        for &v in &self.order {
            if let Some(above) = self.parent[v] {
                delay[v] = delay[above] + matrix.rtt_ms(above, v);
            }
        }
        delay
    }

    /// Relative delay penalty of each node, `None` for the root.
    pub fn rdps(&self, matrix: &Matrix) -> Vec<Option<f64>> {
        let direct = matrix.row(self.root);
        let penalty = |(v, delay): (usize, f64)| (v != self.root).then(|| delay / direct[v]);
        self.delays_ms(matrix)
            .into_iter()
            .enumerate()
            .map(penalty)
            .collect()
    }

    /// Largest and mean relative delay penalty; the matrix has two nodes or more, so both exist.
    pub fn rdp(&self, matrix: &Matrix) -> Rdp {
        let rdps: Vec<f64> = self.rdps(matrix).into_iter().flatten().collect();
        Rdp {
            max: rdps.iter().copied().fold(0.0, f64::max),
            mean: rdps.iter().sum::<f64>() / rdps.len() as f64,
        }
    }

    /// Network cost: the sum of the edges' round-trip times, milliseconds, by ascending row.
    pub fn cost(&self, matrix: &Matrix) -> f64 {
        assert_eq!(self.len(), matrix.len(), "tree and matrix differ in nodes");
        let edges = self.parent.iter().enumerate();
        edges
            .filter_map(|(v, above)| Some(matrix.rtt_ms(v, (*above)?)))
            .sum()
    }
}

/// Delay of each node from `root` over whatever `parent` describes; `None` where no way leads down
/// from the root: an orphan, a loop, and all who hang on one.
///
/// For the truth about an overlay at work, which need not be a tree. `edge(parent, child)` gives
/// the delay of an edge, in the unit of the result. A parent out of range counts as none.
pub fn delays_from_root(
    root: usize,
    parent: &[Option<usize>],
    mut edge: impl FnMut(usize, usize) -> f64,
) -> Vec<Option<f64>> {
    let mut delay = vec![None; parent.len()];
    if root >= parent.len() {
        return delay;
    }
    delay[root] = Some(0.0);
    for v in order_below(root, parent) {
        let above = parent[v].filter(|_| v != root);
        if let Some((above, so_far)) = above.and_then(|above| Some((above, delay[above]?))) {
            delay[v] = Some(so_far + edge(above, v));
        }
    }
    delay
}

/// The nodes that hang on `root`, each after its parent; the root's own parent is ignored.
fn order_below(root: usize, parent: &[Option<usize>]) -> Vec<usize> {
    let children = children_of(parent);
    let mut order = vec![root];
    let mut next = 0;
    while let Some(&u) = order.get(next) {
        next += 1;
        order.extend(children[u].iter().copied().filter(|&v| v != root));
    }
    order
}

fn children_of(parent: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); parent.len()];
    for (v, above) in parent.iter().enumerate() {
        if let Some(of_parent) = above.and_then(|above| children.get_mut(above)) {
            of_parent.push(v);
        }
    }
    children
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these figures are exact")]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_parents_is_checked() {
        assert_eq!(Tree::new(vec![]), Err(TreeError::NoRoot));
        assert_eq!(Tree::new(vec![Some(1), Some(0)]), Err(TreeError::NoRoot));
        assert_eq!(
            Tree::new(vec![Some(1), None, None]),
            Err(TreeError::Orphan { root: 1, orphan: 2 })
        );
        assert_eq!(
            Tree::new(vec![None, Some(7)]),
            Err(TreeError::OutOfRange { node: 1, parent: 7 })
        );
        assert_eq!(
            Tree::new(vec![None, Some(0), Some(2)]),
            Err(TreeError::Loop(2))
        );
        assert_eq!(
            Tree::new(vec![None, Some(2), Some(3), Some(1)]),
            Err(TreeError::Loop(1))
        );
    }

    #[test]
    fn delays_penalties_and_cost_follow_the_parents() {
        let matrix = Matrix::parse("0 10 20 22\n10 0 11 14\n20 11 0 5\n22 14 5 0").unwrap();
        let chain = Tree::new(vec![None, Some(0), Some(1), Some(2)]).unwrap();
        assert_eq!(chain.root(), 0);
        assert_eq!(chain.order(), [0, 1, 2, 3]);
        assert_eq!(chain.delays_ms(&matrix), [0.0, 10.0, 21.0, 26.0]);
        assert_eq!(
            chain.rdps(&matrix),
            [None, Some(1.0), Some(1.05), Some(26.0 / 22.0)]
        );
        assert_eq!(chain.cost(&matrix), 26.0);
        assert_eq!(chain.rdp(&matrix).max, 26.0 / 22.0);
        assert_eq!(chain.children(), [vec![1], vec![2], vec![3], vec![]]);
    }

    #[test]
    fn delays_of_an_overlay_at_work_leave_out_orphans_and_loops() {
        let edge = |u: usize, v: usize| (10 * u + v) as f64;
        let parent = [
            None,
            Some(0),
            Some(1),
            None,
            Some(3),
            Some(6),
            Some(5),
            Some(99),
        ];
        let delays = delays_from_root(0, &parent, edge);
        assert_eq!(delays[..3], [Some(0.0), Some(1.0), Some(13.0)]);
        assert_eq!(delays[3..], [None; 5]);
        assert_eq!(delays_from_root(3, &parent, edge)[4], Some(34.0));
        assert_eq!(delays_from_root(8, &parent, edge), [None; 8]);
        let rooted_loop = [Some(1), Some(0), Some(1)];
        assert_eq!(
            delays_from_root(0, &rooted_loop, edge),
            [Some(0.0), Some(1.0), Some(13.0)]
        );
    }
}
