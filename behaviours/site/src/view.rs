//! What a node shows of its site manager: rows for IPC, and the simulator's view.

use std::fmt;

use opus_core::{Contact, NodeId, OverlayId};

use crate::{
    command::{MemberState, Refusal, Role},
    directory::Known,
    machine::Site,
    membership::{Membership, Phase},
    spec::{App, AppRef, Spec},
};

/// One application, as this node knows it.
#[derive(Clone, Debug)]
pub struct AppRow<'a> {
    /// Reference, overlay, spec, and the bytes its owner signed.
    pub app: &'a App,
    /// What this node has to do with it.
    pub state: AppState,
    /// Its root, as far as known; not one that said goodbye.
    pub root: Option<&'a Contact>,
    /// The root's epoch.
    pub epoch: u64,
    /// Members, if this node is the root.
    pub members: Option<usize>,
}

/// What this node has to do with an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppState {
    /// Its owner ended it.
    Retired,
    /// No local program is attached.
    Unattached,
    /// A local source asks whether another one lives.
    Claiming,
    /// Local sinks, but nobody roots the overlay.
    Waiting,
    /// Local sinks, and the root was asked to take this node in.
    Joining,
    /// Taken in, but without a place in the tree at present.
    Searching,
    /// In the tree.
    Joined,
    /// The local source roots the overlay.
    Rooted,
    /// The local source is gone, the overlay still stands for a while.
    Draining,
}

/// One member of an overlay that this node roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who, and where.
    pub contact: Contact,
    /// As what.
    pub role: Role,
    /// How far in.
    pub state: MemberState,
}

/// One local attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRow {
    /// Its number.
    pub att: u32,
    /// Full reference.
    pub app: AppRef,
    /// Its overlay.
    pub overlay: OverlayId,
    /// As what.
    pub role: Role,
    /// The state of its application here.
    pub state: AppState,
}

impl AppState {
    /// The word or two that `app list` shows.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::Unattached => "unattached",
            Self::Claiming => "asking for another source",
            Self::Waiting => "waiting for a source",
            Self::Joining => "joining",
            Self::Searching => "looking for a parent",
            Self::Joined => "joined",
            Self::Rooted => "rooted",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Site {
    /// All known applications, by overlay.
    pub fn apps(&self) -> impl Iterator<Item = AppRow<'_>> {
        self.directory.iter().map(|known| self.row(known))
    }

    /// The application that `app` means; without an owner if only one has it.
    ///
    /// Errors: [`Refusal::NotFound`], [`Refusal::Ambiguous`].
    pub fn app(&self, app: &AppRef) -> Result<AppRow<'_>, Refusal> {
        self.directory.find(app).map(|known| self.row(known))
    }

    /// The overlay of the application that `app` means. Errors as [`Site::app`].
    pub fn overlay_of(&self, app: &AppRef) -> Result<OverlayId, Refusal> {
        self.directory.find(app).map(|known| known.app.overlay)
    }

    /// The spec in force of the application of `overlay`.
    pub fn spec(&self, overlay: OverlayId) -> Option<&Spec> {
        self.directory.get(overlay).map(|known| &known.app.spec)
    }

    /// Members of `overlay` by rising identity, without the root; empty where this node is not it.
    pub fn members(&self, overlay: OverlayId) -> Vec<MemberView> {
        let Some(membership) = self.memberships.get(&overlay).filter(|m| m.is_rooted()) else {
            return Vec::new();
        };
        membership
            .roster
            .iter()
            .map(|(_, member)| MemberView {
                contact: member.contact.clone(),
                role: member.role,
                state: member.state,
            })
            .collect()
    }

    /// All local attachments, by number.
    pub fn attachments(&self) -> Vec<AttachmentRow> {
        self.attachments
            .iter()
            .map(|(&att, attachment)| AttachmentRow {
                att,
                app: attachment.app.clone(),
                overlay: attachment.overlay,
                role: attachment.role,
                state: self.state(attachment.overlay),
            })
            .collect()
    }

    /// What this node has to do with the application of `overlay`.
    pub fn state(&self, overlay: OverlayId) -> AppState {
        let retired = self.spec(overlay).is_some_and(|spec| spec.retired);
        match self.memberships.get(&overlay) {
            _ if retired => AppState::Retired,
            Some(membership) => membership_state(membership),
            None => AppState::Unattached,
        }
    }

    /// Our parent and children in `overlay`, as the overlay machine last told them.
    pub fn edges(&self, overlay: OverlayId) -> Option<(Option<NodeId>, &[NodeId])> {
        let edges = &self.memberships.get(&overlay)?.edges;
        Some((edges.parent, &edges.children))
    }

    fn row<'a>(&self, known: &'a Known) -> AppRow<'a> {
        let overlay = known.app.overlay;
        let rooted = self.memberships.get(&overlay).filter(|m| m.is_rooted());
        let live = known.root.as_ref().filter(|note| !note.gone);
        AppRow {
            app: &known.app,
            state: self.state(overlay),
            root: live.map(|note| &note.root),
            epoch: known.root.as_ref().map_or(0, |note| note.epoch),
            members: rooted.map(|membership| membership.roster.len()),
        }
    }
}

fn membership_state(membership: &Membership) -> AppState {
    match &membership.phase {
        Phase::Rooted { draining: true, .. } => AppState::Draining,
        Phase::Rooted { .. } => AppState::Rooted,
        Phase::Member { .. } | Phase::Joining { .. } | Phase::Waiting
            if membership.claim.is_some() =>
        {
            AppState::Claiming
        }
        Phase::Member { .. } if membership.is_attached() => AppState::Joined,
        Phase::Member { .. } => AppState::Searching,
        Phase::Joining { .. } => AppState::Joining,
        Phase::Waiting => AppState::Waiting,
    }
}
