//! Churn: a seeded schedule of crashes and joins at a rate, to be carried out by a scenario.
//!
//! Crashes fall uniformly into the window, so many that the rate is met: a Poisson process whose
//! count is its mean, drawn without a logarithm. Each takes a node that is up at that moment, which
//! joins again after a while as a new incarnation. Newcomers join once within the window and may
//! crash from then on. A schedule is a value: equal seeds give equal schedules, and it can be
//! looked at before it is run.
//!
//! Weaknesses: sessions have no heavy tail, as those of real volunteers have; all nodes are alike.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Rng, Seed, Time};
use rand::RngExt;
use thiserror::Error;

/// Crashes of one schedule: far beyond any scenario, and 64 MB of schedule.
pub const CRASHES_MAX: usize = 1 << 20;

/// What a schedule is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Churn {
    /// The first crash or newcomer is not before this.
    pub from: Time,
    /// The last is before this; those that are down then still come back.
    pub until: Time,
    /// Crashes a minute as a share of all nodes: 0.1 is a tenth of them.
    pub crashes_per_min: f64,
    /// How long a node is down, uniform: least, most.
    pub down: (Duration, Duration),
    /// The share of crashes in which the machine loses its power, and its peers are not told.
    pub silent: f64,
    /// Nodes that never crash.
    pub spared: Vec<usize>,
    /// Nodes that do not run before the window and join in it.
    pub newcomers: Vec<usize>,
    /// A crash that would leave fewer than this up does not take place.
    pub up_min: usize,
}

/// One row of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is killed; the driver's `crash`.
    Crash {
        /// Which.
        node: usize,
        /// Whether its peers are told by nobody.
        silent: bool,
    },
    /// It runs, for the first time or again; the driver's `start` or `restart`.
    Join {
        /// Which.
        node: usize,
    },
}

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BadChurn {
    /// A number is out of its range.
    #[error("{0}")]
    Number(&'static str),
    /// A node is beyond the network.
    #[error("node {node} of {nodes}")]
    NoSuchNode {
        /// The node named.
        node: usize,
        /// Nodes of the network.
        nodes: usize,
    },
}

impl Churn {
    /// What happens to `nodes` nodes, rising in time. Errors: [`BadChurn`].
    pub fn schedule(&self, nodes: usize, seed: Seed) -> Result<Vec<(Time, Change)>, BadChurn> {
        let crashes = self.crashes(nodes)?;
        let mut rng = seed.derive("churn", 0).rng();
        let mut draft = Draft::new(self, nodes);
        let newcomers: BTreeSet<usize> = self.newcomers.iter().copied().collect();
        for node in newcomers {
            let at = self.moment(&mut rng);
            draft.joins.insert((at, node));
        }
        let mut moments: Vec<Time> = (0..crashes).map(|_| self.moment(&mut rng)).collect();
        moments.sort_unstable();
        for at in moments {
            draft.join_until(at);
            draft.crash(at, self, &mut rng);
        }
        draft.join_until(Time::MAX);
        Ok(draft.rows)
    }

    fn moment(&self, rng: &mut Rng) -> Time {
        Time(rng.random_range(self.from.0..self.until.0))
    }

    /// How many crashes the rate asks for.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within 0 and CRASHES_MAX"
    )]
    fn crashes(&self, nodes: usize) -> Result<usize, BadChurn> {
        let minutes = self.until.since(self.from).as_secs_f64() / 60.0;
        let crashes = (self.crashes_per_min * nodes as f64 * minutes).round();
        let named = self.spared.iter().chain(&self.newcomers);
        if let Some(&node) = named.into_iter().find(|&&node| node >= nodes) {
            return Err(BadChurn::NoSuchNode { node, nodes });
        }
        // Written so that NaN fails.
        if !(0.0..=CRASHES_MAX as f64).contains(&crashes) {
            return Err(BadChurn::Number("crashes are not within 0 and 2^20"));
        }
        if !(0.0..=1.0).contains(&self.silent) {
            return Err(BadChurn::Number("the silent share is no probability"));
        }
        if self.from >= self.until || self.down.0 > self.down.1 {
            return Err(BadChurn::Number("a range ends before it begins"));
        }
        Ok(crashes as usize)
    }
}

struct Draft {
    rows: Vec<(Time, Change)>,
    /// Up and not spared, in no order that means anything.
    mortal: Vec<usize>,
    /// Spared, by node.
    spared: Vec<bool>,
    up: usize,
    /// Joins to come, by (time, node).
    joins: BTreeSet<(Time, usize)>,
}

