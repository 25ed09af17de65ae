//! Who roots an overlay, and how that changes.

use super::*;

fn root(net: &Net<Site>, at: u32) -> Option<NodeId> {
    net.machine(node(at))
        .app(&app())
        .unwrap()
        .root
        .map(|contact| contact.id)
}

#[test]
fn a_source_roots_the_overlay_and_everybody_learns_it() {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 1, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    assert_eq!(attached(&net, 1), [1]);
    assert_eq!(state(&net, 1, overlay), AppState::Rooted);
    assert_eq!(
        (0..3).map(|at| root(&net, at)).collect::<Vec<_>>(),
        [Some(node(1)); 3]
    );
    let opened = said(&net, 1, |event| match event {
        Event::Relay(command) => Some(command.clone()),
        _ => None,
    });
    assert!(opened.iter().any(|command| matches!(
        command,
        opus_relay::Command::Source { seq_first, .. } if *seq_first == (1 << 40 | 1)
    )));
}

#[test]
fn a_second_source_elsewhere_is_busy_while_the_first_lives() {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 2, 2, Role::Source);
    assert_eq!(state(&net, 2, overlay), AppState::Claiming);
    net.run_for(Duration::from_secs(1));
    assert_eq!(refusals(&net, 2), [Refusal::Busy(app().to_string())]);
    assert_eq!(state(&net, 2, overlay), AppState::Unattached);
    assert!(net.machine(node(2)).attachments().is_empty());
}

#[test]
fn the_root_of_a_crashed_node_is_overridden() {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    net.crash(node(0));
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 2, 2, Role::Source);
    net.run_for(Duration::from_secs(6));
    assert_eq!(attached(&net, 2), [2]);
    assert_eq!(state(&net, 2, overlay), AppState::Rooted);
    assert_eq!(root(&net, 1), Some(node(2)));
}

#[test]
fn a_root_that_does_not_answer_is_overridden_after_a_while() {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    net.set_fault(|_, from, _, _| {
        if from == node(0) {
            opus_core::testing::LinkFault::Lose
        } else {
            opus_core::testing::LinkFault::Deliver
        }
    });
    attach(&mut net, 2, 2, Role::Source);
    net.run_for(config().claim_timeout + Duration::from_secs(1));
    assert_eq!(state(&net, 2, overlay), AppState::Rooted);
}

#[test]
fn a_source_that_restarts_on_its_node_is_root_again_with_a_higher_epoch() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 5, Role::Sink);
    net.run_for(Duration::from_secs(1));
    edges(&mut net, overlay, 0, None, &[1]);
    edges(&mut net, overlay, 1, Some(0), &[]);
    net.run_for(Duration::from_secs(1));
    let before = net.machine(node(1)).app(&app()).unwrap().epoch;
    net.crash(node(0));
    net.run_for(Duration::from_secs(1));
    net.insert(node(0), site(0, 2));
    net.connect(node(0), node(1));
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 0, 1, Role::Source);
    edges(&mut net, overlay, 0, None, &[1]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(state(&net, 0, overlay), AppState::Rooted);
    assert!(net.machine(node(1)).app(&app()).unwrap().epoch > before);
    let members = net.machine(node(0)).members(overlay);
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].state, MemberState::Joined);
    // The same key: the member's relay did not have to begin anew.
    let closed = said(&net, 1, |event| match event {
        Event::Relay(opus_relay::Command::Close { .. }) => Some(()),
        _ => None,
    });
    assert!(closed.is_empty());
}

#[test]
fn of_two_sources_apart_one_yields_when_they_meet() {
    let mut net = net(2);
    deploy(&mut net, 0, &spec("a", 1));
    deploy(&mut net, 1, &spec("a", 1));
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Source);
    let overlay = net.machine(node(0)).overlay_of(&app()).unwrap();
    assert_eq!(state(&net, 0, overlay), AppState::Rooted);
    assert_eq!(state(&net, 1, overlay), AppState::Rooted);
    net.connect(node(0), node(1));
    net.run_for(Duration::from_secs(10));
    let states = [state(&net, 0, overlay), state(&net, 1, overlay)];
    assert_eq!(states, [AppState::Unattached, AppState::Rooted]);
    assert_eq!(ended(&net, 0), [1]);
}

