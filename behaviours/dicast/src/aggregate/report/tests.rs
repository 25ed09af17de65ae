//! What a sender tells, repeats, leaves out and withdraws.

use super::{super::key::Function, *};

const TIME: Time = Time::ZERO;

fn spec() -> KeySpec {
    KeySpec::new(Function::Sum, (0.0, 100.0), 1.0)
}

fn item<'a>(key: u16, spec: &'a KeySpec, sample: &'a Sample) -> Item<'a> {
    Item {
        key: KeyId(key),
        spec,
        source: Source::Own(sample),
        wait: Duration::ZERO,
    }
}

fn compose(reporter: &mut Reporter, value: f64) -> Report {
    let (spec, sample) = (spec(), Sample::Number(value));
    reporter.compose(TIME, &[item(1, &spec, &sample)])
}

fn lengths(report: &Report) -> Vec<usize> {
    report.sets.0.iter().map(|set| set.0.len()).collect()
}

#[test]
fn a_report_repeats_what_still_counts_of_the_last_two() {
    let mut reporter = Reporter::new(7);
    let first = compose(&mut reporter, 1.0);
    assert!(first.full && !first.partial);
    assert_eq!((first.beat, first.seq, lengths(&first)), (1, 1, vec![1]));
    for (beat, value) in (2_u32..).zip([2.0, 3.0, 4.0]) {
        let report = compose(&mut reporter, value);
        assert_eq!((report.beat, report.seq), (beat, beat));
        assert_eq!(
            lengths(&report).len(),
            usize::try_from(beat).unwrap().min(3)
        );
    }
    let silent = compose(&mut reporter, 4.0);
    assert_eq!(
        (silent.beat, silent.seq, lengths(&silent)),
        (5, 4, vec![1, 0, 0]),
        "of the same key only the last value counts"
    );
    let (spec, old, new) = (spec(), Sample::Number(4.0), Sample::Number(5.0));
    let (first, second) = (item(1, &spec, &old), item(2, &spec, &old));
    reporter.compose(TIME, &[first, second]);
    let report = reporter.compose(TIME, &[item(1, &spec, &new), second]);
    assert_eq!((report.seq, lengths(&report)), (6, vec![1, 1, 0]));
}

#[test]
fn a_value_within_the_width_is_not_told_until_it_has_waited() {
    let (spec, far) = (spec(), Sample::Number(1.5));
    let mut reporter = Reporter::new(7);
    compose(&mut reporter, 1.0);
    reporter.on_granted(1, &[(KeyId(1), 0.5)]);
    assert_eq!(compose(&mut reporter, 1.5).seq, 1);
    assert_eq!(compose(&mut reporter, 1.75).seq, 2);
    reporter.on_granted(1, &[(KeyId(1), 50.0)]);
    assert!(
        reporter.filter(KeyId(1)).unwrap().width() < 1.0,
        "a round counts once"
    );
    let waiting = Item {
        wait: Duration::from_secs(2),
        ..item(1, &spec, &far)
    };
    assert!(!reporter.is_due(Time::from_secs(1), &waiting));
    assert!(reporter.is_due(Time::from_secs(2), &waiting));
}

#[test]
fn a_narrower_width_makes_the_value_due_in_the_report_that_confirms_it() {
    let mut reporter = Reporter::new(7);
    compose(&mut reporter, 1.0);
    reporter.on_granted(1, &[(KeyId(1), 5.0)]);
    assert_eq!(compose(&mut reporter, 4.0).seq, 1);
    reporter.on_granted(2, &[(KeyId(1), 1.0)]);
    let report = compose(&mut reporter, 4.0);
    assert_eq!((report.round, report.seq), (2, 2));
}

#[test]
fn a_key_without_a_value_is_withdrawn() {
    let mut reporter = Reporter::new(7);
    compose(&mut reporter, 1.0);
    let report = reporter.compose(TIME, &[]);
    assert_eq!(report.sets.0[0].0, [Change::Withdrawn(KeyId(1))]);
    assert_eq!(reporter.compose(TIME, &[]).seq, 2);
}

#[test]
fn what_does_not_fit_is_left_out_openly_and_told_next() {
    let spec = KeySpec {
        function: Function::TopK(16),
        ..spec()
    };
    let record = |key: u64| {
        let mut top = super::super::summary::Top::default();
        for node in 0..16 {
            let value = f32::from(u8::try_from(node).unwrap());
            top.merge(&super::super::summary::Top::of(value, key * 100 + node), 16);
        }
        Record {
            summary: Summary::Top(Box::new(top)),
            count: 16,
            ..Record::NOTHING
        }
    };
    let records: Vec<Record> = (0..20).map(record).collect();
    let items: Vec<Item<'_>> = (0_u16..)
        .zip(&records)
        .map(|(key, record)| Item {
            source: Source::Cluster(record),
            ..item(key, &spec, &Sample::Number(0.0))
        })
        .collect();
    let mut reporter = Reporter::new(7);
    let few = reporter.compose(TIME, &items[..1]);
    assert!(!few.partial);
    let mut told = 1;
    for _ in 0..3 {
        let report = reporter.compose(TIME, &items);
        assert!(report.partial);
        assert!(to_bytes(&report.sets.0[0]).len() <= CHANGES_BYTES_MAX + 1);
        assert!(to_bytes(&report).len() <= CHANGES_BYTES_MAX + 20);
        told += report.sets.0[0].0.len();
    }
    let last = reporter.compose(TIME, &items);
    assert!(!last.partial);
    assert_eq!(told + last.sets.0[0].0.len(), 20);
    reporter.on_asked();
    let full = reporter.compose(TIME, &items);
    assert!(full.full && !full.partial && full.sets.0[0].0.len() == 20);
}

#[test]
fn a_slack_that_has_become_much_smaller_is_told() {
    let spec = spec();
    let mut record = Record {
        summary: Summary::Sum(5.0),
        count: 2,
        slack: 1.0,
        ..Record::NOTHING
    };
    let mut filter = Filter::default();
    filter.on_sent(TIME, 1, record.clone());
    record.slack = 0.99;
    assert!(!filter.due(TIME, &record, &spec, Duration::ZERO));
    record.slack = 0.9;
    assert!(filter.due(TIME, &record, &spec, Duration::ZERO));
    record.slack = 1.01;
    assert!(
        filter.due(TIME, &record, &spec, Duration::ZERO),
        "a width of 0 covers nothing"
    );
}
