//! Who goes from the cell: suspected, checked, and only then retired.

use super::*;
use crate::CellNews;

/// Root 0 with child 1, whose child is 2; 3 is a sink without an edge to any of these.
fn tree() -> (Net<Site>, OverlayId) {
    let (mut net, overlay) = net_with_app(4);
    attach(&mut net, 0, 1, Role::Source);
    for at in 1..4 {
        attach(&mut net, at, 1, Role::Sink);
    }
    net.run_for(Duration::from_secs(1));
    edges(&mut net, overlay, 0, None, &[1]);
    edges(&mut net, overlay, 1, Some(0), &[2]);
    edges(&mut net, overlay, 2, Some(1), &[]);
    net.run_for(Duration::from_secs(1));
    (net, overlay)
}

fn goes(net: &mut Net<Site>, at: u32, who: u32) {
    net.command(node(at), Command::Cell(CellNews::Gone(node(who))));
}

/// The last check that `at` ordered of `who`.
fn check(net: &Net<Site>, at: u32, who: u32) -> Option<u64> {
    let checks = said(net, at, |event| match event {
        Event::Probe(opus_probe::Command::Measure {
            id,
            targets,
            age_max: Duration::ZERO,
        }) if *targets == [node(who)] => Some(*id),
        _ => None,
    });
    checks.last().copied()
}

/// The probe of `at` answers a check.
fn answers(net: &mut Net<Site>, at: u32, who: u32, lives: bool) {
    let stats = opus_probe::PathStats {
        rtt_min_us: 1_000,
        rtt_smoothed_us: 1_000,
        rtt_p95_us: 1_000,
        sent: 1,
        lost: 0,
        age: Duration::ZERO,
    };
    let measured = opus_probe::Event::Measured {
        id: check(net, at, who).expect("it was asked"),
        peer: node(who),
        path: lives.then_some(stats),
        coordinate: None,
    };
    net.command(node(at), Command::Probe(measured));
}

fn retired(net: &Net<Site>, at: u32) -> Vec<NodeId> {
    said(net, at, |event| match event {
        Event::Overlay(opus_overlay::Command::Retire(peer)) => Some(*peer),
        _ => None,
    })
}

fn suspected(net: &Net<Site>, at: u32) -> Vec<NodeId> {
    said(net, at, |event| match event {
        Event::Overlay(opus_overlay::Command::Suspect(peer)) => Some(*peer),
        _ => None,
    })
}

fn joined(net: &Net<Site>, overlay: OverlayId) -> Vec<NodeId> {
    let members = net.machine(node(0)).members(overlay).into_iter();
    members
        .filter(|member| member.state == MemberState::Joined)
        .map(|member| member.contact.id)
        .collect()
}

#[test]
fn a_neighbour_that_answers_keeps_its_place() {
    let (mut net, overlay) = tree();
    for (at, who) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        goes(&mut net, at, who);
        assert_eq!(suspected(&net, at).last(), Some(&node(who)));
        answers(&mut net, at, who, true);
        assert_eq!(retired(&net, at), []);
    }
    net.run_for(Duration::from_secs(20));
    assert_eq!(joined(&net, overlay), [node(1), node(2)]);
}

#[test]
fn a_child_of_the_root_that_does_not_answer_is_retired_and_listed_no_more() {
    let (mut net, overlay) = tree();
    goes(&mut net, 0, 1);
    assert_eq!(
        joined(&net, overlay).len(),
        2,
        "the word alone retires nobody"
    );
    answers(&mut net, 0, 1, false);
    assert_eq!(retired(&net, 0), [node(1)]);
    assert_eq!(joined(&net, overlay), [node(2)]);
    let gone = said(&net, 0, |event| match event {
        Event::Member {
            member,
            state: MemberState::Gone,
            ..
        } => Some(*member),
        _ => None,
    });
    assert_eq!(gone, [node(1)]);
}

#[test]
fn a_dead_child_is_reported_by_its_parent_without_waiting_for_the_hold() {
    let (mut net, overlay) = tree();
    goes(&mut net, 1, 2);
    answers(&mut net, 1, 2, false);
    assert_eq!(retired(&net, 1), [node(2)]);
    net.run_for(Duration::from_secs(1));
    assert_eq!(joined(&net, overlay), [node(1)]);
}

#[test]
fn who_was_taken_for_dead_is_listed_again_by_its_next_report() {
    let (mut net, overlay) = tree();
    goes(&mut net, 1, 2);
    answers(&mut net, 1, 2, false);
    net.run_for(Duration::from_secs(1));
    assert_eq!(joined(&net, overlay), [node(1)]);
    net.run_for(Duration::from_secs(40));
    assert_eq!(joined(&net, overlay), [node(1), node(2)]);
}

#[test]
fn the_root_checks_a_member_to_which_it_has_no_edge_and_others_do_not() {
    let (mut net, overlay) = tree();
    for at in 0..2 {
        goes(&mut net, at, 3);
        assert_eq!(suspected(&net, at), [node(3)]);
    }
    assert_eq!(check(&net, 1, 3), None);
    answers(&mut net, 0, 3, false);
    let listed = net.machine(node(0)).members(overlay);
    assert!(listed.iter().all(|member| member.contact.id != node(3)));
}

#[test]
fn a_check_that_the_probe_had_no_room_for_is_repeated() {
    let (mut net, _) = tree();
    goes(&mut net, 1, 2);
    let id = check(&net, 1, 2).unwrap();
    let refused = opus_probe::Event::Refused {
        id,
        reason: opus_probe::Refusal::Busy,
    };
    net.command(node(1), Command::Probe(refused));
    net.run_for(Duration::from_secs(2));
    assert!(check(&net, 1, 2).unwrap() > id);
    answers(&mut net, 1, 2, false);
    assert_eq!(retired(&net, 1), [node(2)]);
}

#[test]
fn a_suspect_that_is_back_before_the_answer_is_left_alone() {
    let (mut net, _) = tree();
    goes(&mut net, 1, 2);
    let back = CellNews::Up(Contact::bare(node(2)));
    net.command(node(1), Command::Cell(back));
    answers(&mut net, 1, 2, false);
    assert_eq!(retired(&net, 1), []);
}

#[test]
fn whom_we_left_behind_is_not_suspected_and_neither_is_anybody_by_who_carries_nothing() {
    let (mut net, _) = tree();
    let apart = CellNews::Apart(node(2));
    net.command(node(1), Command::Cell(apart));
    assert_eq!(suspected(&net, 1), []);
    net.command(node(3), Command::Detach { att: 1 });
    goes(&mut net, 3, 2);
    assert_eq!(suspected(&net, 3), []);
}

#[test]
fn no_more_than_so_many_suspects_are_checked_at_once() {
    let config = Config {
        suspects_max: 1,
        ..config()
    };
    let mut net = net(4);
    net.crash(node(0));
    let seed = Seed::new(0);
    net.insert(node(0), Site::new(config, Contact::bare(node(0)), 1, seed));
    deploy(&mut net, 0, &spec("a", 1));
    attach(&mut net, 0, 1, Role::Source);
    let overlay = net.machine(node(0)).overlay_of(&app()).unwrap();
    edges(&mut net, overlay, 0, None, &[1, 2]);
    goes(&mut net, 0, 1);
    goes(&mut net, 0, 2);
    assert_eq!(check(&net, 0, 2), None);
    answers(&mut net, 0, 1, true);
    goes(&mut net, 0, 2);
    assert!(check(&net, 0, 2).is_some());
}
