//! The site manager: every decision that spans two protocols.
//!
//! A node measures paths (`probe`), negotiates edges (`overlay`) and forwards frames (`relay`).
//! None of these knows the others, and none knows what an application is. The [`Site`] does: it is
//! the one machine that hears the news of all three and of the local programs, and tells each what
//! to do. Its drivers only carry: an event of another machine comes in as a [`Command`], and each
//! [`Event`] that wraps a command goes on to its machine. [`Peer`] is such a driver in one value.
//!
//! **Applications.** An owner signs a [`Spec`]; sites spread signed specs by anti-entropy
//! (`sync.rs`), the higher version wins (`directory.rs`).
//!
//! **Roots.** A multicast application is an overlay: a tree that hangs on the node of its one
//! source. That node announces itself by a root note, which spreads like a spec; the higher epoch
//! wins, and who would override a root asks it first whether it lives (`root.rs`).
//!
//! **Members.** A node with a local sink asks the root to be taken in (`join.rs`), and is given the
//! key of the frame tags and a sample of members to begin with. Members report themselves up the
//! tree, so that the root knows who is joined: each later frame is due to those (`report.rs`,
//! `roster.rs`). All local sinks share one membership; without a root they wait.
//!
//! **Edges.** The overlay's edges become the relay's, are watched by the probe, and a new parent
//! makes a member report again (`siblings.rs`).
//!
//! **Cell.** Nodes that dicast seats together tell their agent what they carry, and are introduced
//! to each other (`cell.rs`). Who goes from the cell is suspected, and retired from every overlay
//! once the probe misses it too (`suspicion.rs`).
//!
//! **Keys.** What a site tells of itself to the whole (`summary.rs`), and keys of programs' own
//! (`keys.rs`).
//!
//! What it deliberately does not do: start components, spend slots or turn knobs by the price;
//! leases and the market come to this crate with their own protocols. Only the kinds with one
//! sender are carried; the others are known and refused.
//!
//! Weaknesses. A root note is believed from anybody: connections are authenticated hop by hop, but
//! a note names a third party without its signature, so a lying peer can point an overlay at the
//! wrong node until a live source contests it, and who claims the highest epoch cannot be
//! overridden. Reports are believed from children: a lying inner node can hide its branch, though
//! not invent members. Two sources that attach within the time a note needs to spread both begin,
//! until one yields. A directory holds whatever owners signed, first come first served. The root
//! lists every member, up to 4,096.
//!
//! Source: Opus sections 2 and 3.1; `docs/ipc.md`, "Applications" and "Delivery".

#![forbid(unsafe_code)]

mod allowance;
mod attach;
pub mod cell;
mod command;
mod config;
mod directory;
mod join;
pub mod keys;
mod machine;
pub mod measure;
mod membership;
mod outbox;
mod peer;
mod report;
mod root;
mod roster;
mod siblings;
pub mod spec;
mod status;
pub mod summary;
mod suspicion;
mod sync;
mod view;
mod wire;

pub use opus_dicast as dicast;
pub use opus_probe as probe;

pub use crate::{
    command::{CellNews, Command, Event, MemberState, Refusal, Role},
    config::Config,
    machine::Site,
    peer::{Peer, PeerCommand, PeerConfig, PeerEvent, PeerMessage},
    spec::{App, AppRef, SignedApp, Spec},
    status::{Status, StatusMessage},
    view::{AppRow, AppState, AttachmentRow, MemberView},
    wire::{Entry, Message, Rank, RootNote, Row, Why},
};
