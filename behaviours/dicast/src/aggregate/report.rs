//! A sender's reports to one receiver: what a beat carries of all keys.
//!
//! *A report vouches for what it does not name*: every key that it leaves out was within its filter
//! when the report was composed. So one report freshens all keys, and its age is that of the oldest
//! value behind any of them.
//!
//! Changes go out in numbered sets; a report repeats what still counts of the last two, so that two
//! losses in a row lose nothing, and names the number of the last, so that a third is noticed. What
//! does not fit stays due, and a report that had to leave something out says so and vouches for
//! nothing.

use std::{collections::VecDeque, time::Duration};

use opus_core::{
    FlatMap, Malformed, Time,
    pack::{Few, Pack, Reader, Writer, to_bytes},
};

use super::{
    change::Change,
    filter::Filter,
    key::{KeyId, KeySpec},
    record::Record,
    summary::{Sample, Summary},
};

/// Most keys of a tree.
pub const KEYS_MAX: usize = 64;
/// Sets in one report: the new one and two repeated.
const SETS_MAX: usize = 3;
/// Most bytes of changes in a report, so that a beat fits one datagram of 1,100; a sketch alone
/// may be larger and goes alone. Overflow: the rest stays due.
const CHANGES_BYTES_MAX: usize = 1_060;
/// The same of a report that names all keys: it answers a question and may be larger.
const FULL_BYTES_MAX: usize = 6_000;

/// What a beat carries of the keys.
///
/// Packed: a byte of flags and of the number of sets; seq, round and, unless it is none, age in
/// milliseconds as varints (about 2, 1, 2 bytes); and for each set the number of its changes and
/// these, newest set first, or the newest alone if nothing is left of the others. Before it the
/// beat (2 bytes), where the message that carries it does not have the number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Number of the report, rising within its term and not 0: counted by who composed it, or that
    /// of the message that carries it.
    pub beat: u32,
    /// Number of the last set of changes; 0 if there was none.
    pub seq: u32,
    /// The last round of widths that is in force.
    pub round: u32,
    /// No value that the report vouches for was older when it was composed.
    pub age: Duration,
    /// Whether the newest set names all keys and replaces whatever the receiver holds.
    pub full: bool,
    /// Whether changes had to be left out.
    pub partial: bool,
    /// The last sets, newest first, numbered downward from `seq`.
    pub sets: Few<Few<Change, KEYS_MAX>, SETS_MAX>,
}

/// Where a sender's value of a key comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// It is a node's own.
    Own(&'a Sample),
    /// It is a cluster's, with its age.
    Cluster(&'a Record),
}

/// A key to report on.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The key.
    pub key: KeyId,
    /// Its spec.
    pub spec: &'a KeySpec,
    /// Its value.
    pub source: Source<'a>,
    /// How long a change within the filter may wait; zero: for ever.
    pub wait: Duration,
}

/// All filters towards one receiver, and the sets it may still lack.
#[derive(Clone, Debug)]
pub struct Reporter {
    node: u64,
    beat: u32,
    seq: u32,
    round: u32,
    filters: FlatMap<KeyId, Filter>,
    /// The last sets, newest first.
    recent: VecDeque<Box<[Change]>>,
    full: bool,
    /// Where the last report had to stop: the next begins there.
    resume: Option<KeyId>,
}

impl Reporter {
    /// For a node whose id begins with these 8 bytes; the first report is full.
    pub fn new(node: u64) -> Self {
        Self {
            node,
            beat: 0,
            seq: 0,
            round: 0,
            filters: FlatMap::new(),
            recent: VecDeque::new(),
            full: true,
            resume: None,
        }
    }

    /// A term begins (another receiver or epoch): widths are 0 until granted anew.
    pub fn begin_term(&mut self) {
        *self = Self::new(self.node);
    }

    /// The receiver asks for everything.
    pub fn on_asked(&mut self) {
        self.full = true;
    }

