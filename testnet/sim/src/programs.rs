//! The programs of a scenario: one that deploys and publishes, and one receiver a node.
//!
//! They do what programs do over IPC: an attachment to an application that is not known yet is
//! tried again each second; a frame that finds the window full waits for its turn.

use std::time::Duration;

use bytes::Bytes;
use opus_core::{Input, Machine, NodeId, OverlayId, Seed, Time};
use opus_site::{
    AppRef, Command, Event, MemberState, Peer, PeerCommand, PeerEvent, Role, SignedApp, Spec,
    spec::{self, Kind},
};

use crate::{checks::Broken, driver::Driver, scenario::App, sink::Sink};

/// Where the source is, and with it the root.
pub(crate) const ROOT: usize = 0;
/// The network of all simulated nodes.
const NETWORK: &str = "main";
/// An attachment that was refused is tried again after this.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// A delivery's flag: this sink lost frames before this one.
const LOST_BEFORE: u8 = 2;
/// Frames of one call.
const BATCH_MAX: u64 = 64;

/// All programs of a run.
#[derive(Debug)]
pub(crate) struct Programs {
    app: AppRef,
    signed: Vec<u8>,
    complete: bool,
    pub(crate) payload: usize,
    pub(crate) overlay: OverlayId,
    /// Numbers of attachments given out.
    atts: u32,
    source: Option<u32>,
    /// By node; none: no program, or its node is down.
    pub(crate) sinks: Vec<Option<Sink>>,
    /// Frames that the source should have sent by now.
    due: u64,
    /// Frames sent.
    pub(crate) sent: u64,
    /// Sequence of frame 0.
    seq_first: Option<u64>,
    /// Calls that found the window full.
    pub(crate) blocked: u64,
    /// Frames given to sinks that do not live any more.
    given_before: u64,
    /// Frames given twice, over all sinks.
    pub(crate) duplicates: u64,
    /// Gaps of which a sink was told, over all sinks.
    pub(crate) gaps_told: u64,
}

/// A frame given to a sink.
#[derive(Clone, Copy, Debug)]
struct Given<'a> {
    att: u32,
    seq: u64,
    /// It says that frames before it are lost.
    told: bool,
    data: &'a [u8],
}

/// What a program asks to be reminded of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Attach the source.
    Source,
    /// Attach the sink of this node.
    Sink(usize),
}

impl Programs {
    /// The programs of `app`, its owner drawn by the seed. Panics on values out of range.
    pub(crate) fn new(app: &App, nodes: usize, seed: &Seed) -> Self {
        let secret = seed.derive("owner", 0).bytes();
        let mut wish = Spec::new("scenario", Kind::Multicast, 1).expect("a lawful name");
        wish.sla.reliability = app.reliability;
        wish.sla.deadline_ms = app.deadline_ms;
        wish.sla.knob_milli = Some(milli(app.alpha));
        let signed = SignedApp::sign(&wish, NETWORK, &secret).expect("the scenario was checked");
        let owner = spec::owner_of(&secret);
        Self {
            app: AppRef::new(&wish.name, owner),
            overlay: spec::overlay_of(&wish.name, &owner),
            signed: signed.encode(),
            complete: app.reliability >= 1.0,
            payload: app.payload,
            atts: 0,
            source: None,
            sinks: vec![None; nodes],
            due: 0,
            sent: 0,
            seq_first: None,
            blocked: 0,
            given_before: 0,
            duplicates: 0,
            gaps_told: 0,
        }
    }

    /// The owner deploys the application at the root's node.
    pub(crate) fn deploy(&self, driver: &mut Driver<Peer>) {
        let signed = self.signed.clone();
        let deploy = Command::Deploy {
            id: 1,
            signed,
            dry_run: false,
        };
        driver.command(ROOT, PeerCommand::Site(deploy));
    }

    /// The publishing program attaches.
    pub(crate) fn attach_source(&mut self, driver: &mut Driver<Peer>) {
        let att = self.attach(driver, ROOT, Role::Source);
        self.source = Some(att);
    }

    /// The receiving program of `node` attaches, as a new one.
    pub(crate) fn attach_sink(&mut self, driver: &mut Driver<Peer>, node: usize) {
        if !driver.is_running(node) {
            return;
        }
        let att = self.attach(driver, node, Role::Sink);
        self.forget(node);
        self.sinks[node] = Some(Sink::new(att, self.complete));
    }

    fn attach(&mut self, driver: &mut Driver<Peer>, node: usize, role: Role) -> u32 {
        self.atts += 1;
        let (att, app) = (self.atts, self.app.clone());
        let attach = Command::Attach {
            att,
            app,
            role,
            resume: None,
        };
        driver.command(node, PeerCommand::Site(attach));
        att
    }

    /// The receiving program of `node` ends.
    pub(crate) fn detach_sink(&mut self, driver: &mut Driver<Peer>, node: usize) {
        if let Some(att) = self.sinks[node].as_ref().map(|sink| sink.att) {
            driver.command(node, PeerCommand::Site(Command::Detach { att }));
            self.forget(node);
        }
    }

    /// The program of `node` is gone, as its node may be.
    pub(crate) fn forget(&mut self, node: usize) {
        if let Some(sink) = self.sinks[node].take() {
            self.given_before += sink.given();
        }
    }

