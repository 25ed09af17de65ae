//! Agents whose parents are gone, or whose words to them were lost: how soon they are below the
//! root again.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use opus_core::{Input, NodeId, testing::LinkFault};

use super::world::World;
use crate::{
    Message,
    cluster::{ClusterRef, View},
};

/// Enough for three levels.
const NODES: u32 = 160;

type Posts = BTreeMap<ClusterRef, (NodeId, View)>;

fn tree(seed: u64) -> World {
    let mut world = World::new(NODES, 4, seed);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    world
}

/// A cluster of level 1 whose parent is not the root's cluster: its agent and its view.
fn deep(world: &World, posts: &Posts) -> (NodeId, View) {
    let root = world.root();
    let deep = |agent: NodeId| {
        let above = world.net.machine(agent).seat_above(1);
        let parent = above.map(|(parent, _)| parent);
        parent.is_some_and(|parent| parent.agent.id != root && parent.agent.id != agent)
    };
    let mut leaves = posts.values().filter(|(_, view)| view.level == 1);
    let found = leaves.find(|(agent, view)| deep(*agent) && view.roster.find(root).is_none());
    found.cloned().expect("the tree has three levels")
}

#[test]
fn a_lost_grant_is_made_up_for_by_the_next_word_of_the_parent() {
    for seed in 0..4 {
        let mut world = tree(100 + seed);
        let posts = world.posts();
        let (agent, _) = deep(&world, &posts);
        let index = (0..NODES).find(|index| World::id(*index) == agent).unwrap();
        world.crash(index);
        let lost = Rc::new(Cell::new(None));
        let noted = Rc::clone(&lost);
        world.net.set_fault(move |_, _, _, message: &Message| {
            if let Message::Grant(grant) = message {
                noted.set(Some(grant.cluster));
                return LinkFault::Lose;
            }
            LinkFault::Deliver
        });
        world.run(8);
        let granted = lost.get().expect("somebody claimed the post");
        let posts = world.posts();
        assert!(posts.contains_key(&granted), "{seed}: not what was granted");
        world.assert_one_tree_within(15);
    }
}

/// A search asks one after the other, and waits for each of the dead.
#[test]
fn an_orphan_whose_parents_all_died_is_below_the_root_at_once() {
    for seed in 0..4 {
        let mut world = tree(110 + seed);
        let posts = world.posts();
        let (agent, _) = deep(&world, &posts);
        let (parent, _) = world.net.machine(agent).seat_above(1).unwrap();
        let (tag, from) = (parent.cluster.tag(), parent.agent.id);
        let above: Vec<NodeId> = parent.ancestor().posts().map(|it| it.id).collect();
        let root = world.root();
        let dead: Vec<NodeId> = above
            .into_iter()
            .filter(|it| *it != agent && *it != root)
            .collect();
        world.mute(&dead);
        let message = Message::Stranger(tag);
        world.net.input(agent, Input::Received { from, message });
        world.run_for(Duration::from_millis(1_500));
        let above = world.net.machine(agent).seat_above(1);
        let found = above.map(|(parent, _)| parent.agent.id);
        assert!(
            found.is_some_and(|it| !dead.contains(&it)),
            "{seed}: {found:?} of {dead:?}"
        );
    }
}
