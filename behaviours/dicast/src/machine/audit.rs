//! Whether our agent of level 1 lies: about us, to its parent, or to others of us.
//!
//! - *About us.* Each roll says what we have. A value that we did not have within the roll's age is
//!   a lie.
//! - *To the parent.* A deputy asks the parent what it holds our cluster to be, and compares that
//!   with the rolls before and after.
//! - *To others.* It asks other members what they had, and compares that with what the rolls said
//!   of them: an agent may tell each member another roll.
//!
//! *Nothing is believed once.* A second roll, a second answer of the parent, or the words of three
//! members have to say the same, the same way. What is done then stands in [`super::depose`].
//!
//! The first deputy asks as often as [`Config::audit`](crate::Config::audit) says, over a
//! connection that it keeps; the others, who have to dial, [`SELDOM`] times more seldom, and at
//! once if a fellow doubts.

use std::time::Duration;

use opus_core::{BoundedQueue, Contact, NodeId, Time, pack::Few};
use rand::{RngExt, seq::SliceRandom};

mod round;

use self::round::{Doubt, Round, Verdict, seat_bit};
use super::{Dicast, depose::Accusation};
use crate::{
    Message,
    aggregate::{KeyId, Past, Row, Seen, is_told},
    cluster::{ClusterRef, DEPUTIES},
    state::Membership,
    wire::{AUDIT_KEYS_MAX, Audit, Audited, BARRED_MAX},
};

/// How often others than the first deputy ask, and it asks one to whom it has to dial.
const SELDOM: u32 = 24;

/// How long a cluster has to be as it is, under its agent, before anybody asks.
const AT_REST: Duration = Duration::from_secs(15);

/// How long a round of questions may take: it needs two rolls, and words are lost.
const ROUND: Duration = Duration::from_secs(30);

/// The parent is asked so long after a roll: what it holds is younger then.
const ASK_AFTER: Duration = Duration::from_secs(4);

/// After this a question is said again; so often in all.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASKS: u8 = 4;

/// Rolls in a row that have to be wrong about us.
const WRONG_ROLLS: u8 = 2;

/// Members in a row that have to contradict the rolls.
const WRONG_MEMBERS: u32 = 3;

/// Questions that are answered between two heartbeats. Overflow: not answered.
const ANSWERS_MAX: u8 = 64;

/// For how long who lied as an agent holds no post.
const BARRED: Duration = Duration::from_secs(3_600);

/// For how long a lie is believed that was not seen again: longer than the parent remembers who
/// said so.
const BELIEVED: Duration = Duration::from_secs(90);

/// What a node knows of lies.
#[derive(Clone, Debug)]
pub(crate) struct Audits {
    pub(super) past: Past,
    /// The cluster, agent (folded) and seat that we have, and since when.
    seat: Option<(ClusterRef, u64, u8)>,
    since: Time,
    /// The last roll that was looked at, and how many in a row were wrong about us.
    wrong: (u8, u8),
    next_at: Option<Time>,
    turns: u32,
    /// Whether the next round is for a member: a fellow found that others contradict.
    ask_members: bool,
    round: Option<Box<Round>>,
    doubt: Option<(Doubt, Time)>,
    pub(super) found: Option<Found>,
    /// By members of clusters below a post of ours, or, at the root, of our own. See
    /// [`super::depose`].
    pub(super) accusations: Vec<Accusation>,
    /// When we take the post of a cluster without a parent.
    pub(super) revolt_at: Option<Time>,
    pub(super) barred: BoundedQueue<(NodeId, Time)>,
    answered: u8,
}

/// How a lie was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Our own value was told wrong.
    Own,
    /// Other members contradict.
    Members,
    /// The parent was told something else.
    Parent,
}

/// A lie that was confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) at: Time,
    /// How we know.
    pub(super) ground: Ground,
    /// How often it was told.
    pub(super) told: u8,
}

impl Default for Audits {
    fn default() -> Self {
        Self {
            past: Past::default(),
            seat: None,
            since: Time::ZERO,
            wrong: (0, 0),
            next_at: None,
            turns: 0,
            ask_members: false,
            round: None,
            doubt: None,
            found: None,
            accusations: Vec::new(),
            revolt_at: None,
            barred: BoundedQueue::new(BARRED_MAX),
            answered: 0,
        }
    }
}

impl Audits {
    /// Forgets all but our own values.
    pub(super) fn stop(&mut self) {
        let past = std::mem::take(&mut self.past);
        *self = Self {
            past,
            ..Self::default()
        };
    }

    /// Whether a grant of this cluster is what our accusation asked for.
    pub(super) fn awaits(&self, old: ClusterRef) -> bool {
        let ours = self.seat.is_some_and(|(cluster, ..)| cluster == old);
        ours && self.found.is_some()
    }

