//! What the node asks of the site manager, and what the site manager tells it.
//!
//! Both enums also carry the traffic between the site manager and the other machines: the driver
//! hands each machine's events in as commands, and each wrapped command on to its machine.

use opus_core::{Contact, Hint, NodeId, OverlayId};

use crate::spec::{AppRef, Spec};

/// A wish of the node, or news of another machine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Our own address hint, whenever the node learns a better one.
    Hint(Hint),
    /// Deploy or update an application by its signed spec; retire it if the spec says so.
    Deploy {
        /// Chosen by the caller.
        id: u64,
        /// `signed-app` of ipc.md, byte for byte.
        signed: Vec<u8>,
        /// Check only; change nothing.
        dry_run: bool,
    },
    /// A local program attaches.
    Attach {
        /// Chosen by the caller; unique while the node runs; names the attachment.
        att: u32,
        /// Which application.
        app: AppRef,
        /// In which role.
        role: Role,
        /// Complete class, sinks: continue after this sequence of this source.
        resume: Option<(NodeId, u64)>,
    },
    /// A local program detached, or its connection is gone.
    Detach {
        /// Which attachment.
        att: u32,
    },
    /// From dicast: news of our cell.
    Cell(CellNews),
    /// The node is draining: leave every overlay, hand the children over.
    Drain,
    /// From the probe.
    Probe(opus_probe::Event),
    /// From the overlay.
    Overlay(opus_overlay::Event),
    /// From the relay's forwarding core.
    Relay(opus_relay::Event),
}

/// What the node is told, or what another machine is asked.
#[derive(Clone, Debug)]
pub enum Event {
    /// The application is known, in this version.
    Deployed {
        /// The command's id.
        id: u64,
        /// `name.owner`.
        app: AppRef,
        /// The version now in force.
        version: u64,
    },
    /// The local program is attached.
    Attached {
        /// Which attachment.
        att: u32,
        /// Which application.
        app: AppRef,
        /// Its overlay.
        overlay: OverlayId,
        /// The class of its frames and the spec's limits.
        spec: Box<Spec>,
    },
    /// A command with an `id` or an `att` was refused. State is unchanged.
    Refused {
        /// The command's id, or the attachment.
        id: u64,
        /// Why.
        reason: Refusal,
    },
    /// The attachment ended without the program's wish: retired, busy elsewhere, slow.
    Ended {
        /// Which attachment.
        att: u32,
        /// Why.
        why: String,
    },
    /// The member set of an overlay that this node roots changed.
    Member {
        /// Which overlay.
        overlay: OverlayId,
        /// Who.
        member: NodeId,
        /// In which role.
        role: Role,
        /// What happened.
        state: MemberState,
    },
    /// A node and where it may be reached: for the address book, before the next command.
    Contact(Contact),
    /// Something an operator wants to see: `node.events`.
    Told {
        /// "info" or "warn".
        level: &'static str,
        /// A word: app, overlay, member, relay.
        kind: &'static str,
        /// One sentence.
        msg: String,
    },
    /// To the probe.
    Probe(opus_probe::Command),
    /// To the overlay.
    Overlay(opus_overlay::Command),
    /// To the relay's forwarding core.
    Relay(opus_relay::Command),
}

impl From<opus_probe::Event> for Command {
    fn from(event: opus_probe::Event) -> Self {
        Self::Probe(event)
    }
}

impl From<opus_overlay::Event> for Command {
    fn from(event: opus_overlay::Event) -> Self {
        Self::Overlay(event)
    }
}

impl From<opus_relay::Event> for Command {
    fn from(event: opus_relay::Event) -> Self {
        Self::Relay(event)
    }
}

/// News of our cell, the cluster of level 1 in which dicast has seated us; see [`crate::cell`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellNews {
    /// Who is its agent; perhaps this node. May be said again.
    Agent(Contact),
    /// A node has come, or was there when we came.
    Up(Contact),
    /// A node is in another cell than ours since we took another seat.
    Apart(NodeId),
    /// A node has gone: it died, or has a seat elsewhere. dicast does not say which.
    Gone(NodeId),
    /// We have no seat.
    Alone,
}

/// In which role a program attaches (`as` of ipc.md).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Role {
    /// The one sender of a multicast application.
    Source,
    /// A receiver.
    Sink,
}

/// What happened to a member.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum MemberState {
    /// Known, not attached to the tree yet.
    Joining,
    /// Attached: each frame sent from here on is due to it.
    Joined,
    /// Said goodbye.
    Leaving,
    /// Not heard of any more.
    Gone,
}

/// Why a command was refused. Displayed to people: says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The signed spec is not acceptable.
    #[error("the signed spec is refused: {0}")]
    Spec(String),
    /// The same version was signed with other bytes, or a lower version.
    #[error("version {have} of this application is known already; sign a higher one")]
    Version {
        /// In force.
        have: u64,
    },
    /// No such application here (yet).
    #[error("application {0} is not known here yet; deploy it, or wait until its spec arrives")]
    NotFound(String),
    /// Two owners have an application of this name.
    #[error("more than one owner has an application {0}; say name.owner")]
    Ambiguous(String),
    /// Another node or program is the source.
    #[error("application {0} has a source already")]
    Busy(String),
    /// The role does not fit the kind.
    #[error("a {0} application takes no such role")]
    Role(&'static str),
    /// A table is full.
    #[error("this node carries as many {0} as it may")]
    Full(&'static str),
    /// Its owner ended the application.
    #[error("application {0} is retired by its owner")]
    Retired(String),
    /// It ended before it began.
    #[error("the attachment ended before it began: {0}")]
    Ended(String),
    /// This node is about to stop.
    #[error("this node is draining; attach to another one")]
    Draining,
}
