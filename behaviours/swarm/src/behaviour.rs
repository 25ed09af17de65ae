//! A machine as a `NetworkBehaviour`: inputs in, outputs out, one timer.

mod peers;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::FutureExt;
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure},
        derive_prelude::Either,
        dial_opts::{DialOpts, PeerCondition},
        dummy,
    },
};
use opus_core::{Input, Lane, Machine, NodeId, Offence, Output, Time, Wire, codec};

use self::peers::{DialAnswer, Peers};
use crate::{
    Clock, FromHandler, Handler, Stats,
    connections::Rank,
    counters::{Counters, add},
    identity::{node_id, peer_id},
    mailbox::LaneLimits,
    score::Scores,
};

/// Inputs handled in one call. More only arise when a machine answers `DialFailed` with a dial
/// that fails at once; the rest waits for the next poll, so that the swarm stays alive.
const INPUTS_MAX: usize = 64;
/// A machine that is due again at once breaks its contract; this keeps the node alive.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Limits of one [`Behaviour`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This node. It decides which of two connections to a peer is used.
    pub local: NodeId,
    /// Messages in one lane to one peer. Overflow: the oldest is dropped.
    pub lane_messages_max: usize,
    /// Encoded bytes in one lane to one peer. Overflow: the oldest message is dropped.
    pub lane_bytes_max: usize,
    /// Peers that the machine wants at once. Overflow: a wish for a peer that is neither connected
    /// nor being dialled is forgotten; if there is none, the dial fails.
    pub wishes_max: usize,
    /// How long a substream to a peer that is not wanted stays open after its last message.
    pub linger: Duration,
    /// The score at which a peer is disconnected, and refused until half of it has faded.
    pub ban_score: u32,
    /// The time in which one point of a score fades.
    pub fade: Duration,
}

impl Config {
    /// 256 messages and 256 KiB a lane, 4,096 wishes, 3 s, 100 points fading in 10 minutes.
    pub fn new(local: NodeId) -> Self {
        Self {
            local,
            lane_messages_max: 256,
            lane_bytes_max: 256 << 10,
            wishes_max: 4_096,
            linger: Duration::from_secs(3),
            ban_score: 100,
            fade: Duration::from_secs(6),
        }
    }
}

/// What a [`Behaviour`] tells the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<E> {
    /// What the machine says.
    Machine(E),
    /// A peer broke the protocol.
    Penalised {
        /// The offender.
        peer: NodeId,
        /// How.
        offence: Offence,
        /// Its score with this offence, in points.
        score: u32,
        /// Whether it was therefore disconnected.
        ban: bool,
    },
}

/// What we ask of the swarm. Handlers are reached by their mailbox, never through it.
type Action<E> = ToSwarm<Event<E>, Either<Infallible, Infallible>>;

/// See the module.
pub struct Behaviour<M: Machine> {
    config: Config,
    clock: Clock,
    machine: M,
    peers: Peers,
    scores: Scores,
    counters: Arc<Counters>,
    /// In the order in which they happened; drained before anything else happens.
    inputs: VecDeque<Input<M::Command, M::Message>>,
    /// What the drained outputs ask of the swarm, which polls until there is none.
    actions: VecDeque<Action<M::Event>>,
    timer: Option<(Time, Delay)>,
    /// See [`TIMEOUT_MIN`].
    not_before: Time,
    waker: Option<Waker>,
}

impl<M: Machine + fmt::Debug> fmt::Debug for Behaviour<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("machine", &self.machine)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

