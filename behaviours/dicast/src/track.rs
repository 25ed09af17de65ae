//! What the three sides of a link keep of the values: the member's reports and what came down to
//! it, the agent's slots and what it pushed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use opus_core::{NodeId, Time};

use crate::{
    aggregate::{
        self, Down, Grants, KeyId, KeySpec, Occupant, Origin, Record, Reporter, Rolls, Slots, Term,
        Vacated,
    },
    cluster::{ClusterRef, Place, Roster, SEATS_MAX, Seat, View, nodes_max},
    keys::Keys,
    machine::PLAN_FIRST,
};

mod books;
mod inbox;
mod words;

pub use self::words::Echo;
pub(crate) use self::{
    inbox::{Ages, Inbox},
    words::Words,
};

/// How long whoever comes from elsewhere may still be counted where it was before: until it is
/// missed there, and all above know.
pub(crate) const DOUBLE_JOINED: Duration = Duration::from_secs(15);

/// How long ago a member may have died whom a new agent finds in the roster: as long as the old one
/// may have waited, and its silence before it was replaced.
const UNHEARD: Duration = Duration::from_secs(15);

/// How long whoever left for another seat is missed: a few reports from there may be lost.
const DEPARTED_FOR: Duration = Duration::from_secs(6);

/// How long a cluster that went into its sibling is still counted: until the sibling has told of
/// those who came.
const GHOST_FOR: Duration = Duration::from_secs(10);

/// A member's side: its reports to the agent, and what came down from it.
#[derive(Clone, Debug)]
pub(crate) struct Uplink {
    pub(crate) reporter: Reporter,
    /// With whom the term is: cluster and agent, folded.
    with: Option<(ClusterRef, u64)>,
    pub(crate) words: Words,
    heard: Option<(u32, Time)>,
    /// The last round trip.
    pub(crate) rtt: Duration,
    /// A beat that was to be answered at once, and how often it was said.
    pub(crate) unheard: Option<(u32, u8)>,
    pub(crate) inbox: Inbox,
    /// What the other members have.
    pub(crate) roll: aggregate::Told,
    /// Where the agent was told that we stand, and in how many beats that will be said again.
    place: (Place, u8),
}

/// A place is told in so many beats: one may be lost.
const PLACE_TELLS: u8 = 3;

impl Uplink {
    pub(crate) fn new(now: Time, node: NodeId) -> Self {
        Self {
            reporter: Reporter::new(first_8(node)),
            with: None,
            words: Words::new(now),
            heard: None,
            rtt: Duration::ZERO,
            unheard: None,
            inbox: Inbox::default(),
            roll: aggregate::Told::default(),
            place: (Place::default(), 0),
        }
    }

    /// What the next beat says of where we stand: nothing if the agent knows.
    pub(crate) fn place_to_tell(&mut self, here: Place) -> Place {
        let (told, tells) = &mut self.place;
        if told.has_moved(here) {
            (*told, *tells) = (here, PLACE_TELLS);
        }
        if *tells == 0 {
            return Place::default();
        }
        *tells -= 1;
        *told
    }

    /// These keys have other specs: what is known of them means nothing any more.
    pub(crate) fn change_keys(&mut self, keys: &[KeyId]) {
        self.reporter.on_asked();
        self.inbox.forget(keys);
        self.roll.forget(keys);
    }

    /// Begins a new term if the cluster or its agent is another.
    pub(crate) fn sync(&mut self, view: &View) {
        let with = Some((view.cluster, view.agent.id.folded()));
        if self.with == with {
            return;
        }
        self.with = with;
        self.reporter.begin_term();
        self.heard = None;
        self.unheard = None;
        self.inbox.pushed = 0;
        self.roll = aggregate::Told::default();
        // A new agent may only know where we stood when we joined.
        self.place = (Place::default(), 0);
    }

    /// What we speak for has another name: the next report begins a new term.
    pub(crate) fn renew(&mut self) {
        self.with = None;
    }

    pub(crate) fn echo(&self, now: Time) -> Echo {
        self.heard.map_or_else(Echo::default, |(number, at)| Echo {
            number,
            dwell: now.since(at),
        })
    }

