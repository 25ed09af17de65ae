//! Messages of `/opus/site/1`, their limits and what is refused at the edge.

use opus_core::{Contact, Limits, Malformed, NodeId, OverlayId, Wire};
use opus_model::Position;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::{
    command::{MemberState, Role},
    spec::SignedApp,
};

/// Entries of one digest page, and applications of one pull: each is answered by one message of
/// up to 8 KiB, and a page of 16 keeps such an answer within a lane's queue.
pub(crate) const PAGE_MAX: usize = 16;
/// Rows of one report.
pub(crate) const ROWS_MAX: usize = 64;
/// Contacts of one welcome: 2 log2 of 4,096 members, and some.
pub(crate) const SAMPLE_MAX: usize = 32;
/// Overlays of one `Carry`: as many as a node can be in.
pub(crate) const CARRIED_MAX: usize = 64;
/// Contacts of one `Mates`: as many as the smallest view of the overlay machine holds.
pub(crate) const MATES_MAX: usize = 8;
/// Epochs above this are refused, so that a successor always fits.
pub(crate) const EPOCH_MAX: u64 = 1 << 62;

/// What two site managers say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A page of what the sender knows, by rising overlay.
    Digest {
        /// At most `PAGE_MAX`.
        entries: Vec<Entry>,
        /// Whether more pages follow, on a pull.
        more: bool,
    },
    /// Send these, then the page that follows `after`.
    Pull {
        /// At most `PAGE_MAX`.
        items: Vec<OverlayId>,
        /// The last overlay of the page, if more follow.
        after: Option<OverlayId>,
    },
    /// A spec, a root, or both, of one application: answer to a pull, or pushed at a change.
    Have {
        /// A signed spec, as signed.
        signed: Option<ByteBuf>,
        /// Who roots its overlay.
        root: Option<RootNote>,
    },
    /// Do you root this overlay for a live source?
    Ask {
        /// Which overlay.
        overlay: OverlayId,
    },
    /// Answer to `Ask`.
    Answer {
        /// Which overlay.
        overlay: OverlayId,
        /// Whether a source is attached at the sender.
        held: bool,
    },
    /// To the root: take me in.
    Join {
        /// Which overlay.
        overlay: OverlayId,
        /// As what.
        role: Role,
        /// The sender, and where others reach it.
        contact: Contact,
        /// Rises with each attachment to the tree.
        generation: u64,
    },
    /// From the root: come in.
    Welcome {
        /// Which overlay.
        overlay: OverlayId,
        /// The root's epoch.
        epoch: u64,
        /// Key of the frame tags.
        key: ByteArray<32>,
        /// A random sample of members, at most `SAMPLE_MAX`.
        members: Vec<Contact>,
    },
    /// From the root, or who was taken for it: stay out.
    Refuse {
        /// Which overlay.
        overlay: OverlayId,
        /// Why.
        why: Why,
        /// Who is the root, if the sender knows.
        root: Option<RootNote>,
    },
    /// To the overlay parent, towards the root: news of members.
    Report {
        /// Which overlay.
        overlay: OverlayId,
        /// At most `ROWS_MAX`.
        rows: Vec<Row>,
    },
    /// To the agent of the sender's cell: what the sender carries, all of it.
    Carry {
        /// Where the sender stands.
        place: Option<Position>,
        /// Rising, at most `CARRIED_MAX`.
        overlays: Vec<OverlayId>,
    },
    /// From the agent, for an overlay that was news to it: who in the cell carries it too.
    Mates {
        /// Which overlay.
        overlay: OverlayId,
        /// The nearest, at most `MATES_MAX`.
        members: Vec<Contact>,
    },
}

/// One application in a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its overlay.
    pub overlay: OverlayId,
    /// The spec's version.
    pub version: u64,
    /// Rank of its root note, if there is one.
    pub root: Option<Rank>,
}

