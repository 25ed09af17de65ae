//! What members are told, how old it is, and who may be counted twice.

use opus_core::{Contact, pack::Few};

use super::*;
use crate::{
    aggregate::{Item, Reporter, Source, Summary},
    cluster::{Place, Standing},
    label::Marks,
};

fn told(level: u8, slot: u8, count: u64) -> Down {
    let record = Record {
        summary: Summary::Count,
        count,
        ..Record::NOTHING
    };
    let origin = Origin {
        level,
        slot,
        beside: false,
    };
    let down = Down::of(KeyId::MEMBERS, origin, &record, &KeySpec::MEMBERS);
    down.expect("it is of somebody")
}

/// What a member has after the push that one who was told of `acked` gets.
fn push(track: &Track, inbox: &mut Inbox, acked: u32) {
    let base = track.base(acked);
    let records = track.since(Time::ZERO, base).into_iter();
    let records = records.map(|(_, down)| down);
    let numbers = (base, track.pushed);
    inbox.take(Time::ZERO, numbers, records.collect(), Duration::ZERO);
}

/// Of a cluster of this name.
fn standing(id: u64) -> Standing {
    Standing::of(Marks::of(true), Some(ClusterRef { id, epoch: 1 }))
}

fn view_of(nodes: u32) -> View {
    let seat = |index| Seat {
        contact: Contact::bare(NodeId::from_index(index)),
        incarnation: 1,
        place: Place::default(),
        standing: standing(u64::from(index)),
        size: 20,
    };
    View {
        cluster: ClusterRef { id: 1, epoch: 1 },
        level: 2,
        agent: Contact::bare(NodeId::from_index(0)),
        deputies: Few(Vec::new()),
        roster: (0..).zip((0..nodes).map(seat)).collect(),
    }
}

/// Reports `count` members from `slot` as a whole.
fn report(track: &mut Track, view: &View, slot: u8, now: Time, count: u64) {
    let seat = view.roster.get(slot).unwrap();
    let term = track.term(seat);
    let count = Record {
        count,
        ..Record::of_one(Summary::Count)
    };
    let item = Item {
        key: KeyId::MEMBERS,
        spec: &KeySpec::MEMBERS,
        source: Source::Cluster(&count),
        wait: Duration::ZERO,
    };
    let mut reporter = Reporter::new(u64::from(slot));
    // One for each second before, so that it is newer than those.
    for _ in 0..now.since(Time::ZERO).as_secs() {
        reporter.compose(now, &[item]);
        reporter.on_asked();
    }
    let report = reporter.compose(now, &[item]);
    let spec_of = |_| Some(&KeySpec::MEMBERS);
    track
        .slots
        .apply(slot, now, term, &report, Duration::ZERO, spec_of);
    track.on_reported(now, slot, seat.id(), term);
}

/// Count, possible doubles, missing.
fn counted(track: &Track, now: Time) -> (u64, u64, u64) {
    let record = track
        .record(now, KeyId::MEMBERS, &KeySpec::MEMBERS)
        .unwrap();
    (record.count, record.double, record.missing)
}

/// The seat's cluster under its next epoch.
fn promote(track: &mut Track, view: &mut View, slot: u8, now: Time) {
    let seat = view.roster.get_mut(slot).unwrap();
    seat.stand_for(seat.child().unwrap().next());
    track.sync(now, view);
}

#[test]
fn an_absorbed_cluster_is_counted_where_it_was_until_the_other_has_told_of_it() {
    let seconds = Time::from_secs;
    for answered in [true, false] {
        let mut view = view_of(3);
        let mut track = Track::new(seconds(0), &view, &Keys::default());
        for slot in 0..3 {
            report(&mut track, &view, slot, seconds(1), 20);
        }
        // It had just come: that suspicion must not outlive the seat, nor end another.
        track.suspect(seconds(1), 2, 20, Duration::from_secs(5));
        assert_eq!(counted(&track, seconds(1)), (60, 20, 0));
        promote(&mut track, &mut view, 1, seconds(4));
        track.haunt(seconds(4), 2);
        track.until_reported(1, &view, 2);
        view.roster.remove(2);
        track.sync(seconds(4), &view);
        // Another comes: it does not drive out those who still count here.
        let another = Seat {
            standing: standing(77),
            ..view.roster.get(0).unwrap().clone()
        };
        let other = view.roster.add_but(another, |it| track.is_haunted(it));
        track.sync(seconds(5), &view);
        view.roster.remove(other.unwrap());
        track.sync(seconds(6), &view);
        track.sweep(seconds(7));
        assert_eq!(counted(&track, seconds(7)), (60, 0, 0));
        if answered {
            report(&mut track, &view, 1, seconds(8), 40);
            assert_eq!(counted(&track, seconds(8)), (60, 0, 0));
        } else {
            track.sweep(seconds(4) + GHOST_FOR);
            for slot in 0..2 {
                report(&mut track, &view, slot, seconds(14), 20);
            }
            assert_eq!(counted(&track, seconds(14)), (40, 0, 20));
        }
    }
}

