//! The node's seat in dicast's tree: when it is sought, whom it may lead to, and what it is told.
//!
//! dicast knows no addresses and measures nothing; this is the glue between it, the address book,
//! the probe and what libp2p found out. Contacts that may lead to the tree are the operator's
//! bootstrap addresses and connected peers that speak dicast, however they were found: by mDNS,
//! Kademlia or a dial of theirs. Nothing is decided here but when to begin: with the first such
//! peer, or after a wait, as a tree of one that others join or that joins them.

use std::time::Duration;

use libp2p::PeerId;
use opus_core::{Contact, Hint, Machine, NodeId, Rng};
use opus_dicast::{Command, Dicast, Event};
use opus_relay::{FlowStats, Forward};
use opus_site::{CellNews, cell::Watch, measure, summary::Publisher};
use opus_swarm::Event as Adapted;
use rand::seq::IteratorRandom;

use super::{Core, directory::Directory, told::Level};
use crate::net::{
    addr::{self, peer_of},
    record,
};

/// How long a node that named nobody waits for neighbours: mDNS answers within a second.
const WAIT_ALONE: Duration = Duration::from_secs(1);
/// How long a node waits for those whom its operator named, or whom it knew in its last life.
const WAIT_NAMED: Duration = Duration::from_secs(5);
/// Most contacts told at once; dicast keeps sixteen.
const CONTACTS_MAX: usize = 8;
/// The number of every command but measurements and those of programs: none is refused in a way
/// that asks for an answer.
pub(super) const COMMAND: u64 = 0;

/// See the module.
#[derive(Debug)]
pub(super) struct Tree {
    rng: Rng,
    started: bool,
    /// What dicast was told of our reachability last.
    reachable: bool,
    publisher: Publisher,
    cell: Watch,
    pub(super) directory: Directory,
}

impl Tree {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            started: false,
            reachable: true,
            publisher: Publisher::default(),
            cell: Watch::default(),
            directory: Directory::default(),
        }
    }
}

impl Core {
    /// The dicast machine, to read.
    pub fn dicast(&self) -> &Dicast {
        self.swarm.behaviour().dicast.machine()
    }

    /// Whether this node has a seat in a tree, be it one of its own.
    pub fn is_seated(&self) -> bool {
        self.dicast().leaf().is_some()
    }

    /// How long to wait for a neighbour before the node is a tree of its own.
    pub(super) fn seat_wait(&self) -> Duration {
        let options = &self.options;
        if options.bootstrap.is_empty() && options.known.is_empty() {
            WAIT_ALONE
        } else {
            WAIT_NAMED
        }
    }

    pub(super) fn dicast_command(&mut self, command: Command) {
        self.behaviour().dicast.command(command);
    }

    /// Looks for the tree, if that has not begun.
    pub(super) fn seek_seat(&mut self) {
        if self.draining || std::mem::replace(&mut self.tree.started, true) {
            return;
        }
        let mut seeds = self.tree_contacts();
        let named = self.options.bootstrap.iter().filter_map(peer_of);
        let named: Vec<PeerId> = named.collect();
        for contact in named.iter().filter_map(|peer| self.contact_of(peer)) {
            if seeds.iter().all(|seed| seed.id != contact.id) {
                seeds.push(contact);
            }
        }
        seeds.truncate(CONTACTS_MAX);
        if let Some(site) = &self.options.site {
            let label = Some(record::label_of(&self.options.network, site));
            self.dicast_command(Command::Label { id: COMMAND, label });
        }
        self.dicast_command(Command::Start { id: COMMAND, seeds });
    }

    /// A connected peer turns out to speak dicast.
    pub(super) fn on_tree_neighbour(&mut self, peer: &PeerId) {
        if !self.tree.started {
            self.seek_seat();
        } else if let Some(contact) = self.contact_of(peer) {
            let contacts = vec![contact];
            self.dicast_command(Command::Found {
                id: COMMAND,
                name: None,
                contacts,
            });
        }
    }

    /// Some of the connected peers that speak dicast.
    fn tree_contacts(&mut self) -> Vec<Contact> {
        let speakers = self.links.speakers();
        let chosen = speakers.sample(&mut self.tree.rng, CONTACTS_MAX);
        let contacts = chosen.iter().filter_map(|peer| self.contact_of(peer));
        contacts.collect()
    }

    /// A peer and where it may be dialled, as far as it is known.
    fn contact_of(&self, peer: &PeerId) -> Option<Contact> {
        let id = opus_swarm::node_id(peer)?;
        let known = self.swarm.behaviour().peers.book.addresses(peer);
        let hint = addr::hint_of(&known);
        Some(Contact { id, hint })
    }

