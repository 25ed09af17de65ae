//! Overlay edges from measured delays: a light approximate shortest path tree (LAST) per overlay
//! with one sender, built by its members from partial knowledge.
//!
//! Each member hears over the tree at most alpha times later than it would directly, and the sum of
//! the edges is small. No member knows the overlay: each keeps two views of some `2 log2 n` others,
//! the cheapest known and the cheapest that could be its parent within the bound, and drifts step
//! by step towards the cheapest parent it may have. Costs are round trips.
//!
//! # How it works
//!
//! - *Attach.* A newcomer offers itself to the root. A full member refuses and names children with
//!   room, so newcomers walk down. Each edge, each path to the root and each delay is explicit.
//! - *Tick*, 5 s at rest, 0.5 s for newcomers and for members over the bound: gossip with a near
//!   member or any; an estimate of each member heard of, clipped by the triangle over who told it;
//!   measurement of the best unmeasured ones; at most one move.
//! - *Move* to the cheapest candidate that (a) is not below, has room and nothing pending, (b)
//!   keeps the own bound, (c) is cheaper by half a percent and (d) raises the delay by no more than
//!   the slack of the branch: how much later its tightest member may hear. A violator skips (c),
//!   and without such a candidate takes any shorter way.
//! - *Commit.* `Offer` to the new parent, which sends a `Claim` up its path to the root; each hop
//!   may object because it has a change pending itself (`Busy`), because the change would close a
//!   loop, or because delays are not as believed; `Verdict` comes back the same way. Nobody locks,
//!   nobody waits for more than a deadline. Why no loop can arise is told in `commit.rs`.
//! - *Beats*, 2 s: down the knob, the delay and the path; up the slack, the sums, room. Three
//!   missed beats, or a closed connection, and the edge is gone. An orphan asks the nearest living
//!   ancestor, then the root, then others; in a metric its branch is within the bound at once.
//! - *Room.* A quarter of each member's slots is kept for orphans and violators. Once it is in use
//!   the member asks a child to move, the most tolerant first, and if a violator was refused even
//!   at the price of others in that branch. Members near the root need its slots, far ones do not.
//! - *Knob.* The root sets alpha; beats carry it down. A slack reckoned under another epoch counts
//!   0.
//! - *Deaths that others notice.* `Command::Suspect` takes a node out of the views unless the tree
//!   hangs on it, `Command::Retire` ends its edges too, without waiting for its silence.
//!
//! The node measures (`Event::Measure`, `Command::Measured`), forwards along `Event::Edges`, and
//! may read [`Overlay::status`], at the root with sums over the whole tree.
//!
//! # What it deliberately does not do
//!
//! It knows no probe, no relay and no sibling; it opens no connection but by `Dial`. There is no
//! reversal of a path (flip), no k-spanner and no price per link yet: they are further messages of
//! this protocol.
//!
//! # Weaknesses
//!
//! - A member that lies about its delay or slack misplaces its neighbours; nothing checks it.
//! - A newcomer without children is accepted without a claim: for a moment an ancestor may raise it
//!   over its bound. Who invents many identities fills slots for three beats each.
//! - With few slots there may be no tree within the bound; then [`Event::BoundMissed`] and the best
//!   found. Displacing children of the root for violators may push others over the bound for a few
//!   ticks.
//! - Every claim climbs to the root: a message per level and move. It could stop at the first
//!   common ancestor, were old paths never stale.
//! - Sums at the root are as old as the tree is deep, in beats; `Sums::age_ms` says how old.
//! - After the root crashed nobody but the root mends the tree: its children wait for it.
//!
//! Source: Opus 3.1; Khuller, Raghavachari, Young 1995, "Balancing minimum spanning trees and
//! shortest-path trees"; Kostic, Vahdat 2001, "Latency versus cost optimizations in hierarchical
//! overlay networks".

#![forbid(unsafe_code)]

mod attach;
mod beat;
mod clip;
mod command;
mod commit;
mod config;
mod drift;
mod life;
mod links;
mod local;
mod machine;
mod member;
mod rtt;
#[cfg(test)]
mod tests;
mod tree;
mod view;
pub mod wire;

pub use crate::{
    command::{Command, Event, Refusal, Status, Sums},
    config::Config,
    machine::Overlay,
    wire::Message,
};
