//! Schedules that once broke something, each as short as it could be made.

use std::time::Duration;

use opus_core::{Contact, Input, Machine, Output, pack::Few};

use super::{
    calm::{self, Calm},
    formed,
    scene::{Act, Scene, id_of},
};
use crate::{Dicast, Message, cluster::ClusterRef, machine::Timer, wire::Hello};

fn machine(calm: &Calm, node: u8) -> (Dicast, opus_core::Time) {
    let node = calm.scene.node(node).unwrap();
    (node.machine.clone(), node.clock)
}

/// A root grants its own epochs; the parent that it had may have granted the next one of its name.
#[test]
fn a_cluster_that_becomes_the_root_takes_a_new_name() {
    let calm = formed(3, 1, 1);
    let (mut machine, now) = machine(&calm, 1);
    let before = machine.posts[&1].view.cluster;
    let above = machine.posts[&1].up.as_ref().unwrap().view.cluster;
    let message = Message::Crown(above);
    let from = id_of(0);
    machine.handle(now, Input::Received { from, message });
    let after = &machine.posts[&1];
    assert!(after.up.is_none());
    assert_ne!(after.view.cluster.id, before.id);
}

/// Two who take each other for the root passed a greeting on to each other without end.
#[test]
fn a_greeting_for_the_root_is_passed_on_once_a_heartbeat() {
    let calm = formed(6, 2, 1);
    let (mut machine, now) = machine(&calm, 4);
    let hint = Hello {
        root: ClusterRef { id: 1, epoch: 1 },
        height: 1,
        size: 0,
        posts: Few(vec![Contact::bare(id_of(7))]),
        relayed: false,
    };
    let mut passed = 0;
    for _ in 0..10 {
        let message = Message::Hello(hint.clone());
        let from = id_of(5);
        machine.handle(now, Input::Received { from, message });
        while let Some(output) = machine.poll_output() {
            let hello = |it: &Output<_, _>| {
                matches!(
                    it,
                    Output::Send {
                        message: Message::Hello(_),
                        ..
                    }
                )
            };
            passed += usize::from(hello(&output));
        }
    }
    assert_eq!(passed, 1);
}

/// A node whose agent said that the seat was its own after all went on to seek one without end.
#[test]
fn a_seat_that_was_taken_for_lost_and_is_not_ends_the_search() {
    let mut calm = formed(3, 2, 1);
    let it = std::rc::Rc::make_mut(calm.scene.nodes[2].as_mut().unwrap());
    let now = it.clock;
    it.machine.lose_seat(now, 1);
    assert!(it.machine.timers.get(Timer::Seek(1)).is_some());
    let rest = calm::heals(&calm.end()).unwrap();
    assert!(!rest.directory);
}

/// Each had only the other to ask, and each told the other to wait.
#[test]
fn two_nodes_that_know_only_each_other_become_a_tree() {
    let mut calm = Calm::new(Scene::new(2, 2, 1));
    calm.start(0, Some(1)).unwrap();
    calm.start(1, Some(0)).unwrap();
    let rest = calm::heals(&calm.end()).unwrap();
    assert!(!rest.directory);
}

/// The survivor had been expelled by one that forgot it at once, and had only dead seeds.
#[test]
fn a_root_finds_again_whom_it_expelled() {
    let mut scene = formed(3, 2, 12).end();
    for act in [
        Act::Crash(1),
        Act::Restart { node: 1, seed: 2 },
        Act::Crash(2),
    ] {
        assert_eq!(scene.apply(act), Ok(true));
    }
    let mut calm = Calm::new(scene);
    calm.run(Duration::from_secs(1)).unwrap();
    let rest = calm::heals(&calm.end()).unwrap();
    assert!(!rest.directory);
}