    /// Word number `number` of the agent, which echoes one of ours. Returns how long it may have
    /// been under way.
    pub(crate) fn hear(&mut self, now: Time, number: u32, echo: Echo) -> Duration {
        self.heard = Some((number, now));
        if let Some(rtt) = self.words.round_trip(now, echo) {
            self.rtt = rtt;
        }
        if self.unheard.is_some_and(|(beat, _)| echo.number >= beat) {
            self.unheard = None;
        }
        self.words.transit(now, echo)
    }
}

/// A record that members were told.
#[derive(Clone, Debug)]
struct Told {
    number: u32,
    at: Time,
    down: Down,
}

impl Told {
    fn age(&self, now: Time) -> Duration {
        self.down.age().saturating_add(now.since(self.at))
    }

    fn aged(&self, now: Time) -> Down {
        let mut down = self.down.clone();
        down.freshen(self.age(now));
        down
    }
}

/// An agent's side: the members' values, their widths, and what was told them.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) slots: Slots,
    pub(crate) grants: Grants,
    /// Of which cluster the terms are.
    of: ClusterRef,
    epoch: u32,
    seated: BTreeMap<u8, Seated>,
    doubles: BTreeMap<u8, (Time, u64)>,
    /// Seats whose nodes are not counted until then.
    held: BTreeMap<u8, Time>,
    /// Nodes that the last agent suspected to be counted twice, and until when.
    inherited: (u64, Time),
    ghosts: BTreeMap<u8, Time>,
    /// Nodes that went elsewhere in the tree, and until when they are missed. As many entries as
    /// seats; overflow: what goes then is missed as long as the last.
    departed: VecDeque<(u64, Time)>,
    /// Seats whose cluster took in a sibling, or gave nodes to one.
    changing: Vec<Changing>,
    /// Number of the last record that was pushed.
    pub(crate) pushed: u32,
    table: BTreeMap<(KeyId, Origin), Told>,
    /// Since this record something is told no more: whoever is behind it forgets all it has.
    anew: u32,
    /// When it was last looked what members should know of siblings.
    pub(crate) beside_at: Time,
    /// Of which of these nothing was known then.
    pub(crate) unknown: Vec<(KeyId, Origin)>,
    /// The members' values, as each member is told them.
    pub(crate) rolls: Rolls,
    /// When widths are planned next.
    pub(crate) plan_at: Time,
}

/// Until this agent speaks for the cluster at `slot` under this epoch, nodes of the sibling are
/// counted there.
#[derive(Clone, Copy, Debug)]
struct Changing {
    slot: u8,
    epoch: u32,
    agent: NodeId,
    sibling: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seated {
    node: NodeId,
    incarnation: u64,
    child: Option<u64>,
}

impl Seated {
    fn of(seat: &Seat) -> Self {
        Self {
            // A cluster is itself under each agent; only its name makes it another.
            node: if seat.child().is_some() {
                NodeId([0; 32])
            } else {
                seat.id()
            },
            incarnation: if seat.child().is_some() {
                0
            } else {
                seat.incarnation
            },
            child: seat.child().map(|child| child.id),
        }
    }
}

impl Track {
    /// For a post that is taken now.
    pub(crate) fn new(now: Time, view: &View, keys: &Keys) -> Self {
        let mut track = Self {
            slots: Slots::within(u64::from(nodes_max(view.level)), books::stale(view.level)),
            grants: Grants::default(),
            of: view.cluster,
            epoch: 1,
            seated: BTreeMap::new(),
            doubles: BTreeMap::new(),
            held: BTreeMap::new(),
            inherited: (0, now),
            ghosts: BTreeMap::new(),
            departed: VecDeque::new(),
            changing: Vec::new(),
            pushed: 0,
            table: BTreeMap::new(),
            anew: 0,
            beside_at: Time::ZERO,
            unknown: Vec::new(),
            rolls: Rolls::default(),
            plan_at: now + PLAN_FIRST,
        };
        for (key, _) in keys.iter() {
            track.slots.learn(key);
        }
        track.sync(now, view);
        track
    }

