//! What two overlay machines say to each other, and the limits of it.
//!
//! All delays are round trips in whole microseconds. Every number is clamped when decoded, lists
//! over their limit are refused. A message fits into 8 KiB with every list full and every hint at
//! its longest but one kind: senders therefore drop the hints of all but the nearest ancestors.

use opus_core::{Contact, Hint, Malformed, NodeId, OverlayId, Wire};
use opus_model::Position;
use serde::{Deserialize, Serialize};

use crate::command::Sums;

/// Most nodes on a path to the root.
pub const HOPS_MAX: usize = 64;
/// Ancestors whose address hints travel with a path: whom an orphan asks before the root.
pub const HINTED_HOPS: usize = 6;
/// Most view entries in one gossip.
pub const ENTRIES_MAX: usize = 20;
/// Most contacts that a refusal names.
pub const HINTS_MAX: usize = 4;
/// A minute: no round trip that can be used is longer.
pub const RTT_US_MAX: u32 = 60_000_000;
/// 64 hops of a quarter of a minute; far from overflow when an edge is added.
pub const DELAY_US_MAX: u32 = 1_000_000_000;
/// Largest magnitude of a slack: the bound times the largest delay.
pub const SLACK_US_MAX: i64 = 16 * DELAY_US_MAX as i64;
/// Smallest and largest knob, thousandths.
pub const ALPHA_MILLI: std::ops::RangeInclusive<u32> = 1_000..=16_000;
/// Most members that sums may speak of.
pub const COVERED_MAX: u32 = 1_000_000;

/// One message, of one overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which overlay.
    pub overlay: OverlayId,
    /// The knob's epoch, as the sender knows it.
    pub epoch: u32,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Views and standings between any two members.
    Gossip(Box<Gossip>),
    /// Please become my parent.
    Offer(Box<Offer>),
    /// May this node come into your branch? From child to parent, up to the root.
    Claim(Claim),
    /// The answer to an offer or a claim.
    Verdict(Box<Verdict>),
    /// Life sign on an edge.
    Beat(Box<Beat>),
    /// This edge ends.
    Leave(Leave),
}

/// What a gossip is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Entries both ways.
    Exchange,
    /// Only the standing of the other is wanted.
    Ask,
    /// The answer to either.
    Answer,
}

/// A member's standing and what it knows of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// Whether and how to answer.
    pub purpose: Purpose,
    /// Round trip between both, as the sender measured it.
    pub rtt_us: Option<u32>,
    /// The sender.
    pub me: Standing,
    /// At most [`ENTRIES_MAX`].
    pub entries: Vec<Entry>,
}

/// Where a member stands in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How to reach it.
    pub hint: Hint,
    /// Its network coordinate.
    pub position: Option<Position>,
    /// Its direct delay to the root, if measured.
    pub direct_us: Option<u32>,
    /// Its delay over the tree.
    pub delay_us: u32,
    /// Whether it hangs, over its ancestors, on the root.
    pub rooted: bool,
    /// Children that it would still take; a quarter of its capacity is not counted here.
    pub slots: u8,
    /// Rises with each new parent.
    pub version: u32,
    /// From its parent to the root; at most [`HOPS_MAX`].
    pub path: Vec<NodeId>,
}

/// A member as another one knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who, and how to reach it.
    pub contact: Contact,
    /// Round trip that the sender measured to it.
    pub rtt_us: Option<u32>,
    /// Its direct delay to the root.
    pub direct_us: Option<u32>,
    /// Its network coordinate.
    pub position: Option<Position>,
}

/// Why a member offers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferKind {
    /// A cheaper edge.
    Cheaper,
    /// It is over its bound.
    Violator,
    /// It has no parent.
    Orphan,
}

/// Please become my parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Of this change; the verdict names it.
    pub serial: u32,
    /// Why.
    pub kind: OfferKind,
    /// The sender has no child, so that no loop can come of it.
    pub leaf: bool,
    /// Round trip between both, as the sender measured it.
    pub rtt_us: Option<u32>,
    /// The slack of the sender's branch after the change.
    pub slack_us: i64,
    /// The receiver's delay that the sender reckons with.
    pub seen_us: u32,
    /// How to reach the sender.
    pub hint: Hint,
    /// The sender's coordinate.
    pub position: Option<Position>,
}