    /// Whether this node was found to lie as an agent.
    pub(super) fn is_barred(&self, id: NodeId) -> bool {
        self.barred.iter().any(|(barred, _)| *barred == id)
    }

    /// Whom an heir of a post of ours shall not trust.
    pub(super) fn to_hand_on(&self) -> Few<NodeId, BARRED_MAX> {
        Few(self.barred.iter().map(|(id, _)| *id).collect())
    }

    pub(super) fn bar(&mut self, now: Time, id: NodeId) {
        if !self.is_barred(id) {
            self.barred.push((id, now + BARRED));
        }
    }

    /// Forgets what has become too old.
    fn sweep(&mut self, now: Time) {
        self.answered = 0;
        self.past.turn(now);
        self.found.take_if(|found| now.since(found.at) > BELIEVED);
        self.doubt.take_if(|(_, at)| now.since(*at) > BELIEVED);
        if self.barred.iter().any(|(_, until)| *until <= now) {
            self.barred.retain(|(_, until)| *until > now);
        }
        self.forget_old(now);
    }

    /// A round that found nothing is held again at once while there is a doubt.
    fn go_on(&mut self, now: Time) {
        if self.doubt.is_some() {
            self.next_at = Some(now);
        }
    }

    /// Follows the cluster that we sit in: another name, agent or seat, and all begins anew.
    fn sync(&mut self, now: Time, leaf: Option<&Membership>) {
        let seat = leaf.map(|it| (it.view.cluster, it.view.agent.id.folded(), it.slot));
        if self.seat != seat {
            (self.seat, self.since) = (seat, now);
            self.wrong = (0, 0);
            (self.round, self.doubt, self.found) = (None, None, None);
            (self.next_at, self.revolt_at) = (None, None);
        }
    }

    /// Rounds of questions so far.
    #[cfg(test)]
    pub(super) const fn turns(&self) -> u32 {
        self.turns
    }

    /// All that decides what comes next but values.
    #[cfg(test)]
    pub(crate) fn digest(&self, to: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let asking = self.round.as_ref().map(|round| round.whom.id);
        let found = self.found.map(|found| (found.at, found.told));
        (self.seat, self.next_at, asking, found, self.revolt_at).hash(to);
        let said = self.accusations.iter();
        for it in said {
            (it.cluster, it.seat.id(), it.at).hash(to);
        }
        for barred in &self.barred {
            barred.hash(to);
        }
    }
}

impl Dicast {
    /// Once a heartbeat.
    pub(super) fn look_at_audit(&mut self, now: Time) {
        self.audits.sweep(now);
        self.audits.sync(now, self.leaf.as_ref());
        if self.config.audit.is_none() {
            return;
        }
        self.accuse_again(now);
        self.look_at_revolt(now);
        self.go_on_asking(now);
        self.begin_round(now);
    }

    /// The agent told a roll.
    pub(super) fn on_roll(&mut self, now: Time) {
        let Self {
            audits,
            leaf,
            keys,
            config,
            ..
        } = self;
        audits.sync(now, leaf.as_ref());
        let Some(leaf) = leaf.as_ref().filter(|_| config.audit.is_some()) else {
            return;
        };
        let told = &leaf.link.roll;
        let (last, times) = audits.wrong;
        let Some(from) = told.from().filter(|_| told.number() != last) else {
            return;
        };
        if let Some(round) = &mut audits.round {
            round.take(told);
        }
        let mut wrong = None;
        if audits.since <= from {
            for key in told.keys() {
                let Some(spec) = keys.spec(key).filter(|spec| is_told(spec)) else {
                    continue;
                };
                let entry = told.entry(key, leaf.slot, spec);
                let refuted = entry.and_then(|entry| audits.past.refutes(key, from, entry, spec));
                if let Some(refuted) = refuted {
                    wrong = Some(wrong.unwrap_or(false) || refuted);
                }
            }
        }
        let times = match wrong {
            Some(true) => times.saturating_add(1),
            Some(false) => 0,
            None => times,
        };
        audits.wrong = (told.number(), times);
        if wrong == Some(true) && times >= WRONG_ROLLS {
            self.convinced(now, Ground::Own);
        }
        self.end_round(now);
    }

    /// Whom we ask what it holds our cluster to be, over a connection that is kept: the first
    /// deputy alone does.
    pub(super) fn audited(&self) -> Option<NodeId> {
        let leaf = self.leaf.as_ref().filter(|_| self.config.audit.is_some())?;
        leaf.link.roll.keys().next()?;
        (leaf.view.rank(leaf.slot) == Some(0)).then_some(())?;
        self.parent_to_ask().map(|parent| parent.id)
    }

