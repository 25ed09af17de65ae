//! The tree that the nodes of a lab claim, held against the emulated delays.

use opus_core::{NodeId, OverlayId};
use opus_model::{Matrix, Stretch, Tree, last, mst};
use opus_net::Topology;

use crate::Lab;

/// What one node says of its place in an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeView {
    /// Which node of the lab.
    pub node: usize,
    /// Its parent; `None` at the root and while it has none.
    pub parent: Option<usize>,
    /// Tree delay that it believes, microseconds of round trip.
    pub delay_us: u32,
    /// Direct delay that it measured.
    pub direct_us: Option<u32>,
}

/// An overlay as its members claim it, measured by the emulated delays.
#[derive(Clone, Debug)]
pub struct TreeReport {
    /// The members that the root reaches, the root first.
    pub members: Vec<TreeView>,
    /// Members that the root does not reach by the claimed edges.
    pub unattached: Vec<TreeView>,
    /// Round-trip times of `members`.
    pub matrix: Matrix,
    /// The claimed tree on the rows of `matrix`.
    pub tree: Tree,
    /// Cost of the minimum spanning tree of the members, milliseconds.
    pub mst_ms: f64,
    /// Cost of the central LAST with the same knob, milliseconds.
    pub last_ms: f64,
}

impl Lab {
    /// Asks all running nodes for their place in `overlay`, and measures the claimed tree.
    ///
    /// `None` when no running node roots the overlay, or the root reaches nobody.
    pub async fn tree(&self, overlay: OverlayId, alpha: Stretch) -> Option<TreeReport> {
        let mut members = Vec::new();
        let mut root = None;
        for node in 0..self.len() {
            let Some(handle) = self.handle(node) else {
                continue;
            };
            let status = handle.ask(move |core| core.overlay().status(overlay)).await;
            let Ok(Some(status)) = status else { continue };
            if status.root == self.id(node) {
                root = Some(members.len());
            }
            members.push(TreeView {
                node,
                parent: status
                    .parent
                    .and_then(|parent: NodeId| self.index_of(parent)),
                delay_us: status.delay_us,
                direct_us: status.direct_us,
            });
        }
        members.swap(0, root?);
        report(&self.config().topology, members, alpha)
    }
}

/// Recomputes the claimed tree by `opus-model` from the emulated delays; the root is first.
fn report(topology: &Topology, members: Vec<TreeView>, alpha: Stretch) -> Option<TreeReport> {
    let reached: Vec<bool> = (0..members.len())
        .map(|at| reaches_root(&members, at))
        .collect();
    let mut flags = reached.iter();
    let (members, unattached): (Vec<_>, Vec<_>) = members
        .into_iter()
        .partition(|_| flags.next() == Some(&true));
    let place = |node: usize| members.iter().position(|member| member.node == node);
    let parents = members
        .iter()
        .map(|member| member.parent.and_then(place))
        .collect();
    let tree = Tree::new(parents).ok()?;
    let matrix = Matrix::from_fn(members.len(), |u, v| {
        topology.rtt_us(members[u].node, members[v].node) as f64 / 1e3
    });
    let matrix = matrix.ok()?;
    let mst_ms = mst(&matrix, 0).cost(&matrix);
    let last_ms = last(&matrix, 0, alpha).cost(&matrix);
    Some(TreeReport {
        members,
        unattached,
        matrix,
        tree,
        mst_ms,
        last_ms,
    })
}

fn reaches_root(members: &[TreeView], from: usize) -> bool {
    let mut at = from;
    for _ in 0..members.len() {
        if at == 0 {
            return true;
        }
        let parent = members[at].parent;
        let up = parent.and_then(|node| members.iter().position(|member| member.node == node));
        match up {
            Some(up) => at = up,
            None => return false,
        }
    }
    false
}

impl TreeReport {
    /// Cost of the claimed tree, milliseconds of round trip.
    pub fn cost_ms(&self) -> f64 {
        self.tree.cost(&self.matrix)
    }

    /// Members whose emulated delay over the tree is above `alpha` times the direct one.
    ///
    /// `slack_ms`: what the emulation adds to a round trip (timer steps), as measured.
    pub fn violators(&self, alpha: Stretch, slack_ms: f64) -> Vec<usize> {
        let delays = self.tree.delays_ms(&self.matrix);
        let over = |v: &usize| !alpha.allows(delays[*v] - slack_ms, self.matrix.rtt_ms(0, *v));
        (1..self.members.len())
            .filter(over)
            .map(|v| self.members[v].node)
            .collect()
    }

    /// Largest difference between a believed and an emulated tree delay, milliseconds.
    pub fn error_ms_max(&self) -> f64 {
        let delays = self.tree.delays_ms(&self.matrix);
        let error = |v: usize| (f64::from(self.members[v].delay_us) / 1e3 - delays[v]).abs();
        (1..self.members.len()).map(error).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: usize, parent: Option<usize>) -> TreeView {
        TreeView {
            node,
            parent,
            delay_us: 0,
            direct_us: None,
        }
    }

    #[test]
    fn a_loop_and_an_orphan_are_not_reached_by_the_root() {
        let matrix = Matrix::parse("0 10 20 22\n10 0 11 14\n20 11 0 5\n22 14 5 0").unwrap();
        let members = vec![
            view(1, None),
            view(0, Some(1)),
            view(2, Some(3)),
            view(3, Some(2)),
        ];
        let report = report(&matrix.into(), members, Stretch::new(1.5).unwrap()).unwrap();
        assert_eq!(report.members.len(), 2);
        assert_eq!(report.unattached.len(), 2);
        assert!((report.cost_ms() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_member_over_the_bound_is_named() {
        let matrix = Matrix::parse("0 10 20 22\n10 0 11 14\n20 11 0 5\n22 14 5 0").unwrap();
        let members = vec![
            view(0, None),
            view(1, Some(0)),
            view(2, Some(1)),
            view(3, Some(2)),
        ];
        let report = report(&matrix.into(), members, Stretch::new(1.1).unwrap()).unwrap();
        assert_eq!(report.violators(Stretch::new(1.1).unwrap(), 0.0), [3]);
        assert!(report.violators(Stretch::new(1.2).unwrap(), 0.0).is_empty());
        assert!((report.cost_ms() - 26.0).abs() < 1e-9);
        assert!((report.mst_ms - 26.0).abs() < 1e-9);
    }
}
