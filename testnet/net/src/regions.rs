//! Regions: nodes gathered around centres in a square, each behind an access line of its own.
//!
//! A delay is computed from two positions when it is asked for: 16 bytes a node, so that 100,000
//! nodes need no matrix. One way from u to v takes the distance of their places and both access
//! delays; the round trip is twice that. Places and access delays are whole microseconds, the
//! distance is the square root of a whole number rounded up: delays are symmetric, obey the
//! triangle inequality exactly and are the same on any machine.
//!
//! The scatter around a centre is the sum of twelve uniform draws less six: nearly normal, at most
//! six deviations out, and without a logarithm, whose digits differ by platform.
//!
//! Weaknesses: no routes, so no pair is further apart than its places say, and no two pairs share a
//! line; the internet breaks the triangle inequality, this does not.

use opus_core::{Rng, Seed};
use rand::RngExt;
use thiserror::Error;

/// Nodes of one topology: beyond, indices would not fit elsewhere.
pub const NODES_MAX: usize = 1 << 24;
/// Regions of one topology.
pub const REGIONS_MAX: usize = 256;
/// The longest side, deviation or access delay: 1 s one way is beyond any place on earth.
pub const MS_MAX: f64 = 1_000.0;

/// What regions are drawn from. Times are milliseconds, one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionParameters {
    /// Centres, uniform in the square; 1 to [`REGIONS_MAX`]. A node's region is uniform too.
    pub regions: usize,
    /// Side of the square.
    pub side_ms: f64,
    /// Deviation of a node's place from its centre, in each of both directions.
    pub sigma_ms: f64,
    /// Delay of a node's own line, uniform: least, most.
    pub access_ms: (f64, f64),
}

impl Default for RegionParameters {
    /// As far apart as the continents of the internet: up to 130 ms one way.
    fn default() -> Self {
        Self {
            regions: 24,
            side_ms: 80.0,
            sigma_ms: 6.0,
            access_ms: (1.0, 10.0),
        }
    }
}

/// Why regions cannot be drawn. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum BadRegions {
    /// A number is not within its bounds.
    #[error("{name} {value} is not between {least} and {most}")]
    Range {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The least that is lawful.
        least: f64,
        /// The most that is lawful.
        most: f64,
    },
}

/// Nodes in regions. See the module.
#[derive(Clone, Debug)]
pub struct Regions {
    centres: Vec<Place>,
    nodes: Vec<Node>,
}

/// A place in the plane, in microseconds one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// To the right; beyond the square if the scatter led there.
    pub x_us: i32,
    /// Upward.
    pub y_us: i32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    place: Place,
    /// Up to [`MS_MAX`], so 20 bits; the region needs 8.
    access_us: u32,
    region: u8,
}

impl Place {
    /// The way to another place in microseconds, rounded up.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the sum of squares is below 2^52, its root exact to far below a microsecond"
    )]
    pub fn to_us(self, other: Self) -> u32 {
        let across = i64::from(self.x_us) - i64::from(other.x_us);
        let up = i64::from(self.y_us) - i64::from(other.y_us);
        ((across * across + up * up) as f64).sqrt().ceil() as u32
    }
}

impl Regions {
    /// `nodes` nodes drawn by `seed`. A node's place depends on the seed and its index only, so a
    /// larger network holds the smaller one. Errors: [`BadRegions`].
    pub fn new(
        parameters: &RegionParameters,
        nodes: usize,
        seed: Seed,
    ) -> Result<Self, BadRegions> {
        check(parameters, nodes)?;
        let mut rng = seed.derive("centres", 0).rng();
        let side = parameters.side_ms;
        let mut along = || micros(side * rng.random::<f64>());
        let centres: Vec<Place> = (0..parameters.regions)
            .map(|_| Place {
                x_us: along(),
                y_us: along(),
            })
            .collect();
        let mut rng = seed.derive("places", 0).rng();
        let nodes = (0..nodes).map(|_| node(parameters, &centres, &mut rng));
        Ok(Self {
            nodes: nodes.collect(),
            centres,
        })
    }

    /// Number of nodes; at least 2.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a topology has at least two nodes"
    )]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The centres of the regions.
    pub fn centres(&self) -> &[Place] {
        &self.centres
    }

    /// The region of a node: an index into [`Self::centres`]. Panics out of range.
    pub fn region(&self, node: usize) -> usize {
        usize::from(self.nodes[node].region)
    }

    /// Where a node is. Panics out of range.
    pub fn place(&self, node: usize) -> Place {
        self.nodes[node].place
    }

    /// The delay of a node's own line, microseconds one way. Panics out of range.
    pub fn access_us(&self, node: usize) -> u32 {
        self.nodes[node].access_us
    }

    /// One way between two nodes in microseconds; 0 only from a node to itself. Panics out of
    /// range.
    pub fn one_way_us(&self, u: usize, v: usize) -> u32 {
        if u == v {
            return 0;
        }
        let (one, other) = (&self.nodes[u], &self.nodes[v]);
        (one.place.to_us(other.place) + one.access_us + other.access_us).max(1)
    }

    /// All nodes, the nearest to a centre first; equal ones by index. Panics out of range.
    pub fn by_distance(&self, region: usize) -> Vec<usize> {
        let centre = self.centres[region];
        let mut nodes: Vec<usize> = (0..self.len()).collect();
        nodes.sort_by_cached_key(|&node| (self.nodes[node].place.to_us(centre), node));
        nodes
    }
}