    /// The receiver grants widths, in the unit of the slack. Older rounds are ignored.
    pub fn on_granted(&mut self, round: u32, widths: &[(KeyId, f32)]) {
        if round <= self.round {
            return;
        }
        self.round = round;
        for (key, width) in widths {
            if let Some(filter) = self.filters.get_mut(key) {
                filter.set_width(*width);
            }
        }
    }

    /// The filter of a key that was reported.
    pub fn filter(&self, key: KeyId) -> Option<&Filter> {
        self.filters.get(&key)
    }

    /// Whether a report now would carry a change: for eager keys, which do not wait for the beat.
    pub fn is_due(&self, now: Time, item: &Item<'_>) -> bool {
        let Some(current) = item.record(self.node) else {
            return false;
        };
        let filter = self.filters.get(&item.key);
        filter.is_none_or(|filter| filter.due(now, &current, item.spec, item.wait))
    }

    /// The report of this moment. `items`: all keys that have a value, by rising key, at most
    /// [`KEYS_MAX`] (the rest is left out); a key that was reported and is not named is withdrawn.
    pub fn compose(&mut self, now: Time, items: &[Item<'_>]) -> Report {
        let items = &items[..items.len().min(KEYS_MAX)];
        self.beat = self.beat.saturating_add(1);
        let full = std::mem::take(&mut self.full);
        if full {
            self.recent.clear();
            self.resume = None;
            // Whatever the receiver holds it drops, so what does not fit is due at once.
            self.filters.values_mut().for_each(Filter::forget_sent);
        }
        let (changes, partial) = self.changes(now, items, full);
        let new = full || !changes.is_empty();
        if new {
            self.seq = self.seq.saturating_add(1);
            for change in &changes {
                self.note_sent(now, change, items);
            }
            self.recent.truncate(SETS_MAX - 1);
            self.recent.reserve_exact(1);
            self.recent.push_front(changes.into());
        }
        let ages = items.iter().map(|item| match item.source {
            Source::Own(_) => Duration::ZERO,
            Source::Cluster(record) => record.age,
        });
        Report {
            beat: self.beat,
            seq: self.seq,
            round: self.round,
            age: ages.max().unwrap_or_default(),
            full,
            partial,
            sets: self.sets_to_send(new),
        }
    }

    /// The new set, and whether something due did not fit.
    fn changes(&mut self, now: Time, items: &[Item<'_>], full: bool) -> (Vec<Change>, bool) {
        let gone: Vec<KeyId> = self
            .filters
            .keys()
            .filter(|key| items.iter().all(|item| item.key != **key))
            .copied()
            .collect();
        let mut changes = Vec::new();
        for key in gone {
            self.filters.remove(&key);
            changes.push(Change::Withdrawn(key));
        }
        let from = self.resume.take();
        let at = items.partition_point(|item| Some(item.key) < from);
        let limit = if full {
            FULL_BYTES_MAX
        } else {
            CHANGES_BYTES_MAX
        };
        let mut bytes: usize = changes.iter().map(|change| to_bytes(change).len()).sum();
        for item in items[at..].iter().chain(&items[..at]) {
            if !full && !self.is_due(now, item) {
                continue;
            }
            let Some(change) = item.change() else {
                continue;
            };
            bytes += to_bytes(&change).len();
            if changes.len() == KEYS_MAX || bytes > limit && !changes.is_empty() {
                self.resume = Some(item.key);
                return (changes, true);
            }
            changes.push(change);
        }
        (changes, false)
    }

    fn note_sent(&mut self, now: Time, change: &Change, items: &[Item<'_>]) {
        let Some(item) = items.iter().find(|item| item.key == change.key()) else {
            return;
        };
        if let Some(record) = change.record(self.node, item.spec) {
            let filter = self.filters.get_or_insert_with(item.key, Filter::default);
            filter.on_sent(now, self.seq, record);
        }
    }

    /// The new set, whatever its size, and repeated ones while they fit; of these only what no
    /// newer one replaces.
    fn sets_to_send(&self, new: bool) -> Few<Few<Change, KEYS_MAX>, SETS_MAX> {
        let mut sets: Vec<Few<Change, KEYS_MAX>> = Vec::new();
        let mut bytes = 0;
        for (place, set) in self.recent.iter().enumerate() {
            let replaced = |change: &&Change| {
                let mut newer = sets.iter().flat_map(|set| &set.0);
                newer.any(|other| other.key() == change.key())
            };
            let set: Vec<Change> = set.iter().filter(|it| !replaced(it)).cloned().collect();
            let changes = set.iter().map(|change| to_bytes(change).len());
            bytes += changes.sum::<usize>();
            if bytes > CHANGES_BYTES_MAX && !(new && place == 0) {
                break;
            }
            sets.push(Few(set));
        }
        Few(sets)
    }
}

impl Item<'_> {
    /// The value as a record of the moment; `None`: a sample of another function.
    fn record(&self, node: u64) -> Option<Record> {
        match self.source {
            Source::Own(sample) => Summary::of(sample, node, self.spec).map(Record::of_one),
            Source::Cluster(record) => Some(record.clone()),
        }
    }

    fn change(&self) -> Option<Change> {
        match self.source {
            Source::Own(sample) => Change::of_sample(self.key, sample, self.spec),
            Source::Cluster(record) => Some(Change::of_record(self.key, record)),
        }
    }
}

/// What a report is, as bits of one byte; two more are the number of its sets.
const FULL: u8 = 1;
const PARTIAL: u8 = 2;
const AGED: u8 = 4;
/// Sets before the newest still have changes.
const LAGS: u8 = 8;
const SETS: u32 = 4;

impl Report {
    /// All but its number.
    pub(crate) fn pack_body(&self, to: &mut Writer) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let lags = self.sets.0.iter().skip(1).any(|set| !set.0.is_empty());
        let aged = !self.age.is_zero();
        let sets = u8::try_from(self.sets.0.len()).unwrap_or(u8::MAX) << SETS;
        let flags = bit(self.full, FULL) | bit(self.partial, PARTIAL);
        (sets | flags | bit(aged, AGED) | bit(lags, LAGS)).pack(to);
        self.seq.pack(to);
        self.round.pack(to);
        if aged {
            self.age.pack(to);
        }
        let told = if lags { self.sets.0.len() } else { 1 };
        self.sets.0.iter().take(told).for_each(|set| set.pack(to));
    }

    /// `beat`: its number. Errors: [`Malformed`].
    pub(crate) fn unpack_body(beat: u32, from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = from.byte()?;
        let has = |part: u8| flags & part != 0;
        let count = usize::from(flags >> SETS);
        let (seq, round) = <(u32, u32)>::unpack(from)?;
        let age = if has(AGED) {
            Duration::unpack(from)?
        } else {
            Duration::ZERO
        };
        if beat == 0 || count > SETS_MAX || count as u64 > u64::from(seq) {
            return Err(Malformed::Invalid("a report that cannot be"));
        }
        if has(FULL) && count != 1 {
            return Err(Malformed::Invalid("a full report has one set"));
        }
        let told = if has(LAGS) { count } else { count.min(1) };
        let mut sets = Vec::with_capacity(count);
        for _ in 0..told {
            sets.push(Few::unpack(from)?);
        }
        sets.resize_with(count, Few::default);
        Ok(Self {
            beat,
            seq,
            round,
            age,
            full: has(FULL),
            partial: has(PARTIAL),
            sets: Few(sets),
        })
    }
}

impl Pack for Report {
    fn pack(&self, to: &mut Writer) {
        self.beat.pack(to);
        self.pack_body(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let beat = u32::unpack(from)?;
        Self::unpack_body(beat, from)
    }
}

#[cfg(test)]
mod tests;
