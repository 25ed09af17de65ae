//! Swarms in tasks of their own, and how a test looks at them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{
        Endpoint,
        muxing::StreamMuxerBox,
        transport::{Boxed, MemoryTransport, PortUse},
        upgrade::Version,
    },
    identity::Keypair,
    noise,
    swarm::{
        self, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, SwarmEvent, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
    tcp, yamux,
};
use opus_core::NodeId;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    plane::TestPlane,
    toy::{self, Toy},
};
use crate::{Behaviour, Clock, Config, Event, Stats, frames, node_id, peer_id};

/// What every node of these tests is.
#[derive(NetworkBehaviour)]
pub(super) struct Whole {
    pub(super) book: Book,
    pub(super) toy: Behaviour<Toy>,
    pub(super) frames: frames::Behaviour<TestPlane>,
}

type Job<B> = Box<dyn FnOnce(&mut Swarm<B>) + Send>;

/// A swarm in its task.
pub(super) struct Running<B: NetworkBehaviour> {
    pub(super) id: NodeId,
    pub(super) address: Multiaddr,
    jobs: mpsc::Sender<Job<B>>,
    changed: watch::Sender<u64>,
}

pub(super) struct Node {
    pub(super) swarm: Running<Whole>,
    pub(super) plane: Arc<TestPlane>,
    events: Arc<Mutex<Vec<Event<toy::Event>>>>,
    violations: Arc<Mutex<Vec<frames::Event>>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Memory,
    Tcp,
}

/// After this long without a reason to stay, a connection closes.
pub(super) const IDLE: Duration = Duration::from_secs(10);

pub(super) fn keypair(index: u8) -> Keypair {
    Keypair::ed25519_from_bytes([index + 1; 32]).unwrap()
}

/// Runs `behaviour` as node `index`; `heard` is called with each of its events.
pub(super) async fn run<B: NetworkBehaviour + Send>(
    index: u8,
    over: Over,
    changed: watch::Sender<u64>,
    behaviour: B,
    mut heard: impl FnMut(B::ToSwarm) + Send + 'static,
) -> Running<B>
where
    THandler<B>: Send,
    THandlerInEvent<B>: Send,
    THandlerOutEvent<B>: Send,
{
    let keypair = keypair(index);
    let peer = keypair.public().to_peer_id();
    let (transport, listen) = match over {
        Over::Memory => (secured(MemoryTransport::default(), &keypair), "/memory/0"),
        Over::Tcp => {
            let transport = secured(tcp::tokio::Transport::default(), &keypair);
            (transport, "/ip4/127.0.0.1/tcp/0")
        }
    };
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    let mut swarm = Swarm::new(transport, behaviour, peer, config);
    swarm.listen_on(listen.parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let (jobs, mut todo) = mpsc::channel::<Job<B>>(64);
    let teller = changed.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                event = swarm.select_next_some() => {
                    if let SwarmEvent::Behaviour(event) = event {
                        heard(event);
                    }
                    teller.send_modify(|version| *version += 1);
                }
                // No change to tell: a test that looks would wake itself for ever.
                job = todo.recv() => match job {
                    Some(job) => job(&mut swarm),
                    None => return,
                },
            }
        }
    });
    Running {
        id: node_id(&peer).unwrap(),
        address,
        jobs,
        changed,
    }
}

fn secured<T>(transport: T, keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + Unpin,
            Error: Send + Sync,
            Dial: Send,
            ListenerUpgrade: Send,
        > + Send
        + Unpin
        + 'static,
{
    transport
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed()
}

impl<B: NetworkBehaviour> Running<B> {
    /// Does something with the swarm, in its task.
    pub(super) async fn with<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Swarm<B>) -> R + Send + 'static,
    ) -> R {
        let (answer, answered) = oneshot::channel();
        let job = move |swarm: &mut Swarm<B>| drop(answer.send(job(swarm)));
        assert!(self.jobs.send(Box::new(job)).await.is_ok(), "swarm ended");
        answered.await.unwrap()
    }

    /// Waits until `holds`, looking again whenever a swarm or a plane did something.
    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if holds().await {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        // A day of virtual time; in real time, a hang.
        let limit = Duration::from_secs(if tokio_is_paused() { 86_400 } else { 30 });
        let waited = tokio::time::timeout(limit, wait).await;
        assert!(waited.is_ok(), "waited in vain until {what}");
    }

    pub(super) async fn connections(&self) -> u32 {
        self.with(|swarm| swarm.network_info().connection_counters().num_established())
            .await
    }

    pub(super) async fn dial(&self, address: Multiaddr) {
        self.with(move |swarm| swarm.dial(address).unwrap()).await;
    }

    pub(super) async fn disconnect(&self, peer: NodeId) {
        self.with(move |swarm| swarm.disconnect_peer_id(peer_id(&peer)))
            .await
            .unwrap();
    }
}

