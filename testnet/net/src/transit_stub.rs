//! A generator of networks of GT-ITM's kind: transit domains in a world, stub domains behind each
//! transit router.
//!
//! Transit domains lie somewhere in a square world, their routers somewhere in a smaller square;
//! around each transit router lie stub domains, each joined to it by one link. Sizes of domains
//! vary around their means, totals do not. Within a domain each two routers are linked with a
//! probability, drawn anew until the domain is connected. Between two linked transit domains there
//! are two links. The length of a link is the distance of its ends, at least 1 ms of round trip.
//!
//! As a stub domain has one way out, the shortest path of two routers is either within their stub
//! or goes up, over the transit routers and down. So the delay of any pair takes three look-ups,
//! and memory is about 200 bytes a router instead of 8 a pair.
//!
//! Weaknesses: no stub has two providers, no link joins two stubs, so routes never bend by policy
//! and delays are a metric; the world keeps its size when the number of routers grows, where
//! GT-ITM's grows with it.
//!
//! Source: Zegura, Calvert, Bhattacharjee 1996, "How to model an internetwork"; the defaults are
//! those of its sample `ts600` (`3 0 0 / 3 20 3 1.0 / 8 20 3 0.5 / 8 10 3 0.5`).

use opus_core::Seed;
use opus_model::{Graph, graph::NODES_MAX, shortest_paths};
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod draft;

/// No link is shorter: milliseconds of round trip. GT-ITM's smallest length.
pub const LINK_MS_MIN: f64 = 1.0;

/// Each of the four numbers of [`Parameters`]; a domain stores its pairs, 4 bytes each.
pub const COUNT_MAX: usize = 200;

/// The backbone stores its pairs too: 16 MiB.
pub const TRANSIT_ROUTERS_MAX: usize = 2_000;

/// Larger worlds are not of this planet.
pub const WORLD_MS_MAX: f64 = 10_000.0;

/// Shape and size of a generated network; the default has 600 routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// Transit domains.
    pub transit_domains: usize,
    /// Mean number of routers of a transit domain.
    pub transit_nodes: usize,
    /// Mean number of stub domains at a transit router.
    pub stubs: usize,
    /// Mean number of routers of a stub domain.
    pub stub_nodes: usize,
    /// Probability that two transit domains are linked; above 0.
    pub domain_links: f64,
    /// Probability that two routers of a transit domain are linked; above 0.
    pub transit_links: f64,
    /// Probability that two routers of a stub domain are linked; above 0.
    pub stub_links: f64,
    /// Side of the world, milliseconds of round trip.
    pub world_ms: f64,
    /// Side of the square of a transit domain, at most the world's.
    pub transit_ms: f64,
    /// Side of the square of a stub domain, at most the world's.
    pub stub_ms: f64,
}

/// A parameter out of its range. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum BadParameters {
    /// A number is not between 1 and [`COUNT_MAX`].
    #[error("{name} {value} is not between 1 and {COUNT_MAX}")]
    Count {
        /// The field.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// More routers than a graph has, or more than [`TRANSIT_ROUTERS_MAX`] in the backbone.
    #[error(
        "{routers} routers (at most {NODES_MAX}), \
         {transit} of them transit (at most {TRANSIT_ROUTERS_MAX})"
    )]
    TooMany {
        /// Routers in all.
        routers: usize,
        /// Transit routers.
        transit: usize,
    },
    /// A probability is not above 0 and at most 1.
    #[error("{name} {value} is not above 0 and at most 1")]
    Probability {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A side is not positive, or larger than the world, or the world than [`WORLD_MS_MAX`].
    #[error("{name} {value} is not above 0, within the world and {WORLD_MS_MAX}")]
    Side {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
    },
}

impl Default for Parameters {
    fn default() -> Self {
        // GT-ITM computes its sides from the numbers: these are those of the sample.
        Self {
            transit_domains: 3,
            transit_nodes: 8,
            stubs: 3,
            stub_nodes: 8,
            domain_links: 1.0,
            transit_links: 0.5,
            stub_links: 0.5,
            world_ms: 219.0,
            transit_ms: 110.0,
            stub_ms: 52.0,
        }
    }
}

impl Parameters {
    /// The default, its numbers grown in turn until a sixth of the routers stays free beside
    /// `members`. At most some 80,000 members: [`TransitStub::new`] refuses what is beyond.
    pub fn for_members(members: usize) -> Self {
        let mut parameters = Self::default();
        let members = members.min(NODES_MAX);
        for turn in 0.. {
            let routers = parameters.routers();
            if routers - routers / 6 >= members {
                break;
            }
            match turn % 4 {
                0 => parameters.stubs += 1,
                1 => parameters.stub_nodes += 1,
                2 => parameters.transit_nodes += 1,
                _ => parameters.transit_domains += 1,
            }
        }
        parameters
    }

    /// Routers in all, the numbers being checked; sizes of single domains vary, their sum does not.
    fn routers(&self) -> usize {
        self.transit_domains * self.transit_nodes * (1 + self.stubs * self.stub_nodes)
    }

