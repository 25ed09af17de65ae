//! Pieces of the directory over plain data, and what dicast says in the words of the cell.

use opus_core::Seed;
use opus_dicast::cluster::ClusterRef;

use super::*;

fn node(index: u32) -> NodeId {
    NodeId::from_index(index)
}

fn contact(index: u32) -> Contact {
    Contact::bare(node(index))
}

/// So many milliseconds from the origin.
fn place(ms: i32) -> Position {
    Position([ms * 1_000, 0, 0], 100, 100).clamped()
}

fn overlays(of: &[u64]) -> BTreeSet<OverlayId> {
    of.iter().copied().map(OverlayId).collect()
}

#[test]
fn the_nearest_are_named_and_those_of_unknown_place_last() {
    let far: Vec<Contact> = (0..7).map(contact).collect();
    let (near, unknown) = (contact(8), contact(7));
    let carriers = [(&unknown, None)]
        .into_iter()
        .chain(far.iter().map(|contact| (contact, Some(place(80)))))
        .chain([(&near, Some(place(11)))]);
    let named = nearest(carriers, Some(place(10)));
    assert_eq!(named.len(), MATES_MAX);
    assert_eq!(named[0], near);
    assert!(!named.contains(&unknown));
}

#[test]
fn only_what_a_mate_did_not_carry_before_is_news() {
    let mut cell = Cell::new(4);
    cell.up(contact(1));
    let news = |cell: &mut Cell, of| cell.list(node(1), None, overlays(of));
    assert_eq!(
        news(&mut cell, &[1, 2]),
        Some(vec![OverlayId(1), OverlayId(2)])
    );
    assert_eq!(news(&mut cell, &[2, 3]), Some(vec![OverlayId(3)]));
    assert_eq!(cell.carriers(OverlayId(1), node(9)).count(), 0);
    assert_eq!(cell.carriers(OverlayId(3), node(9)).count(), 1);
    assert_eq!(cell.carriers(OverlayId(3), node(1)).count(), 0);
    assert_eq!(cell.list(node(2), None, overlays(&[1])), None);
}

#[test]
fn a_full_directory_lists_nobody_more_and_keeps_whom_it_has() {
    let mut cell = Cell::new(2);
    for index in 1..=3 {
        cell.up(contact(index));
    }
    let listed = |cell: &mut Cell, of| cell.list(node(of), None, overlays(&[1])).is_some();
    assert!(listed(&mut cell, 1) && listed(&mut cell, 2));
    assert!(!listed(&mut cell, 3));
}

#[test]
fn who_is_not_the_agent_keeps_no_directory() {
    let mut cell = Cell::new(4);
    cell.up(contact(1));
    cell.lead(node(0), node(0));
    cell.list(node(1), None, overlays(&[1]));
    cell.lead(node(2), node(0));
    assert_eq!(cell.carriers(OverlayId(1), node(9)).count(), 0);
}

#[test]
fn whom_we_leave_behind_has_not_gone() {
    use opus_dicast::Event;
    let mut watch = Watch::default();
    let gone = |watch: &mut Watch| watch.on_event(&Event::MemberDown(node(3)));
    assert_eq!(gone(&mut watch), Some(CellNews::Gone(node(3))));
    let cluster = ClusterRef { id: 7, epoch: 1 };
    assert_eq!(watch.on_event(&Event::Joined(cluster)), None);
    assert_eq!(gone(&mut watch), Some(CellNews::Apart(node(3))));
    let agent = watch.on_event(&Event::AgentChanged(contact(5)));
    assert_eq!(agent, Some(CellNews::Agent(contact(5))));
    assert_eq!(gone(&mut watch), Some(CellNews::Gone(node(3))));
}

#[test]
fn a_founder_finds_out_once_that_it_is_the_agent() {
    use opus_core::{Input, Machine};
    let config = opus_dicast::Config::default();
    let mut dicast = Dicast::new(config, contact(1), 1, Seed::new(1).rng());
    let mut watch = Watch::default();
    assert_eq!(watch.look(&dicast), None);
    let start = opus_dicast::Command::Start {
        id: 0,
        seeds: Vec::new(),
    };
    dicast.handle(Time::ZERO, Input::Command(start));
    assert_eq!(watch.look(&dicast), Some(CellNews::Agent(contact(1))));
    assert_eq!(watch.look(&dicast), None);
}