/// Its nodes were missing when it was taken in, and count again before it is known whether those of
/// the sibling's new agent are they.
#[test]
fn an_absorbed_cluster_that_was_held_is_a_possible_double_once_a_successor_reports() {
    let seconds = Time::from_secs;
    let mut view = view_of(2);
    let mut track = Track::new(seconds(0), &view, &Keys::default());
    for slot in 0..2 {
        report(&mut track, &view, slot, seconds(1), 20);
    }
    track.hold(seconds(1), 1);
    let released = seconds(1) + DOUBLE_JOINED;
    report(&mut track, &view, 1, seconds(9), 20);
    promote(&mut track, &mut view, 0, seconds(10));
    track.haunt(seconds(10), 1);
    track.until_reported(0, &view, 1);
    view.roster.remove(1);
    track.sync(seconds(10), &view);
    view.roster.get_mut(0).unwrap().contact = Contact::bare(NodeId::from_index(9));
    promote(&mut track, &mut view, 0, seconds(12));
    report(&mut track, &view, 0, seconds(13), 40);
    assert_eq!(counted(&track, seconds(13)), (40, 0, 20));
    track.sweep(released);
    report(&mut track, &view, 0, released, 40);
    assert_eq!(counted(&track, released), (60, 20, 0));
    track.sweep(seconds(10) + GHOST_FOR);
    let (count, double, _) = counted(&track, seconds(10) + GHOST_FOR);
    assert_eq!((count, double), (40, 0));
}

#[test]
fn a_half_that_split_off_is_a_possible_double_until_the_other_has_told_of_it() {
    let seconds = Time::from_secs;
    let mut view = view_of(2);
    let mut track = Track::new(seconds(0), &view, &Keys::default());
    for slot in 0..2 {
        report(&mut track, &view, slot, seconds(1), 20);
    }
    let half = Seat {
        standing: standing(77),
        size: 8,
        ..view.roster.get(1).unwrap().clone()
    };
    promote(&mut track, &mut view, 1, seconds(2));
    view.roster.put(2, half);
    track.sync(seconds(2), &view);
    track.suspect(seconds(2), 2, 8, DOUBLE_JOINED);
    track.until_reported(1, &view, 2);
    report(&mut track, &view, 2, seconds(3), 8);
    assert_eq!(counted(&track, seconds(3)), (48, 8, 0));
    report(&mut track, &view, 1, seconds(3), 12);
    assert_eq!(counted(&track, seconds(3)), (40, 0, 0));
}

#[test]
fn a_record_that_is_told_late_is_as_old_as_it_is_then() {
    let mut track = Track::new(Time::ZERO, &view_of(2), &Keys::default());
    track.tell(Time::from_secs(1), told(2, 0, 30));
    let ages = |now| {
        let due = track.since(Time::from_secs(now), 0);
        due.iter().map(|(_, down)| down.age()).collect::<Vec<_>>()
    };
    assert_eq!(ages(1), [Duration::ZERO]);
    assert!(ages(4)[0] >= Duration::from_secs(3));
}