    /// Whoever sits there begins anew: what it said before does not count.
    pub(crate) fn restart(&mut self, now: Time, slot: u8, view: &View) {
        self.seated.remove(&slot);
        self.sync(now, view);
    }

    /// The term of a report from whoever sits in `seat`.
    pub(crate) fn term(&self, seat: &Seat) -> Term {
        let incarnation = seat
            .child()
            .map_or(seat.incarnation, |child| u64::from(child.epoch));
        Term {
            incarnation,
            epoch: self.epoch,
        }
    }

    /// Follows the roster: who came, who went, whether the cluster has another name.
    pub(crate) fn sync(&mut self, now: Time, view: &View) {
        if self.of != view.cluster {
            self.of = view.cluster;
            self.epoch += 1;
        }
        let seats: BTreeMap<u8, Seated> = seats_of(&view.roster);
        let gone: Vec<u8> = self
            .seated
            .keys()
            .copied()
            .filter(|slot| !seats.contains_key(slot))
            .collect();
        for slot in gone {
            self.seated.remove(&slot);
            if !self.ghosts.contains_key(&slot) {
                self.vacate(now, slot, Vacated::Left);
            }
        }
        for (slot, seated) in seats {
            let before = self.seated.insert(slot, seated);
            if before == Some(seated) {
                continue;
            }
            let Some(seat) = view.roster.get(slot) else {
                continue;
            };
            if self.ghosts.remove(&slot).is_some() {
                self.vacate(now, slot, Vacated::Lost);
            }
            let occupant = match seat.child() {
                None => Occupant::Leaf,
                Some(_) => Occupant::Cluster(u64::from(seat.size)),
            };
            let since = Term {
                incarnation: 0,
                epoch: self.epoch,
            };
            self.slots
                .occupy(slot, now, first_8(seat.id()), occupant, since);
            self.slots.presume_age(slot, now, UNHEARD);
            if let Some((_, nodes)) = self.doubles.get(&slot) {
                self.slots.suspect_double(slot, *nodes);
            }
            self.slots.hold(slot, self.held.contains_key(&slot));
            self.grants.on_new_term(slot);
        }
    }

    /// The last agent said that it missed so many nodes, and that so many may be counted twice.
    pub(crate) fn inherit(&mut self, now: Time, missing: u64, double: u64) {
        self.slots.miss(now, missing);
        self.inherited = (double, now + DOUBLE_JOINED);
    }

    /// Whoever has just taken the seat may be counted elsewhere too, for so long.
    pub(crate) fn suspect(&mut self, now: Time, slot: u8, nodes: u32, long: Duration) {
        self.slots.presume_age(slot, now, Duration::ZERO);
        let nodes = u64::from(nodes.max(1));
        self.doubles.insert(slot, (now + long, nodes));
        self.slots.suspect_double(slot, nodes);
    }

    /// Whoever has just taken the seat leaves another in the tree, and is missing until all may
    /// know that it did.
    pub(crate) fn hold(&mut self, now: Time, slot: u8) {
        self.held.insert(slot, now + DOUBLE_JOINED);
        self.slots.hold(slot, true);
    }

    /// The seat's nodes may be alive, and are counted nowhere. To be called before it is freed.
    pub(crate) fn lose(&mut self, now: Time, slot: u8) {
        if self.seated.remove(&slot).is_some() {
            self.vacate(now, slot, Vacated::Lost);
        }
    }

    /// Whoever is counted at `slot` leaves it for another in the tree, and is missed until it is
    /// known above that it is there: that it left may be known first. To be called before the seat
    /// is freed.
    pub(crate) fn depart(&mut self, now: Time, slot: u8) {
        let (key, spec) = (KeyId::MEMBERS, &KeySpec::MEMBERS);
        let record = self.slots.record_of(slot, key, now, spec, 0.0);
        let nodes = record.map_or(0, |record| record.count);
        if nodes == 0 {
            return;
        }
        let until = now + DEPARTED_FOR;
        let full = self.departed.len() >= SEATS_MAX;
        match self.departed.back_mut().filter(|_| full) {
            Some(last) => *last = (last.0.saturating_add(nodes), until),
            None => self.departed.push_back((nodes, until)),
        }
    }

