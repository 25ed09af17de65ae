//! The yardsticks: dicast beside two other protocols of membership, on one workload in one run.
//!
//! [`drive`] runs a [`side::Side`] through one of two workloads and measures it from outside:
//! W1, *track the mean* (each node has a number that changes each second, each holds the mean),
//! and W2, *membership only* (who is alive, at rest and after a tenth has crashed at once). The
//! sides are our dicast in the simulator ([`dicast`]), the crate `foca`, which is SWIM ([`swim`]),
//! and the crate `chitchat`, which spreads a table by gossip ([`gossip`]). All see the same nodes
//! at the same places, the same values, losses of the same rate and the same crash ([`world`],
//! [`walk`]); a packet costs the same headers on each ([`opus_sim::driver::account`]).
//!
//! What the sides promise differs, and [`report`] says so with each table: foca and chitchat give
//! every node every member, chitchat every value too. dicast gives a node the list of its own
//! region and of the rest what is summed up. A ratio of bytes is therefore a ratio of two
//! different services, both of which do what the workload asks for.
//!
//! Equal arguments give equal figures for dicast and foca. chitchat draws its partners from the
//! system's randomness, so its figures differ a little from run to run.
//!
//! What it deliberately does not do: open sockets, measure CPU or memory, tune anybody beyond the
//! settings that a crate's own documentation or default offers.
//!
//! Weaknesses. Datagrams of any size are lost as a whole with the same probability, which flatters
//! who sends large ones. Nodes take no time to compute. Looks are a second apart.
//!
//! Source: design page dicast, section 10.

#![forbid(unsafe_code)]

pub mod dicast;
pub mod drive;
pub mod figures;
pub mod gossip;
pub mod report;
pub mod side;
pub mod swim;
pub mod walk;
mod wire;
pub mod world;
