//! What a cluster says of itself for one key, and how a parent makes its own of its children's.
//!
//! *The width in force, not the target*: a parent knows of a child only that its value has not left
//! the filter, so it adds the child's width, as it may still be in use, to the child's slack. What
//! follows holds whatever was lost on the way: the `count` nodes each had, at some time within
//! `age`, values whose aggregate is within `slack` of `summary`.

use std::time::Duration;

use super::{
    float::Up8,
    key::{Adds, Function, KeySpec, NODES_MAX},
    summary::Summary,
};

/// Oldest age that is told apart.
pub const AGE_MAX: Duration = Duration::from_secs(86_400);

/// A cluster's or a node's value of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The value.
    pub summary: Summary,
    /// Nodes in it. Exact: a change is always told.
    pub count: u64,
    /// How far `summary` may be from the truth, by [`Summary::distance`]. Its unit is that of the
    /// sum for sum and mean; span/2 of a whole node for the weighted mean; the key's squared for
    /// the variance; the key's for extremes and lists; nodes for quantiles; items for distinct.
    pub slack: f64,
    /// No value in it is older.
    pub age: Duration,
    /// At most so many known nodes are left out.
    pub missing: u64,
    /// At most so many nodes are in it twice.
    pub double: u64,
}

impl Record {
    /// Of no node.
    pub const NOTHING: Self = Self {
        summary: Summary::Nothing,
        count: 0,
        slack: 0.0,
        age: Duration::ZERO,
        missing: 0,
        double: 0,
    };

    /// Of one node.
    pub fn of_one(summary: Summary) -> Self {
        Self {
            summary,
            count: 1,
            ..Self::NOTHING
        }
    }

    /// What a peer said, clamped; `None` if it cannot be a record of this key.
    pub fn admitted(mut self, spec: &KeySpec) -> Option<Self> {
        self.count = self.count.min(NODES_MAX);
        self.missing = self.missing.min(NODES_MAX);
        self.double = self.double.min(self.count);
        self.age = self.age.min(AGE_MAX);
        let finite = self.slack >= 0.0 && self.slack.is_finite();
        (finite && self.summary.clamp(self.count, spec)).then_some(self)
    }

    /// How much width the record `sent` earlier needs to stand for this one; infinite if it cannot.
    ///
    /// A receiver believes the truth within `sent.slack + width` of `sent.summary`, so the distance
    /// gone and the slack grown since count alike. Counts are exact and must be equal.
    pub fn strays_from(&self, sent: &Self, spec: &KeySpec) -> f64 {
        // As they stand on the wire.
        let nodes = |it: &Self| (it.count, Up8::of(it.missing), Up8::of(it.double));
        if nodes(self) != nodes(sent) {
            return f64::INFINITY;
        }
        (self.summary.distance(&sent.summary, spec) + self.slack - sent.slack).max(0.0)
    }
}

/// Children's records on their way to become the parent's, always taken in slot order, so that
/// equal tables give equal sums to the last bit.
#[derive(Clone, Debug)]
pub struct Fold<'a> {
    spec: &'a KeySpec,
    adds: Adds,
    record: Record,
    /// For extremes: between which values the truth lies.
    between: Option<(f64, f64)>,
}

impl<'a> Fold<'a> {
    /// Of no child yet.
    pub fn new(spec: &'a KeySpec) -> Self {
        Self {
            spec,
            adds: spec.adds(),
            record: Record::NOTHING,
            between: None,
        }
    }

    /// Takes in a child: its record as last sent, the greatest width it may still use, and the age
    /// of its oldest value now.
    pub fn add(&mut self, child: &Record, width: f64, age: Duration) {
        self.add_value(child, width);
        if child.count > 0 {
            self.add_age(age);
        }
    }

    /// Takes in that a value is as old as this.
    pub(super) fn add_age(&mut self, age: Duration) {
        self.record.age = self.record.age.max(age.min(AGE_MAX));
    }

    /// As [`Fold::add`], but for the age.
    pub(super) fn add_value(&mut self, child: &Record, width: f64) {
        let mine = &mut self.record;
        mine.missing = (mine.missing + child.missing).min(NODES_MAX);
        if child.count == 0 {
            return;
        }
        let wrong = child.slack + width;
        match (self.adds, &child.summary) {
            (Adds::AlongPath, Summary::Extreme(value)) => {
                let value = f64::from(*value);
                let (lo, hi) = (value - wrong, value + wrong);
                self.between = Some(match (self.between, self.spec.function) {
                    (None, _) => (lo, hi),
                    (Some(old), Function::Min) => (old.0.min(lo), old.1.min(hi)),
                    (Some(old), _) => (old.0.max(lo), old.1.max(hi)),
                });
            }
            (Adds::AlongPath, _) => mine.slack = mine.slack.max(wrong),
            (Adds::OverSenders, _) => mine.slack += wrong,
            (Adds::Nowhere, _) => {}
        }
        match (&mut mine.summary, &child.summary) {
            // The commonest, in line.
            (Summary::Sum(sum), Summary::Sum(more)) => *sum += more,
            (summary, more) => summary.merge(more, self.spec),
        }
        mine.count = (mine.count + child.count).min(NODES_MAX);
        mine.double = (mine.double + child.double).min(NODES_MAX);
    }

    /// Takes in nodes that are known but left out.
    pub fn add_missing(&mut self, nodes: u64) {
        self.record.missing = (self.record.missing + nodes).min(NODES_MAX);
    }

    /// Takes in that nodes already counted may be counted twice.
    pub fn add_double(&mut self, nodes: u64) {
        self.record.double = (self.record.double + nodes).min(NODES_MAX);
    }

    /// The parent's record.
    pub fn finish(mut self) -> Record {
        if let (Some((lo, hi)), Summary::Extreme(value)) = (self.between, &self.record.summary) {
            // An extreme of intervals is no wider than its widest, often narrower.
            let value = f64::from(*value);
            self.record.slack = (value - lo).max(hi - value).max(0.0);
        }
        self.record
    }
}

#[cfg(test)]
mod tests;
