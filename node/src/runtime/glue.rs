//! The glue between the machines, and what the service may ask of the site manager.
//!
//! Each machine's event becomes a command of the site manager; each wrapped command goes on to its
//! machine. Nothing is decided here.

use libp2p::PeerId;
use opus_core::{Contact, NodeId, OverlayId};
use opus_site::{
    Command, Event, MemberState, Refusal, Role, measure,
    spec::{AppRef, Spec},
};
use opus_swarm::Event as Adapted;
use tokio::sync::{broadcast, oneshot};

use super::{Core, told::Level};
use crate::net::addr;

/// Answer to a deployment: the application and the version in force.
pub type DeployReply = Result<(AppRef, u64), Refusal>;

/// Answer to an attachment.
pub type AttachReply = Result<Attached, Refusal>;

/// What a new attachment is.
#[derive(Debug)]
pub struct Attached {
    /// Its number while the node runs.
    pub att: u32,
    /// `name.owner`.
    pub app: AppRef,
    /// The overlay of the application.
    pub overlay: OverlayId,
    /// The spec in force.
    pub spec: Box<Spec>,
    /// Says why, once the attachment ends without its program's wish.
    pub ended: oneshot::Receiver<String>,
}

/// A change in the members of an overlay that this node roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Which overlay.
    pub overlay: OverlayId,
    /// Who.
    pub member: NodeId,
    /// In which role.
    pub role: Role,
    /// What happened.
    pub state: MemberState,
}

impl Core {
    pub(super) fn on_probe_event(&mut self, event: Adapted<opus_probe::Event>) {
        let Some(event) = self.unwrap_adapted("probe", event) else {
            return;
        };
        if let Some(command) = measure::answer(&event) {
            self.behaviour().dicast.command(command);
        }
        if measure::concerns_site(&event) {
            self.behaviour().site.command(Command::Probe(event));
        }
    }

    pub(super) fn on_overlay_event(&mut self, event: Adapted<opus_overlay::Event>) {
        if let Some(event) = self.unwrap_adapted("overlay", event) {
            self.behaviour().site.command(Command::Overlay(event));
        }
    }

    pub(super) fn on_relay_event(&mut self, event: opus_relay::Event) {
        self.behaviour().site.command(Command::Relay(event));
    }

    pub(super) fn on_site_event(&mut self, event: Adapted<Event>) {
        let Some(event) = self.unwrap_adapted("site", event) else {
            return;
        };
        match event {
            Event::Probe(command) => self.behaviour().probe.command(command),
            Event::Overlay(command) => self.behaviour().overlay.command(command),
            Event::Relay(command) => self.data.command(command),
            Event::Contact(contact) => self.on_contact(&contact),
            Event::Told { level, kind, msg } => {
                let level = if level == "warn" {
                    Level::Warn
                } else {
                    Level::Info
                };
                self.tellers.tell(level, kind, msg);
            }
            Event::Member {
                overlay,
                member,
                role,
                state,
            } => {
                // Nobody watching is the usual case.
                drop(self.members.send(MemberChange {
                    overlay,
                    member,
                    role,
                    state,
                }));
            }
            Event::Deployed { id, app, version } => {
                if let Some(reply) = self.deploys.remove(&id) {
                    drop(reply.send(Ok((app, version))));
                }
            }
            Event::Attached {
                att,
                app,
                overlay,
                spec,
            } => self.on_attached(att, app, overlay, spec),
            Event::Refused { id, reason } => self.on_refused(id, reason),
            Event::Ended { att, why } => {
                if let Some((_, reply)) = self.attaches.remove(&att) {
                    // Ended before it was answered: a source whose claim was still open.
                    drop(reply.send(Err(Refusal::Ended(why.clone()))));
                }
                if let Some(ended) = self.ended.remove(&att) {
                    // The reason first: who reads from the queue asks for it at the end.
                    drop(ended.send(why));
                }
                self.data.close_queue(att);
            }
        }
    }

    /// The machine's own event; an adapter's report about a peer is told and ends here.
    pub(super) fn unwrap_adapted<E>(
        &mut self,
        machine: &'static str,
        event: Adapted<E>,
    ) -> Option<E> {
        match event {
            Adapted::Machine(event) => Some(event),
            Adapted::Penalised {
                peer,
                offence,
                score,
                ban,
            } => {
                // A banned peer is refused by the adapter until half of its score has faded.
                let reason = if ban { "banned" } else { machine };
                self.tell_abuse(&peer, &format!("{reason}:{offence:?}"), score);
                None
            }
        }
    }