    /// The agent above ours, if it is neither ours nor ourselves.
    fn parent_to_ask(&self) -> Option<Contact> {
        let leaf = self.leaf.as_ref()?;
        let (agent, me) = (leaf.view.agent.id, self.id());
        let parent = &leaf.path.0.first()?.agent;
        (agent != me && parent.id != agent && parent.id != me).then(|| parent.clone())
    }

    /// Begins a round of questions if one is due.
    fn begin_round(&mut self, now: Time) {
        let (Some(period), Some(leaf)) = (self.config.audit, &self.leaf) else {
            return;
        };
        let rank = leaf.view.rank(leaf.slot).filter(|rank| *rank < DEPUTIES);
        let silent = leaf.link.roll.keys().next().is_none();
        let Some(rank) = rank.filter(|_| !silent && leaf.view.agent.id != self.id()) else {
            (self.audits.next_at, self.audits.round) = (None, None);
            return;
        };
        let every = if rank == 0 { period } else { period * SELDOM };
        let Some(next_at) = self.audits.next_at else {
            let phase = self.rng.random_range(0.0..1.0);
            self.audits.next_at = Some(now + every.mul_f64(phase));
            return;
        };
        let rested = now.since(self.audits.since) >= AT_REST;
        // The first deputy may have been another before.
        let next_at = next_at.min(now + every * 2);
        self.audits.next_at = Some(next_at);
        if self.audits.round.is_some() || !rested || now < next_at {
            return;
        }
        let wait = every.mul_f64(self.rng.random_range(0.75..1.25));
        self.audits.next_at = Some(now + wait);
        self.audits.turns = self.audits.turns.wrapping_add(1);
        let slot = self.member_to_ask();
        self.open_round(now, slot);
    }

    /// The seat of a member to ask; none if it is the parent's turn.
    fn member_to_ask(&mut self) -> Option<u8> {
        let turns = self.audits.turns;
        let asked = match self.audits.doubt {
            Some((Doubt::Parent(..), _)) => return None,
            Some((Doubt::Members(seats), _)) => seats,
            None => 0,
        };
        let leaf = self.leaf.as_ref()?;
        let agent = leaf.view.agent.id;
        let others = leaf
            .siblings()
            .filter(|(slot, seat)| seat.id() != agent && asked & seat_bit(*slot) == 0);
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for (slot, seat) in others {
            let connected = self.links.is_connected(seat.id());
            if connected { &mut near } else { &mut far }.push(slot);
        }
        let hinted = std::mem::take(&mut self.audits.ask_members);
        let seldom = hinted || asked != 0 || turns % SELDOM == SELDOM / 2;
        let mut slots = match () {
            () if !near.is_empty() && (seldom || turns % 2 == 1) => near,
            () if seldom => far,
            () => return None,
        };
        let (some, _) = slots.partial_shuffle(&mut self.rng, 1);
        some.first().copied()
    }

    fn open_round(&mut self, now: Time, slot: Option<u8>) {
        let Some(leaf) = &self.leaf else {
            return;
        };
        let member = slot.and_then(|slot| leaf.view.roster.get(slot));
        let whom = match slot {
            Some(_) => member.map(|seat| seat.contact.clone()),
            None => self.parent_to_ask(),
        };
        let told = &leaf.link.roll;
        let (Some(whom), Some(from)) = (whom, told.from()) else {
            return;
        };
        let mut keys: Vec<KeyId> = told.keys().collect();
        let most = AUDIT_KEYS_MAX - usize::from(slot.is_none());
        let (keys, _) = keys.partial_shuffle(&mut self.rng, most);
        let mut seen: Vec<Seen> = keys.iter().map(|key| Seen::new(*key)).collect();
        for seen in &mut seen {
            seen.take(told);
        }
        let members = leaf.view.roster.len() as u64;
        self.audits.round = Some(Box::new(Round {
            slot,
            whom,
            began: now,
            // The parent's record has to be younger than some roll; a member remembers for longer.
            from: if slot.is_some() { from } else { told.at() },
            seen,
            roll: told.number(),
            members: (members, members),
            asked: None,
            asks: 0,
            answer: None,
            closed: false,
        }));
        self.go_on_asking(now);
    }

