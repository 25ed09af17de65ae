//! The tree that the members claim, beside what the network makes of it.
//!
//! A [`Claim`] is what one member believes of its place. A [`Truth`] is what follows from all
//! parents that are claimed at a moment: who hangs on the root, how late, at what cost.

use std::collections::BTreeSet;

use opus_model::{Matrix, Stretch, last};
use opus_net::Topology;

/// A true delay may exceed the bound by this factor before its node counts as a violator: delays
/// are measured in whole microseconds, and alpha is held in whole thousandths.
pub const BOUND_TOLERANCE: f64 = 1.001;

/// What one member says of its place in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its parent.
    pub parent: Option<usize>,
    /// From its parent to the root.
    pub path: Vec<usize>,
    /// Its children, rising.
    pub children: Vec<usize>,
    /// Its delay over the tree, microseconds of round trip.
    pub delay_us: u32,
    /// Its direct delay to the root, if measured.
    pub direct_us: Option<u32>,
}

/// Claims by node; `None`: no member at present, or dead.
pub type Claims = [Option<Claim>];

/// What the claimed parents come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// True delay over the tree by node, microseconds of round trip; of those on the root only.
    pub delay_us: Vec<Option<u64>>,
    /// Sum of the edges of those on the root, milliseconds.
    pub cost_ms: f64,
    /// Largest true relative delay penalty.
    pub rdp_max: f64,
    /// Mean of it.
    pub rdp_mean: f64,
    /// Members over the bound.
    pub violators: usize,
    /// Nodes that should be members and do not hang on the root, over claimed parents.
    pub unattached: usize,
    /// Members that hang on the root, without it.
    pub attached: usize,
}

/// Follows the claimed parents of each node that should be a member to the root.
pub fn truth(
    topology: &Topology,
    claims: &Claims,
    wanted: &[bool],
    root: usize,
    alpha: f64,
) -> Truth {
    let mut delay_us: Vec<Option<u64>> = vec![None; claims.len()];
    let mut result = Truth {
        delay_us: Vec::new(),
        cost_ms: 0.0,
        rdp_max: 0.0,
        rdp_mean: 0.0,
        violators: 0,
        unattached: 0,
        attached: 0,
    };
    for node in 0..claims.len() {
        if node == root || !wanted[node] {
            continue;
        }
        let Some(chain) = chain(claims, node, root) else {
            result.unattached += 1;
            continue;
        };
        let edges = std::iter::once(&node).chain(&chain).zip(&chain);
        let delay: u64 = edges
            .map(|(&below, &above)| topology.rtt_us(below, above))
            .sum();
        delay_us[node] = Some(delay);
        let direct = topology.rtt_us(node, root);
        let rdp = delay as f64 / direct as f64;
        result.attached += 1;
        result.cost_ms += topology.rtt_us(node, chain[0]) as f64 / 1e3;
        result.rdp_max = result.rdp_max.max(rdp);
        result.rdp_mean += rdp;
        if rdp > alpha * BOUND_TOLERANCE {
            result.violators += 1;
        }
    }
    result.rdp_mean /= result.attached.max(1) as f64;
    result.delay_us = delay_us;
    result
}

/// From the parent of `node` to the root by claimed parents; `None` if it does not end there.
pub fn chain(claims: &Claims, node: usize, root: usize) -> Option<Vec<usize>> {
    let mut chain = Vec::new();
    let mut at = node;
    while at != root {
        at = claims[at].as_ref()?.parent?;
        claims.get(at)?.as_ref()?;
        chain.push(at);
        if chain.len() > claims.len() {
            return None;
        }
    }
    Some(chain)
}

/// Loops of claimed parents, each rotated so that its lowest node comes first, rising.
pub fn loops(claims: &Claims) -> BTreeSet<Vec<usize>> {
    // 0: not seen; otherwise the number of the walk that came through first.
    let mut walk = vec![0; claims.len()];
    let mut found = BTreeSet::new();
    for start in 0..claims.len() {
        let mut at = start;
        while walk[at] == 0 {
            walk[at] = start + 1;
            match claims[at].as_ref().and_then(|claim| claim.parent) {
                Some(parent) if parent < claims.len() => at = parent,
                Some(_) | None => break,
            }
        }
        let closes = claims[at]
            .as_ref()
            .is_some_and(|claim| claim.parent.is_some());
        if walk[at] == start + 1 && closes {
            found.extend(loop_from(claims, at));
        }
    }
    found
}