    /// Frames given to all sinks so far.
    pub(crate) fn given(&self) -> u64 {
        let alive: u64 = self.sinks.iter().flatten().map(Sink::given).sum();
        self.given_before + alive
    }

    /// The source should have sent `due` frames by now: it sends what it may.
    pub(crate) fn publish(&mut self, driver: &mut Driver<Peer>, due: u64) {
        self.due = self.due.max(due);
        while self.source.is_some() && self.sent < self.due {
            let count = (self.due - self.sent).min(BATCH_MAX);
            let numbers = self.sent..self.sent + count;
            let frames: Vec<Bytes> = numbers.map(|number| self.frame(number)).collect();
            let overlay = self.overlay;
            let publish = |peer: &mut Peer, now| peer.publish(now, overlay, 0, &frames, false);
            let Some(Ok(taken)) = driver.mutate(ROOT, publish) else {
                self.blocked += 1;
                return;
            };
            self.seq_first.get_or_insert(taken.seq);
            self.sent += taken.n as u64;
        }
    }

    fn frame(&self, number: u64) -> Bytes {
        let mut payload = vec![0x6f; self.payload];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        Bytes::from(payload)
    }

    /// Takes what a node told its programs. Adds what is wrong with it to `broken`.
    pub(crate) fn on_event(
        &mut self,
        driver: &mut Driver<Peer>,
        node: usize,
        event: PeerEvent,
        broken: &mut Vec<Broken>,
    ) -> Option<Again> {
        let now = driver.now();
        match event {
            PeerEvent::Delivery(delivery) => {
                let (att, bytes) = (delivery.att, delivery.data.len());
                let given = Given {
                    att,
                    seq: delivery.seq,
                    told: delivery.flags & LOST_BEFORE != 0,
                    data: &delivery.data,
                };
                broken.extend(self.on_delivery(now, node, &given));
                let taken = PeerCommand::Taken {
                    att,
                    frames: 1,
                    bytes: bytes as u64,
                };
                driver.mutate(node, |peer, now| peer.handle(now, Input::Command(taken)));
                None
            }
            PeerEvent::Site(Event::Member { member, state, .. }) if node == ROOT => {
                self.on_member(member, state);
                None
            }
            PeerEvent::Site(Event::Attached { att, .. }) => {
                if let Some(sink) = self.sink_of(node, att) {
                    sink.attached = true;
                }
                None
            }
            PeerEvent::Site(Event::Refused { id, .. }) => self.on_refused(node, id),
            PeerEvent::Site(Event::Ended { att, .. }) => self.on_ended(node, att),
            PeerEvent::Site(
                Event::Member { .. }
                | Event::Deployed { .. }
                | Event::Contact(_)
                | Event::Told { .. }
                | Event::Probe(_)
                | Event::Overlay(_)
                | Event::Relay(_),
            )
            | PeerEvent::Relay(_)
            | PeerEvent::Published { .. } => None,
        }
    }

    fn sink_of(&mut self, node: usize, att: u32) -> Option<&mut Sink> {
        self.sinks[node].as_mut().filter(|sink| sink.att == att)
    }

    fn on_delivery(&mut self, now: Time, node: usize, given: &Given<'_>) -> Option<Broken> {
        let &Given {
            att,
            seq,
            told,
            data,
        } = given;
        let first = self.seq_first.unwrap_or(seq);
        let sink = self.sinks[node].as_mut().filter(|sink| sink.att == att)?;
        let number = data.first_chunk().map(|head| u64::from_le_bytes(*head));
        let Some(number) = number.filter(|&number| first.checked_add(number) == Some(seq)) else {
            return Some(Broken {
                node,
                sentence: "a frame holds what was sent under its sequence",
                expected: format!("frame {}", seq.wrapping_sub(first)),
                got: format!("{number:?}, {} bytes", data.len()),
            });
        };
        let before = (sink.duplicates, sink.gaps_told);
        let broken = sink.take(now, node, number, told);
        self.duplicates += sink.duplicates - before.0;
        self.gaps_told += sink.gaps_told - before.1;
        broken
    }

    fn on_member(&mut self, member: NodeId, state: MemberState) {
        let next = self.sent;
        let index = usize::try_from(member.index()).unwrap_or(usize::MAX);
        let Some(Some(sink)) = self.sinks.get_mut(index) else {
            return;
        };
        match state {
            MemberState::Joined => sink.joined(next),
            MemberState::Joining | MemberState::Leaving | MemberState::Gone => sink.parted(next),
        }
    }

    fn on_refused(&mut self, node: usize, id: u64) -> Option<Again> {
        if node == ROOT && self.source.is_some_and(|att| u64::from(att) == id) {
            self.source = None;
            return Some(Again::Source);
        }
        let sink = self.sinks[node].as_ref()?;
        (u64::from(sink.att) == id).then_some(Again::Sink(node))
    }

    fn on_ended(&mut self, node: usize, att: u32) -> Option<Again> {
        if node == ROOT && self.source == Some(att) {
            self.source = None;
            return Some(Again::Source);
        }
        self.sink_of(node, att)?;
        self.forget(node);
        Some(Again::Sink(node))
    }
}

/// A factor in whole thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a scenario's alpha is 1 to 16"
)]
fn milli(factor: f64) -> u32 {
    (factor * 1_000.0).round() as u32
}
