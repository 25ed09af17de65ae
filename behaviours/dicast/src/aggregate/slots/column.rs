//! What all slots hold of one key.

use std::time::Duration;

use opus_core::Time;

use crate::aggregate::{key::KeySpec, record::Record};

/// How long a lost member counts as missing.
const MISSING_FOR: Duration = Duration::from_secs(600);
/// Departures remembered for each key. Overflow: the two oldest become one of the younger's time.
const GONE_MAX: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub(super) held: Vec<Option<Held>>,
    /// Slots (by bit) that have not yet told whether they have a value.
    pub(super) awaited: u64,
    gone: Vec<(Time, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    seq: u32,
    /// Sum of squares of the changes since they were last asked for.
    pub(super) moved: f64,
}

impl Column {
    /// Nothing is known; the slots of these bits are asked.
    pub(super) fn awaiting(awaited: u64) -> Self {
        Self {
            awaited,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, slot: u8) -> Option<&Held> {
        self.held.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn awaits(&self, slot: u8) -> bool {
        self.awaited & 1 << slot != 0
    }

    pub(super) fn put(&mut self, slot: u8, seq: u32, record: Record, moved: f64) {
        let slot = usize::from(slot);
        if self.held.len() <= slot {
            self.held.resize(slot + 1, None);
        }
        self.held[slot] = Some(Held { record, seq, moved });
    }

    /// Replaces what the slot holds, unless that is as new. Tells whether it did.
    pub(super) fn take(&mut self, slot: u8, seq: u32, record: Record, spec: &KeySpec) -> bool {
        let mut moved = 0.0;
        if let Some(held) = self.get(slot) {
            if held.seq >= seq {
                return false;
            }
            let by = held.record.summary.distance(&record.summary, spec);
            moved = held.moved + if by.is_finite() { by * by } else { 0.0 };
        }
        let nothing = record.count == 0 && record.missing == 0;
        if nothing {
            return self.remove(slot);
        }
        self.put(slot, seq, record, moved);
        true
    }

    pub(super) fn remove(&mut self, slot: u8) -> bool {
        let held = self.held.get_mut(usize::from(slot));
        held.is_some_and(|held| held.take().is_some())
    }

    pub(super) fn on_gone(&mut self, now: Time, nodes: u64) {
        self.gone.retain(|(at, _)| now.since(*at) < MISSING_FOR);
        if nodes == 0 {
            return;
        }
        self.gone.push((now, nodes));
        if self.gone.len() > GONE_MAX {
            let (_, oldest) = self.gone.remove(0);
            self.gone[0].1 = self.gone[0].1.saturating_add(oldest);
        }
    }

    /// Nodes lost in the last ten minutes.
    pub(super) fn missing(&self, now: Time) -> u64 {
        let recent = self.gone.iter().filter(|it| now.since(it.0) < MISSING_FOR);
        recent.fold(0, |all, it| all.saturating_add(it.1))
    }
}
