//! Packed forms: their sizes, and what hostile bytes do.

use std::time::Duration;

use opus_core::pack::{Few, Pack, from_bytes, to_bytes};
use proptest::prelude::*;

use super::super::*;

fn spec(function: Function) -> KeySpec {
    let spec = KeySpec::new(function, (0.0, 100.0), 0.01);
    spec.checked().unwrap()
}

fn record(summary: Summary, count: u64) -> Record {
    Record {
        summary,
        count,
        slack: 1.234_567,
        age: Duration::from_millis(1_234),
        missing: 47,
        double: 3,
    }
}

const ORIGIN: Origin = Origin {
    level: 3,
    slot: 46,
    beside: false,
};

#[test]
fn a_nodes_value_takes_5_bytes_and_a_clusters_mean_18() {
    let spec = spec(Function::Mean);
    let own = Change::of_sample(KeyId(62), &Sample::Number(1.1), &spec).unwrap();
    assert_eq!(to_bytes(&own).len(), 5);
    let two_million = record(Summary::Sum(1e6), 2_000_000);
    assert_eq!(
        to_bytes(&Change::of_record(KeyId(7), &two_million)).len(),
        18
    );
    assert_eq!(to_bytes(&Change::Withdrawn(KeyId(7))).len(), 1);
    assert_eq!(to_bytes(&Change::Withdrawn(KeyId(63))).len(), 2);
}

#[test]
fn a_number_comes_down_in_16_bytes_and_its_rounding_is_in_the_bound() {
    let spec = spec(Function::Mean);
    let record = record(Summary::Sum(1.000_000_1e6), 2_000_000);
    let down = Down::of(KeyId(7), ORIGIN, &record, &spec).unwrap();
    assert_eq!(to_bytes(&down).len(), 16);
    let (near, far) = (
        Answer::of(&record, 0.0, &spec).unwrap(),
        down.answer(Duration::ZERO, 0.0, &spec).unwrap(),
    );
    assert!(far.lo <= near.lo && near.hi <= far.hi, "{near:?} {far:?}");
    assert!(far.hi - far.lo <= 1.005 * (near.hi - near.lo));
    assert!(far.age >= record.age && far.missing_max >= 47);
    assert!(near.hard && far.hard);
}

#[test]
fn a_report_without_changes_takes_8_bytes() {
    let report = Report {
        beat: 9_999,
        seq: 1_000,
        round: 100,
        age: Duration::from_millis(1_500),
        ..Report::default()
    };
    assert_eq!(to_bytes(&report).len(), 8);
    assert_eq!(from_bytes(&to_bytes(&report)), Ok(report));
}

#[test]
fn what_is_told_of_siblings_comes_out_again_and_lists_are_not() {
    let origin = Origin {
        level: 2,
        slot: 64,
        beside: true,
    };
    let functions = [
        (Function::Count, true),
        (Function::Sum, true),
        (Function::Mean, true),
        (Function::Variance, true),
        (Function::Max, true),
        (Function::TopK(3), false),
        (Function::Quantiles, false),
    ];
    for (function, is_told) in functions {
        let spec = spec(function);
        let summary = if function == Function::Count {
            Summary::Count
        } else {
            Summary::of(&Sample::Number(50.3), 7, &spec).unwrap()
        };
        let down = Down::of(KeyId(7), origin, &record(summary, 1), &spec);
        assert_eq!(down.is_some(), is_told, "{function:?}");
        if let Some(down) = down {
            assert!(to_bytes(&down).len() <= 12, "{function:?}");
            assert_eq!(from_bytes(&to_bytes(&down)), Ok(down));
        }
    }
}

#[test]
fn an_answer_is_none_for_nobody_and_within_the_range_for_all() {
    let spec = spec(Function::Mean);
    assert_eq!(Answer::of(&Record::NOTHING, 1.0, &spec), None);
    let wide = Record {
        slack: 1e30,
        ..record(Summary::Sum(50.0), 1)
    };
    let answer = Answer::of(&wide, 1.0, &spec).unwrap();
    assert!(answer.lo >= 0.0 && answer.hi <= 100.0);
}

