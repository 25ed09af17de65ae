//! Network coordinates: points whose distance estimates the round-trip time of a pair that nobody
//! measured.
//!
//! A coordinate is a point in three dimensions and a height: the point says where the node's
//! access network meets the core, the height how far the node is from there. Each measurement pulls
//! or pushes the node along the line to its peer, weighted by who is surer (Vivaldi); several at
//! once are fitted ([`Coordinate::fitted`]). An estimate
//! never decides a bound by itself: overlays measure before they move.
//!
//! Weaknesses: where the triangle inequality fails no point fits; a peer that lies about its
//! coordinate moves its partners, by at most [`STEP_MS_MAX`] an axis and
//! step: one for each sample, and up to five for each fit.
//!
//! Source: Opus 3.2; Dabek, Cox, Kaashoek, Morris 2004, "Vivaldi: a decentralized network
//! coordinate system".

/// Dimensions of the point beside the height; the paper finds two or three enough.
pub const DIMENSIONS: usize = 3;

/// Farther than any path on earth or over a satellite and back several times.
pub const POSITION_MS_MAX: f32 = 20_000.0;

/// A height must not vanish, or the height part of the unit vector could never grow again.
pub const HEIGHT_MS_MIN: f32 = 0.01;

/// As far as a position may be.
pub const HEIGHT_MS_MAX: f32 = POSITION_MS_MAX;

/// The surest a node may claim to be; 0 would freeze it and fix all its partners to it.
pub const ERROR_MIN: f32 = 0.01;

/// A node that knows nothing; also where a worse error is cut off.
pub const ERROR_MAX: f32 = 1.0;

/// Weight of one sample in the error, and of one sample in the position: both of the paper.
const SAMPLE_WEIGHT: f64 = 0.25;

/// No sample moves a node further: what a liar can do at once. A fifth of a second is beyond most
/// honest corrections; larger ones take a few samples.
pub const STEP_MS_MAX: f64 = 200.0;

/// Where a node stands and how sure it is. Always within the limits of this module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    position_ms: [f32; DIMENSIONS],
    height_ms: f32,
    error: f32,
}

impl Default for Coordinate {
    /// The origin, knowing nothing: where every node begins.
    fn default() -> Self {
        Self {
            position_ms: [0.0; DIMENSIONS],
            height_ms: HEIGHT_MS_MIN,
            error: ERROR_MAX,
        }
    }
}

impl Coordinate {
    /// A coordinate from what a peer says, each number clamped: NaN becomes 0 in a position, the
    /// minimum as a height and [`ERROR_MAX`] as an error.
    ///
    /// `position_ms` and `height_ms` in milliseconds of round trip, `error` relative.
    pub fn clamped(position_ms: [f32; DIMENSIONS], height_ms: f32, error: f32) -> Self {
        let within = |value: f32, min: f32, max: f32, otherwise: f32| {
            if value.is_nan() {
                otherwise
            } else {
                value.clamp(min, max)
            }
        };
        Self {
            position_ms: position_ms.map(|x| within(x, -POSITION_MS_MAX, POSITION_MS_MAX, 0.0)),
            height_ms: within(height_ms, HEIGHT_MS_MIN, HEIGHT_MS_MAX, HEIGHT_MS_MIN),
            error: within(error, ERROR_MIN, ERROR_MAX, ERROR_MAX),
        }
    }

    /// The point, milliseconds of round trip.
    pub const fn position_ms(&self) -> [f32; DIMENSIONS] {
        self.position_ms
    }

    /// The height above the point, milliseconds of round trip.
    pub const fn height_ms(&self) -> f32 {
        self.height_ms
    }

    /// The estimated relative error of estimates from here, [`ERROR_MIN`] to [`ERROR_MAX`].
    pub const fn error(&self) -> f32 {
        self.error
    }

    /// Estimated round-trip time to `peer` in milliseconds; positive, symmetric.
    pub fn estimate_ms(&self, peer: &Self) -> f64 {
        let (_, distance) = self.away_from(peer);
        distance + self.heights_ms(peer)
    }