    /// The seat's nodes will be counted in a sibling, once that reports; until then here. To be
    /// called before the seat is freed.
    pub(crate) fn haunt(&mut self, now: Time, slot: u8) {
        if self.seated.contains_key(&slot) {
            // They are counted here alone.
            self.doubles.remove(&slot);
            self.slots.suspect_double(slot, 0);
            self.ghosts.insert(slot, now + GHOST_FOR);
        }
    }

    /// Whether the nodes of whoever sat at `slot` still count here.
    pub(crate) fn is_haunted(&self, slot: u8) -> bool {
        self.ghosts.contains_key(&slot)
    }

    /// What sits at `slot` has just got its name, and with it nodes of `sibling`, or gave it some:
    /// with its first report under that name these are counted once, and where they belong.
    pub(crate) fn until_reported(&mut self, slot: u8, view: &View, sibling: u8) {
        let Some(seat) = view.roster.get(slot) else {
            return;
        };
        if let Some(child) = seat.child().filter(|_| self.changing.len() < SEATS_MAX) {
            self.changing.push(Changing {
                slot,
                epoch: child.epoch,
                agent: seat.id(),
                sibling,
            });
        }
    }

    /// `agent`, who sits at `slot`, has told everything under this term.
    pub(crate) fn on_reported(&mut self, now: Time, slot: u8, agent: NodeId, term: Term) {
        let told = |it: &mut Changing| it.slot == slot && term.incarnation >= u64::from(it.epoch);
        let told: Vec<Changing> = self.changing.extract_if(.., told).collect();
        for Changing {
            agent: meant,
            sibling,
            ..
        } in told
        {
            let ghost = self.ghosts.contains_key(&sibling);
            match (meant == agent, ghost) {
                (true, true) => {
                    self.ghosts.remove(&sibling);
                    self.vacate(now, sibling, Vacated::Left);
                }
                (true, false) => {
                    self.doubles.remove(&sibling);
                    self.slots.suspect_double(sibling, 0);
                }
                // A successor may know of the change or not: time decides.
                (false, true) => {
                    let until = self.ghosts.get(&sibling).copied().unwrap_or(now);
                    self.doubles.insert(sibling, (until, u64::MAX));
                    self.slots.suspect_double(sibling, u64::MAX);
                }
                (false, false) => {}
            }
        }
    }

    fn vacate(&mut self, now: Time, slot: u8, how: Vacated) {
        self.doubles.remove(&slot);
        self.held.remove(&slot);
        self.changing
            .retain(|it| it.slot != slot && it.sibling != slot);
        self.slots.vacate(slot, now, how);
        self.grants.on_new_term(slot);
    }

    /// Forgets suspicions of double counts that are old enough.
    pub(crate) fn sweep(&mut self, now: Time) {
        self.departed.retain(|(_, until)| now < *until);
        for slot in due(&mut self.doubles, |(until, _)| *until <= now) {
            self.slots.suspect_double(slot, 0);
        }
        for slot in due(&mut self.held, |until| *until <= now) {
            self.slots.hold(slot, false);
            if let Some((_, nodes)) = self.doubles.get(&slot) {
                self.slots.suspect_double(slot, *nodes);
            }
        }
        for slot in due(&mut self.ghosts, |until| *until <= now) {
            // Whoever was to take them in has not said that it did.
            self.vacate(now, slot, Vacated::Lost);
        }
    }

    /// A key has another spec, or is new, or is no more.
    pub(crate) fn change_key(&mut self, key: KeyId, known: bool) {
        self.slots.forget(key);
        if known {
            self.slots.learn(key);
        }
        if !known {
            self.grants.forget(key);
        }
        // Members use the widths that they have until they confirm others, whatever the key is.
        self.rolls.restart();
    }

