//! The values of all nodes: random walks as those of the load in dicast-10k.
//!
//! Each second x += N(0, s) + .01 (1 - x), s of a node drawn from a Pareto distribution of shape
//! 1.2 and mean .004 times a lognormal factor of its region. Values are rounded to four digits, a
//! hundredth of the tolerance, so that a protocol that carries text is not charged for digits that
//! nobody asks for. While it drifts, all values rise by .01 a second: the mean then moves by the
//! tolerance each second, and who is late is wrong by as much.

use opus_core::Rng;
use rand::RngExt;

use crate::world::World;

/// Least and greatest value.
pub const RANGE: (f64, f64) = (0.0, 100.0);
/// How far a mean may be off: 1 % of what a value is about.
pub const TOLERANCE: f64 = 0.01;
/// What is added to all values each second of a drift.
pub const DRIFT: f64 = 0.01;

const STEP_MEAN: f64 = 0.004;
const STEP_SHAPE: f64 = 1.2;
/// How fast a value returns to 1.
const RETURN: f64 = 0.01;
/// Values are multiples of its inverse.
const DIGITS: f64 = 1e4;

/// See the module.
#[derive(Debug)]
pub struct Walk {
    rng: Rng,
    step: Vec<f64>,
    exact: Vec<f64>,
    /// Rounded, as the nodes have them.
    values: Vec<f64>,
}

impl Walk {
    /// All values at 1.
    pub fn new(world: &World) -> Self {
        let mut rng = world.seed.derive("walk", 0).rng();
        let regions = world.regions();
        let factors: Vec<f64> = (0..regions.centres().len())
            .map(|_| libm::exp(normal(&mut rng)))
            .collect();
        let least = STEP_MEAN * (STEP_SHAPE - 1.0) / STEP_SHAPE;
        let mut pareto = || least / libm::pow(rng.random_range(1e-9..1.0), 1.0 / STEP_SHAPE);
        let nodes = 0..world.nodes;
        let step = nodes.map(|node| pareto() * factors[regions.region(node)]);
        Self {
            step: step.collect(),
            rng,
            exact: vec![1.0; world.nodes],
            values: vec![1.0; world.nodes],
        }
    }

    /// One second passes. `drift`: added to each value.
    pub fn step(&mut self, drift: f64) {
        for (node, x) in self.exact.iter_mut().enumerate() {
            *x += self.step[node] * normal(&mut self.rng) + RETURN * (1.0 - *x) + drift;
            *x = x.clamp(RANGE.0, RANGE.1);
            self.values[node] = (*x * DIGITS).round() / DIGITS;
        }
    }

    /// The value of a node.
    pub fn value(&self, node: usize) -> f64 {
        self.values[node]
    }

    /// The mean of the nodes that live; 0 if none does.
    pub fn mean(&self, alive: &[bool]) -> f64 {
        let living = || self.values.iter().zip(alive).filter(|(_, alive)| **alive);
        let sum: f64 = living().map(|(value, _)| value).sum();
        sum / living().count().max(1) as f64
    }
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random_range(0.0..1.0));
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_walk_and_a_drift_moves_their_mean_by_the_tolerance_a_second() {
        let world = World::new(200, 5).unwrap();
        let mut walk = Walk::new(&world);
        let alive = [true; 200];
        for _ in 0..50 {
            walk.step(0.0);
        }
        let moved = (0..200)
            .filter(|&node| walk.value(node).to_bits() != 1.0_f64.to_bits())
            .count();
        assert!(moved > 150, "{moved} of 200 values have moved");
        let before = walk.mean(&alive);
        for _ in 0..10 {
            walk.step(DRIFT);
        }
        let risen = (walk.mean(&alive) - before) / TOLERANCE;
        assert!((7.0..12.0).contains(&risen), "{risen} tolerances in 10 s");
    }

    #[test]
    fn the_mean_is_that_of_the_living() {
        let world = World::new(2, 5).unwrap();
        let mut walk = Walk::new(&world);
        walk.step(0.0);
        let off = walk.mean(&[false, true]) - walk.value(1);
        assert!(off.abs() < 1e-12, "{off}");
        assert!(walk.mean(&[false, false]).abs() < 1e-12);
    }
}
