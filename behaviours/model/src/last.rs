//! The light approximate shortest path tree (LAST): nearly as cheap as the minimum spanning tree,
//! and no node later than alpha times its direct delay.

use crate::{
    matrix::Matrix,
    span::{mst, spt},
    stretch::Stretch,
    tree::Tree,
};

/// The LAST of `matrix` from `root`: the cheaper of FIND-LAST's tree and the lightest shortest
/// path tree.
///
/// Every RDP is at most `alpha`. If the matrix is a metric, the cost is at most `1 + 2 / (alpha -
/// 1)` times that of the minimum spanning tree; otherwise only the delay bound holds. `O(n^2)`.
/// Panics if `root` is out of range.
/// Source: Opus 3.1; Khuller, Raghavachari, Young 1995, "Balancing minimum spanning trees and
/// shortest-path trees".
pub fn last(matrix: &Matrix, root: usize, alpha: Stretch) -> Tree {
    let light = mst(matrix, root);
    let short = spt(matrix, root);
    let balanced = Search::new(matrix, root, alpha, &short).run(&light);
    if short.cost(matrix) < balanced.cost(matrix) {
        short
    } else {
        balanced
    }
}

/// FIND-LAST: a tour of the minimum spanning tree that keeps, for each node, the best way to the
/// root seen so far.
struct Search<'a> {
    matrix: &'a Matrix,
    root: usize,
    alpha: Stretch,
    short: &'a Tree,
    /// Upper bound of the delay from the root over `parent`, milliseconds.
    delay: Vec<f64>,
    parent: Vec<Option<usize>>,
}

impl<'a> Search<'a> {
    fn new(matrix: &'a Matrix, root: usize, alpha: Stretch, short: &'a Tree) -> Self {
        let mut delay = vec![f64::INFINITY; matrix.len()];
        delay[root] = 0.0;
        let parent = vec![None; matrix.len()];
        Self {
            matrix,
            root,
            alpha,
            short,
            delay,
            parent,
        }
    }

    /// Depth first, children by ascending row; each edge is relaxed on the way down and up.
    fn run(mut self, light: &Tree) -> Tree {
        let children = light.children();
        let mut path = vec![(self.root, 0)];
        while let Some((u, seen)) = path.last_mut() {
            let u = *u;
            if let Some(&v) = children[u].get(*seen) {
                *seen += 1;
                self.relax(u, v);
                if !self
                    .alpha
                    .allows(self.delay[v], self.matrix.rtt_ms(self.root, v))
                {
                    self.add_shortest_path(v);
                }
                path.push((v, 0));
            } else {
                path.pop();
                if let Some(&(above, _)) = path.last() {
                    self.relax(u, above);
                }
            }
        }
        Tree::new(self.parent).expect("relaxing positive edges closes no loop")
    }

    fn relax(&mut self, from: usize, to: usize) {
        let delay = self.delay[from] + self.matrix.rtt_ms(from, to);
        if delay < self.delay[to] {
            self.delay[to] = delay;
            self.parent[to] = Some(from);
        }
    }

    /// Relaxes the path of the shortest path tree to `v`, from the last node on it that is
    /// already as near to the root as it can be.
    fn add_shortest_path(&mut self, v: usize) {
        let mut late = Vec::new();
        let mut x = v;
        while !Stretch::ONE.allows(self.delay[x], self.matrix.rtt_ms(self.root, x)) {
            late.push(x);
            x = self
                .short
                .parent(x)
                .expect("the root has delay 0 and is never late");
        }
        for x in late.into_iter().rev() {
            self.relax(
                self.short.parent(x).expect("a late node is not the root"),
                x,
            );
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these figures are exact")]
mod tests;
