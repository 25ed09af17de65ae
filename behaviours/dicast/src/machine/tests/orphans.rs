//! Agents whose parents are gone, or whose words to them were lost: how soon they are below the
//! root again.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use opus_core::{Contact, Input, NodeId, pack::Few, testing::LinkFault};

use super::world::World;
use crate::{
    Message,
    cluster::{ClusterRef, View},
    state::Doubt,
    wire::Hello,
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

/// A parent that missed some changes may still have an older seat for one of those who claim.
#[test]
fn a_seat_of_another_cluster_or_of_an_epoch_that_is_over_is_no_grant() {
    let mut world = tree(120);
    let posts = world.posts();
    let (agent, view) = deep(&world, &posts);
    let (parent, slot) = world.net.machine(agent).seat_above(1).unwrap();
    let (above, parent) = (parent.agent.id, parent.cluster);
    let welcome = world.net.machine(above).welcome_for(2, slot).unwrap();
    assert_eq!(welcome.view.cluster, parent);
    let index = (0..NODES).find(|index| World::id(*index) == agent).unwrap();
    world.crash(index);
    let claims = |world: &World, id: NodeId| {
        let leaf = world.net.machine(id).leaf.as_ref();
        leaf.is_some_and(|leaf| matches!(leaf.doubt, Doubt::Claiming { tries: 1.. }))
    };
    let members: Vec<NodeId> = view.roster.iter().map(|(_, seat)| seat.id()).collect();
    let live = || members.iter().copied().filter(|id| *id != agent);
    let heir = (0..2_000).find_map(|_| {
        world.run_for(Duration::from_millis(5));
        live().find(|id| claims(&world, *id))
    });
    let machine = world.net.machine(heir.expect("somebody claims the post"));
    let granted = |child: ClusterRef| {
        let mut welcome = welcome.clone();
        let mut seat = welcome.view.roster.get(slot).unwrap().clone();
        seat.contact.id = machine.id();
        seat.stand_for(child);
        welcome.view.roster.put(slot, seat);
        machine.as_grant(above, &welcome).map(|grant| grant.cluster)
    };
    let cluster = view.cluster;
    assert_eq!(granted(cluster.next()), Some(cluster.next()));
    assert_eq!(
        granted(ClusterRef { id: 7, epoch: 1 }).map(|it| it.id),
        Some(7)
    );
    assert_eq!(granted(cluster), None, "an epoch that is over");
    let mut other = welcome.clone();
    let seat = other.view.roster.get(slot).unwrap().clone();
    let free = (0..64)
        .find(|at| other.view.roster.get(*at).is_none())
        .unwrap();
    other.view.roster.put(free, seat);
    let mut seat = other.view.roster.get(slot).unwrap().clone();
    seat.contact.id = machine.id();
    seat.stand_for(ClusterRef { id: 7, epoch: 1 });
    other.view.roster.put(slot, seat);
    assert!(
        machine.as_grant(above, &other).is_none(),
        "a seat of another cluster"
    );
}

/// However many name a tree, one search leads only so far.
#[test]
fn strangers_lead_an_orphan_about_for_a_while_only() {
    let mut world = tree(130);
    let posts = world.posts();
    let (agent, _) = deep(&world, &posts);
    let (parent, _) = world.net.machine(agent).seat_above(1).unwrap();
    let (tag, from) = (parent.cluster.tag(), parent.agent.id);
    let message = Message::Stranger(tag);
    let everyone = world.alive();
    world.cut(move |id| id == agent);
    world.net.input(agent, Input::Received { from, message });
    for second in 0..30_u64 {
        for (at, stranger) in everyone.iter().take(8).enumerate() {
            let id = 1_000 + second * 8 + at as u64;
            let hello = Hello {
                root: ClusterRef { id, epoch: 1 },
                height: 5,
                size: 1_000,
                posts: Few(vec![Contact::bare(*stranger)]),
                relayed: false,
            };
            let (from, message) = (*stranger, Message::Hello(hello));
            world.net.input(agent, Input::Received { from, message });
        }
        world.run(1);
        if world.net.machine(agent).seeks.is_empty() {
            assert!(second >= 5, "it asks nobody");
            return;
        }
    }
    panic!("it follows strangers for ever");
}
