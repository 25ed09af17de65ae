//! The connections of one node as it knows them, sorted by peer in one piece of memory: most nodes
//! have a handful, and each message looks twice.

use opus_core::Time;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Frames wait for the capacity of the link or for the end of a cut.
    pub(super) blocked: bool,
    /// Since when this end does not want it.
    pub(super) idle_since: Option<Time>,
}

/// See the module. Bounded by the nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    /// Peer and number of the connection, rising by peer; beside the rest, which messages do not
    /// need. A number is equal at both ends, once both know of it.
    ends: Vec<(u32, u32)>,
    links: Vec<Link>,
}

impl Links {
    /// The number of the connection to `peer`.
    pub(super) fn connection(&self, peer: usize) -> Option<u32> {
        Some(self.ends[self.find(peer).ok()?].1)
    }

    pub(super) fn get(&self, peer: usize) -> Option<&Link> {
        Some(&self.links[self.find(peer).ok()?])
    }

    pub(super) fn get_mut(&mut self, peer: usize) -> Option<&mut Link> {
        let at = self.find(peer).ok()?;
        Some(&mut self.links[at])
    }

    /// Puts a link in, in place of an earlier one.
    pub(super) fn insert(&mut self, peer: usize, connection: u32, link: Link) {
        match self.find(peer) {
            Ok(at) => {
                self.ends[at].1 = connection;
                self.links[at] = link;
            }
            Err(at) => {
                let peer = u32::try_from(peer).expect("a topology is far below 2^32 nodes");
                self.ends.insert(at, (peer, connection));
                self.links.insert(at, link);
            }
        }
    }

    pub(super) fn remove(&mut self, peer: usize) {
        if let Ok(at) = self.find(peer) {
            self.ends.remove(at);
            self.links.remove(at);
        }
    }

    /// Peer, number and the rest, by peer, rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u32, &Link)> {
        let ends = self.ends.iter().zip(&self.links);
        ends.map(|(&(peer, connection), link)| (peer as usize, connection, link))
    }

    /// Rising.
    pub(super) fn peers(&self) -> impl Iterator<Item = usize> {
        self.ends.iter().map(|&(peer, _)| peer as usize)
    }

    fn find(&self, peer: usize) -> Result<usize, usize> {
        self.ends
            .binary_search_by(|end| (end.0 as usize).cmp(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_told_in_the_order_of_their_peers() {
        let mut links = Links::default();
        for (connection, peer) in [(0, 9), (1, 2), (2, 5), (3, 2)] {
            let link = Link {
                blocked: false,
                idle_since: None,
            };
            links.insert(peer, connection, link);
        }
        let told = |links: &Links| {
            let told = links.iter().map(|(peer, connection, _)| (peer, connection));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(&links), [(2, 3), (5, 2), (9, 0)]);
        links.remove(5);
        links.remove(6);
        assert_eq!(told(&links), [(2, 3), (9, 0)]);
        assert!(links.get(5).is_none() && links.get_mut(9).is_some());
        assert_eq!((links.connection(9), links.connection(5)), (Some(0), None));
    }
}