impl Draft {
    fn new(churn: &Churn, nodes: usize) -> Self {
        let mut spared = vec![false; nodes];
        for &node in &churn.spared {
            spared[node] = true;
        }
        let mut absent = vec![false; nodes];
        for &node in &churn.newcomers {
            absent[node] = true;
        }
        let up = (0..nodes).filter(|&node| !absent[node]);
        Self {
            rows: Vec::new(),
            up: up.clone().count(),
            mortal: up.filter(|&node| !spared[node]).collect(),
            spared,
            joins: BTreeSet::new(),
        }
    }

    fn join_until(&mut self, until: Time) {
        while let Some(&(at, node)) = self.joins.first() {
            if at > until {
                return;
            }
            self.joins.pop_first();
            self.rows.push((at, Change::Join { node }));
            self.up += 1;
            if !self.spared[node] {
                self.mortal.push(node);
            }
        }
    }

    fn crash(&mut self, at: Time, churn: &Churn, rng: &mut Rng) {
        if self.mortal.is_empty() || self.up <= churn.up_min {
            return;
        }
        let node = self
            .mortal
            .swap_remove(rng.random_range(0..self.mortal.len()));
        self.up -= 1;
        let silent = rng.random_bool(churn.silent);
        self.rows.push((at, Change::Crash { node, silent }));
        let (least, most) = churn.down;
        let down = least + most.saturating_sub(least).mul_f64(rng.random::<f64>());
        // A restart in the moment of the crash would be no crash.
        let down = down.max(Duration::from_micros(1));
        self.joins.insert((at + down, node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn churn() -> Churn {
        Churn {
            from: Time::from_secs(60),
            until: Time::from_secs(660),
            crashes_per_min: 0.1,
            down: (Duration::from_secs(5), Duration::from_secs(60)),
            silent: 0.25,
            spared: vec![0, 7],
            newcomers: vec![100, 101, 7, 100],
            up_min: 10,
        }
    }

    /// Replays a schedule; returns the crashes, of these silent ones, and the least that were up.
    fn replay(churn: &Churn, rows: &[(Time, Change)], nodes: usize) -> (usize, usize, usize) {
        let mut up: Vec<bool> = (0..nodes).map(|n| !churn.newcomers.contains(&n)).collect();
        let (mut crashes, mut quiet) = (0, 0);
        let mut least = nodes;
        assert!(rows.is_sorted_by_key(|row| row.0));
        for &(at, change) in rows {
            match change {
                Change::Crash { node, silent } => {
                    assert!(
                        up[node] && !churn.spared.contains(&node),
                        "{node} at {at:?}"
                    );
                    assert!((churn.from..churn.until).contains(&at));
                    up[node] = false;
                    crashes += 1;
                    quiet += usize::from(silent);
                }
                Change::Join { node } => {
                    assert!(!up[node], "{node} at {at:?}");
                    up[node] = true;
                }
            }
            least = least.min(up.iter().filter(|&&up| up).count());
        }
        assert!(up.iter().all(|&up| up), "all are back in the end");
        (crashes, quiet, least)
    }

    #[test]
    fn a_tenth_a_minute_crashes_and_all_come_back() {
        let rows = churn().schedule(2_000, Seed::new(1)).unwrap();
        let (crashes, silent, _) = replay(&churn(), &rows, 2_000);
        assert_eq!(crashes, 2_000);
        // Four deviations of a quarter of 2,000 are 77.
        assert!((423..=577).contains(&silent), "{silent}");
        assert_eq!(rows.len(), 4_003);
    }

    #[test]
    fn equal_seeds_give_equal_schedules() {
        let rows = |seed| churn().schedule(200, Seed::new(seed)).unwrap();
        assert_eq!(rows(1), rows(1));
        assert_ne!(rows(1), rows(2));
    }

    #[test]
    fn so_many_as_asked_for_stay_up() {
        let hard = Churn {
            crashes_per_min: 50.0,
            newcomers: vec![30],
            ..churn()
        };
        let rows = hard.schedule(40, Seed::new(3)).unwrap();
        let (crashes, _, least) = replay(&hard, &rows, 40);
        assert_eq!(least, 10);
        assert!(crashes > 500, "{crashes}");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let good = churn();
        let bad = [
            Churn {
                crashes_per_min: f64::NAN,
                ..good.clone()
            },
            Churn {
                crashes_per_min: -1.0,
                ..good.clone()
            },
            Churn {
                crashes_per_min: 1e9,
                ..good.clone()
            },
            Churn {
                silent: 1.5,
                ..good.clone()
            },
            Churn {
                until: good.from,
                ..good.clone()
            },
            Churn {
                down: (good.down.1, good.down.0),
                ..good.clone()
            },
        ];
        for churn in bad {
            let refused = churn.schedule(200, Seed::new(1));
            assert!(matches!(refused, Err(BadChurn::Number(_))), "{churn:?}");
        }
        let unknown = BadChurn::NoSuchNode {
            node: 100,
            nodes: 50,
        };
        assert_eq!(good.schedule(50, Seed::new(1)), Err(unknown));
    }
}
