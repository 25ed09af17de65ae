//! Frames over the edges of an overlay: the forwarding core, sans-IO.
//!
//! [`Forward`] is one node's part. It is no [`opus_core::Machine`], for frames never pass through
//! the swarm's task, but it is driven alike: inputs and the time go in (`command`, `link_up`,
//! `link_down`, `on_frame`, `send`, `handle_timeout`), and after each the driver fetches what came
//! of it (`poll_wake` and `poll_send`, `poll_deliver`, `poll_event`, `poll_timeout`).
//!
//! **Flows.** A source sends up to 16 flows. On the wire a flow is a 64-bit tag, the cut BLAKE3
//! of overlay, source and number. Nobody announces tags: every member knows the overlay and, from
//! the root's announcement, the source (`Command::Root`), and computes the 16 tags. A clash with a
//! flow that is known already is refused. Sequences rise by one from `boots << 40 | 1`, so that a
//! restarted source jumps forward and nothing is ever reset.
//!
//! **Edges.** Data comes from the parent, for 2 s more from the parent before, and from nobody
//! else; who sends without being an edge for longer than both ends need to learn of a change is
//! reported. Each copy is the received frame with other hop fields; the payload is shared until it
//! is written out.
//!
//! **Timed classes** (reliability below 1): at most once, in order, nothing after its deadline.
//! Time left falls by residence and link delays, so that no clocks are compared. Frames wait in a
//! bounded queue per neighbour: what no longer fits its deadline is dropped first, then the oldest.
//! At a sink's node a missing frame is waited for until its own deadline; gaps stay visible.
//!
//! **The complete class** (reliability 1): each frame once, in order, repaired until acknowledged.
//! See [`Forward::send`] for the back-pressure. Frames above the *stable* position, which all sinks
//! have, stay in every node's backup ring. Acknowledgements rise as the least of each branch, so
//! the source knows the slowest sink without knowing the sinks. A child that is lost without
//! goodbye keeps its claim for 30 s, or until its branches are attached here or below. A child that
//! attaches says what it needs next and gets it from the ring; if our ring begins later, it is
//! rewound and the frames are fetched from above. What is gone for good is skipped with
//! `Event::Lost`; nothing stalls for ever.
//!
//! **Trust.** Frames carry a tag made with the overlay's key and checked where they are delivered,
//! and wherever a frame would move a window by more than its width. A relay can drop and delay; it
//! is a member and holds the key, so a *malicious member* could also forge: the sealed payload of
//! the application's ends is the remedy, not this crate.
//!
//! **Deliberately not here:** which edges there are (`opus-overlay`), which class and how many
//! copies a flow gets (`opus-site`), sockets and channels (the drivers), plans with several paths,
//! standby links and parity (their frame kinds are accepted and ignored).
//!
//! **Weaknesses.**
//! - A lost child that has sinks holds the source for up to 30 s once its window is full, also when
//!   its process never comes back: nobody can tell. `Command::ChildLeft` ends that.
//! - The old parent of a child that moved keeps its claim for 3 s. If the new parent dies before it
//!   spoke for the child, and is not a child of the old one, a child that notices later has a gap.
//! - A branch that is attached again *outside* of the branch of its former grandparent is not seen
//!   there, and its hold runs to its end; nothing is lost, the source may wait.
//! - A ring keeps slices of the transport's read buffers: small frames between large ones keep the
//!   large buffers.
//! - A relay without sinks does not check tags, so a frame forged on the way occupies its sequence
//!   there; a sink's node finds out, reports its parent and asks again in vain.
//! - Time left is as good as the link delays it is told (`Command::Delay`).
//!
//! Source: Opus 3.4; sections 5, 8, 9 and 10 of the design's relay page.

#![forbid(unsafe_code)]

mod ack;
mod command;
mod complete;
mod config;
mod dedup;
mod flow;
mod forward;
mod header;
mod holds;
mod link;
mod overlay;
mod peer;
mod queue;
mod repair;
mod ring;
mod segments;
mod sink;
mod source;
mod spent;
mod stats;
mod timed;

pub use crate::{
    command::{Class, Command, Delivery, Event, FlowId},
    config::Config,
    forward::{Forward, Verdict},
    header::{
        BadFrame, FLAG_ACK_NOW, FLAG_COMPLETE, FLAG_LAST, FLAG_SEALED, FLAG_STANDBY, FRAME_MAX,
        HEADER_BYTES, Header, Kind, flow_tag,
    },
    source::{SendError, Sent},
    stats::{FlowStats, Latency},
};