impl<M: Machine + 'static> Behaviour<M> {
    /// Drives `machine` by `clock`.
    pub fn new(machine: M, clock: Clock, config: Config) -> Self {
        let lanes = LaneLimits {
            messages: config.lane_messages_max,
            bytes: config.lane_bytes_max,
        };
        let mut behaviour = Self {
            peers: Peers::new(lanes, config.wishes_max),
            scores: Scores::new(config.fade),
            config,
            clock,
            machine,
            counters: Arc::default(),
            inputs: VecDeque::new(),
            actions: VecDeque::new(),
            timer: None,
            not_before: Time::ZERO,
            waker: None,
        };
        behaviour.drain();
        behaviour
    }

    /// Gives the machine a command, at once.
    pub fn command(&mut self, command: M::Command) {
        self.input(Input::Command(command));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Messages that no connection has written yet: a node that stops waits for none to be left.
    pub fn unsent(&self) -> u64 {
        self.peers.unsent()
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// The connection that messages to `peer` go out on.
    #[cfg(test)]
    pub(crate) fn used_connection(&self, peer: NodeId) -> Option<ConnectionId> {
        self.peers.active(peer)
    }

    fn input(&mut self, input: Input<M::Command, M::Message>) {
        self.inputs.push_back(input);
        self.run();
    }

    /// *One mutation, then drain*, for each input in turn.
    fn run(&mut self) {
        for _ in 0..INPUTS_MAX {
            let Some(input) = self.inputs.pop_front() else {
                return;
            };
            self.machine.handle(self.clock.now(), input);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { to, message, lane } => self.send(to, &message, lane),
                Output::Dial(peer) => self.dial(peer),
                Output::Release(peer) => self.peers.release(peer),
                Output::Penalise(peer, offence) => self.penalise(peer, offence),
                Output::Event(event) => self.event(Event::Machine(event)),
            }
        }
    }

    fn event(&mut self, event: Event<M::Event>) {
        self.actions.push_back(ToSwarm::GenerateEvent(event));
    }

    fn send(&mut self, to: NodeId, message: &M::Message, lane: Lane) {
        let Some(mailbox) = self.peers.mailbox(to) else {
            add(&self.counters.unsendable, 1);
            return;
        };
        let bytes = codec::encode(message);
        if bytes.len() > M::Message::LIMITS.bytes {
            tracing::error!(
                protocol = M::PROTOCOL,
                bytes = bytes.len(),
                "own message too large"
            );
            add(&self.counters.unsendable, 1);
            return;
        }
        add(&self.counters.dropped, mailbox.post(lane, bytes));
    }

    fn dial(&mut self, peer: NodeId) {
        match self.peers.want(peer) {
            DialAnswer::Connected => self.inputs.push_back(Input::Connected(peer)),
            DialAnswer::Refused => self.inputs.push_back(Input::DialFailed(peer)),
            DialAnswer::Wait => {}
            DialAnswer::Dial => self.actions.push_back(ToSwarm::Dial {
                opts: DialOpts::peer_id(peer_id(&peer))
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .build(),
            }),
        }
    }

    fn penalise(&mut self, peer: NodeId, offence: Offence) {
        let score = self.scores.add(self.clock.now(), peer, offence);
        let ban = score >= self.config.ban_score;
        self.event(Event::Penalised {
            peer,
            offence,
            score,
            ban,
        });
        if ban {
            tracing::debug!(
                ?peer,
                score,
                protocol = M::PROTOCOL,
                "peer disconnected for offences"
            );
            // Told at once: a peer that does not read can delay the closing itself.
            if self.peers.ban(peer) {
                self.inputs.push_back(Input::Disconnected(peer));
            }
            self.actions.push_back(ToSwarm::CloseConnection {
                peer_id: peer_id(&peer),
                connection: libp2p::swarm::CloseConnection::All,
            });
        }
    }

    fn handler(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let Some(node) = node_id(&peer) else {
            return Ok(Either::Right(dummy::ConnectionHandler));
        };
        if self.scores.of(self.clock.now(), node) > self.config.ban_score / 2
            && self.peers.is_banned(node)
        {
            return Err(ConnectionDenied::new(Banned));
        }
        Ok(Either::Left(Handler::new(
            id,
            M::PROTOCOL,
            self.peers.prepare(node, id),
            Arc::clone(&self.counters),
            self.config.linger,
        )))
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let Some(peer) = node_id(&event.peer_id) else {
            return;
        };
        let rank = Rank::new(event.connection_id, event.endpoint, self.config.local, peer);
        if self.peers.established(peer, event.connection_id, rank) {
            self.input(Input::Connected(peer));
        }
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        let Some(peer) = node_id(&event.peer_id) else {
            return;
        };
        if self.peers.closed(peer, event.connection_id) {
            self.input(Input::Disconnected(peer));
        }
    }

    fn on_dial_failure(&mut self, event: DialFailure<'_>) {
        // Someone else's dial is under way, or a connection just came up: its outcome is ours.
        if matches!(event.error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let Some(peer) = event.peer_id.as_ref().and_then(node_id) else {
            return;
        };
        if self.peers.dial_failed(peer) {
            self.input(Input::DialFailed(peer));
        }
    }

    /// Fires what is due, or waits for it.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.machine.poll_timeout() else {
            self.timer = None;
            return Poll::Pending;
        };
        let now = self.clock.now();
        let at = deadline.at.max(self.not_before);
        if at > now {
            ready!(self.timer_at(at, now).poll_unpin(cx));
            self.timer = None;
            return Poll::Ready(());
        }
        self.machine.handle_timeout(now);
        self.drain();
        if let Some(next) = self.machine.poll_timeout()
            && next.at <= now
        {
            tracing::error!(
                reason = next.reason,
                protocol = M::PROTOCOL,
                "timer is due again"
            );
            self.not_before = now + TIMEOUT_MIN;
        }
        Poll::Ready(())
    }

    /// The one timer, set to `at`.
    fn timer_at(&mut self, at: Time, now: Time) -> &mut Delay {
        let (set, delay) = self
            .timer
            .get_or_insert_with(|| (at, Delay::new(at.since(now))));
        if *set != at {
            *set = at;
            delay.reset(at.since(now));
        }
        delay
    }
}

/// Why a connection is denied.
#[derive(Debug, thiserror::Error)]
#[error("the peer broke the protocol too often of late")]
struct Banned;

impl<M: Machine + 'static> NetworkBehaviour for Behaviour<M> {
    type ConnectionHandler = Either<Handler<M::Message>, dummy::ConnectionHandler>;
    type ToSwarm = Event<M::Event>;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(id, peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(id, peer)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "FromSwarm is non-exhaustive; addresses and listeners do not concern a machine"
    )]
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::DialFailure(event) => self.on_dial_failure(event),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let Some(peer) = node_id(&peer).filter(|&node| self.peers.uses(node, id)) else {
            return;
        };
        match event {
            Either::Left(FromHandler::Received(message)) => {
                self.input(Input::Received {
                    from: peer,
                    message,
                });
            }
            Either::Left(FromHandler::Offence(offence)) => {
                self.penalise(peer, offence);
                self.run();
            }
            Either::Left(FromHandler::Gone) => {
                let protocol = M::PROTOCOL;
                tracing::debug!(?peer, %id, protocol, "peer is gone for this protocol");
                if self.peers.gone(peer, id) {
                    self.input(Input::Disconnected(peer));
                }
            }
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            if !self.inputs.is_empty() {
                self.run();
                if self.actions.is_empty() && !self.inputs.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if self.poll_timer(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}