    /// Takes the addresses of one who is about to be dialled; looks for some if there are none.
    pub(super) fn on_contact(&mut self, contact: &Contact) {
        let peer = opus_swarm::peer_id(&contact.id);
        let mut known = false;
        for address in addr::addresses_of(&contact.hint) {
            known |= self.learn(peer, &address);
        }
        if !known
            && !self.is_connected(contact.id)
            && self.behaviour().peers.book.addresses(&peer).is_empty()
        {
            self.seek(peer);
        }
    }

    fn on_attached(&mut self, att: u32, app: AppRef, overlay: OverlayId, spec: Box<Spec>) {
        let Some((role, reply)) = self.attaches.remove(&att) else {
            return;
        };
        if role == Role::Sink {
            self.data.open_queue(att);
        }
        let (ends, ended) = oneshot::channel();
        self.ended.insert(att, ends);
        if reply
            .send(Ok(Attached {
                att,
                app,
                overlay,
                spec,
                ended,
            }))
            .is_err()
        {
            self.detach(att);
        }
    }

    fn on_refused(&mut self, id: u64, reason: Refusal) {
        if let Some(reply) = self.deploys.remove(&id) {
            drop(reply.send(Err(reason)));
            return;
        }
        let attach = u32::try_from(id)
            .ok()
            .and_then(|att| self.attaches.remove(&att));
        if let Some((_, reply)) = attach {
            drop(reply.send(Err(reason)));
        }
    }

    /// Deploys, updates or retires an application by its signed spec.
    pub fn deploy(&mut self, signed: Vec<u8>, dry_run: bool) -> oneshot::Receiver<DeployReply> {
        let (reply, answer) = oneshot::channel();
        let id = self.next_id();
        self.deploys.insert(id, reply);
        self.behaviour().site.command(Command::Deploy {
            id,
            signed,
            dry_run,
        });
        answer
    }

    /// Attaches a local program.
    pub fn attach(
        &mut self,
        app: AppRef,
        role: Role,
        resume: Option<(NodeId, u64)>,
    ) -> oneshot::Receiver<AttachReply> {
        let (reply, answer) = oneshot::channel();
        let Ok(att) = u32::try_from(self.next_id()) else {
            drop(reply.send(Err(Refusal::Full("attachments in one life of the node"))));
            return answer;
        };
        self.attaches.insert(att, (role, reply));
        self.behaviour().site.command(Command::Attach {
            att,
            app,
            role,
            resume,
        });
        answer
    }

    /// Ends an attachment.
    pub fn detach(&mut self, att: u32) {
        self.ended.remove(&att);
        self.data.close_queue(att);
        self.behaviour().site.command(Command::Detach { att });
    }

    /// Leaves every overlay, children handed over, and the tree, posts handed over. The loop goes
    /// on for as long as it is asked.
    pub fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.tellers
                .tell(Level::Info, "life", "draining: leaving every overlay");
            self.behaviour().site.command(Command::Drain);
            self.leave_tree();
        }
    }

    /// Whether a drain has come to its end: no overlay and no seat is left to leave, and the peers
    /// were told.
    pub fn has_left(&self) -> bool {
        let behaviour = self.swarm.behaviour();
        let unsent =
            behaviour.site.unsent() + behaviour.overlay.unsent() + behaviour.dicast.unsent();
        unsent == 0 && self.overlay().overlays().next().is_none() && !self.is_seated()
    }

    /// Whether the node is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Member changes of the overlays that this node roots, from here on.
    pub fn watch_members(&self) -> broadcast::Receiver<MemberChange> {
        self.members.subscribe()
    }

    /// Dials an address that the operator wrote.
    pub fn dial(&mut self, peer: PeerId, address: libp2p::Multiaddr) {
        let now = self.clock.now();
        self.behaviour().peers.book.write(now, peer, address);
        self.behaviour().peers.hurry();
    }

    /// Deployments and attachments share one rising count, so that a refusal names one of them.
    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}