#[test]
fn a_live_source_contests_a_note_left_by_a_dead_node() {
    let mut net = net(3);
    for at in 0..3 {
        deploy(&mut net, at, &spec("a", 1));
    }
    // Node 2 has the higher identity: its note would win. It tells node 1, and dies.
    attach(&mut net, 2, 1, Role::Source);
    net.connect(node(2), node(1));
    net.run_for(Duration::from_secs(1));
    net.crash(node(2));
    attach(&mut net, 0, 1, Role::Source);
    net.connect(node(0), node(1));
    net.run_for(Duration::from_secs(10));
    let overlay = net.machine(node(0)).overlay_of(&app()).unwrap();
    assert_eq!(state(&net, 0, overlay), AppState::Rooted);
    assert!(ended(&net, 0).is_empty());
    assert_eq!(root(&net, 1), Some(node(0)));
}

#[test]
fn the_overlay_outlives_its_source_for_the_drain_and_then_sinks_wait() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    net.command(node(0), Command::Detach { att: 1 });
    net.run_for(Duration::from_secs(5));
    assert_eq!(state(&net, 0, overlay), AppState::Draining);
    assert_eq!(state(&net, 1, overlay), AppState::Searching);
    net.run_for(Duration::from_secs(6));
    assert_eq!(state(&net, 0, overlay), AppState::Unattached);
    assert_eq!(state(&net, 1, overlay), AppState::Waiting);
    assert!(ended(&net, 1).is_empty());
    assert_eq!(root(&net, 1), None);
}

#[test]
fn a_source_that_comes_back_in_the_drain_keeps_the_root() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    let before = net.machine(node(1)).app(&app()).unwrap().epoch;
    net.command(node(0), Command::Detach { att: 1 });
    net.run_for(Duration::from_secs(5));
    attach(&mut net, 0, 2, Role::Source);
    net.run_for(Duration::from_secs(60));
    assert_eq!(state(&net, 0, overlay), AppState::Rooted);
    assert_eq!(net.machine(node(1)).app(&app()).unwrap().epoch, before);
}

#[test]
fn a_source_may_move_to_another_node_in_the_drain() {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    net.command(node(0), Command::Detach { att: 1 });
    attach(&mut net, 2, 3, Role::Source);
    net.run_for(Duration::from_secs(2));
    assert_eq!(state(&net, 2, overlay), AppState::Rooted);
    assert_eq!(state(&net, 0, overlay), AppState::Unattached);
    let pointed = said(&net, 1, |event| match event {
        Event::Overlay(opus_overlay::Command::Reroot { root, .. }) => Some(root.id),
        _ => None,
    });
    assert_eq!(pointed, [node(2)]);
}

#[test]
fn a_new_address_of_the_root_spreads_without_a_new_epoch() {
    let (mut net, _) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    let before = net.machine(node(1)).app(&app()).unwrap().epoch;
    net.command(node(0), Command::Hint(opus_core::Hint([1, 2, 3].into())));
    net.run_for(Duration::from_secs(1));
    let row = net.machine(node(1)).app(&app()).unwrap();
    assert_eq!(*row.root.unwrap().hint.0, [1, 2, 3]);
    assert_eq!(row.epoch, before);
}

#[test]
fn draining_ends_everything_and_says_so() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 0, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    net.command(node(0), Command::Drain);
    net.run_for(Duration::from_secs(1));
    assert_eq!(ended(&net, 0), [1, 2]);
    assert_eq!(root(&net, 1), None);
    assert_eq!(state(&net, 0, overlay), AppState::Unattached);
    attach(&mut net, 0, 3, Role::Sink);
    assert_eq!(refusals(&net, 0), [Refusal::Draining]);
    net.run_for(Duration::from_secs(300));
}
