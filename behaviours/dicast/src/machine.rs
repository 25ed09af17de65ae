//! The machine: inputs to joins, beats, pulses, takeovers. Dispatch and what all parts share.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use opus_core::{
    BoundedQueue, Contact, Deadline, Draws, FlatMap, Input, Lane, Machine, NodeId, Offence, Output,
    Rng, Time, Timers,
};
use rand::RngExt;

use crate::{
    Command, Config, Event, Message, Refusal,
    aggregate::{KeyId, Sample},
    cluster::{Ancestor, ClusterRef, LEVELS_MAX, Place, View},
    health::Health,
    keys::Keys,
    label::Label,
    links::{Links, Order},
    state::{Asked, Check, Former, Handover, Measurement, Membership, Post, Scout, Seek, Vacated},
};

mod address;
mod admit;
mod audit;
mod awake;
mod beside;
mod check;
mod claim;
mod depose;
mod directory;
mod grant;
mod heal;
mod idle;
mod keys;
mod kin;
mod member;
mod merge;
mod office;
mod ourselves;
mod post;
mod push;
mod renew;
mod report;
mod roll;
mod scout;
mod seek;
mod split;
mod view;
mod widths;

pub use self::view::Scope;
pub(crate) use self::widths::PLAN_FIRST;
use self::{audit::Audits, directory::Directory, keys::KeyCare, kin::Watch};

/// Pings under way. Overflow: the new one is not sent; see [`Dicast::check`].
const CHECKS_MAX: usize = 128;

/// Measurements and questions under way, each. Overflow: the oldest is forgotten.
const ASKED_MAX: usize = 64;

/// Names of clusters that are no more. Overflow: the oldest is forgotten.
const FORMERS_MAX: usize = 16;

/// Contacts in other subtrees. Overflow: the oldest is forgotten.
const FAR_MAX: usize = 8;

/// Offers of seats that nobody sought. Overflow: the oldest is forgotten.
const OFFERS_MAX: usize = 4;

/// Messages to ourselves that one input may cause; more would be a loop.
const LOCAL_MAX: usize = 4_096;

/// One for the tick, the scout and the keys each, eight for each level, one for whatever is under
/// way.
const TIMERS_MAX: usize = 3 + 8 * (LEVELS_MAX as usize + 2) + CHECKS_MAX + 2 * ASKED_MAX;

/// One node's part in the hierarchy. See the crate for how, [`Machine`] for the calls.
#[derive(Debug)]
pub struct Dicast {
    /// Shared by the machines of a process, if there are many.
    config: Arc<Config>,
    rng: Draws,
    timers: Timers<Timer>,
    /// Drained after each mutation; holds what one mutation makes.
    outputs: VecDeque<Output<Message, Event>>,
    me: Me,
    /// What our own sense of time is worth.
    health: Health,
    links: Links,
    /// From us to us: the agent of a cluster is an ordinary member of it.
    local: VecDeque<Message>,
    running: bool,
    /// Our seat as a node.
    leaf: Option<Membership>,
    /// What is aggregated.
    keys: Keys,
    key_care: KeyCare,
    /// Our own values.
    values: FlatMap<KeyId, Sample>,
    /// Our posts, by level. Boxed: a map makes room for eleven, and keeps it.
    posts: BTreeMap<u8, Box<Post>>,
    /// Seats sought, by level of the cluster.
    seeks: BTreeMap<u8, Seek>,
    /// The look for a nearer cluster than ours, as a node or for a post.
    scout: Scout,
    /// The seat that we left last.
    vacated: Option<Box<Vacated>>,
    /// Where a tree may be found, the newest last.
    seeds: BoundedQueue<Contact>,
    /// Who held a post at the top when we last heard, the newest last: the way back after a cut.
    far: BoundedQueue<Contact>,
    formers: BoundedQueue<Former>,
    /// Offices handed over and not confirmed, by level.
    handovers: BTreeMap<u8, Handover>,
    checks: BTreeMap<u64, Check>,
    questions: BTreeMap<u64, Asked>,
    measures: BTreeMap<u64, Measurement>,
    /// The next of them gets this number: the smallest is always the oldest.
    number: u64,
    /// Since when the posts are being given away to leave.
    leaving_since: Option<Time>,
    /// When a root next looks for others.
    hello_at: Time,
    /// What is asked of the directory, and told it.
    directory: Directory,
    /// As an agent of level 1: where the others are of each label among our members.
    kin: BTreeMap<Label, Watch>,
    /// When an agent that we do not know was last asked what it takes us for.
    stray_at: Time,
    /// Clusters that offered a seat which we did not seek, and when first.
    offers: BoundedQueue<(u64, Time)>,
    /// When a greeting was last passed on to the root.
    hint_at: Time,
    /// The cluster at the top that was told last.
    root_told: Option<ClusterRef>,
    /// How many nodes the whole tree had when that was known last, and until when it matters.
    whole_known: Option<(u64, Time)>,
    /// Whether our agent lies, and who accuses theirs.
    audits: Audits,
    #[cfg(test)]
    lie: std::cell::Cell<tests::Lie>,
}

