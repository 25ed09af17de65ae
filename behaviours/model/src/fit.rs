//! A coordinate from several round trips at once: the point and height at which they fit best.
//!
//! One step after another towards single peers (Vivaldi) needs many more round trips than a node
//! measures when it comes into a network. Here a few Gauss-Newton steps go to the least sum of
//! squared relative errors, each weighted by how sure the peer is; what stands out counts less
//! (Huber). Two starts, where the node stood and beside its nearest peer, since either may lie
//! before a ridge.
//!
//! *A height is pulled to those of the peers.* A node that measured peers in one direction only
//! cannot tell its way to them from its height, and would stand high above them, near to all of
//! them and to none of its true neighbours.
//!
//! *Who is in the same place says nothing of where that is*: it is left out.
//!
//! Weaknesses: where the peers stand on one line, the side on which the node stands is a guess. A
//! peer is believed how sure it is, so a near one that lies pulls harder than many far ones, the
//! more so along an axis on which the honest ones do not differ.
//!
//! Source: Ng and Zhang 2002, "GNP", which fits to landmarks; Huber 1964, "Robust estimation of a
//! location parameter"; the pull on heights is ours.

use crate::coordinate::{Coordinate, DIMENSIONS, ERROR_MAX, STEP_MS_MAX, narrowed, unit};

/// Steps from where the node stood. 3: each new round trip begins another fit where this one ended.
const STEPS: usize = 3;

/// Steps from beside the nearest peer, where nobody has gone before.
const STEPS_ANEW: usize = 5;

/// The new start has to fit so much better: a node does not leap to and fro.
const BETTER: f64 = 0.9;

/// Lengths that are tried for a step, each half the one before, until it leads to a better place:
/// far from the best one whole steps go to and fro.
const LENGTHS: usize = 4;

/// Added to what a peer says its error is: jitter is in each round trip.
const JITTER: f64 = 0.05;

/// A relative error beyond so many times what the peer's own error explains counts as if it were
/// no larger.
const OUTLIER: f64 = 2.0;

/// Peers nearer than this, milliseconds, place nobody who has measured as many others as there are
/// unknowns: two behind one access link are nearer to each other than their heights allow.
const NEAR_MS: f64 = 2.0;

/// Shorter round trips count as if they were so long, milliseconds: relative to their own length
/// they would outweigh all others.
const FLOOR_MS: f64 = 5.0;

/// How strongly a node of error 1 stays where it is: as a tenth of a sample of 20 ms.
const STAY: f64 = 0.1 / (20.0 * 20.0);

/// This part of the mean firmness is added to each unknown: no equations are singular.
const FIRM: f64 = 1e-3;

/// So many wholly wrong samples are added to the error: few always fit.
const DOUBTS: f64 = 2.0;

/// Unknowns: the point and the height.
const UNKNOWNS: usize = DIMENSIONS + 1;

/// The normal equations, the right side last.
type Equations = [[f64; UNKNOWNS + 1]; UNKNOWNS];

/// Peers, where they stood, and the round trips to them in milliseconds.
struct Samples<'a> {
    all: &'a [(Coordinate, f64)],
    /// The way apart from a peer on the same point.
    direction: [f32; DIMENSIONS],
    /// The height that a node here is likely to have, and by how much it may be off, milliseconds.
    height: (f64, f64),
}

