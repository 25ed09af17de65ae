//! What an answer may lawfully say, from all that the nodes truly had.
//!
//! For an age `a` let A be the nodes that had a slot throughout the last `a`, and B those that were
//! alive at some time in it, each with its least and greatest value in it. An answer is violated if
//! no set between A less `missing` and B, with up to `double` repeats, reaches its bounds.
//!
//! During a cut A holds the nodes of one side only. A node that lies counts as a member; its value
//! is any within the key's range, and it may be left out: its lies may not be admitted.

use std::collections::{BTreeMap, VecDeque};

use super::workload::RANGE;

/// A node's part, as of one second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// For how many whole seconds it has had a slot; none if it is not alive.
    pub(super) seated_s: Option<u64>,
    /// How many seconds ago it was last alive.
    pub(super) gone_s: u64,
    /// Whether it is on the side of a cut that is looked at; true if there is no cut.
    pub(super) here: bool,
    /// Whether its values mean nothing.
    pub(super) lies: bool,
}

/// What answers of one age may say.
#[derive(Default)]
struct Window {
    /// Of the greatest values, for the greatest mean; and of the least, with their signs changed,
    /// for the least.
    most: Side,
    least: Side,
    /// Liars of A, which are not in `always`.
    liars: usize,
}

/// One end of the values, sorted once.
#[derive(Default)]
struct Side {
    /// Of the nodes of A, rising.
    always: Vec<f64>,
    /// Their sum.
    sum: f64,
    /// Of the nodes of B that are not in A, falling.
    sometimes: Vec<f64>,
}

/// See the module. Good for one second.
pub(super) struct Oracle<'a> {
    past: &'a [VecDeque<f32>],
    parts: Vec<Part>,
    windows: BTreeMap<u64, Window>,
    means: BTreeMap<(u64, u64, u64), (f64, f64)>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(past: &'a [VecDeque<f32>], parts: Vec<Part>) -> Self {
        Self {
            past,
            parts,
            windows: BTreeMap::new(),
            means: BTreeMap::new(),
        }
    }

    fn window(&mut self, seconds: u64) -> &Window {
        let (past, parts) = (self.past, &self.parts);
        self.windows.entry(seconds).or_insert_with(|| {
            let mut window = Window::default();
            for (past, part) in past.iter().zip(parts) {
                let mine = past
                    .iter()
                    .rev()
                    .take(usize::try_from(seconds).unwrap_or(usize::MAX));
                let range = if part.lies {
                    RANGE
                } else {
                    mine.fold((f64::MAX, f64::MIN), |(lo, hi), x| {
                        (lo.min(f64::from(*x)), hi.max(f64::from(*x)))
                    })
                };
                match part.seated_s {
                    Some(seated) if seated >= seconds && part.here => {
                        if part.lies {
                            window.liars += 1;
                            window.put(range, false);
                        } else {
                            window.put(range, true);
                        }
                    }
                    Some(_) => window.put(range, false),
                    None if part.gone_s < seconds => window.put(range, false),
                    None => {}
                }
            }
            window.most.sort();
            window.least.sort();
            window
        })
    }

    /// Between which counts the truth lies.
    pub(super) fn count(&mut self, seconds: u64, missing: u64, double: u64) -> (f64, f64) {
        let window = self.window(seconds);
        let side = &window.most;
        let always = (side.always.len() + window.liars) as f64;
        let ever = (side.always.len() + side.sometimes.len()) as f64;
        (always - missing as f64, ever + double as f64)
    }

    /// Between which means the truth lies.
    pub(super) fn mean(&mut self, seconds: u64, missing: u64, double: u64) -> (f64, f64) {
        let key = (seconds, missing, double);
        if let Some(known) = self.means.get(&key) {
            return *known;
        }
        let window = self.window(seconds);
        let range = (
            -window.least.greatest_mean(missing, double),
            window.most.greatest_mean(missing, double),
        );
        self.means.insert(key, range);
        range
    }
}

impl Window {
    fn put(&mut self, (least, most): (f64, f64), always: bool) {
        for (side, x) in [(&mut self.most, most), (&mut self.least, -least)] {
            if always {
                side.always.push(x);
            } else {
                side.sometimes.push(x);
            }
        }
    }
}

impl Side {
    fn sort(&mut self) {
        self.always.sort_unstable_by(f64::total_cmp);
        self.sometimes.sort_unstable_by(|a, b| b.total_cmp(a));
        self.sum = self.always.iter().sum();
    }