/// A change below asks for its passage; from child to parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who changes its parent.
    pub of: NodeId,
    /// Its offer's serial.
    pub serial: u32,
    /// The slack of the branch that comes.
    pub slack_us: i64,
    /// The receiver's delay as the sender, its child, knows it.
    pub seen_us: u32,
}

/// The answer to an offer or a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who offered itself.
    pub of: NodeId,
    /// The offer's serial.
    pub serial: u32,
    /// Yes or no.
    pub answer: Answer,
}

/// Yes or no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To an offer: from here on the receiver is a child.
    Accept(Box<Down>),
    /// To a claim: nobody up to the root objects.
    Clear,
    /// No.
    Refuse {
        /// Why.
        reason: Reason,
        /// With [`Reason::Full`]: children that may have room; at most [`HINTS_MAX`].
        hints: Vec<Contact>,
        /// Of the refusing member.
        standing: Option<Box<Standing>>,
    },
}

/// Why an offer or a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// No slot is free.
    Full,
    /// The change would close a loop.
    Loop,
    /// Another change is pending on the way.
    Busy,
    /// The delays that the sender reckons with are over 1 % off.
    Stale,
    /// The path would exceed [`HOPS_MAX`].
    Depth,
    /// The receiver does not hang on the root.
    NoRoot,
    /// The receiver is no member, or the sender is not its child.
    NotMember,
}

/// Life sign on an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beat {
    /// From parent to child.
    Down(Down),
    /// From child to parent.
    Up(Up),
}

/// What a parent tells a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// The knob, thousandths.
    pub alpha_milli: u32,
    /// The parent's delay over the tree.
    pub delay_us: u32,
    /// The parent's version.
    pub version: u32,
    /// Whether the parent hangs on the root.
    pub rooted: bool,
    /// Whether the parent has too many children.
    pub pressure: Pressure,
    /// Members of the overlay, as the root counts them.
    pub members: u32,
    /// Names the path.
    pub path_serial: u32,
    /// From the parent's parent to the root, until the child has confirmed its serial.
    pub path: Option<Vec<Hop>>,
}

/// What a parent with too many children asks of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pressure {
    /// Nothing.
    None,
    /// The quarter kept for orphans and violators is in use: move, even to a dearer parent.
    Move,
    /// A violator was refused for want of room: move, even if others in the branch must as well.
    Yield,
}

/// An ancestor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Who; the hint is empty beyond the nearest [`HINTED_HOPS`].
    pub contact: Contact,
    /// Its delay over the tree when the path was made.
    pub delay_us: u32,
    /// Rises with each of its new parents.
    pub version: u32,
}

/// What a child tells its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Up {
    /// How much later the child may hear without breaking anyone in its branch.
    pub slack_us: i64,
    /// Sums over its branch.
    pub sums: Sums,
    /// The last path it has.
    pub path_serial: u32,
    /// Children that it would still take.
    pub slots: u8,
    /// Round trip of the edge.
    pub rtt_us: u32,
    /// Its direct delay to the root.
    pub direct_us: Option<u32>,
    /// Its coordinate.
    pub position: Option<Position>,
    /// Its version.
    pub version: u32,
}

/// This edge ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Why.
    pub why: Parting,
    /// Whom a child left behind should ask first.
    pub to: Option<Contact>,
}

/// Why an edge ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parting {
    /// The sender has another parent.
    Moved,
    /// The sender leaves the overlay.
    Goodbye,
    /// The sender does not know the edge.
    NoEdge,
}

impl Wire for Message {
    fn check(&mut self) -> Result<(), Malformed> {
        match &mut self.body {
            Body::Gossip(gossip) => gossip.check(),
            Body::Offer(offer) => {
                clamp_rtt(&mut offer.rtt_us);
                clamp_slack(&mut offer.slack_us);
                clamp_delay(&mut offer.seen_us);
                clamp_position(&mut offer.position);
                check_hint(&offer.hint)
            }
            Body::Claim(claim) => {
                clamp_slack(&mut claim.slack_us);
                clamp_delay(&mut claim.seen_us);
                Ok(())
            }
            Body::Verdict(verdict) => verdict.check(),
            Body::Beat(beat) => match &mut **beat {
                Beat::Down(down) => down.check(),
                Beat::Up(up) => {
                    up.check();
                    Ok(())
                }
            },
            Body::Leave(leave) => leave.to.as_ref().map_or(Ok(()), Contact::check),
        }
    }
}