    /// The cluster's record of a key.
    pub(crate) fn record(&self, now: Time, key: KeyId, spec: &KeySpec) -> Option<Record> {
        let widths = self.grants.all_assumed(key);
        let mut record = self.slots.record(key, now, spec, widths)?;
        let (double, until) = self.inherited;
        if now < until {
            record.double = record.double.saturating_add(double).min(record.count);
        }
        let departed = self.departed.iter().filter(|(_, until)| now < *until);
        record.missing =
            departed.fold(record.missing, |sum, (nodes, _)| sum.saturating_add(*nodes));
        Some(record)
    }

    /// What members were told last of a key, and when.
    pub(crate) fn told(&self, at: (KeyId, Origin)) -> Option<(&Down, Time)> {
        self.table.get(&at).map(|told| (&told.down, told.at))
    }

    /// The last record that members were told of the keys that are meant; 0 if there is none.
    pub(crate) fn newest(&self, meant: impl Fn(KeyId) -> bool) -> u32 {
        let of = self.table.iter().filter(|((key, _), _)| meant(*key));
        of.map(|(_, told)| told.number).max().unwrap_or(0)
    }

    /// Notes a record that members have to know.
    pub(crate) fn tell(&mut self, now: Time, down: Down) {
        self.pushed = self.pushed.saturating_add(1);
        let (at, number) = (now, self.pushed);
        let whose = (down.key(), down.origin());
        self.table.insert(whose, Told { number, at, down });
    }

    /// Keeps what members are told to these: if something goes, all is told anew.
    pub(crate) fn retain(&mut self, keep: impl Fn(&(KeyId, Origin)) -> bool) {
        let before = self.table.len();
        self.table.retain(|at, _| keep(at));
        if self.table.len() == before {
            return;
        }
        // All of it stands under numbers that nobody has heard.
        self.anew = self.pushed.saturating_add(1);
        for told in self.table.values_mut() {
            self.pushed = self.pushed.saturating_add(1);
            told.number = self.pushed;
        }
    }

    /// What a push to one who knows all up to `acked` builds upon: 0 replaces whatever it has. A
    /// word of earlier may name a number that means nothing since something is told no more.
    pub(crate) const fn base(&self, acked: u32) -> u32 {
        if acked < self.anew { 0 } else { acked }
    }

    /// Records that one who knows all up to `base` lacks, the oldest first, as old as they are now.
    pub(crate) fn since(&self, now: Time, base: u32) -> Vec<(u32, Down)> {
        // Who gets everything anew knows of nothing that is gone.
        let meant = |told: &&Told| told.number > base && (base > 0 || !told.down.is_gone());
        let newer = self.table.values().filter(meant);
        let mut records: Vec<_> = newer.map(|told| (told.number, told.aged(now))).collect();
        records.sort_unstable_by_key(|(number, _)| *number);
        records
    }

    /// What members were told of siblings.
    pub(crate) fn all_beside(&self) -> impl Iterator<Item = &Down> {
        let beside = |told: &&Told| told.down.origin().beside;
        self.table.values().filter(beside).map(|told| &told.down)
    }

    /// What members were told, and how old it is if it does not stand for anything newer.
    pub(crate) fn all_told(&self, now: Time) -> impl Iterator<Item = (&Down, Duration)> {
        self.table
            .values()
            .map(move |told| (&told.down, told.age(now)))
    }
}

fn seats_of(roster: &Roster) -> BTreeMap<u8, Seated> {
    roster
        .iter()
        .map(|(slot, seat)| (slot, Seated::of(seat)))
        .collect()
}

/// Takes out those that are over.
fn due<T>(times: &mut BTreeMap<u8, T>, is_over: impl Fn(&T) -> bool) -> Vec<u8> {
    let over: Vec<u8> = times
        .iter()
        .filter(|(_, it)| is_over(it))
        .map(|(slot, _)| *slot)
        .collect();
    times.retain(|_, it| !is_over(it));
    over
}

/// What stands for a node in lists of values.
pub(crate) fn first_8(node: NodeId) -> u64 {
    let first: [u8; 8] = node.0[..8].try_into().expect("there are 32");
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests;