/// What others are told of us.
#[derive(Clone, Debug)]
struct Me {
    contact: Contact,
    incarnation: u64,
    place: Place,
    reachable: bool,
    label: Option<Label>,
    started: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Beats, pulses, and whatever is looked at once a heartbeat.
    Tick,
    /// The next try of a search.
    Seek(u8),
    /// The next look for a nearer cluster.
    Scout,
    /// The agent of this level has been silent for too long, if it was not heard since.
    Silence(u8),
    /// A member of the post at this level that answers nobody has been silent for long enough.
    Judge(u8),
    /// The next step against the silent agent of this level.
    Doubt(u8),
    /// A split, merge or handover of this post takes too long, or its next try is due.
    Change(u8),
    /// An office was not confirmed.
    Handover(u8),
    /// A ping was not answered.
    Check(u64),
    /// A question was not answered.
    Question(u64),
    /// A measurement takes too long.
    Measure(u64),
    /// Values are due to the agent of the cluster at this level.
    Report(u8),
    /// Records are due to the members of the post at this level.
    Push(u8),
    /// The table of keys has changed since it was told.
    Keys,
}

impl Dicast {
    /// A machine of no tree. `incarnation` must rise with each start of the node, by more than the
    /// number of [`Command::Hint`]s in one life.
    pub fn new(
        config: impl Into<Arc<Config>>,
        contact: Contact,
        incarnation: u64,
        rng: Rng,
    ) -> Self {
        let config = config.into();
        let seeds = BoundedQueue::new(config.seeds_max);
        Self {
            rng: rng.into(),
            timers: Timers::new(TIMERS_MAX),
            outputs: VecDeque::new(),
            me: Me {
                contact,
                incarnation,
                place: Place::default(),
                reachable: true,
                label: None,
                started: Time::ZERO,
            },
            health: Health::default(),
            links: Links::new((config.messages_per_s, config.messages_burst)),
            local: VecDeque::new(),
            running: false,
            leaf: None,
            keys: Keys::default(),
            key_care: KeyCare::default(),
            values: FlatMap::new(),
            posts: BTreeMap::new(),
            seeks: BTreeMap::new(),
            scout: Scout::default(),
            vacated: None,
            seeds,
            far: BoundedQueue::new(FAR_MAX),
            formers: BoundedQueue::new(FORMERS_MAX),
            handovers: BTreeMap::new(),
            checks: BTreeMap::new(),
            questions: BTreeMap::new(),
            measures: BTreeMap::new(),
            number: 0,
            leaving_since: None,
            hello_at: Time::ZERO,
            directory: Directory::default(),
            kin: BTreeMap::new(),
            stray_at: Time::ZERO,
            offers: BoundedQueue::new(OFFERS_MAX),
            hint_at: Time::ZERO,
            root_told: None,
            whole_known: None,
            audits: Audits::default(),
            #[cfg(test)]
            lie: std::cell::Cell::default(),
            config,
        }
    }

    /// Who we are.
    pub const fn id(&self) -> NodeId {
        self.me.contact.id
    }

