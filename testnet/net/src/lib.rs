//! The emulated network, sans-IO: who is how far from whom, and what a link does to a frame.
//!
//! A [`Topology`] gives the delay of every ordered pair: from a matrix file, from a GT-ITM graph of
//! routers ([`alt`]), from our own generator of GT-ITM's kind ([`transit_stub`]) or from places in
//! the plane ([`regions`]), which suit 100,000 nodes. A [`Link`] is a value fed with time: it
//! answers for one frame when it arrives, twice perhaps, or that it is lost ([`Fate`]). A
//! [`Network`] joins both for `n` nodes and adds what goes wrong at large: nodes that crash, sets
//! of nodes cut from others, one way or both, for good or held back, and links that are worse than
//! the rest ([`shape`]).
//!
//! It never sleeps, stores no payload and delivers nothing: the driver (simulator or lab) keeps the
//! frame and gives it to the receiver at the moment the fate names. Equal seed, equal calls, equal
//! fates: each ordered pair has a sub-seed of its own, so a frame more on one link changes nothing
//! on another.
//!
//! Weaknesses: links do not share a bottleneck, as flows through one access line do; the delay of a
//! pair is constant but for jitter; a stream's loss costs one timeout whatever its window.
//!
//! Source: Opus 5; Zegura, Calvert, Bhattacharjee 1996, "How to model an internetwork".

#![forbid(unsafe_code)]

pub mod alt;
pub mod conditions;
mod draws;
pub mod fault;
pub mod link;
pub mod network;
pub mod regions;
pub mod shape;
pub mod topology;
pub mod transit_stub;

pub use crate::{
    conditions::{BadConditions, Conditions, Loss},
    fault::{CutId, Effect, FaultError},
    link::{Fate, Link},
    network::{Counts, Network},
    regions::{BadRegions, Place, RegionParameters, Regions},
    shape::{Shape, ShapeError, ShapeId},
    topology::{BadMembers, Topology},
    transit_stub::{BadParameters, Parameters, TransitStub},
};
