//! The hierarchy as it is: every post and every seat, looked at from outside.
//!
//! A node is *covered* if each link from it to the root is in the rosters of both ends, under one
//! epoch; the dead are *out* once no live agent has them in its roster. What a machine thinks does
//! not count, only what both sides agree on.

use std::collections::{BTreeMap, BTreeSet};

use opus_core::NodeId;
use opus_site::{
    Status,
    dicast::{
        cluster::{ClusterRef, View},
        label::Label,
    },
};

use crate::driver::Driver;

/// All posts of all running hosts at a moment.
#[derive(Debug)]
pub struct Hierarchy<'a> {
    posts: BTreeMap<ClusterRef, Post<'a>>,
    /// Posts held by two hosts at once: never lawful.
    pub doubles: Vec<ClusterRef>,
    /// Those from which the chosen root is reached.
    linked: BTreeSet<ClusterRef>,
    /// The root with the most nodes.
    pub root: Option<ClusterRef>,
    /// Clusters that have no parent.
    pub roots: usize,
}

#[derive(Debug)]
struct Post<'a> {
    agent: usize,
    view: &'a View,
    /// The cluster above, as the agent knows it, and its seat there.
    above: Option<(&'a View, u8)>,
}

/// What can be said of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Hosts that run.
    pub alive: usize,
    /// Of these, covered.
    pub covered: usize,
    /// Seats of level 1 taken by hosts that do not run.
    pub dead_seats: usize,
    /// Levels.
    pub height: u8,
    /// Clusters of level 1.
    pub clusters: usize,
    /// Clusters of the tree out of bounds: d to 3d - 1, the root's 2 to 3d - 1.
    pub misfits: usize,
}

impl<'a> Hierarchy<'a> {
    /// Looks at every host of `driver`.
    pub fn of(driver: &'a Driver<Status>) -> Self {
        let mut posts = BTreeMap::new();
        let mut doubles = Vec::new();
        for (agent, host) in driver.hosts() {
            let dicast = host.dicast();
            for view in dicast.posts() {
                let above = dicast.seat_above(view.level);
                let post = Post { agent, view, above };
                if posts.insert(view.cluster, post).is_some() {
                    doubles.push(view.cluster);
                }
            }
        }
        let mut hierarchy = Self {
            posts,
            doubles,
            linked: BTreeSet::new(),
            root: None,
            roots: 0,
        };
        hierarchy.link(driver);
        hierarchy
    }

    /// Finds the root below which most nodes are, and what leads to it.
    fn link(&mut self, driver: &Driver<Status>) {
        let tops: BTreeMap<ClusterRef, ClusterRef> = self
            .posts
            .keys()
            .filter_map(|&cluster| Some((cluster, self.top_of(cluster)?)))
            .collect();
        let mut sizes: BTreeMap<ClusterRef, usize> = BTreeMap::new();
        for (node, host) in driver.hosts() {
            let leaf = host.dicast().leaf().map(|(view, _)| view.cluster);
            let seated = self.is_seated(driver, node);
            if let Some(top) = leaf.filter(|_| seated).and_then(|leaf| tops.get(&leaf)) {
                *sizes.entry(*top).or_default() += 1;
            }
        }
        self.roots = self
            .posts
            .values()
            .filter(|post| post.above.is_none())
            .count();
        let largest = sizes
            .iter()
            .max_by_key(|(cluster, size)| (**size, **cluster));
        self.root = largest.map(|(cluster, _)| *cluster);
        let leads = |(_, top): &(&ClusterRef, &ClusterRef)| Some(**top) == self.root;
        let linked = tops.iter().filter(leads).map(|(cluster, _)| *cluster);
        self.linked = linked.collect();
    }

    /// The root above `cluster`, if both ends of every link on the way agree.
    fn top_of(&self, cluster: ClusterRef) -> Option<ClusterRef> {
        let mut at = cluster;
        // A path longer than the levels that exist is a loop.
        for _ in 0..=opus_site::dicast::cluster::LEVELS_MAX {
            let post = self.posts.get(&at)?;
            let Some((above, slot)) = post.above else {
                return Some(at);
            };
            let parent = self.posts.get(&above.cluster)?;
            let seat = parent.view.roster.get(slot)?;
            if seat.child() != Some(at) || seat.id() != id(post.agent) {
                return None;
            }
            at = above.cluster;
        }
        None
    }

    /// Whether the node and the agent of its cluster of level 1 agree on its seat.
    pub fn is_seated(&self, driver: &Driver<Status>, node: usize) -> bool {
        let leaf = driver.host(node).and_then(|host| host.dicast().leaf());
        leaf.is_some_and(|(view, slot)| {
            let seat = self
                .posts
                .get(&view.cluster)
                .and_then(|post| post.view.roster.get(slot));
            seat.is_some_and(|seat| seat.id() == id(node))
        })
    }

    /// Clusters of the tree that are out of bounds, by id. `size_min`: d.
    pub fn misfits(&self, size_min: usize) -> BTreeSet<u64> {
        let of_tree = self
            .posts
            .values()
            .filter(|post| self.linked.contains(&post.view.cluster));
        let misfits = of_tree.filter(|post| !self.fits(post.view, size_min));
        misfits.map(|post| post.view.cluster.id).collect()
    }