#[test]
fn a_liar_moves_a_sum_by_its_range_at_most() {
    let spec = spec(Function::Sum);
    let lie = record(Summary::Sum(1e300), 3).admitted(&spec).unwrap();
    assert_eq!(lie.summary, Summary::Sum(300.0));
    assert_eq!(record(Summary::Extreme(1.0), 3).admitted(&spec), None);
    assert_eq!(
        record(Summary::Count, 0).admitted(&self::spec(Function::Count)),
        None
    );
}

fn functions() -> impl Strategy<Value = Function> {
    prop_oneof![
        Just(Function::Count),
        Just(Function::Sum),
        Just(Function::Mean),
        Just(Function::WeightedMean),
        Just(Function::Variance),
        Just(Function::Min),
        Just(Function::Max),
        (1..=TOP_MAX).prop_map(Function::TopK),
        Just(Function::Quantiles),
        Just(Function::Distinct),
    ]
}

fn again<T: Pack + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let value = from_bytes::<T>(bytes).ok()?;
    assert_eq!(from_bytes::<T>(&to_bytes(&value)).as_ref(), Ok(&value));
    Some(value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn hostile_bytes_give_lawful_values_or_none(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..60),
        kind in 0..9_u8,
        function in functions(),
    ) {
        let spec = spec(function);
        // Near to what is lawful, so that more than the first byte is tried.
        if bytes.len() > 2 {
            bytes[0] |= 0xc0;
            bytes[1] = kind;
        }
        if let Some(change) = again::<Change>(&bytes)
            && let Some(record) = change.record(1, &spec)
        {
            check(&record, &spec);
        }
        again::<Report>(&bytes);
        if bytes.len() > 3 {
            bytes[1] = 2;
            bytes[3] = kind;
        }
        if let Some(down) = again::<Down>(&bytes)
            && let Some(answer) = down.answer(Duration::ZERO, 0.0, &spec)
        {
            prop_assert!(answer.lo <= answer.hi && answer.hi.is_finite());
        }
    }

    #[test]
    fn hostile_reports_are_taken_without_a_panic(
        sets in proptest::collection::vec(
            proptest::collection::vec((any::<u8>(), any::<f32>(), any::<bool>()), 0..5), 0..3),
        beat in 1..5_u32, seq in 0..5_u32, flags in 0..4_u8, function in functions(),
    ) {
        let spec = spec(function);
        let change = |(key, x, gone): (u8, f32, bool)| {
            let key = KeyId(u16::from(key % 3));
            if gone { Change::Withdrawn(key) } else { Change::Value(key, x) }
        };
        let sets = sets.into_iter().map(|set| Few(set.into_iter().map(change).collect()));
        let report = Report {
            beat, seq,
            full: flags & 1 != 0,
            partial: flags & 2 != 0,
            sets: Few(sets.collect()),
            ..Report::default()
        };
        let mut slots = Slots::new();
        slots.learn(KeyId(1));
        slots.occupy(5, opus_core::Time(1), 9, Occupant::Cluster(3), Term::default());
        for beat in [beat, beat, beat + 1] {
            let report = Report { beat, ..report.clone() };
            let term = Term::default();
            slots.apply(5, opus_core::Time(2), term, &report, Duration::ZERO, |_| Some(&spec));
        }
        let record = slots.record(KeyId(1), opus_core::Time(3), &spec, [0.0; 64]).unwrap();
        prop_assert!(record.slack >= 0.0);
    }
}

/// An admitted record of the key has a lawful answer.
fn check(record: &Record, spec: &KeySpec) {
    let mut fold = Fold::new(spec);
    fold.add(record, 0.5, Duration::ZERO);
    fold.add(record, 0.0, Duration::ZERO);
    let folded = fold.finish();
    if let Some(answer) = Answer::of(&folded, 0.0, spec) {
        assert!(answer.lo <= answer.hi, "{answer:?}");
        assert!(answer.lo.is_finite() && answer.hi.is_finite());
        if let Value::Number(value) = answer.value {
            assert!(answer.lo <= value && value <= answer.hi);
        }
    }
    if let Some(down) = Down::of(KeyId(1), ORIGIN, &folded, spec) {
        again::<Down>(&to_bytes(&down)).expect("what is made is lawful");
    }
    let change = Change::of_record(KeyId(1), &folded);
    again::<Change>(&to_bytes(&change)).expect("what is made is lawful");
}