    /// Where this node stands after a round trip of `rtt_ms` to `peer`, which stood at `peer` then.
    ///
    /// `direction` breaks the tie if both stand on the same point; it should be random, need not
    /// have length one, and is otherwise unused. A time that is not positive and finite changes
    /// nothing.
    #[must_use]
    pub fn updated(&self, peer: &Self, rtt_ms: f64, direction: [f32; DIMENSIONS]) -> Self {
        if !(rtt_ms.is_finite() && rtt_ms > 0.0) {
            return *self;
        }
        let (away, distance) = self.away_from(peer);
        let estimate = distance + self.heights_ms(peer);
        let own_error = f64::from(self.error);
        let weight = own_error / (own_error + f64::from(peer.error));
        let sample_error = ((estimate - rtt_ms).abs() / rtt_ms).min(f64::from(ERROR_MAX));
        let blend = SAMPLE_WEIGHT * weight;
        let error = sample_error * blend + own_error * (1.0 - blend);
        let step = (blend * (rtt_ms - estimate)).clamp(-STEP_MS_MAX, STEP_MS_MAX);
        let (along, flat, tall) = if distance > 0.0 {
            (
                away,
                step * distance / estimate,
                step * self.heights_ms(peer) / estimate,
            )
        } else {
            (unit(direction), step, 0.0)
        };
        let mut position_ms = self.position_ms;
        for (x, along) in position_ms.iter_mut().zip(along) {
            *x = narrowed(f64::from(*x) + flat * along);
        }
        let height_ms = narrowed(f64::from(self.height_ms) + tall);
        Self::clamped(position_ms, height_ms, narrowed(error))
    }

    /// The unit vector from `peer` to here and the distance of both points; zero vector if equal.
    pub(crate) fn away_from(&self, peer: &Self) -> ([f64; DIMENSIONS], f64) {
        let mut away = [0.0; DIMENSIONS];
        for (away, (own, theirs)) in away
            .iter_mut()
            .zip(self.position_ms.into_iter().zip(peer.position_ms))
        {
            *away = f64::from(own) - f64::from(theirs);
        }
        let distance = length(away);
        if distance > 0.0 {
            (away.map(|x| x / distance), distance)
        } else {
            (away, 0.0)
        }
    }

    fn heights_ms(&self, peer: &Self) -> f64 {
        f64::from(self.height_ms) + f64::from(peer.height_ms)
    }
}

/// `direction` at length one; the first axis if it has no length.
pub(crate) fn unit(direction: [f32; DIMENSIONS]) -> [f64; DIMENSIONS] {
    let direction = direction.map(f64::from);
    let length = length(direction);
    if length.is_finite() && length > 0.0 {
        direction.map(|x| x / length)
    } else {
        let mut axis = [0.0; DIMENSIONS];
        axis[0] = 1.0;
        axis
    }
}