/// The loop through `start`, if following parents leads back to it.
fn loop_from(claims: &Claims, start: usize) -> Option<Vec<usize>> {
    let mut around = vec![start];
    let mut at = claims[start].as_ref()?.parent?;
    while at != start {
        if around.len() > claims.len() {
            return None;
        }
        around.push(at);
        at = claims.get(at)?.as_ref()?.parent?;
    }
    let lowest = around
        .iter()
        .enumerate()
        .min_by_key(|&(_, &node)| node)
        .map_or(0, |(at, _)| at);
    around.rotate_left(lowest);
    Some(around)
}

/// Nodes below each node by claimed parents, itself not counted.
pub fn below(claims: &Claims, root: usize) -> Vec<usize> {
    let mut below = vec![0; claims.len()];
    for node in 0..claims.len() {
        for above in chain(claims, node, root).unwrap_or_default() {
            below[above] += 1;
        }
    }
    below
}

/// Cost of the central LAST over `members` from `root`, milliseconds. `None` with one member.
pub fn last_cost_ms(matrix: &Matrix, members: &[usize], root: usize, alpha: f64) -> Option<f64> {
    let at = members.iter().position(|&member| member == root)?;
    let alpha = Stretch::new(alpha).ok()?;
    let among = matrix.restricted_to(members).ok()?;
    Some(last(&among, at, alpha).cost(&among))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Topology {
        let text = "0 10 20 30\n10 0 10 20\n20 10 0 10\n30 20 10 0";
        Topology::from(Matrix::parse(text).unwrap())
    }

    fn claims(parents: &[Option<usize>]) -> Vec<Option<Claim>> {
        let claim = |&parent| {
            Some(Claim {
                parent,
                ..Claim::default()
            })
        };
        parents.iter().map(claim).collect()
    }

    #[test]
    fn the_truth_of_a_star_and_of_a_detour() {
        let star = truth(
            &line(),
            &claims(&[None, Some(0), Some(0), Some(0)]),
            &[true; 4],
            0,
            1.5,
        );
        assert!((star.cost_ms - 60.0).abs() < 1e-9);
        assert_eq!((star.attached, star.unattached, star.violators), (3, 0, 0));
        let detour = truth(
            &line(),
            &claims(&[None, Some(2), Some(0), Some(2)]),
            &[true; 4],
            0,
            1.5,
        );
        assert_eq!(
            detour.delay_us,
            [None, Some(30_000), Some(20_000), Some(30_000)]
        );
        assert_eq!(detour.violators, 1);
        assert!((detour.rdp_max - 3.0).abs() < 1e-9);
        assert!((detour.cost_ms - 40.0).abs() < 1e-9);
    }

    #[test]
    fn who_hangs_on_a_dead_node_or_a_loop_is_unattached() {
        let mut dead = claims(&[None, Some(0), Some(1), Some(2)]);
        dead[1] = None;
        assert_eq!(
            truth(&line(), &dead, &[true, false, true, true], 0, 1.5).unattached,
            2
        );
        assert_eq!(truth(&line(), &dead, &[true; 4], 0, 1.5).unattached, 3);
        let looped = claims(&[None, Some(0), Some(3), Some(2)]);
        assert_eq!(truth(&line(), &looped, &[true; 4], 0, 1.5).unattached, 2);
        assert_eq!(loops(&looped), BTreeSet::from([vec![2, 3]]));
        assert!(loops(&dead).is_empty());
    }

    #[test]
    fn a_loop_is_found_once_from_wherever_one_comes() {
        let looped = claims(&[Some(2), Some(3), Some(1), Some(2)]);
        assert_eq!(loops(&looped), BTreeSet::from([vec![1, 3, 2]]));
        let own = claims(&[None, Some(1)]);
        assert_eq!(loops(&own), BTreeSet::from([vec![1]]));
    }

    #[test]
    fn nodes_below_are_counted_along_the_path() {
        let tree = claims(&[None, Some(0), Some(1), Some(1)]);
        assert_eq!(below(&tree, 0), [3, 2, 0, 0]);
    }

    #[test]
    fn the_central_tree_of_some_members_is_over_them_only() {
        let matrix = line().to_matrix().unwrap();
        let cost = last_cost_ms(&matrix, &[0, 1, 3], 0, 2.0).unwrap();
        assert!((cost - 30.0).abs() < 1e-9);
        assert_eq!(last_cost_ms(&matrix, &[1, 2], 0, 2.0), None);
    }
}
