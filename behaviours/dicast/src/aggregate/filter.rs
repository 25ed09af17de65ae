//! A sender's filter for one key: what the receiver holds, and whether it still stands.
//!
//! *Between reports the truth stays within the width of what was sent.* The width is the parent's
//! to grant; it starts at 0 with each term and takes effect at once, in both directions: the parent
//! assumes a wider one before it grants it, and a narrower one only once it is confirmed (see
//! `grants`).

use std::time::Duration;

use opus_core::Time;

use super::{key::KeySpec, record::Record};

/// A slack that was told this much too large in proportion is told anew: 1/64 of the whole error.
const LOOSE: f64 = 1.0 / 64.0;

/// What a sender keeps of one key for one receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    width: f32,
    sent: Option<Sent>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sent {
    /// As the receiver reads it.
    record: Record,
    seq: u32,
    at: Time,
}

impl Filter {
    /// The width in force, in the unit of the slack.
    pub fn width(&self) -> f32 {
        self.width
    }

    /// The record that the receiver was sent last, as it reads it.
    pub fn sent(&self) -> Option<&Record> {
        self.sent.as_ref().map(|sent| &sent.record)
    }

    /// The seq of the report that carried it.
    pub fn seq(&self) -> Option<u32> {
        self.sent.as_ref().map(|sent| sent.seq)
    }

    /// Puts a width in force. The next report must be composed after it.
    pub fn set_width(&mut self, width: f32) {
        self.width = if width > 0.0 { width } else { 0.0 };
    }

    /// Whether `current` must be told: it has left the filter, other nodes are in it, it is known
    /// much better than was said, or it differs and has waited for `wait` (zero: never).
    pub fn due(&self, now: Time, current: &Record, spec: &KeySpec, wait: Duration) -> bool {
        let Some(Sent { record, at, .. }) = &self.sent else {
            return true;
        };
        let width = f64::from(self.width);
        if current.strays_from(record, spec) > width {
            return true;
        }
        let loose = record.slack - current.slack;
        let tiny = f64::from(f32::MIN_POSITIVE);
        if loose > tiny && loose > LOOSE * (current.slack + width) {
            return true;
        }
        let waited = wait > Duration::ZERO && now.since(*at) >= wait;
        waited && current.summary != record.summary
    }

    /// The receiver holds nothing any more.
    pub fn forget_sent(&mut self) {
        self.sent = None;
    }

    /// Notes that the report `seq` carries `record`, which is as the receiver reads it.
    pub fn on_sent(&mut self, now: Time, seq: u32, record: Record) {
        self.sent = Some(Sent {
            record,
            seq,
            at: now,
        });
    }
}
