//! Nodes that stall or are always late: they accuse nobody, and their posts go to others.

use std::{cell::RefCell, rc::Rc, time::Duration};

use opus_core::{
    NodeId,
    testing::{LinkFault, Wake},
};

use super::world::World;
use crate::{Dicast, Message, cluster::View, state::Why};

/// Who accused somebody, or asked whether one still lives, from this moment on.
type Accusers = Rc<RefCell<Vec<NodeId>>>;

fn watch(world: &mut World) -> Accusers {
    let accusers = Accusers::default();
    let noted = Rc::clone(&accusers);
    world.net.set_fault(move |_, from, _, message: &Message| {
        let suspects = matches!(
            message,
            Message::Check(_) | Message::Accuse(_) | Message::Claim(_)
        );
        if suspects {
            noted.borrow_mut().push(from);
        }
        LinkFault::Deliver
    });
    accusers
}

/// Whether `node` stalls for so long and accuses somebody until half a heartbeat after it.
fn wakes_suspicious(world: &mut World, node: NodeId, stall: Duration, wake: Wake) -> bool {
    let accusers = watch(world);
    world.net.stall(node, stall, wake);
    world.run_for(stall + world.config.heartbeat / 2);
    let accusers = accusers.borrow();
    accusers.contains(&node)
}

/// One tree, a minute after it began.
fn tree(seed: u64) -> World {
    let mut world = World::new(60, 4, seed);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    world
}

fn levels(world: &World) -> Vec<u8> {
    let level = |id| world.net.machine(id).health.level();
    world.alive().into_iter().map(level).collect()
}

/// The agent of a cluster of level 1 who is not at the top, its cluster, and a member of it that
/// holds no post.
fn cluster_below(world: &World) -> (NodeId, View, NodeId) {
    let root = world.root();
    let posts = world.posts();
    let below = |agent, view: &View| view.level == 1 && agent != root;
    let mut posts = posts.values();
    let (agent, view) = posts.find(|(agent, view)| below(*agent, view)).unwrap();
    let member = view.deputies.0[0];
    let member = view.roster.get(member).unwrap().id();
    assert!(world.net.machine(member).posts().next().is_none());
    (*agent, view.clone(), member)
}

/// A member that holds no post.
fn a_leaf_of(world: &World, view: &View) -> NodeId {
    let mut members = view.roster.iter().map(|(_, seat)| seat.id());
    let leaf = |id: &NodeId| world.net.machine(*id).posts().next().is_none();
    members.rfind(leaf).unwrap()
}

fn sits_in(machine: &Dicast, view: &View) -> bool {
    machine
        .leaf()
        .is_some_and(|(leaf, _)| leaf.cluster == view.cluster)
}

const STALL: Duration = Duration::from_secs(5);

#[test]
fn a_member_that_stalls_and_wakes_accuses_nobody_and_keeps_its_seat() {
    for (seed, wake) in (0..).zip([Wake::InputsFirst, Wake::TimersFirst, Wake::TimersFirst]) {
        let mut world = tree(20 + seed);
        let (_, view, member) = cluster_below(&world);
        assert!(
            !wakes_suspicious(&mut world, member, STALL, wake),
            "{wake:?}"
        );
        world.run(5);
        assert!(sits_in(world.net.machine(member), &view), "{wake:?}");
        world.assert_one_tree();
    }
}

#[test]
fn an_agent_that_stalls_and_wakes_tries_none_of_its_members() {
    for (seed, wake) in (0..).zip([Wake::InputsFirst, Wake::TimersFirst, Wake::TimersFirst]) {
        let mut world = tree(30 + seed);
        let root = world.root();
        assert!(
            !wakes_suspicious(&mut world, root, 3 * STALL, wake),
            "{wake:?}"
        );
        world.assert_one_tree_within(30);
    }
}

#[test]
fn who_stalls_while_it_waits_for_an_answer_reads_what_came_before_it_claims() {
    let mut world = tree(40);
    let (agent, view, deputy) = cluster_below(&world);
    world.net.set_fault(move |_, from, to, _: &Message| {
        if from == agent && to == deputy {
            LinkFault::Lose
        } else {
            LinkFault::Deliver
        }
    });
    // Its last ping is under way.
    let waits = |machine: &Dicast| {
        let mut checks = machine.checks.values();
        checks.any(|check| check.why == Why::Agent(1) && check.tries == 2)
    };
    while !waits(world.net.machine(deputy)) {
        world.run_for(Duration::from_millis(10));
    }
    assert!(!wakes_suspicious(
        &mut world,
        deputy,
        STALL,
        Wake::TimersFirst
    ));
    assert!(sits_in(world.net.machine(deputy), &view));
}

/// The timers of `slow` fire 300 ms late, each of them, for so many seconds.
fn slow_down(world: &mut World, slow: NodeId, seconds: u32) {
    let stall = world.config.heartbeat + Duration::from_millis(300);
    let step = stall + Duration::from_millis(1);
    let rounds = (Duration::from_secs(seconds.into()).as_millis() / step.as_millis()).max(1);
    for _ in 0..rounds {
        world.net.stall(slow, stall, Wake::InputsFirst);
        world.run_for(step);
    }
}

