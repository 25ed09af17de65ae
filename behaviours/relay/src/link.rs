//! A neighbour downstream as a complete flow sees it: what it has, what is on its way to it, and
//! its claim on the ring.

use std::collections::VecDeque;

use opus_core::{NodeId, Time};

use crate::{
    ack::{BRANCHES_MAX, Digest},
    header::u64_at,
    peer::PeerIndex,
    ring::Ring,
};

/// State of a sequence that was never written to this neighbour.
const NEVER: u64 = 0;
/// State of a sequence that waits in `resend`.
const PENDING: u64 = u64::MAX - 1;
/// State of a sequence that the neighbour has.
const HAVE: u64 = u64::MAX;

/// Whether a link is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// An edge to this neighbour.
    Here(PeerIndex),
    /// Lost without goodbye: its claim is kept until then.
    Held(Time),
    /// The neighbour began anew; the claim of its former branches is kept until then.
    Orphans(Time),
}

/// The neighbour's own sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sinks {
    /// It has none.
    None,
    /// It has some: frames are due to them.
    Some,
    /// It said goodbye: nothing is due to them, whatever it has.
    Left,
}

/// How far a link can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It never told us its position: it has no claim beyond its start.
    New,
    /// It told us before the channel came up anew.
    Unsure,
    /// It has told us since the channel came up.
    Confirmed,
    /// It made no progress for too long and does not count until it speaks again.
    Cut,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: NodeId,
    pub(crate) presence: Presence,
    /// Where it begins if it has no position: ours when it became our child.
    pub(crate) start: Option<u64>,
    /// Its position as it told last.
    pub(crate) position: Option<u64>,
    /// Where it is, or would like to begin, as far as it told.
    pub(crate) wish: Option<u64>,
    /// Its first missing sequence.
    base: u64,
    /// For each sequence from `base` on: the hop sequence it was written with, or a state.
    sent: VecDeque<u64>,
    /// Sequences to be written again, oldest first.
    resend: VecDeque<u64>,
    /// All sinks of its branch have everything up to this.
    ack: u64,
    pub(crate) standing: Standing,
    /// Its last digest's hop sequence: an older one that comes later is stale.
    last: Option<u32>,
    pub(crate) sinks: Sinks,
    pub(crate) branches: Vec<u64>,
    /// The stable position that it knows, and that we told it.
    pub(crate) stable_seen: u64,
    pub(crate) stable_told: u64,
    heard: Time,
    progressed: Time,
    /// It told that it has another parent; the edge is about to go.
    pub(crate) moved: bool,
    /// In the neighbour's `ready` queue.
    pub(crate) queued: bool,
    /// A top waits in the neighbour's `control` queue.
    pub(crate) top_wanted: bool,
}

impl Link {
    /// A new child that begins at `start` unless it says otherwise.
    pub(crate) fn new(now: Time, id: NodeId, peer: PeerIndex, start: Option<u64>) -> Self {
        Self {
            id,
            presence: Presence::Here(peer),
            start,
            position: None,
            wish: None,
            base: start.unwrap_or(0),
            sent: VecDeque::new(),
            resend: VecDeque::new(),
            ack: start.map_or(0, |start| start.saturating_sub(1)),
            standing: Standing::New,
            last: None,
            sinks: Sinks::None,
            branches: Vec::new(),
            stable_seen: 0,
            stable_told: 0,
            heard: now,
            progressed: now,
            moved: false,
            queued: false,
            top_wanted: false,
        }
    }

    /// Its name in digests: the last 8 bytes of its id.
    pub(crate) fn name(&self) -> u64 {
        u64_at(&self.id.0, 24)
    }

    pub(crate) fn peer(&self) -> Option<PeerIndex> {
        match self.presence {
            Presence::Here(peer) => Some(peer),
            Presence::Held(_) | Presence::Orphans(_) => None,
        }
    }

