//! All paths that are remembered, by peer, up to a capacity.

use std::time::Duration;

use opus_core::{FlatMap, NodeId, Time};

use crate::path::Path;

/// At most `capacity` paths. Overflow: the one touched longest ago is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    capacity: usize,
    paths: FlatMap<NodeId, Path>,
}

impl Table {
    /// An empty table of at most `capacity` paths; at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            paths: FlatMap::new(),
        }
    }

    /// The path to `peer`, made if absent, touched in both cases.
    pub(crate) fn touch(&mut self, now: Time, peer: NodeId) -> &mut Path {
        if !self.paths.contains_key(&peer) && self.paths.len() >= self.capacity {
            self.forget_oldest();
        }
        let path = self.paths.get_or_insert_with(peer, Path::default);
        path.touched_at = now;
        path
    }

    /// The path to `peer`, if remembered.
    pub(crate) fn get(&self, peer: NodeId) -> Option<&Path> {
        self.paths.get(&peer)
    }

    /// The path to `peer`, to change, if remembered; not touched.
    pub(crate) fn get_mut(&mut self, peer: NodeId) -> Option<&mut Path> {
        self.paths.get_mut(&peer)
    }

    /// Forgets paths that nobody touched for `idle`, but for those that are `wanted`.
    pub(crate) fn sweep(&mut self, now: Time, idle: Duration, wanted: impl Fn(NodeId) -> bool) {
        let keeps = |peer: &NodeId, path: &Path| now.since(path.touched_at) < idle || wanted(*peer);
        self.paths.retain(|peer, path| keeps(peer, path));
    }

    /// Whether no path is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// All paths by rising peer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Path)> {
        self.paths.iter().map(|(&peer, path)| (peer, path))
    }

    /// One walk over the table: at a budget of a few new peers a second it does not show.
    fn forget_oldest(&mut self) {
        let oldest = self.paths.iter().min_by_key(|(_, path)| path.touched_at);
        if let Some((&peer, _)) = oldest {
            self.paths.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_forgets_the_path_touched_longest_ago() {
        let [a, b, c] = [1, 2, 3].map(NodeId::from_index);
        let mut table = Table::new(2);
        table.touch(Time(1), a);
        table.touch(Time(2), b);
        table.touch(Time(3), a);
        table.touch(Time(4), c);
        let left: Vec<NodeId> = table.iter().map(|(peer, _)| peer).collect();
        assert_eq!(left, [a, c]);
    }
}
