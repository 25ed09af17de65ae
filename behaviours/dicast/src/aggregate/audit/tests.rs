//! What refutes a statement, and what explains it.

use super::*;
use crate::aggregate::{Rolls, Seen, Told, Values};

const LOAD: KeyId = KeyId(1);

fn spec() -> KeySpec {
    KeySpec::new(Function::Mean, (0.0, 100.0), 0.5)
        .checked()
        .unwrap()
}

fn at(seconds: u64) -> Time {
    Time::from_secs(seconds)
}

/// Two rolls: of each seat what it had in the one and in the other; none if it was not named.
fn told(members: &[(Option<f64>, Option<f64>)]) -> Between {
    let (mut rolls, mut told) = (Rolls::default(), Told::default());
    let mut seen = Seen::new(LOAD);
    let columns = [
        members.iter().map(|it| it.0).collect::<Vec<_>>(),
        members.iter().map(|it| it.1).collect(),
    ];
    for column in columns {
        let mut values = Values::default();
        for (slot, x) in (0..).zip(column) {
            if let Some(x) = x {
                values.put(LOAD, slot, x, &spec());
            }
        }
        rolls.take(at(1), values, 7, Duration::ZERO);
        assert!(told.take(at(1), &rolls.since(at(1), told.number()), Duration::ZERO));
        seen.take(&told);
    }
    seen.between(&spec())
}

fn row(value: f32, count: u32) -> Row {
    Row {
        key: LOAD,
        value,
        slack: 1.0,
        count,
        missing: 0,
        age: Duration::ZERO,
    }
}

fn still(x: f64, members: usize) -> Between {
    told(&vec![(Some(x), Some(x)); members])
}

#[test]
fn a_record_that_is_off_by_more_than_a_member_could_move_it_is_refuted() {
    let ten = still(20.0, 10);
    for (value, off) in [
        (200.0, None),
        (299.0, None),
        (303.0, Some(Off::More)),
        (101.0, None),
        (97.0, Some(Off::Less)),
    ] {
        assert_eq!(refutes(&row(value, 10), &ten, 0.0, &spec()), off, "{value}");
    }
}

#[test]
fn slack_and_what_moved_and_whom_only_one_side_names_explain_more() {
    let lie = row(330.0, 10);
    assert_eq!(
        refutes(&lie, &still(20.0, 10), 0.0, &spec()),
        Some(Off::More)
    );
    let loose = Row { slack: 40.0, ..lie };
    assert_eq!(refutes(&loose, &still(20.0, 10), 0.0, &spec()), None);
    // Three members had 20 more in one of the rolls, and may have had it in between.
    let mut members = vec![(Some(20.0), Some(20.0)); 10];
    members[..3].fill((Some(20.0), Some(40.0)));
    assert_eq!(refutes(&lie, &told(&members), 0.0, &spec()), None);
    // We ourselves moved by 4, so all others may have.
    let ten = still(20.0, 10);
    assert_eq!(refutes(&lie, &ten, 4.0, &spec()), None);
    // One more is in the record than in the rolls.
    assert_eq!(refutes(&lie, &still(20.0, 9), 0.0, &spec()), None);
    // One was in one of the rolls alone, and may be in the record or not.
    members.fill((Some(20.0), Some(20.0)));
    members[0] = (None, Some(90.0));
    assert_eq!(refutes(&lie, &told(&members), 0.0, &spec()), None);
    assert_eq!(refutes(&row(81.0, 9), &told(&members), 0.0, &spec()), None);
    assert_eq!(
        refutes(&row(75.0, 9), &told(&members), 0.0, &spec()),
        Some(Off::Less)
    );
}

#[test]
fn members_that_are_not_there_or_are_left_out_are_a_lie_unless_they_are_few() {
    let of = |count: u32, missing: u32| {
        let row = Row {
            missing,
            ..row(0.0, count)
        };
        refutes_count(&row, (20, 20))
    };
    assert_eq!((of(27, 0), of(28, 0)), (None, Some(Off::More)));
    assert_eq!((of(13, 0), of(12, 0)), (None, Some(Off::Less)));
    assert_eq!(of(2, 12), None, "they are said to be missing");
}

#[test]
fn one_who_remembers_knows_what_it_never_had() {
    let mut past = Past::default();
    past.turn(at(10));
    past.note(at(10), LOAD, 20.0);
    past.note(at(12), LOAD, 30.0);
    past.turn(at(19));
    past.note(at(20), LOAD, 25.0);
    let refutes = |from: u64, x: f64| past.refutes(LOAD, at(from), (x, 0.1), &spec());
    // Since the stretch before this one began it was between 20 and 30.
    for x in [19.95, 22.0, 30.05] {
        assert_eq!(refutes(12, x), Some(false), "{x}");
    }
    for x in [19.8, 30.2, 70.0] {
        assert_eq!(refutes(12, x), Some(true), "{x}");
    }
    assert_eq!(refutes(9, 70.0), None, "nobody knows what was before");
    past.turn(at(27));
    let refutes = |from: u64, x: f64| past.refutes(LOAD, at(from), (x, 0.1), &spec());
    assert_eq!(refutes(18, 70.0), None, "it has forgotten that");
    assert_eq!(refutes(20, 20.0), Some(true), "that was before it");
    past.change(at(28), &[LOAD]);
    assert_eq!(past.refutes(LOAD, at(29), (70.0, 0.1), &spec()), None);
    assert_eq!(past.refutes(LOAD, at(43), (70.0, 0.1), &spec()), Some(true));
    past.forget(LOAD);
    assert_eq!(past.refutes(LOAD, at(43), (70.0, 0.1), &spec()), None);
}

#[test]
fn what_a_member_says_of_itself_covers_all_that_it_had() {
    let mut past = Past::default();
    past.note(at(0), LOAD, 20.0);
    past.turn(at(8));
    past.note(at(9), LOAD, 40.0);
    let row = past.row(at(12), LOAD, at(0), &spec()).unwrap();
    assert_eq!((row.value, row.slack, row.count), (30.0, 10.0, 1));
    assert_eq!(row.age, Duration::from_secs(12));
    let told = |x: f64| refutes_entries(&row, [(x, 0.1), (x, 0.1)]);
    assert!(!told(20.0) && !told(40.0));
    assert!(told(19.0) && told(41.0));
    let later = past.row(at(12), LOAD, at(10), &spec()).unwrap();
    assert_eq!(later.age, Duration::from_secs(2), "it sits here since then");
}

#[test]
fn a_past_is_of_no_more_keys_than_there_can_be() {
    let mut past = Past::default();
    for key in 1..200 {
        past.note(at(1), KeyId(key), f64::MAX);
    }
    assert_eq!(past.rows.len(), KEYS_MAX);
}
