//! dicast: a hierarchy of clusters with elected agents, through which every node knows its
//! neighbourhood exactly and the whole approximately, at a cost that does not grow with the whole.
//!
//! # Membership
//!
//! - *Clusters.* A cluster of level 1 seats nodes, one of level `l` seats clusters of level
//!   `l - 1`; sizes d to 3d - 1. Each has one agent, who holds its post and the true roster.
//! - *Join.* A newcomer asks anyone for the root, walks down to the child that it measures to be
//!   nearest on each level, and takes a seat ([`machine`](crate::Dicast)).
//! - *Signs of life.* Members beat to the agent each heartbeat; the agent pulses deputies each
//!   heartbeat and leaves each fifth. A pulse carries digests of roster and path; whoever differs
//!   asks. A single change is told at once.
//! - *Takeover.* A deputy whose pings to the agent fail claims the post from the parent, which must
//!   miss the agent too. *A parent grants an epoch once, and only of clusters that have their name
//!   from it; whoever acts without a grant renames the cluster.* So no two agents ever hold one
//!   cluster and epoch, without a quorum: both sides of a cut go on.
//! - *Expulsion.* A silent member is pinged by the agent and by another member; if both fail, its
//!   seat is freed.
//! - *Local health.* Who is slow itself waits longer before it suspects others, and holds no posts:
//!   *time asleep is nobody's silence*.
//! - *Split, merge.* Above 3d - 1 the members measure their delay to two poles and part; below d
//!   they go into the nearest sibling. The parent changes both halves in one step.
//! - *One post a node.* An agent that is elected upward gives the lower post to a deputy.
//! - *Healing.* An orphan asks the clusters above it, then whoever it knows; one that finds nobody
//!   is a tree of its own. Agents greet contacts in other subtrees; of two roots the smaller
//!   yields. Who finds nobody, and who is a root, asks a directory; a root tells it where it is.
//!
//! - *Audit.* Members of level 1 compare what their agent tells them with what they have, and its
//!   deputies with what it told its parent and others. *Two accusers*, and it loses its post.
//!
//! # Aggregation
//!
//! [`aggregate`], pure data and free functions, is the half that computes. A key says what is
//! computed over all nodes (count, sum, mean, variance, extremes, greatest values, distribution,
//! different items) and how exact it is to be. Values go up the tree as mergeable records; a sender
//! is silent while its value stays within a filter, whose width the parent grants out of the key's
//! accuracy budget. What comes down says for how many nodes it holds, how old it may be, and
//! between which bounds the truth then lies. The bounds are built from the widths in force, so that
//! they hold while budgets move, reports are lost and agents change. Reports ride on beats, answers
//! come with pushes, pulses vouch for them; a node asks by [`Dicast::view`].
//!
//! # What it deliberately does not do
//!
//! It agrees on no value, keeps no history, and tells of remote clusters only the sum. It knows no
//! probe: its node measures for it ([`Event::Measure`]).
//!
//! # Weaknesses
//!
//! - A node that lies moves a sum by its range, once for every place that it holds. Claims, grants
//!   and values are not signed: an agent and its deputies together can do with their cluster what
//!   they like, and two members together can depose an honest agent. Agents above level 1 are not
//!   looked after.
//! - The bounds cover filters, rounding and double counts, not the nodes left out, whose number is
//!   told beside. An age counts a word as under way for a whole round trip: too large, never too
//!   small.
//! - Sketches travel whole, not by changed bucket. Different items are estimated, so their bounds
//!   are soft.
//! - After the loss of a root and all its deputies at once the subtrees find each other by
//!   greetings, which takes tens of seconds.
//!
//! Source: Opus 3.3, "Scalable tracking of system characteristics".

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aggregate;
pub mod cluster;
mod config;
mod decide;
mod event;
mod health;
mod keys;
pub mod label;
mod links;
mod machine;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod track;
pub mod wire;

pub use crate::{
    config::Config,
    event::{Command, Event, Name, Refusal},
    keys::Definition,
    machine::{Dicast, Scope},
    track::Echo,
    wire::Message,
};