#[test]
fn a_root_that_is_none_any_more_is_forgotten_though_an_old_beat_comes_late() {
    let view = View {
        cluster: ClusterRef { id: 1, epoch: 1 },
        level: 1,
        agent: Contact::bare(NodeId::from_index(0)),
        deputies: Few(Vec::new()),
        roster: Roster::default(),
    };
    let mut track = Track::new(Time::ZERO, &view, &Keys::default());
    let mut inbox = Inbox::default();
    track.tell(Time::ZERO, told(2, 0, 30));
    push(&track, &mut inbox, 0);
    let old = inbox.pushed;
    assert_eq!(inbox.get(KeyId::MEMBERS, None).unwrap().down.count(), 30);
    // The tree grows: another cluster is the whole.
    track.tell(Time::ZERO, told(2, 3, 31));
    track.tell(Time::ZERO, told(3, 0, 900));
    track.retain(|(_, origin)| {
        *origin
            != Origin {
                level: 2,
                slot: 0,
                beside: false,
            }
    });
    push(&track, &mut inbox, old);
    assert_eq!(inbox.get(KeyId::MEMBERS, None).unwrap().down.count(), 900);
    assert_eq!(inbox.get(KeyId::MEMBERS, Some(2)).unwrap().down.count(), 31);
    assert_eq!(inbox.iter().count(), 2);
    assert_eq!(inbox.pushed, track.pushed);
}

#[test]
fn whoever_moves_is_missing_until_all_may_know_that_it_left() {
    let seconds = Time::from_secs;
    let view = view_of(2);
    let mut track = Track::new(seconds(0), &view, &Keys::default());
    track.hold(seconds(1), 1);
    for slot in 0..2 {
        report(&mut track, &view, slot, seconds(2), 20);
    }
    assert_eq!(counted(&track, seconds(2)), (20, 0, 20));
    // Whoever takes the post goes on with that.
    let mut heir = Track::new(seconds(9), &view, &Keys::default());
    heir.take_books(seconds(9), &track.books(seconds(9), &view.roster));
    for slot in 0..2 {
        report(&mut heir, &view, slot, seconds(10), 20);
    }
    for slot in 0..2 {
        report(&mut heir, &view, slot, seconds(15), 20);
        report(&mut track, &view, slot, seconds(15), 20);
    }
    heir.sweep(seconds(15));
    assert_eq!(counted(&heir, seconds(15)), (20, 0, 20));
    heir.sweep(seconds(16));
    assert_eq!(counted(&heir, seconds(16)), (40, 0, 0));
    track.sweep(seconds(15));
    assert_eq!(counted(&track, seconds(15)), (20, 0, 20));
    track.sweep(seconds(16));
    assert_eq!(counted(&track, seconds(16)), (40, 0, 0));
}

/// The word of the agent that it left may come before that of the one to whom it came.
#[test]
fn who_went_elsewhere_is_missed_for_a_while() {
    let seconds = Time::from_secs;
    let mut view = view_of(2);
    let mut track = Track::new(seconds(0), &view, &Keys::default());
    for slot in 0..2 {
        report(&mut track, &view, slot, seconds(1), 20);
    }
    track.depart(seconds(2), 1);
    view.roster.remove(1);
    track.sync(seconds(2), &view);
    assert_eq!(counted(&track, seconds(2)), (20, 0, 20));
    let later = seconds(2) + DEPARTED_FOR;
    report(&mut track, &view, 0, later, 20);
    track.sweep(later);
    assert_eq!(counted(&track, later), (20, 0, 0));
}

#[test]
fn whose_agent_fell_silent_counts_no_more_when_it_counts_where_it_came_back() {
    let seconds = Time::from_secs;
    let mut view = view_of(2);
    let mut track = Track::new(seconds(0), &view, &Keys::default());
    for slot in 0..2 {
        report(&mut track, &view, slot, seconds(1), 20);
    }
    // From now on the cluster at 1 is silent. Its members follow a deputy, who was granted nothing
    // and comes back under another name; the old agent answers pings.
    let fork = Seat {
        standing: standing(77),
        ..view.roster.get(1).unwrap().clone()
    };
    view.roster.put(2, fork);
    track.sync(seconds(4), &view);
    track.hold(seconds(4), 2);
    for second in 5..30 {
        let now = seconds(second);
        report(&mut track, &view, 0, now, 20);
        report(&mut track, &view, 2, now, 20);
        track.sweep(now);
        let (count, double, missing) = counted(&track, now);
        assert!(count <= 40 && double == 0, "{second}: {count}");
        assert_eq!(count + missing, 60, "{second}");
    }
    assert_eq!(counted(&track, seconds(29)).0, 40);
}
