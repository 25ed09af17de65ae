//! What slots take, pass over and ask for.

use opus_core::pack::Few;
use proptest::prelude::*;

use super::{
    super::{
        change::Change,
        key::Function,
        report::{Item, Reporter, Source},
        summary::Sample,
    },
    *,
};

const KEY: KeyId = KeyId(1);
const MS: Duration = Duration::from_millis(1);

fn spec() -> KeySpec {
    KeySpec::new(Function::Sum, (0.0, 100.0), 1.0)
}

/// A table with one leaf in slot 0.
fn table() -> Slots {
    let mut slots = Slots::new();
    assert!(slots.learn(KEY));
    assert!(slots.occupy(0, Time::ZERO, 7, Occupant::Leaf, Term::default()));
    slots
}

fn report(beat: u32, seq: u32, sets: &[&[f32]]) -> Report {
    let set = |values: &&[f32]| Few(values.iter().map(|x| Change::Value(KEY, *x)).collect());
    Report {
        beat,
        seq,
        sets: Few(sets.iter().map(set).collect()),
        ..Report::default()
    }
}

fn full(beat: u32, seq: u32, values: &[f32]) -> Report {
    Report {
        full: true,
        ..report(beat, seq, &[values])
    }
}

fn apply(slots: &mut Slots, ms: u64, report: &Report) -> Outcome {
    let spec = spec();
    let now = Time::from_millis(ms);
    slots.apply(0, now, Term::default(), report, MS, |_| Some(&spec))
}

fn sum(slots: &Slots, ms: u64) -> Record {
    let now = Time::from_millis(ms);
    slots.record(KEY, now, &spec(), []).unwrap()
}

#[test]
fn a_first_report_that_is_not_full_is_asked_for_again() {
    let mut slots = table();
    assert_eq!(
        apply(&mut slots, 5, &report(1, 1, &[&[3.0]])).verdict,
        Verdict::Gap
    );
    let before = sum(&slots, 5);
    assert_eq!((before.count, before.missing), (0, 1));
    let outcome = apply(&mut slots, 6, &full(2, 1, &[3.0]));
    assert_eq!(
        (outcome.verdict, outcome.changed),
        (Verdict::Fresh, vec![KEY])
    );
    let after = sum(&slots, 16);
    assert_eq!(
        (after.summary, after.count, after.missing),
        (Summary::Sum(3.0), 1, 0)
    );
    assert_eq!(after.age, 11 * MS);
}

#[test]
fn a_repeated_set_fills_the_place_of_a_lost_one() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    let outcome = apply(&mut slots, 3, &report(4, 4, &[&[6.0], &[5.0], &[4.0]]));
    assert_eq!(outcome.verdict, Verdict::Fresh);
    assert_eq!(sum(&slots, 3).summary, Summary::Sum(6.0));
}

#[test]
fn a_gap_is_noticed_and_freshens_no_age_but_what_came_counts() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    let outcome = apply(&mut slots, 100, &report(9, 5, &[&[6.0], &[], &[]]));
    assert_eq!(outcome.verdict, Verdict::Gap);
    let record = sum(&slots, 100);
    assert_eq!((record.summary, record.age), (Summary::Sum(6.0), 100 * MS));
    // Silent beats stay behind the gap until a full report fills it.
    assert_eq!(
        apply(&mut slots, 101, &report(10, 5, &[])).verdict,
        Verdict::Gap
    );
    assert_eq!(
        apply(&mut slots, 102, &full(11, 6, &[6.0])).verdict,
        Verdict::Fresh
    );
    assert_eq!(sum(&slots, 102).age, MS);
}

#[test]
fn values_behind_a_gap_may_be_older_than_those_before_it() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    let old = Report {
        age: 900 * MS,
        ..report(9, 5, &[&[6.0]])
    };
    assert_eq!(apply(&mut slots, 2, &old).verdict, Verdict::Gap);
    assert_eq!(sum(&slots, 2).age, 901 * MS);
}

#[test]
fn older_reports_and_copies_change_nothing() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    apply(&mut slots, 2, &report(3, 2, &[&[4.0]]));
    for old in [
        report(3, 2, &[&[9.0]]),
        report(2, 2, &[&[9.0]]),
        full(1, 1, &[9.0]),
    ] {
        assert_eq!(apply(&mut slots, 9, &old).verdict, Verdict::Ignored);
    }
    assert_eq!(sum(&slots, 2).summary, Summary::Sum(4.0));
}

#[test]
fn a_partial_report_brings_values_but_vouches_for_nothing() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    let partial = Report {
        partial: true,
        ..report(2, 2, &[&[4.0]])
    };
    assert_eq!(apply(&mut slots, 50, &partial).verdict, Verdict::Partial);
    assert_eq!(sum(&slots, 50).age, 50 * MS);
}

