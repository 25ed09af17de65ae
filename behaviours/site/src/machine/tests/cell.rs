//! The directory of a cell: who is introduced to whom, and who is not.

use super::*;
use crate::{CellNews, wire::Message};

/// Members that `at` introduced to its overlay machine since the event numbered `since`.
fn introduced(net: &Net<Site>, at: u32, since: usize) -> Vec<Vec<NodeId>> {
    let later = net.events[since..].iter();
    let said = later.filter(|(_, who, _)| *who == node(at));
    said.filter_map(|(_, _, event)| match event {
        Event::Overlay(opus_overlay::Command::Introduce { members, .. }) => {
            Some(members.iter().map(|contact| contact.id).collect())
        }
        _ => None,
    })
    .collect()
}

fn tell(net: &mut Net<Site>, at: u32, news: CellNews) {
    net.command(node(at), Command::Cell(news));
}

fn lead(net: &mut Net<Site>, cell: &[u32], agent: u32) {
    for &at in cell {
        tell(net, at, CellNews::Agent(Contact::bare(node(agent))));
    }
}

/// Seats these in one cell.
fn gather(net: &mut Net<Site>, cell: &[u32], agent: u32) {
    for &at in cell {
        for &other in cell.iter().filter(|&&other| other != at) {
            tell(net, at, CellNews::Up(Contact::bare(node(other))));
        }
    }
    lead(net, cell, agent);
}

/// Root 0 and sinks 1 and 2; node 3 has nothing to do with the application.
fn party() -> (Net<Site>, OverlayId) {
    let (mut net, overlay) = net_with_app(4);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 1, Role::Sink);
    attach(&mut net, 2, 1, Role::Sink);
    net.run_for(Duration::from_secs(1));
    (net, overlay)
}

/// Whom 1 and 2 were introduced to, each other alone expected, and how often in all.
fn meetings(net: &Net<Site>, since: usize) -> usize {
    let (first, second) = (introduced(net, 1, since), introduced(net, 2, since));
    assert!(
        first.iter().all(|members| *members == [node(2)]),
        "{first:?}"
    );
    assert!(
        second.iter().all(|members| *members == [node(1)]),
        "{second:?}"
    );
    first.len() + second.len()
}

#[test]
fn the_agent_introduces_the_later_of_two_mates_to_the_earlier() {
    let (mut net, _) = party();
    let since = net.events.len();
    gather(&mut net, &[1, 2, 3], 3);
    net.run_for(Duration::from_secs(1));
    assert_eq!(meetings(&net, since), 1);
    net.run_for(Duration::from_secs(300));
    assert_eq!(meetings(&net, since), 1, "what was said before is no news");
}

#[test]
fn mates_tell_a_new_agent_again_and_one_that_was_away() {
    let (mut net, _) = party();
    gather(&mut net, &[1, 2, 3], 3);
    net.run_for(Duration::from_secs(1));
    let since = net.events.len();
    lead(&mut net, &[1, 2, 3], 2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(introduced(&net, 1, since), [[node(2)]]);
    net.crash(node(3));
    net.run_for(Duration::from_secs(1));
    net.insert(node(3), site(3, 2));
    net.connect_all();
    let since = net.events.len();
    gather(&mut net, &[1, 2, 3], 3);
    net.run_for(Duration::from_secs(1));
    assert_eq!(meetings(&net, since), 1);
}

#[test]
fn an_agent_that_carries_the_overlay_is_introduced_and_named() {
    let (mut net, _) = party();
    let since = net.events.len();
    gather(&mut net, &[1, 2], 1);
    net.run_for(Duration::from_secs(1));
    assert_eq!(introduced(&net, 2, since), [[node(1)]]);
    attach(&mut net, 3, 1, Role::Sink);
    net.run_for(Duration::from_secs(1));
    let since = net.events.len();
    gather(&mut net, &[1, 2, 3], 3);
    net.run_for(Duration::from_secs(1));
    let last = [introduced(&net, 1, since), introduced(&net, 2, since)].concat();
    assert!(
        last.iter().all(|members| members.contains(&node(3))),
        "{last:?}"
    );
    assert_eq!(last.len(), 2);
}

#[test]
fn a_newcomer_to_the_overlay_meets_its_mate_at_once() {
    let (mut net, _) = party();
    gather(&mut net, &[1, 3], 1);
    net.run_for(Duration::from_secs(1));
    let since = net.events.len();
    attach(&mut net, 3, 1, Role::Sink);
    net.run_for(Duration::from_secs(1));
    // The first introduction is the root's welcome.
    assert_eq!(introduced(&net, 3, since).last(), Some(&vec![node(1)]));
    assert_eq!(introduced(&net, 3, since).len(), 2);
}

#[test]
fn who_has_gone_or_left_the_overlay_is_named_no_more() {
    for detached in [false, true] {
        let (mut net, _) = party();
        gather(&mut net, &[1, 2, 3], 3);
        net.run_for(Duration::from_secs(1));
        if detached {
            net.command(node(1), Command::Detach { att: 1 });
        } else {
            tell(&mut net, 3, CellNews::Gone(node(1)));
        }
        net.command(node(2), Command::Detach { att: 1 });
        net.run_for(Duration::from_secs(1));
        let since = net.events.len();
        attach(&mut net, 2, 2, Role::Sink);
        net.run_for(Duration::from_secs(1));
        assert_eq!(introduced(&net, 2, since).len(), 1, "the root's welcome");
    }
}

#[test]
fn strangers_are_not_listed_and_answers_that_nobody_asked_for_are_not_taken() {
    let (mut net, overlay) = party();
    let from = |from: u32, message| Input::Received {
        from: node(from),
        message,
    };
    gather(&mut net, &[1, 3], 3);
    let since = net.events.len();
    // Node 2 is not in the cell of 3.
    let carry = Message::Carry {
        place: None,
        overlays: vec![overlay],
    };
    net.input(node(3), from(2, carry));
    net.run_for(Duration::from_secs(1));
    assert_eq!(introduced(&net, 1, since), Vec::<Vec<NodeId>>::new());
    let mates = Message::Mates {
        overlay,
        members: vec![Contact::bare(node(2))],
    };
    net.input(node(1), from(2, mates.clone()));
    assert_eq!(introduced(&net, 1, since), Vec::<Vec<NodeId>>::new());
    for _ in 0..3 {
        net.input(node(1), from(3, mates.clone()));
    }
    assert_eq!(
        introduced(&net, 1, since),
        [[node(2)]],
        "one for each telling"
    );
}

#[test]
fn a_node_that_carries_nothing_says_nothing() {
    let mut net = net(2);
    net.connect_all();
    net.run_for(Duration::from_secs(1));
    let sent = net.sent;
    gather(&mut net, &[0, 1], 1);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.sent, sent);
}