fn node(parameters: &RegionParameters, centres: &[Place], rng: &mut Rng) -> Node {
    let region = rng.random_range(0..centres.len());
    let centre = centres[region];
    let x_us = centre.x_us + scatter(parameters.sigma_ms, rng);
    let y_us = centre.y_us + scatter(parameters.sigma_ms, rng);
    let (least, most) = parameters.access_ms;
    let access = micros(least + (most - least) * rng.random::<f64>());
    Node {
        place: Place { x_us, y_us },
        access_us: access.unsigned_abs(),
        region: u8::try_from(region).expect("at most 256 regions"),
    }
}

/// Twelve uniform draws have variance 1 and mean 6.
fn scatter(sigma_ms: f64, rng: &mut Rng) -> i32 {
    let sum: f64 = (0..12).map(|_| rng.random::<f64>()).sum();
    micros(sigma_ms * (sum - 6.0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "at most six times MS_MAX, far below 2^31 microseconds"
)]
fn micros(ms: f64) -> i32 {
    (ms * 1e3).round() as i32
}

fn check(parameters: &RegionParameters, nodes: usize) -> Result<(), BadRegions> {
    let (least, most) = parameters.access_ms;
    let rows = [
        ("nodes", nodes as f64, 2.0, NODES_MAX as f64),
        (
            "regions",
            parameters.regions as f64,
            1.0,
            REGIONS_MAX as f64,
        ),
        ("side_ms", parameters.side_ms, 0.0, MS_MAX),
        ("sigma_ms", parameters.sigma_ms, 0.0, MS_MAX),
        ("access_ms", least, 0.0, MS_MAX),
        ("access_ms", most, least, MS_MAX),
    ];
    for (name, value, least, most) in rows {
        // NaN lies in no range.
        if !(least..=most).contains(&value) {
            return Err(BadRegions::Range {
                name,
                value,
                least,
                most,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(nodes: usize, seed: u64) -> Regions {
        Regions::new(&RegionParameters::default(), nodes, Seed::new(seed)).unwrap()
    }

    fn row(regions: &Regions) -> Vec<u32> {
        (0..regions.len())
            .map(|node| regions.one_way_us(0, node))
            .collect()
    }

    #[test]
    fn equal_seeds_give_equal_delays_and_a_larger_network_holds_the_smaller() {
        assert_eq!(row(&regions(300, 5)), row(&regions(300, 5)));
        assert_ne!(row(&regions(300, 5)), row(&regions(300, 6)));
        assert_eq!(row(&regions(300, 5)), row(&regions(500, 5))[..300]);
    }

    #[test]
    fn delays_are_symmetric_positive_and_obey_the_triangle_inequality() {
        let regions = regions(60, 7);
        for u in 0..60 {
            assert_eq!(regions.one_way_us(u, u), 0);
            for v in (0..60).filter(|&v| v != u) {
                let direct = regions.one_way_us(u, v);
                assert!(direct > 0);
                assert_eq!(direct, regions.one_way_us(v, u));
                for w in 0..60 {
                    let around = regions.one_way_us(u, w) + regions.one_way_us(w, v);
                    assert!(direct <= around, "{u} {v} by {w}: {direct} > {around}");
                }
            }
        }
    }

    #[test]
    fn places_scatter_by_sigma_and_access_delays_fill_their_range() {
        let regions = regions(20_000, 9);
        let mut squares = 0.0;
        for node in 0..20_000 {
            let place = regions.place(node);
            let off = f64::from(place.x_us - regions.centres()[regions.region(node)].x_us);
            squares += off * off;
            assert!((1_000..=10_000).contains(&regions.access_us(node)));
        }
        // A deviation over 20,000 draws is uncertain by 0.5 %: five times that.
        let sigma_us = (squares / 20_000.0_f64).sqrt();
        assert!((sigma_us - 6_000.0).abs() < 150.0, "{sigma_us}");
        let access: f64 = (0..20_000).map(|n| f64::from(regions.access_us(n))).sum();
        assert!((access / 20_000.0 - 5_500.0).abs() < 100.0, "{access}");
        let used = (0..20_000).map(|node| regions.region(node)).max();
        assert_eq!(used, Some(23));
    }

    #[test]
    fn nodes_of_one_region_are_nearer_to_each_other_than_to_others() {
        let regions = regions(2_000, 11);
        let (mut within, mut beyond) = ((0_u64, 0_u64), (0_u64, 0_u64));
        for node in 1..2_000 {
            let sum = if regions.region(node) == regions.region(0) {
                &mut within
            } else {
                &mut beyond
            };
            sum.0 += u64::from(regions.one_way_us(0, node));
            sum.1 += 1;
        }
        assert!(within.0 * beyond.1 * 2 < beyond.0 * within.1);
        let nearest = regions.by_distance(3);
        let to_centre = |node: usize| regions.place(node).to_us(regions.centres()[3]);
        assert!(nearest.is_sorted_by_key(|&node| to_centre(node)));
        assert_eq!(nearest.len(), 2_000);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let good = RegionParameters::default();
        let bad = [
            RegionParameters { regions: 0, ..good },
            RegionParameters {
                regions: 257,
                ..good
            },
            RegionParameters {
                side_ms: f64::NAN,
                ..good
            },
            RegionParameters {
                sigma_ms: -1.0,
                ..good
            },
            RegionParameters {
                access_ms: (5.0, 4.0),
                ..good
            },
        ];
        for parameters in bad {
            let refused = Regions::new(&parameters, 10, Seed::new(0));
            assert!(refused.is_err(), "{parameters:?}");
        }
        assert!(Regions::new(&good, 1, Seed::new(0)).is_err());
    }
}