    /// The cluster of level 1 in which we sit, as we know it, and our seat there.
    pub fn leaf(&self) -> Option<(&View, u8)> {
        self.leaf.as_ref().map(|leaf| (&leaf.view, leaf.slot))
    }

    /// The clusters above ours, from the nearest to the root.
    pub fn path(&self) -> &[Ancestor] {
        self.leaf.as_ref().map_or(&[], |leaf| &leaf.path.0)
    }

    /// The clusters whose agent we are, by rising level; the true views.
    pub fn posts(&self) -> impl Iterator<Item = &View> {
        self.posts.values().map(|post| &post.view)
    }

    /// The seat of our post at `level` one level up: the cluster as we know it, and our number.
    pub fn seat_above(&self, level: u8) -> Option<(&View, u8)> {
        let up = self.posts.get(&level)?.up.as_ref()?;
        Some((&up.view, up.slot))
    }

    /// The cluster at the top, as far as we know.
    pub fn root(&self) -> Option<Ancestor> {
        let highest = self.posts.values().next_back();
        let membership = match highest.map(|post| (&post.up, post)) {
            Some((None, post)) => return Some(post.view.ancestor()),
            Some((Some(up), _)) => up,
            None => self.leaf.as_ref()?,
        };
        let top = membership.path.0.last().cloned();
        Some(top.unwrap_or_else(|| membership.view.ancestor()))
    }

    /// Name of the cluster at the top, as far as we know.
    fn root_cluster(&self) -> Option<ClusterRef> {
        let membership = match self.posts.last_key_value() {
            Some((_, post)) => match &post.up {
                None => return Some(post.view.cluster),
                Some(up) => up,
            },
            None => self.leaf.as_ref()?,
        };
        let top = membership.path.0.last();
        Some(top.map_or(membership.view.cluster, |top| top.cluster))
    }

    /// Level of the cluster at the top, as far as we know.
    fn height(&self) -> Option<u8> {
        let membership = match self.posts.last_key_value() {
            Some((&level, post)) => match &post.up {
                None => return Some(level),
                Some(up) => up,
            },
            None => self.leaf.as_ref()?,
        };
        let top = membership.path.0.last();
        Some(top.map_or(membership.view.level, |top| top.level))
    }

    fn on_command(&mut self, now: Time, command: Command) {
        match command {
            Command::Start { id, seeds } => self.on_start(now, id, seeds),
            Command::Found { id, name, contacts } => self.on_found(now, id, name, contacts),
            Command::Measured { id, peer, rtt_us } => self.on_measured(now, id, peer, rtt_us),
            Command::Coordinate(position) => self.me.place = Place::at(position),
            Command::Label { id, label } => self.on_label(id, label),
            Command::Hint(hint) => self.on_hint(now, hint),
            Command::Reachable(reachable) => self.me.reachable = reachable,
            Command::Set { id, key, sample } => self.on_set(now, id, key, sample),
            Command::Unset { id, key } => self.on_unset(now, id, key),
            Command::Spec { id, key, spec } => self.on_spec(now, id, key, spec),
            Command::Leave => self.on_leave_command(now),
        }
    }