impl Gossip {
    fn check(&mut self) -> Result<(), Malformed> {
        at_most(self.entries.len(), ENTRIES_MAX, "too many view entries")?;
        for entry in &mut self.entries {
            clamp_rtt(&mut entry.rtt_us);
            clamp_direct(&mut entry.direct_us);
            clamp_position(&mut entry.position);
            entry.contact.check()?;
        }
        clamp_rtt(&mut self.rtt_us);
        self.me.check()
    }
}

impl Standing {
    fn check(&mut self) -> Result<(), Malformed> {
        clamp_position(&mut self.position);
        clamp_direct(&mut self.direct_us);
        clamp_delay(&mut self.delay_us);
        at_most(self.path.len(), HOPS_MAX, "path too long")?;
        check_hint(&self.hint)
    }
}

impl Verdict {
    fn check(&mut self) -> Result<(), Malformed> {
        match &mut self.answer {
            Answer::Accept(down) => down.check(),
            Answer::Clear => Ok(()),
            Answer::Refuse {
                hints, standing, ..
            } => {
                at_most(hints.len(), HINTS_MAX, "too many hints")?;
                for hint in hints {
                    hint.check()?;
                }
                standing
                    .as_mut()
                    .map_or(Ok(()), |standing| standing.check())
            }
        }
    }
}

impl Down {
    fn check(&mut self) -> Result<(), Malformed> {
        self.alpha_milli = self
            .alpha_milli
            .clamp(*ALPHA_MILLI.start(), *ALPHA_MILLI.end());
        self.members = self.members.min(COVERED_MAX);
        clamp_delay(&mut self.delay_us);
        let Some(path) = &mut self.path else {
            return Ok(());
        };
        at_most(path.len(), HOPS_MAX, "path too long")?;
        for hop in path {
            clamp_delay(&mut hop.delay_us);
            hop.contact.check()?;
        }
        Ok(())
    }
}

impl Up {
    fn check(&mut self) {
        clamp_slack(&mut self.slack_us);
        clamp_direct(&mut self.direct_us);
        self.rtt_us = self.rtt_us.min(RTT_US_MAX);
        clamp_position(&mut self.position);
        self.sums.clamp();
    }
}

impl Sums {
    /// Within what a message may say.
    pub(crate) fn clamp(&mut self) {
        const RDP_MILLI_MAX: u32 = 1_000_000;
        self.covered = self.covered.min(COVERED_MAX);
        self.attached = self.attached.min(self.covered);
        self.violators = self.violators.min(self.covered);
        let covered = u64::from(self.covered);
        self.cost_us = self.cost_us.min(covered * u64::from(RTT_US_MAX));
        self.rdp_max_milli = self.rdp_max_milli.min(RDP_MILLI_MAX);
        self.rdp_sum_milli = self.rdp_sum_milli.min(covered * u64::from(RDP_MILLI_MAX));
        self.age_ms = self.age_ms.min(86_400_000);
    }
}

fn at_most(len: usize, max: usize, what: &'static str) -> Result<(), Malformed> {
    if len > max {
        return Err(Malformed::Invalid(what));
    }
    Ok(())
}

fn check_hint(hint: &Hint) -> Result<(), Malformed> {
    at_most(
        hint.0.len(),
        Hint::BYTES_MAX,
        "address hint longer than 128 bytes",
    )
}

fn clamp_rtt(rtt_us: &mut Option<u32>) {
    *rtt_us = rtt_us.map(|rtt| rtt.clamp(1, RTT_US_MAX));
}

/// Of the root itself it is zero.
fn clamp_direct(direct_us: &mut Option<u32>) {
    *direct_us = direct_us.map(|direct| direct.min(RTT_US_MAX));
}

fn clamp_delay(delay_us: &mut u32) {
    *delay_us = (*delay_us).min(DELAY_US_MAX);
}

fn clamp_slack(slack_us: &mut i64) {
    *slack_us = (*slack_us).clamp(-SLACK_US_MAX, SLACK_US_MAX);
}

fn clamp_position(position: &mut Option<Position>) {
    *position = position.map(Position::clamped);
}