    fn fits(&self, view: &View, size_min: usize) -> bool {
        let root = Some(view.cluster) == self.root;
        let least = if root { 2 } else { size_min };
        (least..3 * size_min).contains(&view.roster.len())
    }

    /// Labels whose covered nodes do not sit together. Fewer than d of a label have to share one
    /// cluster. If they are d and more, nobody else may sit in their clusters, and these have to
    /// be below one parent while they fit there; but for a tree of one cluster.
    pub fn misplaced(
        &self,
        driver: &Driver<Status>,
        labels: &[Option<Label>],
        size_min: usize,
    ) -> BTreeSet<Label> {
        let mut clusters: BTreeMap<Label, BTreeMap<ClusterRef, usize>> = BTreeMap::new();
        for (node, host) in driver.hosts() {
            let leaf = host.dicast().leaf().map(|(view, _)| view.cluster);
            let covered = self.covers(driver, node);
            if let (Some(label), Some(leaf)) = (labels[node], leaf.filter(|_| covered)) {
                *clusters.entry(label).or_default().entry(leaf).or_default() += 1;
            }
        }
        let together = |(_, clusters): &(Label, BTreeMap<ClusterRef, usize>)| {
            let nodes: usize = clusters.values().sum();
            if nodes < size_min {
                return clusters.len() == 1;
            }
            let of = |cluster: &ClusterRef| self.posts.get(cluster);
            let own = |(cluster, count): (&ClusterRef, &usize)| {
                let live = |post: &Post<'_>| {
                    let seats = post.view.roster.iter();
                    let live = seats.filter(|(_, seat)| driver.is_running(index(seat.id())));
                    live.count()
                };
                let alone = Some(*cluster) == self.root;
                alone || of(cluster).is_some_and(|post| live(post) == *count)
            };
            let parent = |cluster| Some(of(cluster)?.above?.0.cluster);
            let parents: BTreeSet<_> = clusters.keys().map(parent).collect();
            let fit = clusters.len() < 3 * size_min;
            clusters.iter().all(own) && (parents.len() == 1 || !fit)
        };
        let apart = clusters.into_iter().filter(|it| !together(it));
        apart.map(|(label, _)| label).collect()
    }

    /// Whether the agent of the cluster in which the node believes to sit has no seat for it.
    pub fn is_put_out(&self, driver: &Driver<Status>, node: usize) -> bool {
        let leaf = driver.host(node).and_then(|host| host.dicast().leaf());
        leaf.is_some_and(|(view, _)| {
            let post = self.posts.get(&view.cluster);
            post.is_some_and(|post| post.view.roster.find(id(node)).is_none())
        })
    }

    /// Whether the node is covered.
    pub fn covers(&self, driver: &Driver<Status>, node: usize) -> bool {
        let leaf = driver.host(node).and_then(|host| host.dicast().leaf());
        leaf.is_some_and(|(view, _)| self.linked.contains(&view.cluster))
            && self.is_seated(driver, node)
    }

    /// Who holds each post.
    pub fn agents(&self) -> impl Iterator<Item = (ClusterRef, usize)> {
        self.posts
            .iter()
            .map(|(cluster, post)| (*cluster, post.agent))
    }

    /// Who sits in the rosters of level 1, by the agents' word, and with which agent: of each seat
    /// the node and the agent, cluster by cluster.
    pub fn seats(&self) -> impl Iterator<Item = (usize, usize)> {
        let leaves = self.posts.values().filter(|post| post.view.level == 1);
        leaves.flat_map(|post| {
            let seats = post.view.roster.iter();
            seats.map(|(_, seat)| (index(seat.id()), post.agent))
        })
    }

    /// The agent of the cluster of level 1 in which the node sits, if both agree.
    pub fn agent_of(&self, driver: &Driver<Status>, node: usize) -> Option<usize> {
        let (view, _) = driver.host(node)?.dicast().leaf()?;
        let post = self.posts.get(&view.cluster)?;
        self.is_seated(driver, node).then_some(post.agent)
    }

    /// Counts. `size_min`: d.
    pub fn census(&self, driver: &Driver<Status>, size_min: usize) -> Census {
        let mut census = Census::default();
        for (node, _) in driver.hosts() {
            census.alive += 1;
            census.covered += usize::from(self.covers(driver, node));
        }
        for post in self.posts.values() {
            let view = post.view;
            if self.linked.contains(&view.cluster) {
                census.height = census.height.max(view.level);
                census.misfits += usize::from(!self.fits(view, size_min));
            }
            if view.level == 1 {
                census.clusters += 1;
                let seats = view.roster.iter();
                let dead = seats.filter(|(_, seat)| !driver.is_running(index(seat.id())));
                census.dead_seats += dead.count();
            }
        }
        census
    }
}

fn id(node: usize) -> NodeId {
    crate::driver::id_of(node)
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.index()).unwrap_or(usize::MAX)
}