    fn on_start(&mut self, now: Time, id: u64, seeds: Vec<Contact>) {
        if self.running {
            self.refuse(id, Refusal::Started);
            return;
        }
        self.running = true;
        self.me.started = now;
        for seed in seeds {
            self.remember(seed);
        }
        // So that the beats of many nodes that start at once spread over the heartbeat.
        let phase = self.rng.random_range(0.0..1.0);
        let first = self.config.heartbeat.mul_f64(phase) + Duration::from_micros(1);
        self.timers.set(Timer::Tick, now + first);
        if self.seeds.is_empty() {
            self.found_tree(now);
        } else {
            self.seek(now, 1);
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message) {
        if !self.running {
            return;
        }
        match message {
            Message::Beat(beat) => self.on_beat(now, from, &beat),
            Message::Pulse(pulse) => self.on_pulse(now, from, &pulse),
            Message::Check(nonce) => self.send(now, from, Message::Alive(nonce)),
            Message::Alive(nonce) => self.on_alive(now, from, nonce),
            Message::Accuse(accuse) => self.on_accuse(now, from, accuse),
            Message::Verdict(verdict) => self.on_verdict(now, from, &verdict),
            Message::Join(join) => self.on_join(now, from, &join),
            Message::Places(places) => self.on_places(now, from, places),
            Message::Welcome(welcome) => self.on_welcome(now, from, welcome),
            Message::Busy((level, retry)) => self.on_busy(now, from, level, retry),
            Message::Ask(tag) => self.on_ask(now, from, tag),
            Message::AskPath(tag) => self.on_ask_path(now, from, tag),
            Message::Path((tag, path)) => self.on_path(now, from, tag, path),
            Message::Stranger(tag) => self.on_stranger(now, from, tag),
            Message::Leave(leave) => self.on_leave(now, from, leave),
            Message::Moved(moved) => self.on_moved(now, from, moved),
            Message::Claim(claim) => self.on_claim(now, from, claim),
            Message::Grant(grant) => self.on_grant(now, from, grant),
            Message::Fenced(fenced) => self.on_fenced(now, from, &fenced),
            Message::Takeover(takeover) => self.on_takeover(now, from, takeover),
            Message::Twin(twin) => self.on_twin(now, from, twin),
            Message::Twinned(twinned) => self.on_twinned(now, from, &twinned),
            Message::Poles(poles) => self.on_poles(now, from, poles),
            Message::Sides(sides) => self.on_sides(now, from, &sides),
            Message::Office(office) => self.on_office(now, from, *office),
            Message::Merge(merge) => self.on_merge(now, from, merge),
            Message::Merged(merged) => self.on_merged(now, from, &merged),
            Message::Crown(cluster) => self.on_crown(now, from, cluster),
            Message::Hello(hello) => self.on_hello(now, from, hello),
            Message::Push(push) => self.on_push(now, from, push),
            Message::Got(got) => self.on_got(now, from, &got),
            Message::Widths(widths) => self.on_widths(from, &widths),
            Message::Full(tag) => self.on_full(now, from, tag),
            Message::Specs(specs) => self.on_specs(now, from, specs),
            Message::Kin(kin) => self.on_kin(now, from, &kin),
            Message::Gather(gather) => self.on_gather(now, from, &gather),
            Message::Audit(audit) => self.on_audit(now, from, &audit),
            Message::Audited(audited) => self.on_audited(now, from, audited),
            Message::Liar(liar) => self.on_liar(now, from, liar),
            Message::Compare(compare) => self.on_compare(now, from, &compare),
            Message::Renewed(renewed) => self.on_renewed(now, from, renewed),
        }
    }

    /// Sends to a peer, or to ourselves.
    fn send(&mut self, now: Time, to: NodeId, message: Message) {
        if to == self.id() {
            self.local.push_back(message);
        } else {
            self.links.send(now, to, message);
        }
    }

    /// Sends to one who may be a stranger: the driver learns first how to reach it.
    fn send_to(&mut self, now: Time, to: &Contact, message: Message) {
        if to.id != self.id() && !to.hint.0.is_empty() && !self.links.is_connected(to.id) {
            self.tell(Event::Address(to.clone()));
        }
        self.send(now, to.id, message);
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn refuse(&mut self, id: u64, reason: Refusal) {
        self.tell(Event::Refused { id, reason });
    }

    fn hear_ourselves(&mut self, now: Time) {
        for _ in 0..LOCAL_MAX {
            let Some(message) = self.local.pop_front() else {
                self.local = VecDeque::new();
                return;
            };
            self.on_message(now, self.id(), message);
        }
    }

    /// What follows every input: our own messages, the peers to keep, what the driver must do.
    fn settle(&mut self, now: Time) {
        self.hear_ourselves(now);
        self.drop_outdated_post();
        self.keep_agents(now);
        let root = self.root_cluster();
        if let Some(root) = root.filter(|_| root != self.root_told) {
            self.root_told = Some(root);
            self.tell(Event::RootChanged(root));
        }
        while let Some(order) = self.links.poll() {
            self.outputs.push_back(match order {
                Order::Dial(peer) => Output::Dial(peer),
                Order::Release(peer) => Output::Release(peer),
                Order::Send(to, message) => Output::Send {
                    to,
                    lane: lane(&message),
                    message: *message,
                },
            });
        }
    }

    /// Connections to our agents are kept, and to whom we ask about one.
    fn keep_agents(&mut self, now: Time) {
        let me = self.id();
        let above = self.posts.values().filter_map(|post| post.up.as_ref());
        let agents = self.leaf.iter().chain(above).map(|it| it.view.agent.id);
        let agents = agents.chain(self.audited()).filter(|agent| *agent != me);
        if !self.links.keeps(agents.clone()) {
            let kept = agents.collect();
            self.links.keep(now, kept);
        }
    }

    fn on_timer(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::Tick => self.on_tick(now),
            Timer::Seek(target) => self.on_seek_due(now, target),
            Timer::Scout => self.on_scout_due(now),
            Timer::Silence(level) => self.look_at_agent(now, level),
            Timer::Judge(level) => self.judge_all(now, level),
            Timer::Doubt(level) => self.on_doubt_due(now, level),
            Timer::Change(level) => self.on_change_due(now, level),
            Timer::Handover(level) => self.on_handover_due(now, level),
            Timer::Check(nonce) => self.on_check_due(now, nonce),
            Timer::Question(nonce) => self.on_question_due(now, nonce),
            Timer::Measure(id) => self.end_measure(now, id),
            Timer::Report(level) => self.on_report_due(now, level),
            Timer::Push(level) => self.on_push_due(now, level),
            Timer::Keys => self.spread_keys(now, None),
        }
    }

    fn on_tick(&mut self, now: Time) {
        self.timers.set(Timer::Tick, now + self.config.heartbeat);
        self.health.end_round();
        self.drop_idle(now);
        self.links.sweep(now);
        self.repeat_leave(now);
        for level in self.membership_levels() {
            self.beat(now, level);
            self.look_at_agent(now, level);
        }
        let posts: Vec<u8> = self.posts.keys().copied().collect();
        for level in posts {
            self.round(now, level);
        }
        self.note_whole(now);
        self.greet(now);
        self.keep_record(now);
        self.look_for_kin(now);
        self.look_for_unused(now);
        self.look_at_audit(now);
        self.look_at_leaving(now);
    }
}

/// Rosters wait behind signs of life.
fn lane(message: &Message) -> Lane {
    let roster = matches!(
        message,
        Message::Welcome(_)
            | Message::Path(_)
            | Message::Places(_)
            | Message::Office(_)
            | Message::Merge(_)
    );
    if roster { Lane::Bulk } else { Lane::Control }
}

impl Machine for Dicast {
    const PROTOCOL: &'static str = "/opus/dicast/1";
    type Command = Command;
    type Message = Message;
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input<Command, Message>) {
        self.look_at_clock(now);
        match input {
            Input::Command(command) => self.on_command(now, command),
            Input::Connected(peer) => self.links.on_connected(now, peer),
            Input::Disconnected(peer) => self.on_disconnected(now, peer),
            Input::DialFailed(peer) => self.on_dial_failed(now, peer),
            Input::Received { from, message } => {
                if self.links.admit(now, from) {
                    self.on_message(now, from, message);
                } else {
                    let flood = Output::Penalise(from, Offence::Flood);
                    self.outputs.push_back(flood);
                }
            }
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.look_at_clock(now);
        let mut fired = false;
        // What a timer makes us say to ourselves may set another one that is due at once.
        while let Some(timer) = self.timers.pop_due(now) {
            self.on_timer(now, timer);
            self.hear_ourselves(now);
            fired = true;
        }
        if fired {
            self.settle(now);
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next(Timer::reason)
    }

    fn poll_output(&mut self) -> Option<Output<Message, Event>> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Most nodes say a word or two a second: what a burst took is given back.
            self.outputs = VecDeque::new();
        }
        output
    }
}

#[cfg(test)]
mod tests;
