//! Dispatch: which part of the site manager answers which input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use opus_core::{
    BoundedMap, Contact, Deadline, Input, Lane, Machine, NodeId, Offence, Output, OverlayId, Rng,
    Seed, Time, Timers,
};
use opus_model::Position;
use rand::RngExt;

use crate::{
    allowance::Allowance,
    attach::Attachment,
    cell::Cell,
    command::{Command, Event},
    config::Config,
    directory::Directory,
    membership::Membership,
    wire::Message,
};

/// The site manager of one node. See the crate for what it decides.
#[derive(Debug)]
pub struct Site {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) timers: Timers<Name>,
    outputs: VecDeque<Output<Message, Event>>,
    pub(crate) me: Contact,
    pub(crate) boots: u64,
    pub(crate) directory: Directory,
    pub(crate) memberships: BoundedMap<OverlayId, Membership>,
    pub(crate) attachments: BoundedMap<u32, Attachment>,
    /// Connected peers. Overflow: a further one is taken as not connected.
    links: BoundedMap<NodeId, Allowance>,
    /// For what each dialled peer is kept; bounded by the memberships.
    interests: BTreeMap<NodeId, BTreeSet<(OverlayId, Interest)>>,
    /// How many overlays have an edge to each watched peer; bounded by the edges.
    pub(crate) watches: BTreeMap<NodeId, u32>,
    /// Targets of measurements under way, for a repetition if the probe is busy.
    pub(crate) measuring: BoundedMap<u64, Vec<NodeId>>,
    /// Targets the probe had no room for.
    pub(crate) unmeasured: BTreeSet<NodeId>,
    pub(crate) cell: Cell,
    /// Where this node stands, as its probe reckons.
    pub(crate) place: Option<Position>,
    /// Who has gone from the cell, and the measurement that will say whether it lives. Overflow: as
    /// written at `Config::suspects_max`.
    pub(crate) suspects: BoundedMap<NodeId, u64>,
    /// Ids of commands to other machines.
    next_id: u64,
    /// Epochs and generations handed out in this life.
    pub(crate) counter: u64,
    pub(crate) draining: bool,
}

/// The timers of a site manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// Exchange digests with a random peer.
    Sync,
    /// Forget lost children and silent members.
    Sweep,
    /// Ask the probe again for what it had no room for.
    Measure,
    /// Tell the agent of the cell what we carry.
    Cell,
    /// Ask the root again.
    Join(OverlayId),
    /// The asked root did not answer.
    Claim(OverlayId),
    /// Report ourselves.
    Report(OverlayId),
    /// Send collected reports up.
    Flush(OverlayId),
    /// The source is gone for as long as it may be.
    Drain(OverlayId),
}

/// Timers of each overlay, and those of the node.
const TIMERS_PER_OVERLAY: usize = 5;
const TIMERS_OF_NODE: usize = 4;

/// Why a peer is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interest {
    /// To be taken into its overlay.
    Join,
    /// To hear whether it has a live source.
    Claim,
}

/// Time between two looks for lost children and silent members.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(5);
/// Measurements under way that are remembered. Overflow: the oldest is not repeated if refused.
const MEASURING_MAX: usize = 256;

impl Site {
    /// A site manager that knows no application.
    ///
    /// `boots`: how often this node has started, rising; the epochs of its roots and the
    /// sequences of its sources begin above those of earlier lives.
    pub fn new(config: Config, me: Contact, boots: u64, seed: Seed) -> Self {
        let timers = TIMERS_PER_OVERLAY * config.overlays_max + TIMERS_OF_NODE;
        Self {
            rng: seed.derive("site", 0).rng(),
            timers: Timers::new(timers),
            outputs: VecDeque::new(),
            me,
            boots,
            directory: Directory::new(&config.network, config.apps_max),
            memberships: BoundedMap::new(config.overlays_max),
            attachments: BoundedMap::new(config.attachments_max),
            links: BoundedMap::new(config.peers_max),
            interests: BTreeMap::new(),
            watches: BTreeMap::new(),
            measuring: BoundedMap::new(MEASURING_MAX),
            unmeasured: BTreeSet::new(),
            cell: Cell::new(config.mates_max),
            place: None,
            suspects: BoundedMap::new(config.suspects_max),
            next_id: 0,
            counter: 0,
            draining: false,
            config,
        }
    }