    /// The greatest mean of a set that holds `always` but for the `missing` least, and any of
    /// `sometimes`, with the greatest repeated `double` times.
    fn greatest_mean(&self, missing: u64, double: u64) -> f64 {
        let mut mean = f64::NEG_INFINITY;
        // The best set for one mean has a greater one, until it is the greatest.
        loop {
            let next = self.mean_beyond(mean, missing, double);
            if next.is_infinite() || next <= mean {
                return next.max(mean);
            }
            mean = next;
        }
    }

    /// The mean of the set that is the best if `mean` is what it has to exceed: without the least
    /// of `always` that are below, and with those of `sometimes` that are above. Infinite if there
    /// is nobody at all.
    fn mean_beyond(&self, mean: f64, missing: u64, double: u64) -> f64 {
        let (mut sum, mut count) = (self.sum, self.always.len() as f64);
        let ends = self.always.last().into_iter().chain(self.sometimes.first());
        let greatest = ends.copied().reduce(f64::max);
        if let Some(greatest) = greatest {
            sum += greatest * double as f64;
            count += double as f64;
        }
        for x in self.sometimes.iter().take_while(|x| **x > mean) {
            sum += x;
            count += 1.0;
        }
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let below = self.always.iter().take_while(|x| **x < mean);
        for x in below.take(missing) {
            sum -= x;
            count -= 1.0;
        }
        match greatest {
            None => f64::INFINITY,
            Some(greatest) if count == 0.0 => greatest,
            Some(_) => sum / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_mean_leaves_out_the_least_and_takes_in_what_helps() {
        let mut side = Side {
            always: vec![3.0, 1.0, 2.0],
            sometimes: vec![0.0, 4.0],
            sum: 0.0,
        };
        side.sort();
        let mean = |missing, double| side.greatest_mean(missing, double);
        assert!((mean(0, 0) - 2.5).abs() < 1e-12, "1 2 3 4");
        assert!((mean(1, 0) - 3.0).abs() < 1e-12, "2 3 4");
        assert!((mean(0, 1) - 2.8).abs() < 1e-12, "1 2 3 4 4");
        // What helped at first does not once the least are left out.
        let mut side = Side {
            always: vec![0.0, 0.0, 0.0, 5.0],
            sometimes: vec![2.0, 2.0, 2.0],
            sum: 0.0,
        };
        side.sort();
        assert!((side.greatest_mean(3, 0) - 5.0).abs() < 1e-12, "5");
    }

    #[test]
    fn a_node_that_came_late_may_be_counted_and_one_that_stayed_must_be() {
        let past = [
            VecDeque::from([1.0, 5.0]),
            VecDeque::from([3.0, 3.0]),
            VecDeque::from([9.0]),
        ];
        let of = |seated_s, gone_s| Part {
            seated_s,
            gone_s,
            here: true,
            lies: false,
        };
        let parts = vec![of(Some(9), 0), of(Some(1), 0), of(None, 7)];
        let mut oracle = Oracle::new(&past, parts);
        assert_eq!(oracle.count(1, 0, 0), (2.0, 2.0));
        assert_eq!(oracle.count(2, 0, 0), (1.0, 2.0));
        assert_eq!(oracle.count(2, 1, 3), (0.0, 5.0));
        assert_eq!(oracle.mean(1, 0, 0), (4.0, 4.0));
        assert_eq!(oracle.mean(2, 0, 0), (1.0, 5.0));
    }

    #[test]
    fn the_other_side_of_a_cut_may_be_missing_and_a_liar_may_say_what_is_in_range() {
        let past = [[2.0], [2.0], [2.0]].map(VecDeque::from);
        let of = |here, lies| Part {
            seated_s: Some(9),
            gone_s: 0,
            here,
            lies,
        };
        let sides = vec![of(true, false), of(true, false), of(false, false)];
        assert_eq!(Oracle::new(&past, sides).count(1, 0, 0), (2.0, 3.0));
        let lying = vec![of(true, false), of(true, false), of(true, true)];
        let mut oracle = Oracle::new(&past, lying);
        assert_eq!(oracle.count(1, 0, 0), (3.0, 3.0));
        let (least, most) = oracle.mean(1, 0, 0);
        assert!((least - 4.0 / 3.0).abs() < 1e-9, "{least}");
        assert!((most - 104.0 / 3.0).abs() < 1e-9, "{most}");
    }
}