fn length(vector: [f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "coordinates travel as f32; clamped after"
)]
pub(crate) const fn narrowed(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these figures are exact")]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    #[test]
    fn two_nodes_on_one_point_are_pushed_apart_in_the_given_direction() {
        let origin = Coordinate::default();
        let moved = origin.updated(&origin, 100.0, [0.0, -3.0, 0.0]);
        assert_eq!(moved.position_ms()[0], 0.0);
        assert!(moved.position_ms()[1] < -1.0);
        let moved = origin.updated(&origin, 100.0, [0.0; 3]);
        assert!(moved.position_ms()[0] > 1.0);
    }

    #[test]
    fn a_sure_node_moves_less_than_one_that_knows_nothing() {
        let sure = Coordinate::clamped([0.0; 3], 1.0, 0.05);
        let lost = Coordinate::clamped([50.0, 0.0, 0.0], 1.0, 1.0);
        let step = |from: Coordinate, to: Coordinate| {
            let after = from.updated(&to, 200.0, [0.0; 3]);
            (after.position_ms()[0] - from.position_ms()[0]).abs()
        };
        assert!(step(sure, lost) * 10.0 < step(lost, sure));
    }

    #[test]
    fn one_sample_moves_a_node_by_the_step_at_most() {
        let liar = Coordinate::clamped([POSITION_MS_MAX; 3], 1.0, ERROR_MIN);
        let moved = Coordinate::default().updated(&liar, 1.0, [0.0; 3]);
        let far = length(moved.position_ms().map(f64::from));
        assert!(far > 0.0 && far <= STEP_MS_MAX + 0.01, "{far}");
    }

    /// Nodes in a plane with access delays: after some rounds estimates are close to the truth.
    #[test]
    fn coordinates_learn_a_plane_with_access_delays() {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        let nodes = 60;
        let places: Vec<[f64; 3]> = (0..nodes)
            .map(|_| {
                let axis = |rng: &mut ChaCha12Rng| rng.random_range(0.0..150.0);
                [axis(&mut rng), axis(&mut rng), rng.random_range(1.0..15.0)]
            })
            .collect();
        let truth = |u: usize, v: usize| {
            let (a, b) = (places[u], places[v]);
            ((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])).sqrt() + a[2] + b[2]
        };
        let mut coordinates = vec![Coordinate::default(); nodes];
        for _ in 0..120 {
            for u in 0..nodes {
                let v = (u + rng.random_range(1..nodes)) % nodes;
                let direction = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
                coordinates[u] = coordinates[u].updated(&coordinates[v], truth(u, v), direction);
            }
        }
        let mut errors: Vec<f64> = (0..nodes)
            .flat_map(|u| (0..u).map(move |v| (u, v)))
            .map(|(u, v)| {
                let estimate = coordinates[u].estimate_ms(&coordinates[v]);
                (estimate - truth(u, v)).abs() / truth(u, v)
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        let (median, worst_tenth) = (errors[errors.len() / 2], errors[errors.len() * 9 / 10]);
        assert!(
            median < 0.12 && worst_tenth < 0.45,
            "median {median}, 90 % {worst_tenth}"
        );
        let claimed = coordinates
            .iter()
            .map(|at| f64::from(at.error()))
            .sum::<f64>();
        assert!(
            claimed / (nodes as f64) < 0.2,
            "nodes stay unsure: {claimed}"
        );
    }

    fn anything() -> impl Strategy<Value = Coordinate> {
        (
            prop::array::uniform3(any::<f32>()),
            any::<f32>(),
            any::<f32>(),
        )
            .prop_map(|(position, height, error)| Coordinate::clamped(position, height, error))
    }

    /// Away from the limits, where a clamp may stop a move.
    fn well_inside() -> impl Strategy<Value = Coordinate> {
        let axis = -POSITION_MS_MAX / 2.0..POSITION_MS_MAX / 2.0;
        (
            prop::array::uniform3(axis),
            1.0..HEIGHT_MS_MAX / 2.0,
            ERROR_MIN..ERROR_MAX,
        )
            .prop_map(|(position, height, error)| Coordinate::clamped(position, height, error))
    }

    proptest! {
        #[test]
        fn no_input_leaves_the_limits(
            own in anything(), peer in anything(), rtt in any::<f64>(),
            direction in prop::array::uniform3(any::<f32>()),
        ) {
            let after = own.updated(&peer, rtt, direction);
            let again = Coordinate::clamped(after.position_ms(), after.height_ms(), after.error());
            prop_assert_eq!(after, again);
            prop_assert!(after.estimate_ms(&peer).is_finite());
            prop_assert!(after.estimate_ms(&peer) > 0.0);
            prop_assert_eq!(own.estimate_ms(&peer), peer.estimate_ms(&own));
        }

        #[test]
        fn an_update_brings_the_estimate_nearer_to_the_sample(
            own in well_inside(), peer in anything(), rtt in 1.0..2_000.0_f64,
        ) {
            let before = (own.estimate_ms(&peer) - rtt).abs();
            let after = (own.updated(&peer, rtt, [1.0, 0.0, 0.0]).estimate_ms(&peer) - rtt).abs();
            prop_assert!(after <= before + 0.05, "{before} then {after}");
        }
    }
}
