//! What a parent makes of its children's records, and what an answer makes of that.

use proptest::prelude::*;

use super::{
    super::{
        answer::{Answer, Value},
        change::Change,
        key::KeyId,
    },
    *,
};

fn spec(function: Function) -> KeySpec {
    KeySpec::new(function, (0.0, 100.0), 1.0)
}

fn child(summary: Summary, count: u64, slack: f64) -> Record {
    Record {
        summary,
        count,
        slack,
        ..Record::NOTHING
    }
}

fn fold(function: Function, children: &[(Record, f64)]) -> Record {
    let spec = spec(function);
    let mut fold = Fold::new(&spec);
    for (record, width) in children {
        fold.add(record, *width, record.age);
    }
    fold.finish()
}

fn bounds(function: Function, record: &Record) -> (f64, f64) {
    let answer = Answer::of(record, 0.0, &spec(function)).unwrap();
    (answer.lo, answer.hi)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn sums_add_counts_slacks_and_the_widths_in_force_and_keep_the_greatest_age() {
    let old = Record {
        age: Duration::from_secs(3),
        missing: 2,
        double: 1,
        ..child(Summary::Sum(10.0), 4, 0.5)
    };
    let new = Record {
        age: Duration::from_secs(1),
        missing: 1,
        double: 1,
        ..child(Summary::Sum(5.0), 2, 0.25)
    };
    let record = fold(Function::Sum, &[(old, 1.0), (new, 0.25)]);
    assert_eq!(record.summary, Summary::Sum(15.0));
    assert_eq!((record.count, record.missing, record.double), (6, 3, 2));
    assert!(near(record.slack, 2.0));
    assert_eq!(record.age, Duration::from_secs(3));
}

#[test]
fn whoever_is_only_missing_adds_neither_age_nor_width() {
    let lost = Record {
        age: Duration::from_secs(99),
        missing: 7,
        ..Record::NOTHING
    };
    let record = fold(Function::Mean, &[(lost, 5.0)]);
    assert_eq!((record.missing, record.age), (7, Duration::ZERO));
    assert!(near(record.slack, 0.0));
    assert_eq!(Answer::of(&record, 0.0, &spec(Function::Mean)), None);
}

#[test]
fn a_minimum_is_bounded_by_the_least_ends_and_not_by_the_widest_child() {
    let sure = child(Summary::Extreme(10.0), 1, 1.0);
    let vague = child(Summary::Extreme(50.0), 1, 30.0);
    let record = fold(Function::Min, &[(sure.clone(), 0.5), (vague.clone(), 0.0)]);
    let (lo, hi) = bounds(Function::Min, &record);
    assert!(near(lo, 8.5) && near(hi, 11.5), "{lo} {hi}");
    let record = fold(Function::Max, &[(sure, 0.5), (vague, 0.0)]);
    let (lo, hi) = bounds(Function::Max, &record);
    assert!(near(lo, 20.0) && near(hi, 80.0), "{lo} {hi}");
}

#[test]
fn a_repeat_widens_a_mean_by_its_share_of_the_range() {
    let twice = Record {
        double: 1,
        ..child(Summary::Sum(500.0), 10, 10.0)
    };
    let (lo, hi) = bounds(Function::Mean, &twice);
    // (slack + double x range) / count = (10 + 100) / 10
    assert!(near(lo, 39.0) && near(hi, 61.0), "{lo} {hi}");
    let (lo, hi) = bounds(Function::Sum, &twice);
    assert!(near(lo, 390.0) && near(hi, 610.0), "{lo} {hi}");
    let count = Record {
        summary: Summary::Count,
        slack: 0.0,
        ..twice
    };
    let (lo, hi) = bounds(Function::Count, &count);
    assert!(near(lo, 9.0) && near(hi, 10.0), "{lo} {hi}");
}

#[test]
fn a_weighted_mean_of_next_to_no_weight_is_known_as_far_as_the_weight_is() {
    let weighted = |slack| {
        let (sum, weight) = (50.0, 1.0);
        child(Summary::Weighted { sum, weight }, 10, slack)
    };
    // A slack of 25 may be half a weight (span/2 each): 25 / (1 - 0.5) on both sides.
    let (lo, hi) = bounds(Function::WeightedMean, &weighted(25.0));
    assert!(near(lo, 0.0) && near(hi, 100.0), "{lo} {hi}");
    let (lo, hi) = bounds(Function::WeightedMean, &weighted(10.0));
    assert!(near(lo, 37.5) && near(hi, 62.5), "{lo} {hi}");
    // As much slack as there is weight says nothing.
    let (lo, hi) = bounds(Function::WeightedMean, &weighted(50.0));
    assert!(near(lo, 0.0) && near(hi, 100.0), "{lo} {hi}");
}

#[test]
fn a_variance_is_taken_about_the_middle_of_the_range() {
    let spec = spec(Function::Variance);
    let records: Vec<_> = [40.0, 50.0, 60.0]
        .map(|x| {
            let sample = super::super::summary::Sample::Number(x);
            (Record::of_one(Summary::of(&sample, 0, &spec).unwrap()), 0.0)
        })
        .into();
    let answer = Answer::of(&fold(Function::Variance, &records), 0.0, &spec).unwrap();
    let Value::Number(value) = answer.value else {
        panic!("a variance is a number");
    };
    assert!(near(value, 200.0 / 3.0), "{value}");
}

proptest! {
    #[test]
    fn what_the_wire_loses_is_in_the_slack(
        slack in 0.0..1e6_f64, missing in 0..1_000_000_u64, double in 0..100_u64,
    ) {
        let spec = spec(Function::Sum);
        let record = Record {
            missing,
            double,
            ..child(Summary::Sum(123.456_789), 100, slack)
        };
        let told = Change::of_record(KeyId(1), &record).record(0, &spec).unwrap();
        prop_assert!(told.slack >= slack && told.missing >= missing && told.double >= double);
        // What was just sent is not due again, by however little it was rounded.
        prop_assert!(record.strays_from(&told, &spec) <= 0.0);
    }

    /// The half of the claim that random trees reach too seldom: the greatest errors there are.
    #[test]
    fn a_weighted_mean_holds_for_every_error_that_its_slack_allows(
        x in 0.0..100.0_f64, weight in 0.1..10.0_f64, slack in 0.0..100.0_f64, at in 0.0..1.0_f64,
        signs in (any::<bool>(), any::<bool>()),
    ) {
        let sign = |plus: bool| if plus { 1.0 } else { -1.0 };
        // The slack is |change of the centred sum| + span/2 |change of the weight|.
        let heavier = sign(signs.0) * at * slack / 50.0;
        let more = sign(signs.1) * (1.0 - at) * slack;
        let truth = (weight + heavier, weight * x + more + 50.0 * heavier);
        prop_assume!(truth.0 > 1e-3 && truth.1 >= 0.0 && truth.1 <= 100.0 * truth.0);
        let told = child(Summary::Weighted { sum: weight * x, weight }, 10, slack);
        let (lo, hi) = bounds(Function::WeightedMean, &told);
        let mean = truth.1 / truth.0;
        prop_assert!(lo <= mean + 1e-9 && mean <= hi + 1e-9, "{mean} in {lo}..{hi}");
    }
}