    pub(super) fn on_dicast_event(&mut self, event: Adapted<Event>) {
        let Some(event) = self.unwrap_adapted("dicast", event) else {
            return;
        };
        if let Some(news) = self.tree.cell.on_event(&event) {
            self.tell_cell(news);
        }
        match event {
            Event::Measure { id, targets } => {
                for target in &targets {
                    self.on_contact(target);
                }
                let order = measure::order(id, &targets);
                self.behaviour().probe.command(order);
            }
            Event::Address(contact) => self.on_contact(&contact),
            Event::WantSeeds => {
                let contacts = self.tree_contacts();
                if !contacts.is_empty() {
                    self.dicast_command(Command::Found {
                        id: COMMAND,
                        name: None,
                        contacts,
                    });
                }
            }
            Event::Want(name) => self.look_up(name),
            Event::Publish { name, contacts } => self.publish(name, &contacts),
            Event::MemberUp(contact) => {
                let peer = opus_swarm::peer_id(&contact.id);
                let addresses = addr::addresses_of(&contact.hint);
                self.behaviour().addresses.expect(peer, &addresses);
                self.note_contact(&contact);
            }
            Event::AgentChanged(contact) => self.note_contact(&contact),
            Event::Joined(cluster) => {
                let msg = format!("a seat in cluster {:016x}", cluster.id);
                self.tellers.tell(Level::Info, "dicast", msg);
            }
            Event::Left => {
                let msg = if self.draining {
                    "left the tree"
                } else {
                    "the seat is lost; looking for another"
                };
                self.tellers.tell(Level::Info, "dicast", msg);
            }
            Event::Deposed(agent) => {
                let peer = opus_swarm::peer_id(&agent);
                let msg = format!("{peer} lied as the agent of a cluster, and lost its post");
                self.tellers.tell(Level::Warn, "dicast", msg);
            }
            Event::RootChanged(cluster) => {
                let msg = format!("the cluster at the top is {:016x}", cluster.id);
                self.tellers.tell(Level::Debug, "dicast", msg);
            }
            Event::MemberDown(peer) => {
                let peer = opus_swarm::peer_id(&peer);
                self.behaviour().addresses.forget(&peer);
                let msg = format!("{peer} is gone from our cluster");
                self.tellers.tell(Level::Debug, "dicast", msg);
            }
            Event::Refused { id, reason } => {
                if !self.keys.on_refused(id, reason) {
                    tracing::debug!(id, ?reason, "dicast refused a command");
                }
            }
        }
    }

    /// Tells the site manager what no event of dicast says about our cell.
    pub(super) fn look_at_cell(&mut self) {
        let dicast = self.swarm.behaviour().dicast.machine();
        if let Some(news) = self.tree.cell.look(dicast) {
            self.tell_cell(news);
        }
    }

    fn tell_cell(&mut self, news: CellNews) {
        let command = opus_site::Command::Cell(news);
        self.behaviour().site.command(command);
    }

    /// Takes the addresses of a contact, without looking for more.
    fn note_contact(&mut self, contact: &Contact) {
        let peer = opus_swarm::peer_id(&contact.id);
        for address in addr::addresses_of(&contact.hint) {
            self.learn(peer, &address);
        }
    }

    /// Tells dicast where this node may be dialled.
    pub(super) fn tell_tree_hint(&mut self, hint: Hint) {
        self.dicast_command(Command::Hint(hint));
    }

    /// Tells dicast whether strangers can dial this node: a post needs that. Until others have
    /// tried in vain it is believed, since most networks have nobody who could try.
    pub(super) fn tell_tree_reach(&mut self) {
        let reachable = !matches!(self.reach(), "no" | "relayed");
        if std::mem::replace(&mut self.tree.reachable, reachable) != reachable {
            self.dicast_command(Command::Reachable(reachable));
        }
    }

    /// Tells the tree what has changed of this site.
    pub(super) fn publish_summary(&mut self) {
        if self.draining || !self.is_seated() {
            return;
        }
        let flows = self.data.inspect(Forward::flows);
        let flows: Vec<FlowStats> = flows.into_iter().map(|(_, stats)| stats).collect();
        let summary = self.site().summary(&flows);
        let dicast = self.swarm.behaviour().dicast.machine();
        let commands = self.tree.publisher.look(summary, dicast);
        for command in commands {
            self.dicast_command(command);
        }
    }

    /// Gives posts away and leaves the tree.
    pub(super) fn leave_tree(&mut self) {
        self.tree.started = true;
        self.dicast_command(Command::Leave);
    }

    /// Whether `peer` is connected.
    pub(super) fn is_connected(&self, peer: NodeId) -> bool {
        self.links.has(&opus_swarm::peer_id(&peer))
    }
}

/// Whether these protocols, as identify tells them, are those of a node in a tree.
pub(super) fn speaks_dicast(protocols: &[libp2p::StreamProtocol]) -> bool {
    let mut names = protocols.iter();
    names.any(|name| name.as_ref() == Dicast::PROTOCOL)
}