    /// Asks when it is time, and again if there is no answer.
    fn go_on_asking(&mut self, now: Time) {
        let (Some(leaf), Some(round)) = (&self.leaf, &mut self.audits.round) else {
            return;
        };
        let members = leaf.view.roster.len() as u64;
        let (least, most) = round.members;
        round.members = (least.min(members), most.max(members));
        if now.since(round.began) > ROUND {
            self.audits.round = None;
            self.audits.go_on(now);
            return;
        }
        let waits = round
            .asked
            .is_some_and(|(_, last)| now.since(last) < ASK_AGAIN);
        let early = round.slot.is_none() && now.since(round.from) < ASK_AFTER;
        if round.answer.is_some() || waits || early || round.asks >= ASKS {
            return;
        }
        round.asks += 1;
        let first = round.asked.map_or(now, |(first, _)| first);
        round.asked = Some((first, now));
        let mut keys: Vec<KeyId> = round.seen.iter().map(|seen| seen.key).collect();
        if round.slot.is_none() {
            keys.push(KeyId::MEMBERS);
        }
        let audit = Audit {
            cluster: leaf.view.cluster,
            member: round.slot.is_some(),
            keys: Few(keys),
        };
        let whom = round.whom.clone();
        self.send_to(now, &whom, Message::Audit(audit));
    }

    /// Somebody wants to know what we hold a cluster to be, or what we had.
    pub(super) fn on_audit(&mut self, now: Time, from: NodeId, audit: &Audit) {
        if self.audits.answered >= ANSWERS_MAX {
            return;
        }
        let rows = if audit.member {
            self.own_rows(now, from, audit)
        } else {
            self.rows_of_child(now, audit)
        };
        if let Some(rows) = rows {
            self.audits.answered += 1;
            let audited = Audited {
                cluster: audit.cluster,
                member: audit.member,
                rows: Few(rows),
            };
            self.send(now, from, Message::Audited(audited));
        }
    }

    fn own_rows(&self, now: Time, from: NodeId, audit: &Audit) -> Option<Vec<Row>> {
        let leaf = self.leaf.as_ref()?;
        let fits = leaf.view.cluster == audit.cluster && leaf.view.roster.find(from).is_some();
        let seated = self
            .audits
            .seat
            .is_some_and(|(cluster, _, slot)| cluster == audit.cluster && slot == leaf.slot);
        (fits && seated).then_some(())?;
        let row = |key: &KeyId| {
            let spec = self.keys.spec(*key).filter(|spec| is_told(spec))?;
            self.audits.past.row(now, *key, self.audits.since, spec)
        };
        Some(audit.keys.0.iter().filter_map(row).collect())
    }

    fn rows_of_child(&self, now: Time, audit: &Audit) -> Option<Vec<Row>> {
        let post = self.posts.get(&2)?;
        let slot = post.view.roster.find_child(audit.cluster)?;
        let row = |key: &KeyId| {
            let spec = self.keys.spec(*key)?;
            Row::of_record(*key, &post.record_of(now, slot, *key, spec)?)
        };
        Some(audit.keys.0.iter().filter_map(row).collect())
    }

    pub(super) fn on_audited(&mut self, now: Time, from: NodeId, audited: Audited) {
        let cluster = self.leaf.as_ref().map(|leaf| leaf.view.cluster);
        let Some(round) = &mut self.audits.round else {
            return;
        };
        let asked = round.whom.id == from && round.slot.is_some() == audited.member;
        let open = round.asked.is_some() && round.answer.is_none();
        if !asked || !open || cluster != Some(audited.cluster) {
            return;
        }
        round.answer = Some((now, audited.rows.0));
        self.end_round(now);
    }

    /// Judges once all is there that is needed for it.
    fn end_round(&mut self, now: Time) {
        let done = self.audits.round.take_if(|round| round.is_complete());
        let Some(round) = done else {
            return;
        };
        let before = self.audits.doubt.map(|(doubt, _)| doubt);
        let Self { audits, keys, .. } = self;
        let spec = |key| {
            let spec = keys.spec(key)?;
            Some((spec, audits.past.moved(key, spec)))
        };
        match round.judge(before, spec) {
            Verdict::Open => self.audits.go_on(now),
            Verdict::Honest => self.audits.doubt = None,
            Verdict::Wrong(doubt) => {
                self.audits.doubt = Some((doubt, now));
                // The next round begins at once.
                self.audits.next_at = Some(now);
                match doubt {
                    Doubt::Parent(..) if before == Some(doubt) => {
                        self.convinced(now, Ground::Parent);
                    }
                    Doubt::Parent(..) => self.warn_deputies(now),
                    Doubt::Members(seats) if seats.count_ones() >= WRONG_MEMBERS => {
                        self.convinced(now, Ground::Members);
                    }
                    // It may have told the agent what it does not have.
                    Doubt::Members(_) => {}
                }
            }
        }
    }

    /// A fellow doubts: look at once, at the parent or at what other members say.
    pub(super) fn audit_soon(&mut self, now: Time, others: bool) {
        self.audits.ask_members |= others;
        if self.audits.round.is_none() && self.audits.next_at.is_some_and(|at| at > now) {
            self.audits.next_at = Some(now);
        }
    }
}
