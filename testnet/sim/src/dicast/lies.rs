//! What liars say. A lying leaf puts values into its beats that no honest node has, for more nodes
//! than one; a lying agent tells its parent that its members have more load than they have.

use opus_core::{Rng, pack::Few};
use opus_site::{
    StatusMessage,
    dicast::{
        Message,
        aggregate::{Change, KeyId, KeySpec, Record, Summary},
    },
};
use rand::RngExt;

use super::{
    LOAD,
    workload::{RANGE, load_spec},
};

/// One beat in so many holds what no codec admits, and is lost as a whole.
const MALFORMED_SELDOM: u32 = 50;

/// Changes what a node says as a leaf; as an agent it is honest.
pub(super) fn lie(message: &mut StatusMessage, rng: &mut Rng) {
    let StatusMessage::Dicast(message) = message else {
        return;
    };
    let Message::Beat(beat) = message.as_mut() else {
        return;
    };
    if beat.child.is_some() {
        return;
    }
    beat.size = rng.random_range(0..=u32::MAX);
    let sets = beat.report.iter_mut().flat_map(|report| &mut report.sets.0);
    for change in sets.flat_map(|Few(changes)| changes) {
        *change = nonsense(change.key(), rng);
    }
}

/// Nodes of a cluster of level 1, at most.
const CLUSTER_MAX: u64 = 64;

/// Changes what an agent of level 1 says of its cluster: the mean of the load is off by a tenth of
/// the range. As a leaf it is honest, and so it is to its members.
pub(super) fn lie_as_agent(message: &mut StatusMessage, _: &mut Rng) {
    let StatusMessage::Dicast(message) = message else {
        return;
    };
    let Message::Beat(beat) = message.as_mut() else {
        return;
    };
    let spec: KeySpec = load_spec(0.01);
    let sets = beat.report.iter_mut().flat_map(|report| &mut report.sets.0);
    for change in sets.flat_map(|Few(changes)| changes) {
        if !matches!(change, Change::Record(LOAD, _)) {
            continue;
        }
        let Some(mut record) = change.record(0, &spec) else {
            continue;
        };
        if let Summary::Sum(sum) = &mut record.summary
            && record.count <= CLUSTER_MAX
        {
            *sum += record.count as f64 * (RANGE.1 - RANGE.0) / 10.0;
            *change = Change::of_record(LOAD, &record);
        }
    }
}

fn nonsense(key: KeyId, rng: &mut Rng) -> Change {
    if rng.random_ratio(1, MALFORMED_SELDOM) {
        return Change::Value(key, f32::NAN);
    }
    match rng.random_range(0..6) {
        0 => Change::Value(key, f32::MAX),
        1 => Change::Value(key, -f32::MAX),
        2 => Change::Value(key, rng.random_range(0.0..200.0)),
        3 => Change::Weighted(key, 1e9, 1e9),
        4 => Change::Withdrawn(key),
        _ => {
            let many = Record {
                summary: Summary::Sum(1e9),
                count: 1_000_000,
                missing: 1_000_000,
                ..Record::NOTHING
            };
            Change::of_record(key, &many)
        }
    }
}