    fn on_command(&mut self, now: Time, command: Command) {
        match command {
            Command::Hint(hint) => self.on_hint(now, hint),
            Command::Deploy {
                id,
                signed,
                dry_run,
            } => self.on_deploy(now, id, &signed, dry_run),
            Command::Attach {
                att,
                app,
                role,
                resume,
            } => self.on_attach(now, att, &app, role, resume),
            Command::Detach { att } => self.on_detach(now, att),
            Command::Cell(news) => self.on_cell(now, news),
            Command::Drain => self.on_drain(now),
            Command::Probe(event) => self.on_probe(now, &event),
            Command::Overlay(event) => self.on_overlay(now, event),
            Command::Relay(event) => self.on_relay(now, &event),
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message) {
        match message {
            Message::Digest { entries, more } => self.on_digest(from, &entries, more),
            Message::Pull { items, after } => self.on_pull(from, &items, after),
            Message::Have { signed, root } => self.on_have(now, from, signed, root),
            Message::Ask { overlay } => self.on_ask(from, overlay),
            Message::Answer { overlay, held } => self.on_answer(now, from, overlay, held),
            Message::Join {
                overlay,
                role,
                contact,
                generation,
            } => self.on_join(now, from, overlay, role, contact, generation),
            Message::Welcome {
                overlay,
                epoch,
                key,
                members,
            } => self.on_welcome(now, from, overlay, epoch, key.into_array(), members),
            Message::Refuse { overlay, why, root } => {
                self.on_refuse(now, from, overlay, why, root);
            }
            Message::Carry { place, overlays } => self.on_carry(from, place, overlays),
            Message::Mates { overlay, members } => self.on_mates(from, overlay, members),
            Message::Report { overlay, rows } => self.on_report(now, from, overlay, &rows),
        }
    }

    fn on_connected(&mut self, now: Time, peer: NodeId) {
        // Also the answer to a dial of a peer that was connected all along.
        if self.is_connected(peer) {
            return;
        }
        let allowance = Allowance::full(self.config.messages_burst, now);
        if self.links.insert(peer, allowance).is_err() {
            return;
        }
        let first = self.config.sync_interval;
        self.timers.set_earliest(Name::Sync, now + first);
        self.greet(peer);
        self.continue_joins(peer);
        self.continue_claims(peer);
        self.continue_cell(now, peer);
    }

    /// Whether the peer may say this much more; penalises it if not.
    fn admit(&mut self, now: Time, from: NodeId, message: &Message) -> bool {
        let (per_s, burst) = (self.config.messages_per_s, self.config.messages_burst);
        // A peer beyond `peers_max` is not listened to.
        let Some(allowance) = self.links.get_mut(&from) else {
            return false;
        };
        let admitted = allowance.take(message.cost(), per_s, burst, now);
        if !admitted {
            self.penalise(from, Offence::Flood);
        }
        admitted
    }

    fn on_timer(&mut self, now: Time, name: Name) {
        match name {
            Name::Sync => self.on_sync(now),
            Name::Sweep => self.on_sweep(now),
            Name::Cell => self.on_cell_due(now),
            Name::Measure => self.on_measure_again(),
            Name::Join(overlay) => self.ask_root(now, overlay),
            Name::Claim(overlay) => self.settle_claim(now, overlay, false),
            Name::Report(overlay) => self.on_report_due(now, overlay),
            Name::Flush(overlay) => self.flush(overlay),
            Name::Drain(overlay) => self.withdraw(now, overlay),
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn tell(&mut self, level: &'static str, kind: &'static str, msg: String) {
        self.emit(Event::Told { level, kind, msg });
    }

    pub(crate) fn send(&mut self, to: NodeId, lane: Lane, message: Message) {
        self.outputs.push_back(Output::Send { to, message, lane });
    }

    pub(crate) fn penalise(&mut self, peer: NodeId, offence: Offence) {
        self.outputs.push_back(Output::Penalise(peer, offence));
    }

    pub(crate) fn is_connected(&self, peer: NodeId) -> bool {
        self.links.contains_key(&peer)
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.links.keys().copied().collect()
    }

    /// A random connected peer.
    pub(crate) fn random_peer(&mut self) -> Option<NodeId> {
        let count = self.links.len();
        (count > 0)
            .then(|| self.rng.random_range(0..count))
            .and_then(|index| self.links.keys().nth(index).copied())
    }

    /// Takes an interest in a peer: dials it if it is not connected.
    pub(crate) fn want(&mut self, peer: &Contact, overlay: OverlayId, interest: Interest) {
        let new = self
            .interests
            .entry(peer.id)
            .or_default()
            .insert((overlay, interest));
        if new || !self.is_connected(peer.id) {
            self.emit(Event::Contact(peer.clone()));
            self.outputs.push_back(Output::Dial(peer.id));
        }
    }

    /// Loses an interest in a peer.
    pub(crate) fn unwant(&mut self, peer: NodeId, overlay: OverlayId, interest: Interest) {
        let Some(kept) = self.interests.get_mut(&peer) else {
            return;
        };
        if kept.remove(&(overlay, interest)) && kept.is_empty() {
            self.interests.remove(&peer);
            self.outputs.push_back(Output::Release(peer));
        }
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Keeps the sweep going as long as there is something to sweep.
    pub(crate) fn arm_sweep(&mut self, now: Time) {
        if !self.memberships.is_empty() {
            self.timers.set_earliest(Name::Sweep, now + SWEEP);
        }
    }
}

impl Machine for Site {
    const PROTOCOL: &'static str = "/opus/site/1";
    type Command = Command;
    type Message = Message;
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input<Command, Message>) {
        match input {
            Input::Command(command) => self.on_command(now, command),
            Input::Connected(peer) => self.on_connected(now, peer),
            Input::Disconnected(peer) => {
                self.links.remove(&peer);
            }
            Input::DialFailed(peer) => self.on_dial_failed(now, peer),
            Input::Received { from, message } => {
                if self.admit(now, from, &message) {
                    self.on_message(now, from, message);
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        while let Some(name) = self.timers.pop_due(now) {
            self.on_timer(now, name);
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.next(|name| match name {
            Name::Sync => "sync",
            Name::Sweep => "sweep",
            Name::Measure => "measure",
            Name::Cell => "cell",
            Name::Join(_) => "join",
            Name::Claim(_) => "claim",
            Name::Report(_) => "report",
            Name::Flush(_) => "flush",
            Name::Drain(_) => "drain",
        })
    }

    fn poll_output(&mut self) -> Option<Output<Message, Event>> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
