//! What a lying leaf puts into its beats: values that no honest node has, for more nodes than one.

use opus_core::{Rng, pack::Few};
use opus_site::{
    StatusMessage,
    dicast::{
        Message,
        aggregate::{Change, KeyId, Record, Summary},
    },
};
use rand::RngExt;

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