#[test]
fn an_agent_whose_timers_are_always_late_hands_over_its_post() {
    for seed in 0..3 {
        let mut world = tree(50 + seed);
        let (slow, view, _) = cluster_below(&world);
        slow_down(&mut world, slow, 20);
        let machine = world.net.machine(slow);
        assert_eq!(machine.posts().count(), 0, "{seed}");
        let (heir, after) = world.posts()[&view.cluster.next()].clone();
        assert_ne!(heir, slow);
        let seat = after.roster.find(slow).and_then(|at| after.roster.get(at));
        assert!(seat.is_some_and(|seat| !seat.marks().fit), "{seed}");
        // While it is slow nobody gives it a post, also if the heir dies.
        world.crash(heir.index());
        slow_down(&mut world, slow, 20);
        assert_eq!(world.net.machine(slow).posts().count(), 0, "{seed}");
        world.run(20);
        assert_eq!(world.net.machine(slow).health.level(), 0);
        world.assert_one_tree();
    }
}

#[test]
fn a_node_that_is_always_late_expels_the_dead_all_the_same() {
    let mut world = tree(60);
    let (agent, view, _) = cluster_below(&world);
    let dead = a_leaf_of(&world, &view);
    // Every second round is late: it keeps its post.
    world.mute(&[dead]);
    for _ in 0..12 {
        slow_down(&mut world, agent, 1);
        world.run_for(Duration::from_millis(1_200));
    }
    let roster = world
        .net
        .machine(agent)
        .posts()
        .next()
        .unwrap()
        .roster
        .clone();
    assert_eq!(roster.find(dead), None);
}

#[test]
fn who_is_known_to_live_unheard_is_not_expelled_for_one_stall() {
    let mut world = tree(61);
    let (agent, view, _) = cluster_below(&world);
    let member = a_leaf_of(&world, &view);
    // Others reach it and say so, after five to six seconds.
    world.net.set_fault(move |_, from, to, _: &Message| {
        if from == member && to == agent {
            LinkFault::Lose
        } else {
            LinkFault::Deliver
        }
    });
    world.run_for(Duration::from_millis(9_500));
    // The next trial is within this stall.
    world.net.stall(member, STALL, Wake::InputsFirst);
    world.run(5);
    world.heal();
    world.run(2);
    assert!(sits_in(world.net.machine(member), &view));
    let mut posts = world.net.machine(agent).posts();
    assert!(posts.any(|post| post.roster.find(member).is_some()));
}

/// Whether a member keeps its seat if what `is_lost` names does not reach its agent from `before` a
/// stall on until a second after it.
fn survives(
    seed: u64,
    before: Duration,
    wake: Wake,
    is_lost: impl Fn(&Message) -> bool + 'static,
) -> bool {
    let mut world = tree(seed);
    let (agent, view, _) = cluster_below(&world);
    let member = a_leaf_of(&world, &view);
    world.net.set_fault(move |_, from, to, message: &Message| {
        if from == member && to == agent && is_lost(message) {
            LinkFault::Lose
        } else {
            LinkFault::Deliver
        }
    });
    world.run_for(before);
    world.net.stall(member, STALL, wake);
    for _ in 0..60 {
        world.run_for(Duration::from_millis(100));
        let posts = world.posts();
        let (_, post) = &posts[&view.cluster];
        if post.roster.find(member).is_none() {
            return false;
        }
    }
    world.heal();
    world.run(2);
    sits_in(world.net.machine(member), &view)
}

#[test]
fn a_stall_does_not_add_up_with_a_way_that_was_cut_before() {
    for (seed, tenths) in (72..).zip([30, 40, 45, 50, 55, 60]) {
        let before = Duration::from_millis(100 * tenths);
        let kept = survives(seed, before, Wake::InputsFirst, |_| true);
        assert!(kept, "{before:?}");
    }
}

#[test]
fn a_stall_does_not_add_up_with_beats_that_were_lost_before_and_after() {
    let is_beat = |message: &Message| matches!(message, Message::Beat(_));
    for (seed, tenths) in (78..).zip([14, 18, 22, 26, 30]) {
        let before = Duration::from_millis(100 * tenths);
        for wake in [Wake::InputsFirst, Wake::TimersFirst] {
            assert!(survives(seed, before, wake, is_beat), "{before:?}");
        }
    }
}

#[test]
fn in_a_tree_at_rest_all_are_healthy() {
    let mut world = tree(70);
    for _ in 0..20 {
        world.run(1);
        assert!(levels(&world).iter().all(|level| *level == 0));
    }
}

#[test]
fn loss_makes_nobody_unfit() {
    let mut world = tree(71);
    world.lose(0.05);
    for _ in 0..60 {
        world.run(1);
        for id in world.alive() {
            assert!(world.net.machine(id).health.is_fit());
        }
    }
}
