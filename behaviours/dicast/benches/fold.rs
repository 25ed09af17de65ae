//! What an agent does most: folding its slots into the cluster's record, and taking a report.
//!
//! `cargo bench -p opus-dicast --bench fold`

use std::time::Duration;

use divan::{Bencher, black_box};
use opus_core::{Time, pack};
use opus_dicast::aggregate::{
    Change, Function, Item, KeyId, KeySpec, Occupant, Record, Reporter, Sample, Slots, Source,
    Summary, Term,
};

const KEY: KeyId = KeyId(1);
const MEMBERS: u8 = 47;

fn main() {
    divan::main();
}

fn spec(function: Function) -> KeySpec {
    let spec = KeySpec::new(function, (0.0, 100.0), 0.01);
    spec.checked().expect("a lawful key")
}

/// A cluster of 47 whose members have each reported once.
fn cluster(spec: &KeySpec) -> (Slots, Vec<Reporter>) {
    let mut slots = Slots::new();
    assert!(slots.learn(KEY));
    let mut reporters = Vec::new();
    for slot in 0..MEMBERS {
        let mut reporter = Reporter::new(u64::from(slot));
        slots.occupy(
            slot,
            Time::ZERO,
            u64::from(slot),
            Occupant::Leaf,
            Term::default(),
        );
        let report = reporter.compose(Time::ZERO, &[item(spec, &Sample::Number(f64::from(slot)))]);
        slots.apply(
            slot,
            Time::ZERO,
            Term::default(),
            &report,
            Duration::ZERO,
            |_| Some(spec),
        );
        reporters.push(reporter);
    }
    (slots, reporters)
}

fn item<'a>(spec: &'a KeySpec, sample: &'a Sample) -> Item<'a> {
    Item {
        key: KEY,
        spec,
        source: Source::Own(sample),
        wait: Duration::ZERO,
    }
}

fn fold(bencher: Bencher<'_, '_>, function: Function) {
    let spec = spec(function);
    let (slots, _) = cluster(&spec);
    let widths = [0.01_f32; MEMBERS as usize];
    bencher.bench(|| {
        let now = Time::from_secs(1);
        black_box(slots.record(KEY, black_box(now), &spec, black_box(widths)))
    });
}

#[divan::bench]
fn fold_47_slots_mean(bencher: Bencher<'_, '_>) {
    fold(bencher, Function::Mean);
}

#[divan::bench]
fn fold_47_slots_max(bencher: Bencher<'_, '_>) {
    fold(bencher, Function::Max);
}

#[divan::bench]
fn fold_47_slots_top_16(bencher: Bencher<'_, '_>) {
    fold(bencher, Function::TopK(16));
}

#[divan::bench]
fn fold_47_slots_quantiles(bencher: Bencher<'_, '_>) {
    fold(bencher, Function::Quantiles);
}

/// A beat with one change: packed, unpacked, taken.
#[divan::bench]
fn take_a_report_with_a_change(bencher: Bencher<'_, '_>) {
    let spec = spec(Function::Mean);
    let (mut slots, mut reporters) = cluster(&spec);
    let mut value = 0.0;
    bencher.bench_local(|| {
        value = if value > 90.0 { 0.0 } else { value + 1.0 };
        let sample = Sample::Number(value);
        let report = reporters[3].compose(Time::ZERO, &[item(&spec, &sample)]);
        let report = pack::from_bytes(&pack::to_bytes(&report)).expect("what is made is lawful");
        let term = Term::default();
        slots.apply(3, Time::ZERO, term, &report, Duration::ZERO, |_| {
            Some(&spec)
        })
    });
}

#[divan::bench]
fn pack_a_clusters_mean(bencher: Bencher<'_, '_>) {
    let record = Record {
        summary: Summary::Sum(1e6),
        count: 10_000,
        slack: 1.0,
        ..Record::NOTHING
    };
    bencher.bench(|| pack::to_bytes(&Change::of_record(KEY, black_box(&record))));
}
