//! Whether what an agent said in one place can be true, given what it said in another.
//!
//! Values move and words overtake each other, so no two statements of an honest agent are alike.
//! What is tested here is whether they exclude each other, with all that may explain a difference:
//! the slack of a record, the half precision of rolls, whatever the members did between two rolls,
//! members whom one statement names and the other does not. Beyond that one whole range is let
//! pass, which is as much as any one member could move its cluster's sum by lying itself: a smaller
//! lie does no harm that its teller could not do without a post.

use std::time::Duration;

use opus_core::{Time, packed};

use super::{
    float::round32,
    key::{Function, KeyId, KeySpec},
    record::Record,
    report::KEYS_MAX,
    roll::Between,
    summary::Summary,
};

/// A node's own values are remembered for so long, and for twice as long at most.
const PAST: Duration = Duration::from_secs(8);

/// Until all may have heard that a key is another.
const SETTLED: Duration = Duration::from_secs(15);

/// Members that records and rosters may differ by, beside a quarter of them.
const STRAY: u64 = 2;

/// What one key of a cluster, or of a member, is held to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which key.
    pub key: KeyId,
    /// The sum over the nodes, ...
    pub value: f32,
    /// ... and how far that may be off.
    pub slack: f32,
    /// Nodes in it.
    pub count: u32,
    /// Nodes that are left out.
    pub missing: u32,
    /// No value in it is older.
    pub age: Duration,
}

packed!(Row {
    key,
    value,
    slack,
    count,
    missing,
    age
});

impl Row {
    /// `None`: the record is no sum.
    pub(crate) fn of_record(key: KeyId, record: &Record) -> Option<Self> {
        let value = match record.summary {
            Summary::Sum(sum) => sum,
            Summary::Count => record.count as f64,
            Summary::Nothing => 0.0,
            Summary::Weighted { .. }
            | Summary::Moments { .. }
            | Summary::Extreme(_)
            | Summary::Top(_)
            | Summary::Quantiles(_)
            | Summary::Distinct(_) => return None,
        };
        let whole = |nodes: u64| u32::try_from(nodes).unwrap_or(u32::MAX);
        Some(Self {
            key,
            value: round32(value),
            slack: round32(record.slack),
            count: whole(record.count),
            missing: whole(record.missing),
            age: record.age,
        })
    }

    /// Of one node, whose value was within these bounds.
    fn of_node(key: KeyId, (least, most): (f64, f64), age: Duration) -> Self {
        Self {
            key,
            value: round32(f64::midpoint(least, most)),
            slack: round32((most - least) / 2.0),
            count: 1,
            missing: 0,
            age,
        }
    }

    fn bounds(&self) -> (f64, f64) {
        let (value, slack) = (f64::from(self.value), f64::from(self.slack).max(0.0));
        // Either was rounded on its way.
        let rounded = (value.abs() + slack) * 1e-6;
        (value - slack - rounded, value + slack + rounded)
    }
}

/// Which way a statement is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Off {
    Less,
    More,
}

/// Whether sums of such a key can be compared.
pub(crate) const fn is_sum(spec: &KeySpec) -> bool {
    matches!(spec.function, Function::Sum | Function::Mean)
}

/// Whether a parent's record of a cluster excludes what the cluster's members were told of each
/// other, and which way.
///
/// `moved`: by how much our own value did of late. Between two rolls others may have moved as much,
/// all together, and back.
pub(crate) fn refutes(row: &Row, told: &Between, moved: f64, spec: &KeySpec) -> Option<Off> {
    let count = u64::from(row.count);
    let known = told.always + told.sometimes;
    if let Some(off) = refutes_count(row, (told.always, known)) {
        return Some(off);
    }
    let (lo, hi) = spec.range;
    let more = count.saturating_sub(known) as f64;
    let fewer = told.always.saturating_sub(count) as f64;
    let free = told.moved + moved * known as f64 + spec.span();
    let least = told.least + more * lo.min(0.0) - fewer * hi.max(0.0) - free;
    let most = told.most + more * hi.max(0.0) - fewer * lo.min(0.0) + free;
    let (below, above) = row.bounds();
    match () {
        () if above < least => Some(Off::Less),
        () if below > most => Some(Off::More),
        () => None,
    }
}