impl Coordinate {
    /// Where this node stands if `samples` are right: of each peer where it stood, and the round
    /// trip in milliseconds. One that is not positive and finite is left out; if none is left
    /// nothing changes. A node moves by [`STEP_MS_MAX`] a step and axis at most, from where it
    /// stood or from beside its nearest peer.
    ///
    /// `direction` breaks the tie if both stand on the same point; it should be random, need not
    /// have length one, and is otherwise unused.
    #[must_use]
    pub fn fitted(&self, samples: &[(Self, f64)], direction: [f32; DIMENSIONS]) -> Self {
        let lawful = |(_, rtt_ms): &&(Self, f64)| rtt_ms.is_finite() && *rtt_ms > 0.0;
        let all: Vec<(Self, f64)> = samples.iter().filter(lawful).copied().collect();
        let others = all.iter().filter(|(_, rtt_ms)| *rtt_ms >= NEAR_MS);
        let others: Vec<(Self, f64)> = others.copied().collect();
        let all = if others.len() >= UNKNOWNS {
            others
        } else {
            all
        };
        // Who does not know where it stands says nothing of where we do.
        let rank = |(peer, rtt_ms): &(Self, f64)| (peer.error() >= ERROR_MAX, *rtt_ms);
        let nearer = |one: &&(Self, f64), other: &&(Self, f64)| {
            let (one, other) = (rank(one), rank(other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        };
        let Some((nearest, least_ms)) = all.iter().min_by(nearer) else {
            return *self;
        };
        let usual_ms = mean(&all, |peer, _| f64::from(peer.height_ms()));
        let samples = Samples {
            all: &all,
            direction,
            height: (usual_ms, usual_ms + least_ms / 4.0),
        };
        let sure = f64::from(self.error());
        let stayed = samples.walk(*self, STEPS, STAY / (sure * sure));
        let anew = samples.walk(*nearest, STEPS_ANEW, 0.0);
        let (error, error_anew) = (samples.misfit(&stayed), samples.misfit(&anew));
        let (at, error) = if error_anew < error * BETTER {
            (anew, error_anew)
        } else {
            (stayed, error)
        };
        let count = all.len() as f64;
        let error = (error * count + DOUBTS) / (count + DOUBTS);
        Self::clamped(at.position_ms(), at.height_ms(), narrowed(error))
    }
}

impl Samples<'_> {
    /// So many steps from `start`. `stay`: how firmly each holds to where it begins.
    fn walk(&self, start: Coordinate, steps: usize, stay: f64) -> Coordinate {
        (0..steps).fold(start, |at, _| self.step(&at, stay))
    }

    /// One step to the least sum of squares.
    fn step(&self, at: &Coordinate, stay: f64) -> Coordinate {
        let Some(step) = solved(self.equations(at, stay)) else {
            return *at;
        };
        let mut step = step.map(|ms| ms.clamp(-STEP_MS_MAX, STEP_MS_MAX));
        let before = self.cost(at);
        for _ in 0..LENGTHS {
            let next = moved(at, step);
            if self.cost(&next) < before {
                return next;
            }
            step = step.map(|ms| ms / 2.0);
        }
        *at
    }

    /// What a step makes less: Huber's sum, and the pull on the height.
    fn cost(&self, at: &Coordinate) -> f64 {
        let (usual_ms, spread_ms) = self.height;
        let tall = (f64::from(at.height_ms()) - usual_ms) / spread_ms;
        let apart = self.all.iter().map(|(peer, rtt_ms)| {
            let blur = blur(peer);
            let off = (rtt_ms - at.estimate_ms(peer)).abs() / rtt_ms.max(FLOOR_MS) / blur;
            if off > OUTLIER {
                OUTLIER * (2.0 * off - OUTLIER)
            } else {
                off * off
            }
        });
        tall * tall + apart.sum::<f64>()
    }

    fn equations(&self, at: &Coordinate, stay: f64) -> Equations {
        let mut equations: Equations = [[0.0; UNKNOWNS + 1]; UNKNOWNS];
        for (peer, rtt_ms) in self.all {
            let (away, distance) = at.away_from(peer);
            let away = if distance > 0.0 {
                away
            } else {
                unit(self.direction)
            };
            let off = rtt_ms - at.estimate_ms(peer);
            let weight = weight(peer, off, *rtt_ms);
            let mut slopes = [1.0; UNKNOWNS];
            slopes[..DIMENSIONS].copy_from_slice(&away);
            for (row, slope) in equations.iter_mut().zip(slopes) {
                for (cell, other) in row.iter_mut().zip(slopes) {
                    *cell += weight * slope * other;
                }
                row[UNKNOWNS] += weight * slope * off;
            }
        }
        let (usual_ms, spread_ms) = self.height;
        let pull = 1.0 / (spread_ms * spread_ms);
        let tall = &mut equations[DIMENSIONS];
        tall[DIMENSIONS] += pull;
        tall[UNKNOWNS] += pull * (usual_ms - f64::from(at.height_ms()));
        let trace: f64 = (0..UNKNOWNS).map(|row| equations[row][row]).sum();
        for (row, cells) in equations.iter_mut().enumerate() {
            cells[row] += stay + trace / UNKNOWNS as f64 * FIRM;
        }
        equations
    }

    /// The mean relative error.
    fn misfit(&self, at: &Coordinate) -> f64 {
        mean(self.all, |peer, rtt_ms| {
            ((at.estimate_ms(peer) - rtt_ms).abs() / rtt_ms.max(FLOOR_MS)).min(1.0)
        })
    }
}

fn moved(at: &Coordinate, step: [f64; UNKNOWNS]) -> Coordinate {
    let mut point = at.position_ms();
    for (x, step) in point.iter_mut().zip(step) {
        *x = narrowed(f64::from(*x) + step);
    }
    let height = f64::from(at.height_ms()) + step[DIMENSIONS];
    Coordinate::clamped(point, narrowed(height), at.error())
}

/// The mean, in which those who are sure weigh more.
fn mean(samples: &[(Coordinate, f64)], of: impl Fn(&Coordinate, f64) -> f64) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (peer, rtt_ms) in samples {
        let weight = 1.0 / (blur(peer) * blur(peer));
        sum += weight * of(peer, *rtt_ms);
        weights += weight;
    }
    sum / weights
}