    fn check(&self) -> Result<(), BadParameters> {
        for (name, value) in [
            ("transit_domains", self.transit_domains),
            ("transit_nodes", self.transit_nodes),
            ("stubs", self.stubs),
            ("stub_nodes", self.stub_nodes),
        ] {
            if !(1..=COUNT_MAX).contains(&value) {
                return Err(BadParameters::Count { name, value });
            }
        }
        let (routers, transit) = (self.routers(), self.transit_domains * self.transit_nodes);
        if routers > NODES_MAX || transit > TRANSIT_ROUTERS_MAX {
            return Err(BadParameters::TooMany { routers, transit });
        }
        for (name, value) in [
            ("domain_links", self.domain_links),
            ("transit_links", self.transit_links),
            ("stub_links", self.stub_links),
        ] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(BadParameters::Probability { name, value });
            }
        }
        for (name, value, max) in [
            ("world_ms", self.world_ms, WORLD_MS_MAX),
            ("transit_ms", self.transit_ms, self.world_ms),
            ("stub_ms", self.stub_ms, self.world_ms),
        ] {
            if !(value > 0.0 && value <= max) {
                return Err(BadParameters::Side { name, value });
            }
        }
        Ok(())
    }
}

/// A generated network of routers. Transit routers come first, then stub routers by stub.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitStub {
    transit_routers: usize,
    /// Round-trip times between transit routers, row-major, microseconds.
    backbone_us: Vec<u32>,
    stubs: Vec<Stub>,
    /// The stub of each stub router.
    stub_of: Vec<u32>,
    links: Vec<(usize, usize, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Stub {
    /// The transit router above.
    gateway: usize,
    first_router: usize,
    /// Round-trip time from each router to the gateway, microseconds.
    up_us: Vec<u32>,
    /// Round-trip times within, row-major, microseconds.
    within_us: Vec<u32>,
}

impl TransitStub {
    /// Draws a network. Equal parameters and seed give equal networks. Errors: [`BadParameters`].
    pub fn new(parameters: &Parameters, seed: Seed) -> Result<Self, BadParameters> {
        parameters.check()?;
        let draft = draft::draw(parameters, seed.derive("transit-stub", 0).rng());
        let transit_routers = draft.transit_routers;
        let backbone = all_pairs(transit_routers, &draft.backbone);
        let mut stubs = Vec::with_capacity(draft.stubs.len());
        let mut stub_of = Vec::new();
        let mut links = draft.backbone;
        for (number, domain) in (0_u32..).zip(draft.stubs) {
            let first_router = transit_routers + stub_of.len();
            // The gateway is one node more, behind the routers.
            let nodes = domain.routers + 1;
            let rtt_us = all_pairs(nodes, &domain.links);
            let row = |router: usize| &rtt_us[router * nodes..router * nodes + domain.routers];
            stubs.push(Stub {
                gateway: domain.gateway,
                first_router,
                up_us: row(domain.routers).to_vec(),
                within_us: (0..domain.routers).flat_map(row).copied().collect(),
            });
            stub_of.resize(stub_of.len() + domain.routers, number);
            let global = |node: usize| {
                if node == domain.routers {
                    domain.gateway
                } else {
                    first_router + node
                }
            };
            links.extend(
                domain
                    .links
                    .iter()
                    .map(|&(u, v, us)| (global(u), global(v), us)),
            );
        }
        Ok(Self {
            transit_routers,
            backbone_us: backbone,
            stubs,
            stub_of,
            links,
        })
    }

    /// Number of routers.
    pub const fn routers(&self) -> usize {
        self.transit_routers + self.stub_of.len()
    }

    /// Number of transit routers: those from 0 on.
    pub const fn transit_routers(&self) -> usize {
        self.transit_routers
    }

    /// Round-trip time of the shortest path between two routers, microseconds. Panics out of range.
    pub fn rtt_us(&self, a: usize, b: usize) -> u32 {
        if let (Some(stub), Some(other)) = (self.stub(a), self.stub(b))
            && stub.first_router == other.first_router
        {
            let row = (a - stub.first_router) * stub.up_us.len();
            return stub.within_us[row + b - stub.first_router];
        }
        let ((up_a, a), (up_b, b)) = (self.up(a), self.up(b));
        up_a + self.backbone_us[a * self.transit_routers + b] + up_b
    }

    /// The routers and links, lengths in milliseconds of round trip.
    pub fn graph(&self) -> Graph {
        let links: Vec<_> = self
            .links
            .iter()
            .map(|&(u, v, us)| (u, v, us / 1e3))
            .collect();
        Graph::new(self.routers(), &links).expect("drawn links join drawn routers")
    }

    fn stub(&self, router: usize) -> Option<&Stub> {
        let stub = self.stub_of[router.checked_sub(self.transit_routers)?];
        Some(&self.stubs[stub as usize])
    }

    /// How far the router is from its transit router, and which that is.
    fn up(&self, router: usize) -> (u32, usize) {
        self.stub(router).map_or((0, router), |stub| {
            (stub.up_us[router - stub.first_router], stub.gateway)
        })
    }
}

/// Shortest paths of all pairs of a small connected graph with whole lengths, row-major.
fn all_pairs(nodes: usize, links: &[(usize, usize, f64)]) -> Vec<u32> {
    let graph = Graph::new(nodes, links).expect("drawn links join drawn routers");
    (0..nodes)
        .flat_map(|from| shortest_paths(&graph, from))
        .map(whole_us)
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and positive; 2^32 us would be 4,000 s, which no checked world reaches"
)]
const fn whole_us(us: f64) -> u32 {
    us as u32
}

#[cfg(test)]
mod tests;
