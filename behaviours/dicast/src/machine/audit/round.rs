//! One round of questions: what is asked, what the rolls say meanwhile, and what comes of it.

use opus_core::{Contact, Time};

use crate::aggregate::{
    KeyId, KeySpec, Off, Row, Seen, Told, is_sum, refutes, refutes_count, refutes_entries,
};

/// What one round of questions found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The parent was told too much or too little of this key.
    Parent(KeyId, Off),
    /// Those who sit there were told of wrongly, one bit each, and nobody who was asked in between
    /// was not.
    Members(u64),
}

/// A question under way, and what the rolls say meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Whose seat, if a member is asked; else the parent.
    pub(super) slot: Option<u8>,
    pub(super) whom: Contact,
    pub(super) began: Time,
    /// From when on the rolls below speak.
    pub(super) from: Time,
    pub(super) seen: Vec<Seen>,
    pub(super) roll: u8,
    /// The least and the greatest number of members.
    pub(super) members: (u64, u64),
    pub(super) asked: Option<(Time, Time)>,
    pub(super) asks: u8,
    /// When it came.
    pub(super) answer: Option<(Time, Vec<Row>)>,
    /// Whether a roll speaks of what was after that.
    pub(super) closed: bool,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing could be compared.
    Open,
    Honest,
    Wrong(Doubt),
}

impl Round {
    /// One more roll.
    pub(super) fn take(&mut self, told: &Told) {
        if told.number() == self.roll {
            return;
        }
        self.roll = told.number();
        for seen in &mut self.seen {
            seen.take(told);
        }
        let came = self.answer.as_ref().map(|(came, _)| *came);
        self.closed |= came.is_some() && told.from() >= came;
    }

    /// Whether there are rolls of before and after what the parent says. What a member says is held
    /// against those of before alone.
    pub(super) fn is_complete(&self) -> bool {
        self.answer.is_some() && (self.slot.is_some() || self.closed)
    }

    /// What came of it, given what there was to `doubt` before. `spec`: what a key is, and by how
    /// much our own value of it moved of late.
    pub(super) fn judge<'s>(
        &self,
        doubt: Option<Doubt>,
        spec: impl Fn(KeyId) -> Option<(&'s KeySpec, f64)>,
    ) -> Verdict {
        let mut verdict = Verdict::Open;
        for row in self.rows() {
            let found = match (self.compare(row, doubt, &spec), verdict) {
                // What was doubted before goes before anything new.
                (Verdict::Wrong(found), _) if doubt == Some(found) => return Verdict::Wrong(found),
                (Verdict::Open, _) | (_, Verdict::Wrong(_)) => continue,
                (found, _) => found,
            };
            // A doubt about one key is not dispelled by another.
            let elsewhere = matches!(doubt, Some(Doubt::Parent(key, _)) if key != row.key);
            if found != Verdict::Honest || !elsewhere {
                verdict = found;
            }
        }
        verdict
    }

    fn rows(&self) -> &[Row] {
        self.answer.as_ref().map_or(&[], |(_, rows)| rows)
    }

    fn compare<'s>(
        &self,
        row: &Row,
        doubt: Option<Doubt>,
        spec: impl Fn(KeyId) -> Option<(&'s KeySpec, f64)>,
    ) -> Verdict {
        let (Some((asked, _)), Some((came, _))) = (self.asked, &self.answer) else {
            return Verdict::Open;
        };
        let Some((spec, moved)) = spec(row.key) else {
            return Verdict::Open;
        };
        let age = u64::try_from(row.age.as_micros()).unwrap_or(u64::MAX);
        let since = |at: Time| at.as_micros().saturating_sub(age);
        let from = self.from.as_micros();
        match self.slot {
            // It has to remember what the rolls may be of.
            Some(slot) if since(*came) <= from => self.member(slot, row, spec, doubt),
            // And the parent's record has to be of after a roll.
            None if since(asked) >= from => self.parent(row, spec, moved),
            Some(_) | None => Verdict::Open,
        }
    }

    fn seen(&self, key: KeyId) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.key == key)
    }

    fn parent(&self, row: &Row, spec: &KeySpec, moved: f64) -> Verdict {
        let off = match self.seen(row.key) {
            _ if row.key == KeyId::MEMBERS => refutes_count(row, self.members),
            Some(seen) if is_sum(spec) => refutes(row, &seen.between(spec), moved, spec),
            Some(_) | None => return Verdict::Open,
        };
        match off {
            Some(off) => Verdict::Wrong(Doubt::Parent(row.key, off)),
            None => Verdict::Honest,
        }
    }

    fn member(&self, slot: u8, row: &Row, spec: &KeySpec, doubt: Option<Doubt>) -> Verdict {
        let seen = self.seen(row.key);
        let Some(told) = seen.and_then(|seen| seen.of(slot, spec)) else {
            return Verdict::Open;
        };
        let before = match doubt {
            Some(Doubt::Members(seats)) => seats,
            Some(Doubt::Parent(..)) | None => 0,
        };
        if refutes_entries(row, told) {
            Verdict::Wrong(Doubt::Members(before | seat_bit(slot)))
        } else {
            Verdict::Honest
        }
    }
}

/// Seats are below 64.
pub(super) fn seat_bit(slot: u8) -> u64 {
    1_u64.checked_shl(u32::from(slot)).unwrap_or(0)
}