/// The tests over TCP run on several threads, those in virtual time on one.
fn tokio_is_paused() -> bool {
    let flavor = tokio::runtime::Handle::current().runtime_flavor();
    matches!(flavor, tokio::runtime::RuntimeFlavor::CurrentThread)
}

impl Node {
    pub(super) async fn start(index: u8, over: Over, changed: &watch::Sender<u64>) -> Self {
        let id = node_id(&keypair(index).public().to_peer_id()).unwrap();
        let plane = Arc::new(TestPlane::new(changed.clone()));
        let behaviour = Whole {
            book: Book::default(),
            toy: Behaviour::new(Toy::default(), Clock::new(), Config::new(id)),
            frames: frames::Behaviour::new(Arc::clone(&plane), id),
        };
        let events = Arc::new(Mutex::new(Vec::new()));
        let violations = Arc::new(Mutex::new(Vec::new()));
        let (events_in, violations_in) = (Arc::clone(&events), Arc::clone(&violations));
        let heard = move |event| match event {
            WholeEvent::Book(never) => match never {},
            WholeEvent::Toy(event) => events_in.lock().unwrap().push(event),
            WholeEvent::Frames(event) => violations_in.lock().unwrap().push(event),
        };
        let swarm = run(index, over, changed.clone(), behaviour, heard).await;
        Self {
            swarm,
            plane,
            events,
            violations,
        }
    }

    /// Two nodes that know each other's address.
    pub(super) async fn pair(over: Over) -> (Self, Self) {
        let (changed, _) = watch::channel(0);
        let a = Self::start(0, over, &changed).await;
        let b = Self::start(1, over, &changed).await;
        a.learn(b.id(), &b.swarm.address).await;
        b.learn(a.id(), &a.swarm.address).await;
        (a, b)
    }

    /// Two nodes, the first of which has dialled the second.
    pub(super) async fn connected_pair(over: Over) -> (Self, Self) {
        let (a, b) = Self::pair(over).await;
        a.command(toy::Command::Dial(b.id())).await;
        a.until_event(toy::Event::Connected(b.id())).await;
        b.until_event(toy::Event::Connected(a.id())).await;
        (a, b)
    }

    pub(super) fn id(&self) -> NodeId {
        self.swarm.id
    }

    pub(super) async fn learn(&self, peer: NodeId, address: &Multiaddr) {
        let address = address.clone();
        let learn = move |swarm: &mut Swarm<Whole>| {
            let book = &mut swarm.behaviour_mut().book;
            book.addresses.insert(peer_id(&peer), address);
        };
        self.swarm.with(learn).await;
    }

    pub(super) async fn command(&self, command: toy::Command) {
        self.swarm
            .with(|swarm| swarm.behaviour_mut().toy.command(command))
            .await;
    }

    /// The connection that this node sends on.
    pub(super) async fn used_connection(&self, peer: NodeId) -> ConnectionId {
        let used = move |swarm: &mut Swarm<Whole>| swarm.behaviour().toy.used_connection(peer);
        self.swarm.with(used).await.unwrap()
    }

    /// What the machine and its adapter said so far.
    pub(super) fn events(&self) -> Vec<Event<toy::Event>> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn violations(&self) -> Vec<frames::Event> {
        self.violations.lock().unwrap().clone()
    }

    pub(super) fn count(&self, event: &toy::Event) -> usize {
        let event = Event::Machine(event.clone());
        self.events()
            .iter()
            .filter(|other| **other == event)
            .count()
    }

    /// The numbers heard so far, in order.
    pub(super) fn heard(&self) -> Vec<u64> {
        let number = |event: Event<toy::Event>| match event {
            Event::Machine(toy::Event::Heard(_, number)) => Some(number),
            Event::Machine(_) | Event::Penalised { .. } => None,
        };
        self.events().into_iter().filter_map(number).collect()
    }

    pub(super) async fn until_event(&self, event: toy::Event) {
        self.until_events(event, 1).await;
    }

    pub(super) async fn until_events(&self, event: toy::Event, count: usize) {
        let what = format!("{event:?} was told {count} times");
        self.swarm
            .until(&what, async || self.count(&event) >= count)
            .await;
    }

    pub(super) async fn stats(&self) -> Stats {
        self.swarm.with(|swarm| swarm.behaviour().toy.stats()).await
    }

    pub(super) async fn frame_stats(&self) -> frames::Stats {
        self.swarm
            .with(|swarm| swarm.behaviour().frames.stats())
            .await
    }
}

/// The addresses of peers, as the node's address book gives them.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) addresses: BTreeMap<PeerId, Multiaddr>,
}

impl NetworkBehaviour for Book {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let address = peer.and_then(|peer| self.addresses.get(&peer));
        Ok(address.cloned().into_iter().collect())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