/// Who roots an overlay. The higher [`Rank`] wins everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootNote {
    /// Which overlay.
    pub overlay: OverlayId,
    /// The root and where it is reached.
    pub root: Contact,
    /// Boot count << 16 | counter of the root, or one more than the epoch it overrides.
    pub epoch: u64,
    /// The source left and its time to drain is over.
    pub gone: bool,
    /// Rises when only the root's address changed.
    pub revision: u32,
}

/// Order of root notes: epoch, then root, then whether it is gone, then revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank(pub u64, pub NodeId, pub bool, pub u32);

/// News of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub member: NodeId,
    /// As what.
    pub role: Role,
    /// What happened.
    pub state: MemberState,
    /// Of which of its attachments to the tree; news of an older one are ignored.
    pub generation: u64,
}

/// Why a newcomer stays out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The receiver does not root this overlay.
    NotRoot,
    /// The root's table of members is full.
    Full,
    /// The application takes one sink and has it.
    Taken,
}

impl RootNote {
    /// Its place in the order of notes.
    pub const fn rank(&self) -> Rank {
        Rank(self.epoch, self.root.id, self.gone, self.revision)
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.epoch > EPOCH_MAX {
            return Err(Malformed::Invalid("epoch too high"));
        }
        self.root.check()
    }
}

impl Message {
    /// What a message costs of the sender's allowance: about one per answer it asks for.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::Pull { items, .. } => {
                1 + u32::try_from(items.len()).expect("checked to be a page at most")
            }
            Self::Carry { overlays, .. } => {
                1 + u32::try_from(overlays.len()).expect("checked to be CARRIED_MAX at most")
            }
            Self::Digest { .. }
            | Self::Have { .. }
            | Self::Ask { .. }
            | Self::Answer { .. }
            | Self::Join { .. }
            | Self::Welcome { .. }
            | Self::Refuse { .. }
            | Self::Report { .. }
            | Self::Mates { .. } => 1,
        }
    }
}

impl Wire for Message {
    /// A spec of 8 KiB with its root note is the largest; 64 rows are the most items.
    const LIMITS: Limits = Limits {
        bytes: 12 << 10,
        depth: 8,
        items: 1_024,
        text_keys: true,
    };

    fn check(&mut self) -> Result<(), Malformed> {
        match self {
            Self::Digest { entries, .. } => {
                limit(entries.len(), PAGE_MAX)?;
                if entries
                    .windows(2)
                    .any(|pair| pair[0].overlay >= pair[1].overlay)
                {
                    return Err(Malformed::Invalid("digest is not sorted"));
                }
                Ok(())
            }
            Self::Pull { items, .. } => limit(items.len(), PAGE_MAX),
            Self::Have { signed, root } => {
                limit(
                    signed.as_ref().map_or(0, |signed| signed.len()),
                    SignedApp::LIMITS.bytes,
                )?;
                root.as_ref().map_or(Ok(()), RootNote::check)
            }
            Self::Ask { .. } | Self::Answer { .. } => Ok(()),
            Self::Join { contact, .. } => contact.check(),
            Self::Welcome { members, epoch, .. } => {
                if *epoch > EPOCH_MAX {
                    return Err(Malformed::Invalid("epoch too high"));
                }
                limit(members.len(), SAMPLE_MAX)?;
                members.iter().try_for_each(Contact::check)
            }
            Self::Refuse { root, .. } => root.as_ref().map_or(Ok(()), RootNote::check),
            Self::Report { rows, .. } => limit(rows.len(), ROWS_MAX),
            Self::Carry { place, overlays } => {
                *place = place.map(Position::clamped);
                limit(overlays.len(), CARRIED_MAX)?;
                if overlays.windows(2).any(|pair| pair[0] >= pair[1]) {
                    return Err(Malformed::Invalid("overlays are not sorted"));
                }
                Ok(())
            }
            Self::Mates { members, .. } => {
                limit(members.len(), MATES_MAX)?;
                members.iter().try_for_each(Contact::check)
            }
        }
    }
}

fn limit(count: usize, most: usize) -> Result<(), Malformed> {
    if count > most {
        return Err(Malformed::Invalid("list too long"));
    }
    Ok(())
}