/// The same of the number of members, which was between these.
pub(crate) fn refutes_count(row: &Row, (least, most): (u64, u64)) -> Option<Off> {
    let count = u64::from(row.count);
    let stray = STRAY + most / 4;
    match () {
        () if count > most + stray => Some(Off::More),
        () if count + u64::from(row.missing) + stray < least => Some(Off::Less),
        () => None,
    }
}

/// Whether one member's word excludes what was said of it in rolls, least and greatest.
pub(crate) fn refutes_entries(row: &Row, told: [(f64, f64); 2]) -> bool {
    let [(least, below), (most, above)] = told;
    let (lo, hi) = row.bounds();
    least + below < lo || most - above > hi
}

/// What this node itself had of late, by two stretches of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// When the stretch before this one began, and this one.
    began: (Time, Time),
    /// At most [`KEYS_MAX`].
    rows: Vec<Mine>,
}

#[derive(Clone, Copy, Debug)]
struct Mine {
    key: KeyId,
    /// What came before does not count.
    since: Time,
    value: f32,
    /// Least and greatest in the stretch before, and in this one.
    before: (f32, f32),
    current: (f32, f32),
}

impl Past {
    /// Our value of a key from this moment on.
    pub(crate) fn note(&mut self, now: Time, key: KeyId, x: f64) {
        let value = round32(x.clamp(f64::from(f32::MIN), f64::from(f32::MAX)));
        if let Some(mine) = self.rows.iter_mut().find(|mine| mine.key == key) {
            mine.value = value;
            let (least, most) = mine.current;
            mine.current = (least.min(value), most.max(value));
        } else if self.rows.len() < KEYS_MAX {
            self.rows.reserve_exact(1);
            self.rows.push(Mine {
                key,
                since: now,
                value,
                before: (value, value),
                current: (value, value),
            });
        }
    }

    /// We have no value of a key that is a number any more.
    pub(crate) fn forget(&mut self, key: KeyId) {
        self.rows.retain(|mine| mine.key != key);
    }

    /// These keys mean something else, and not all know it yet.
    pub(crate) fn change(&mut self, now: Time, keys: &[KeyId]) {
        for mine in self.rows.iter_mut().filter(|it| keys.contains(&it.key)) {
            mine.since = now + SETTLED;
        }
    }

    /// Begins a new stretch if this one has lasted for long enough.
    pub(crate) fn turn(&mut self, now: Time) {
        if now.since(self.began.1) >= PAST {
            self.began = (self.began.1, now);
            for mine in &mut self.rows {
                mine.before = mine.current;
                mine.current = (mine.value, mine.value);
            }
        }
    }

    /// Our least and greatest value since `from` or longer ago, as others see them; none if we do
    /// not remember.
    fn between(&self, key: KeyId, from: Time, spec: &KeySpec) -> Option<(f64, f64)> {
        let mine = self.rows.iter().find(|mine| mine.key == key)?;
        let known = mine.since <= from && self.began.0 <= from;
        known.then(|| mine.ends(spec)).flatten()
    }

    /// By how much our own value moved of late.
    pub(crate) fn moved(&self, key: KeyId, spec: &KeySpec) -> f64 {
        let ours = self.rows.iter().find(|mine| mine.key == key);
        let ends = ours.and_then(|mine| mine.ends(spec));
        ends.map_or(0.0, |(least, most)| most - least)
    }

    /// Whether a value that we are said to have had since `from` was never ours; none if we cannot
    /// tell.
    pub(crate) fn refutes(
        &self,
        key: KeyId,
        from: Time,
        (x, half): (f64, f64),
        spec: &KeySpec,
    ) -> Option<bool> {
        let ours = self.between(key, from, spec)?;
        let row = Row::of_node(key, ours, Duration::ZERO);
        Some(refutes_entries(&row, [(x, half), (x, half)]))
    }

    /// What we say to one who asks what we had, if we had it here since `seated`.
    pub(crate) fn row(&self, now: Time, key: KeyId, seated: Time, spec: &KeySpec) -> Option<Row> {
        let from = self.began.0.max(seated);
        let ours = self.between(key, from, spec)?;
        Some(Row::of_node(key, ours, now.since(from)))
    }
}

impl Mine {
    /// Least and greatest of both stretches, as others see them.
    fn ends(&self, spec: &KeySpec) -> Option<(f64, f64)> {
        let least = spec.admit(f64::from(self.before.0.min(self.current.0)))?;
        let most = spec.admit(f64::from(self.before.1.max(self.current.1)))?;
        Some((f64::from(least), f64::from(most)))
    }
}

#[cfg(test)]
mod tests;