    /// Whether this is what the child `id` itself is due.
    pub(crate) fn is_of(&self, id: NodeId) -> bool {
        self.id == id && !self.is_orphans()
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.presence, Presence::Held(_))
    }

    pub(crate) fn is_orphans(&self) -> bool {
        matches!(self.presence, Presence::Orphans(_))
    }

    /// How long a claim of somebody who is not here is kept.
    pub(crate) fn held_until(&self) -> Option<Time> {
        match self.presence {
            Presence::Here(_) => None,
            Presence::Held(until) | Presence::Orphans(until) => Some(until),
        }
    }

    /// Its branches that are not among `others`.
    pub(crate) fn branches_without(&self, others: &[u64]) -> Vec<u64> {
        let is_gone = |name: &&u64| !others.contains(name);
        self.branches.iter().filter(is_gone).copied().collect()
    }

    /// The claim of `branches`, which this neighbour has forgotten, as far as it spoke for them.
    pub(crate) fn orphans(&self, now: Time, branches: Vec<u64>, until: Time) -> Self {
        Self {
            presence: Presence::Orphans(until),
            ack: self.ack,
            standing: Standing::Unsure,
            branches,
            // No peer is looked up for a claim of which nobody is here.
            ..Self::new(now, self.id, PeerIndex::default(), self.start)
        }
    }

    /// Takes over a later claim of the same kind.
    pub(crate) fn join(&mut self, later: &Self) {
        self.presence = later.presence;
        self.ack = self.ack.min(later.ack);
        for &branch in &later.branches {
            if self.branches.len() < BRANCHES_MAX && !self.branches.contains(&branch) {
                self.branches.push(branch);
            }
        }
    }

    /// A lost child is back: it begins after what it acknowledged unless it says otherwise.
    pub(crate) fn revive(&mut self, now: Time, peer: PeerIndex) {
        self.presence = Presence::Here(peer);
        self.sinks = Sinks::None;
        self.moved = false;
        self.unconfirm(now);
    }

    /// The channel is new, or gone: nothing is on its way. If the neighbour itself begins anew, it
    /// does so after what it acknowledged.
    pub(crate) fn unconfirm(&mut self, now: Time) {
        if self.standing != Standing::New && self.ack > 0 {
            self.start = Some(self.ack.saturating_add(1));
        }
        if self.standing == Standing::Confirmed {
            self.standing = Standing::Unsure;
        }
        self.queued = false;
        self.top_wanted = false;
        self.position = None;
        self.last = None;
        self.sent.clear();
        self.resend.clear();
        self.stable_told = 0;
        self.heard = now;
        self.progressed = now;
    }

    /// The flow got its position `start`.
    pub(crate) fn open(&mut self, start: u64) {
        if self.start.is_none() {
            self.start = Some(start);
        }
        if self.base == 0 {
            self.base = self.start.unwrap_or(start);
        }
        if self.ack == 0 {
            self.ack = self.base.saturating_sub(1);
        }
    }

    /// What its branch has, no less than what the ring can no longer give.
    pub(crate) fn acked(&self, ring_first: u64) -> u64 {
        if self.standing == Standing::Cut {
            return u64::MAX;
        }
        self.ack.max(ring_first.saturating_sub(1))
    }

    /// Where it wants to be served from: its position, its wish, or its start.
    pub(crate) fn wants(&self, digest: &Digest) -> Option<u64> {
        match digest.position {
            Some(position) => Some(position),
            None => match (self.start, digest.wish) {
                (Some(start), Some(wish)) => Some(start.min(wish)),
                (start, wish) => start.or(wish),
            },
        }
    }

    /// Whether a digest with this hop sequence was overtaken by a later one; notes it.
    pub(crate) fn is_stale(&mut self, hop_seq: u32) -> bool {
        is_overtaken(&mut self.last, hop_seq)
    }

    /// Takes its digest. `hop_told`: frames written to it, of which it has seen the last.
    pub(crate) fn on_digest(&mut self, now: Time, ring: &Ring, digest: &Digest, hop_told: u64) {
        let wants = self.wants(digest);
        self.position = digest.position;
        self.wish = digest.position.or(digest.wish);
        if digest.position.is_none() && ring.position().is_some() {
            self.start = wants.map(|wants| ring.available_from(wants));
        }
        self.heard = now;
        let before = std::mem::replace(&mut self.standing, Standing::Confirmed);
        self.sinks = match (self.sinks, digest.has_sink) {
            (Sinks::Left, _) => Sinks::Left,
            (Sinks::None | Sinks::Some, true) => Sinks::Some,
            (Sinks::None | Sinks::Some, false) => Sinks::None,
        };
        self.stable_seen = digest.stable;
        self.branches.clone_from(&digest.branches);
        let Some(wants) = wants else { return };
        let base = ring.available_from(wants);
        let ack = match digest.position {
            Some(_) => digest.ack,
            None => base.saturating_sub(1),
        };
        if ack > self.ack || before == Standing::Cut {
            self.progressed = now;
        }
        self.ack = ack;
        self.rebase(base, before == Standing::Confirmed);
        self.compare(ring, digest, hop_told);
    }

    /// Drops what lies before `base`; all if it went back or is new.
    fn rebase(&mut self, base: u64, keep: bool) {
        let gone = base
            .checked_sub(self.base)
            .and_then(|gone| usize::try_from(gone).ok());
        match gone {
            Some(gone) if keep && gone <= self.sent.len() => {
                self.sent.drain(..gone);
            }
            Some(_) | None => {
                self.sent.clear();
                self.resend.clear();
            }
        }
        self.base = base;
    }

    /// Finds what is lost: written no later than what it has seen, and not there.
    fn compare(&mut self, ring: &Ring, digest: &Digest, hop_told: u64) {
        let end = digest.end().unwrap_or(0).min(ring.end().unwrap_or(0));
        let known = usize::try_from(end.saturating_sub(self.base)).unwrap_or(0);
        if known > self.sent.len() {
            self.sent.resize(known, NEVER);
        }
        for (seq, state) in (self.base..).zip(self.sent.iter_mut()) {
            match digest.has(seq) {
                Some(true) => *state = HAVE,
                Some(false) if *state == HAVE => *state = NEVER,
                Some(false) | None => {}
            }
            if *state <= hop_told && digest.has(seq) == Some(false) {
                *state = PENDING;
                self.resend.push_back(seq);
            }
        }
    }

    /// A hole of the ring was filled at `seq`: it is due here too if it was passed over.
    pub(crate) fn on_filled(&mut self, seq: u64) {
        if let Some(state) = self.state_mut(seq)
            && *state == NEVER
        {
            *state = PENDING;
            self.resend.push_back(seq);
        }
    }

    /// The next sequence to write, and whether it is a resend.
    pub(crate) fn next(&mut self, ring: &Ring) -> Option<(u64, bool)> {
        if self.standing != Standing::Confirmed {
            return None;
        }
        while let Some(&seq) = self.resend.front() {
            let held = ring.get(seq).is_some();
            match self.state_mut(seq) {
                Some(state) if *state == PENDING && held => return Some((seq, true)),
                Some(state) if *state == PENDING => *state = NEVER,
                Some(_) | None => {}
            }
            self.resend.pop_front();
        }
        let cursor = self.cursor();
        ring.get(cursor).map(|_| (cursor, false))
    }

    /// `seq`, as [`Self::next`] gave it, was written with hop sequence `hop`.
    pub(crate) fn on_written(&mut self, seq: u64, hop: u64) {
        if seq == self.cursor() {
            self.sent.push_back(hop);
            return;
        }
        if let Some(state) = self.state_mut(seq) {
            *state = hop;
        }
        self.resend.pop_front();
    }

    /// Whether it has yet to tell us where it stands, or that it knows where it begins.
    pub(crate) fn is_unsure(&self) -> bool {
        self.standing != Standing::Confirmed || self.wish.is_none()
    }

    /// Whether frames up to before `end` are not acknowledged.
    pub(crate) fn is_behind(&self, ring: &Ring) -> bool {
        let first = ring.first().unwrap_or(0);
        ring.end()
            .is_some_and(|end| self.acked(first) < end.saturating_sub(1))
    }

    /// Whether a child that is behind has been silent or stuck for too long.
    ///
    /// Silent: `slow`. One that talks waits for somebody below it, whom it will cut itself: three
    /// times `slow`.
    pub(crate) fn is_slow(&self, now: Time, slow: std::time::Duration) -> bool {
        now - self.heard > slow || now - self.progressed > slow * 3
    }

    /// It is not behind: its time begins with the next frame.
    pub(crate) fn rest(&mut self, now: Time) {
        self.progressed = now;
        self.heard = self.heard.max(now);
    }

    fn cursor(&self) -> u64 {
        self.base + self.sent.len() as u64
    }

    fn state_mut(&mut self, seq: u64) -> Option<&mut u64> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.sent.get_mut(index)
    }
}

/// Whether `hop_seq` comes before `last`, which is raised otherwise.
pub(crate) fn is_overtaken(last: &mut Option<u32>, hop_seq: u32) -> bool {
    let overtaken = last.is_some_and(|last| hop_seq.wrapping_sub(last) >= 1 << 31);
    if !overtaken {
        *last = Some(hop_seq);
    }
    overtaken
}
