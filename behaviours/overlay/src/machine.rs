//! The machine: inputs to memberships. Dispatch only.

use std::collections::BTreeMap;

use opus_core::{Contact, Deadline, Input, Machine, NodeId, Output, OverlayId, Rng, Time};
use opus_model::Position;

use crate::{
    Command, Config, Event, Message, Refusal, Status,
    local::{Local, Timer},
    member::Member,
    wire::{ALPHA_MILLI, Answer, Beat, Body, Parting, Purpose, Reason, Verdict},
};

/// All memberships of one node. See the crate for how, [`Machine`] for the calls.
#[derive(Debug)]
pub struct Overlay {
    local: Local,
    /// At most `Config::overlays_max`. Overflow: `Join` is refused.
    members: BTreeMap<OverlayId, Member>,
}

impl Overlay {
    /// The machine of node `id`, a member of nothing.
    pub fn new(id: NodeId, config: Config, rng: Rng) -> Self {
        Self {
            local: Local::new(id, config, rng),
            members: BTreeMap::new(),
        }
    }

    /// The overlays this node is a member of, rising.
    pub fn overlays(&self) -> impl Iterator<Item = OverlayId> {
        self.members.keys().copied()
    }

    /// What `overlay` looks like from here; `None` if this node is no member.
    pub fn status(&self, overlay: OverlayId) -> Option<Status> {
        Some(self.members.get(&overlay)?.status(&self.local))
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join {
                id,
                overlay,
                root,
                alpha_milli,
                cap,
            } => {
                let joined = self.join(overlay, root, alpha_milli, cap);
                self.refuse(id, joined);
            }
            Command::Leave { id, overlay } => {
                let left = self.leave(overlay);
                self.refuse(id, left);
            }
            Command::SetKnob {
                id,
                overlay,
                alpha_milli,
            } => {
                let turned = self.set_knob(overlay, alpha_milli);
                self.refuse(id, turned);
            }
            Command::Introduce { overlay, members } => self.on_member(overlay, |member, local| {
                let most = members.len().min(64);
                member.on_introduced(local, &members[..most]);
            }),
            Command::Measured {
                peer,
                rtt_us,
                coordinate,
            } => self.on_measured(peer, rtt_us, coordinate.map(Position::from)),
            Command::Suspect(peer) => self.suspect(peer),
            Command::Retire(peer) => self.retire(peer),
            Command::Coordinate(coordinate) => self.local.position = Some(coordinate.into()),
            Command::Hint(hint) => self.local.hint = hint,
            Command::Reroot { overlay, root } => {
                self.on_member(overlay, |member, local| member.reroot(local, root));
            }
        }
    }

    fn join(
        &mut self,
        overlay: OverlayId,
        root: Contact,
        alpha_milli: u32,
        cap: u8,
    ) -> Result<(), Refusal> {
        if self.members.contains_key(&overlay) {
            return Err(Refusal::Member);
        }
        if !ALPHA_MILLI.contains(&alpha_milli) {
            return Err(Refusal::Knob);
        }
        if self.members.len() >= self.local.config.overlays_max {
            return Err(Refusal::TooMany);
        }
        let member = Member::new(&self.local, overlay, root, alpha_milli, cap);
        self.members.insert(overlay, member);
        self.on_member(overlay, Member::begin);
        Ok(())
    }

    fn leave(&mut self, overlay: OverlayId) -> Result<(), Refusal> {
        let member = self.members.remove(&overlay).ok_or(Refusal::NotMember)?;
        member.say_goodbye(&mut self.local);
        for timer in [Timer::Tick, Timer::Beat, Timer::Pending, Timer::Search] {
            self.local.timers.clear(timer(overlay));
        }
        Ok(())
    }

    fn set_knob(&mut self, overlay: OverlayId, alpha_milli: u32) -> Result<(), Refusal> {
        let member = self.members.get_mut(&overlay).ok_or(Refusal::NotMember)?;
        if !member.is_root(&self.local) {
            return Err(Refusal::NotRoot);
        }
        if !ALPHA_MILLI.contains(&alpha_milli) {
            return Err(Refusal::Knob);
        }
        member.turn_knob(&mut self.local, alpha_milli);
        Ok(())
    }

    fn refuse(&mut self, id: u64, result: Result<(), Refusal>) {
        if let Err(reason) = result {
            self.local.event(Event::Refused { id, reason });
        }
    }

    fn on_measured(&mut self, peer: NodeId, rtt_us: Option<u32>, position: Option<Position>) {
        let local = &mut self.local;
        let rtt_us = rtt_us.map(|rtt| rtt.clamp(1, crate::wire::RTT_US_MAX));
        local.rtts.on_measured(local.now, peer, rtt_us, position);
        self.on_members(|member, local| member.on_measured(local, peer, rtt_us, position));
    }

    fn suspect(&mut self, peer: NodeId) {
        let members = || self.members.values();
        let relied_on = members().any(|member| member.relies_on(peer));
        let known = members().any(|member| member.knows(peer));
        if known && !relied_on {
            self.dismiss(peer);
        }
    }

    fn retire(&mut self, peer: NodeId) {
        let used = |member: &Member| member.relies_on(peer) || member.knows(peer);
        if self.members.values().any(used) {
            // Dismissed first: an orphan must not ask the dead.
            self.dismiss(peer);
            self.on_gone(peer);
        }
    }

    /// Takes `peer` for unreachable until it speaks, for a minute at most, and out of all views.
    fn dismiss(&mut self, peer: NodeId) {
        let now = self.local.now;
        self.local.rtts.on_measured(now, peer, None, None);
        self.on_members(|member, _| member.forget(peer));
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        if !self.local.links.connected(from) {
            self.on_connected(from);
        }
        if !self.local.admit(from) {
            return;
        }
        self.local.rtts.on_heard(from);
        let Message {
            overlay,
            epoch,
            body,
        } = message;
        if !self.members.contains_key(&overlay) {
            self.on_stranger(from, overlay, &body);
            return;
        }
        self.on_member(overlay, |member, local| match body {
            Body::Gossip(gossip) => member.on_gossip(local, from, &gossip),
            Body::Offer(offer) => member.on_offer(local, from, epoch, &offer),
            Body::Claim(claim) => member.on_claim(local, from, &claim),
            Body::Verdict(verdict) => member.on_verdict(local, from, epoch, *verdict),
            Body::Beat(beat) => match *beat {
                Beat::Down(down) => member.on_down(local, from, epoch, down),
                Beat::Up(up) => member.on_up(local, from, epoch, &up),
            },
            Body::Leave(leave) => member.on_leave(local, from, leave),
        });
    }

    /// A message of an overlay that this node is no member of.
    fn on_stranger(&mut self, from: NodeId, overlay: OverlayId, body: &Body) {
        let answer = match body {
            Body::Offer(offer) => Body::Verdict(Box::new(Verdict {
                of: from,
                serial: offer.serial,
                answer: Answer::Refuse {
                    reason: Reason::NotMember,
                    hints: Vec::new(),
                    standing: None,
                },
            })),
            Body::Beat(_) | Body::Claim(_) => no_edge(),
            Body::Gossip(gossip) if gossip.purpose != Purpose::Answer => no_edge(),
            Body::Gossip(_) | Body::Verdict(_) | Body::Leave(_) => return,
        };
        let message = Message {
            overlay,
            epoch: 0,
            body: answer,
        };
        self.local.send(from, message);
    }

    fn on_connected(&mut self, peer: NodeId) {
        self.local.on_connected(peer);
        self.on_members(|member, local| member.on_connected(local, peer));
    }

    fn on_gone(&mut self, peer: NodeId) {
        self.local.on_gone(peer);
        self.on_members(|member, local| member.on_gone(local, peer));
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Sweep => self.sweep(),
            Timer::Tick(overlay) => self.on_member(overlay, Member::on_tick),
            Timer::Beat(overlay) => self.on_member(overlay, Member::on_beat_timer),
            Timer::Pending(overlay) => self.on_member(overlay, Member::on_pending_timeout),
            Timer::Search(overlay) => self.on_member(overlay, Member::on_search_timer),
        }
    }

    fn sweep(&mut self) {
        let members = &self.members;
        let needed = |peer| members.values().any(|member| member.has_edge(peer));
        self.local.sweep(needed);
    }

    /// One mutation of one membership, and what the node must hear of it.
    fn on_member(&mut self, overlay: OverlayId, act: impl FnOnce(&mut Member, &mut Local)) {
        if let Some(member) = self.members.get_mut(&overlay) {
            act(member, &mut self.local);
            member.tell_edges(&mut self.local);
        }
    }

    fn on_members(&mut self, mut act: impl FnMut(&mut Member, &mut Local)) {
        for member in self.members.values_mut() {
            act(member, &mut self.local);
            member.tell_edges(&mut self.local);
        }
    }
}