#[test]
fn a_report_of_an_earlier_term_is_ignored() {
    let (mut slots, spec) = (table(), spec());
    let term = |epoch| Term {
        incarnation: 0,
        epoch,
    };
    slots.occupy(0, Time::ZERO, 7, Occupant::Leaf, term(2));
    let first = full(1, 1, &[3.0]);
    let old = slots.apply(0, Time::ZERO, term(1), &first, MS, |_| Some(&spec));
    assert_eq!(old.verdict, Verdict::Ignored);
    let new = slots.apply(0, Time::ZERO, term(3), &first, MS, |_| Some(&spec));
    assert_eq!((new.verdict, new.new_term), (Verdict::Fresh, true));
}

#[test]
fn a_lost_member_is_missing_for_ten_minutes_and_one_that_left_is_not() {
    let mut slots = table();
    apply(&mut slots, 0, &full(1, 1, &[3.0]));
    slots.vacate(0, Time::ZERO, Vacated::Lost);
    assert_eq!(sum(&slots, 599_999).missing, 1);
    assert_eq!(sum(&slots, 600_000).missing, 0);
    let mut slots = table();
    slots.vacate(0, Time::ZERO, Vacated::Left);
    assert_eq!(sum(&slots, 1).missing, 0);
}

#[test]
fn departures_beyond_those_remembered_are_added_up_and_not_forgotten() {
    let mut slots = table();
    for second in 0..100 {
        slots.occupy(
            0,
            Time::from_secs(second),
            7,
            Occupant::Cluster(3),
            Term::default(),
        );
        slots.vacate(0, Time::from_secs(second), Vacated::Lost);
    }
    assert_eq!(sum(&slots, 100_000).missing, 300);
}

#[test]
fn members_are_missing_from_a_new_key_until_they_answer() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[3.0]));
    assert!(slots.learn(KeyId(2)));
    let of_new = |slots: &Slots| slots.record(KeyId(2), Time::ZERO, &spec(), []).unwrap();
    assert_eq!(of_new(&slots).missing, 1);
    apply(&mut slots, 2, &report(2, 1, &[]));
    assert_eq!(
        of_new(&slots).missing,
        1,
        "an ordinary beat does not answer"
    );
    apply(&mut slots, 3, &full(3, 2, &[3.0]));
    assert_eq!(of_new(&slots).missing, 0);
}

#[test]
fn members_are_counted_from_the_roster() {
    let mut slots = table();
    slots.occupy(1, Time::ZERO, 8, Occupant::Leaf, Term::default());
    slots.suspect_double(1, 1);
    let members = |slots: &Slots| {
        let spec = KeySpec::MEMBERS;
        slots.record(KeyId::MEMBERS, Time::ZERO, &spec, []).unwrap()
    };
    assert_eq!((members(&slots).count, members(&slots).double), (2, 1));
    slots.vacate(0, Time::ZERO, Vacated::Left);
    assert_eq!(members(&slots).count, 1);
    assert!(!slots.occupy(64, Time::ZERO, 9, Occupant::Leaf, Term::default()));
}

#[test]
fn a_member_that_moves_by_ten_in_each_beat_has_a_step_of_ten() {
    let mut slots = table();
    apply(&mut slots, 1, &full(1, 1, &[0.0]));
    for beat in 2..=5 {
        let value = [if beat % 2 == 0 { 10.0 } else { 0.0 }];
        apply(&mut slots, 1, &report(beat, beat, &[&value]));
    }
    assert_eq!(slots.steps(KEY, 4), [(0, 10.0)]);
    assert_eq!(slots.steps(KEY, 4), [(0, 0.0)]);
}

#[test]
fn keys_and_departures_have_limits() {
    let mut slots = Slots::new();
    let learnt = (0..200).filter(|key| slots.learn(KeyId(*key))).count();
    assert_eq!(learnt, KEYS_MAX);
    slots.forget(KeyId(1));
    slots.forget(KeyId::MEMBERS);
    assert!(slots.learn(KeyId(500)) && !slots.learn(KeyId(501)));
}

proptest! {
    #[test]
    fn equal_tables_give_equal_records_to_the_last_bit(
        values in proptest::collection::vec(0.0..100.0_f64, 1..47),
        order in any::<u64>(),
    ) {
        let spec = spec();
        let fill = |turned: bool| {
            let mut slots = Slots::new();
            slots.learn(KEY);
            let mut all: Vec<_> = (0_u8..).zip(&values).collect();
            if turned {
                all.sort_by_key(|it| (u64::from(it.0) + 1).wrapping_mul(order | 1));
            }
            for (slot, value) in all {
                slots.occupy(slot, Time::ZERO, 1, Occupant::Leaf, Term::default());
                let sample = Sample::Number(*value);
                let item = Item { key: KEY, spec: &spec, source: Source::Own(&sample), wait: MS };
                let report = Reporter::new(1).compose(Time::ZERO, &[item]);
                slots.apply(slot, Time::ZERO, Term::default(), &report, MS, |_| Some(&spec));
            }
            slots.record(KEY, Time::ZERO, &spec, [0.1; 47])
        };
        prop_assert_eq!(fill(false), fill(true));
    }
}