/// By how much a round trip to `peer` may be off, relatively.
fn blur(peer: &Coordinate) -> f64 {
    f64::from(peer.error()) + JITTER
}

fn weight(peer: &Coordinate, off_ms: f64, rtt_ms: f64) -> f64 {
    let scale_ms = rtt_ms.max(FLOOR_MS);
    let (blur, relative) = (blur(peer), off_ms.abs() / scale_ms);
    let full = 1.0 / (blur * blur * scale_ms * scale_ms);
    full * (OUTLIER * blur / relative).min(1.0)
}

/// Gauss-Jordan elimination with the largest pivots; none if there is no one solution.
fn solved(mut rows: Equations) -> Option<[f64; UNKNOWNS]> {
    for column in 0..UNKNOWNS {
        let size = |row: &usize| rows[*row][column].abs();
        let largest = (column..UNKNOWNS).max_by(|one, other| size(one).total_cmp(&size(other)))?;
        rows.swap(column, largest);
        let pivot = rows[column];
        for (_, row) in rows.iter_mut().enumerate().filter(|(at, _)| *at != column) {
            let factor = row[column] / pivot[column];
            for (cell, above) in row.iter_mut().zip(pivot) {
                *cell -= factor * above;
            }
        }
    }
    let solution: [f64; UNKNOWNS] = std::array::from_fn(|at| rows[at][UNKNOWNS] / rows[at][at]);
    // A pivot of zero leaves no number.
    solution.iter().all(|x| x.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    /// Nodes of one room, of which nobody knows yet where it stands, are among those that do.
    #[test]
    fn nodes_of_one_room_do_not_hold_each_other_where_they_began() {
        for count in [2, 3, 5] {
            for apart_ms in [0.05, 0.2, 1.0] {
                let at = [80.0, 70.0];
                let anchors = from(at, 10.0, &AROUND);
                let mut room = vec![Coordinate::default(); count];
                for round in 0..30 {
                    for node in 0..count {
                        let others = room.iter().enumerate().filter(|(other, _)| *other != node);
                        let others = others.map(|(_, other)| (*other, apart_ms));
                        let samples: Vec<_> = anchors.iter().copied().chain(others).collect();
                        let turn = [0.3, 0.2 + node as f32, 0.1 * round as f32];
                        room[node] = room[node].fitted(&samples, turn);
                    }
                }
                let worst = room.iter().map(|node| off_ms(node, at)).fold(0.0, f32::max);
                assert!(
                    worst < 20.0,
                    "{count} nodes {apart_ms} ms apart: {worst} ms off"
                );
            }
        }
    }

    /// Sure peers in a plane, and round trips to them from `at` above it.
    fn from(at: [f32; 2], height_ms: f32, peers: &[[f32; 2]]) -> Vec<(Coordinate, f64)> {
        let place = |[x, y]: [f32; 2], height| Coordinate::clamped([x, y, 0.0], height, 0.05);
        let truth = place(at, height_ms);
        let peers = peers.iter().map(|peer| place(*peer, 8.0));
        peers.map(|peer| (peer, truth.estimate_ms(&peer))).collect()
    }

    fn off_ms(fitted: &Coordinate, at: [f32; 2]) -> f32 {
        let [x, y, z] = fitted.position_ms();
        let (x, y) = (x - at[0], y - at[1]);
        (x * x + y * y + z * z).sqrt()
    }

    const AROUND: [[f32; 2]; 6] = [
        [0.0, 0.0],
        [150.0, 10.0],
        [140.0, 120.0],
        [20.0, 140.0],
        [70.0, 30.0],
        [60.0, 90.0],
    ];

    #[test]
    fn peers_all_around_tell_where_a_newcomer_stands() {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        for _ in 0..100 {
            let at = std::array::from_fn(|_| rng.random_range(10.0..130.0));
            let samples = from(at, 12.0, &AROUND);
            let mut fitted = Coordinate::default();
            for _ in 0..4 {
                fitted = fitted.fitted(&samples, [0.3, 0.2, 0.1]);
            }
            // To others than these.
            let others = [[30.0, 60.0], [110.0, 20.0], [90.0, 120.0], [10.0, 100.0]];
            let others = from(at, 12.0, &others);
            let off = others
                .iter()
                .map(|(peer, ms)| (fitted.estimate_ms(peer) - ms).abs());
            let mean = off.sum::<f64>() / others.len() as f64;
            assert!(mean < 5.0, "{at:?}: {mean} ms off, {fitted:?}");
        }
    }

    #[test]
    fn one_who_measured_in_one_direction_only_does_not_stand_high_above_its_peers() {
        let peers = [[100.0, 0.0], [104.0, 3.0], [97.0, 5.0], [102.0, -6.0]];
        let samples = from([0.0, 0.0], 10.0, &peers);
        let fitted = Coordinate::default().fitted(&samples, [0.3, 0.2, 0.1]);
        assert!(fitted.height_ms() < 30.0, "{fitted:?}");
        assert!(off_ms(&fitted, [100.0, 0.0]) > 80.0, "{fitted:?}");
    }

    #[test]
    fn one_of_seven_who_is_wrong_about_itself_moves_nobody_a_third_as_far() {
        let at = [80.0, 70.0];
        let mut samples = from(at, 10.0, &AROUND);
        samples.push((Coordinate::clamped([200.0, 160.0, 0.0], 8.0, 0.05), 60.0));
        let mut fitted = Coordinate::default();
        for _ in 0..4 {
            fitted = fitted.fitted(&samples, [0.3, 0.2, 0.1]);
        }
        // It stands 150 ms from where its round trip would be right.
        assert!(off_ms(&fitted, at) < 45.0, "{fitted:?}");
    }

    #[test]
    fn few_samples_leave_a_node_unsure() {
        let samples = from([80.0, 70.0], 10.0, &AROUND);
        let error = |count: usize| {
            let fitted = Coordinate::default().fitted(&samples[..count], [0.3, 0.2, 0.1]);
            fitted.error()
        };
        assert!(
            error(1) > 0.6 && error(6) < 0.4,
            "{} {}",
            error(1),
            error(6)
        );
    }

    fn anything() -> impl Strategy<Value = Coordinate> {
        let point = prop::array::uniform3(any::<f32>());
        (point, any::<f32>(), any::<f32>())
            .prop_map(|(position, height, error)| Coordinate::clamped(position, height, error))
    }

    proptest! {
        #[test]
        fn no_samples_leave_the_limits(
            own in anything(),
            samples in prop::collection::vec(
                (anything(), prop_oneof![0.001..60_000.0, any::<f64>()]),
                0..8,
            ),
            direction in prop::array::uniform3(any::<f32>()),
        ) {
            let after = own.fitted(&samples, direction);
            let again = Coordinate::clamped(after.position_ms(), after.height_ms(), after.error());
            prop_assert_eq!(after, again);
            prop_assert!(after.estimate_ms(&own).is_finite());
        }
    }
}