impl Machine for Overlay {
    const PROTOCOL: &'static str = "/opus/overlay/1";
    type Command = Command;
    type Message = Message;
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input<Command, Message>) {
        self.local.now = now;
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Connected(peer) => self.on_connected(peer),
            Input::Disconnected(peer) | Input::DialFailed(peer) => self.on_gone(peer),
            Input::Received { from, message } => self.on_message(from, message),
        }
        self.local.flush();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.local.now = now;
        while let Some(timer) = self.local.timers.pop_due(now) {
            self.on_timer(timer);
        }
        self.local.flush();
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.local.timers.next(|timer| match timer {
            Timer::Sweep => "sweep",
            Timer::Tick(_) => "tick",
            Timer::Beat(_) => "beat",
            Timer::Pending(_) => "pending change",
            Timer::Search(_) => "search for a parent",
        })
    }

    fn poll_output(&mut self) -> Option<Output<Message, Event>> {
        self.local.outputs.pop_front()
    }
}

fn no_edge() -> Body {
    Body::Leave(crate::wire::Leave {
        why: Parting::NoEdge,
        to: None,
    })
}

#[cfg(test)]
impl Overlay {
    /// Whether `peer` is in the views or among the strangers of `overlay`.
    pub(crate) fn knows(&self, overlay: OverlayId, peer: NodeId) -> bool {
        self.members[&overlay].knows(peer)
    }

    /// Entries in all collections.
    pub(crate) fn state_len(&self) -> usize {
        let members = self.members.values().map(Member::state_len).sum::<usize>();
        members + self.local.state_len()
    }
}
