//! The two ends between which a LAST lies: the minimum spanning tree and the lightest shortest
//! path tree of a delay matrix; and the star, which is what unicast costs.

use crate::{matrix::Matrix, stretch::at_most, tree::Tree};

/// Minimum spanning tree by Prim's algorithm from `root`: exact, `O(n^2)`.
///
/// Among equal edges the lower row is attached first, by the edge seen first. Panics if `root` is
/// out of range. Source: Prim 1957.
pub fn mst(matrix: &Matrix, root: usize) -> Tree {
    assert!(root < matrix.len(), "root {root} of {}", matrix.len());
    let mut parent = vec![None; matrix.len()];
    let mut waiting: Vec<(usize, f64)> = (0..matrix.len())
        .filter(|&v| v != root)
        .map(|v| (v, f64::INFINITY))
        .collect();
    let mut latest = root;
    while !waiting.is_empty() {
        let row = matrix.row(latest);
        let mut nearest = 0;
        for at in 0..waiting.len() {
            let (v, known) = waiting[at];
            if row[v] < known {
                waiting[at].1 = row[v];
                parent[v] = Some(latest);
            }
            if waiting[at].1 < waiting[nearest].1 {
                nearest = at;
            }
        }
        // `remove`, not `swap_remove`: the rows still waiting stay ascending, for the ties.
        latest = waiting.remove(nearest).0;
    }
    Tree::new(parent).expect("Prim attaches each row to one attached before")
}

/// Lightest shortest path tree: each node hangs on the nearest node on a shortest way to `root`.
///
/// `parent(v)` is the `u` of least `D(u, v)` with `D(root, u) + D(u, v) <= D(root, v)`, relative
/// tolerance 1e-9; the root itself qualifies. So RDP <= 1, and no shortest path tree is lighter if
/// the matrix is a metric. `O(n^2)`. Panics if `root` is out of range. Source: Opus 3.1.
pub fn spt(matrix: &Matrix, root: usize) -> Tree {
    let direct = matrix.row(root);
    let parent_of = |v: usize| {
        let row = matrix.row(v);
        let mut best = root;
        for u in 0..matrix.len() {
            // Strictly nearer to the root: the tolerance alone could close a loop.
            let on_the_way = direct[u] < direct[v] && at_most(direct[u] + row[u], direct[v]);
            if on_the_way && row[u] < row[best] {
                best = u;
            }
        }
        best
    };
    let parent = (0..matrix.len())
        .map(|v| (v != root).then(|| parent_of(v)))
        .collect();
    Tree::new(parent).expect("each parent is strictly nearer to the root")
}

/// Cost of the star: the sum of all direct delays from `root`, milliseconds.
pub fn star_cost(matrix: &Matrix, root: usize) -> f64 {
    matrix.row(root).iter().sum()
}
