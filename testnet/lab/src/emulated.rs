//! A transport whose links have the delays, losses and cuts of an emulated network.
//!
//! It wraps a byte-stream transport *below* the upgrade, so that Noise, yamux and every substream
//! share the link as they share a real one. Each end delays what it reads. The listener of an
//! in-process transport does not see who dials, so the dialler writes its node number first.
//! Timers are tokio's: with its clock paused, a simulated hour takes seconds.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr,
    core::{
        Transport,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
    multiaddr::Protocol,
};
use opus_core::Time;
use opus_net::{Fate, Network};
use tokio::time::{Instant, Sleep};

/// Most bytes under way on one stream in one direction; beyond it the writer waits.
const FLIGHT_BYTES_MAX: usize = 1 << 20;
/// Read from the inner stream at once. On the stack: a buffer kept by each of the ten thousand
/// connection ends of a large lab would be most of its memory.
const CHUNK_BYTES: usize = 8 << 10;
/// A stream over a cut way tries again after this time, as TCP does.
const HELD_RETRY: Duration = Duration::from_millis(100);

/// The network and its clock, shared by all nodes of a lab.
#[derive(Clone, Debug)]
pub struct Wires {
    network: Arc<Mutex<Network>>,
    start: Instant,
    port_base: u64,
    carried: Arc<Carried>,
}

/// What passed over all links since the lab began, both ways.
#[derive(Debug, Default)]
struct Carried {
    bytes: AtomicU64,
    writes: AtomicU64,
    dials: AtomicU64,
}

/// [`Wires::carried`] at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnLinks {
    /// Bytes, with all that Noise and yamux add: what a socket would be given. Headers of TCP and
    /// IP are not among them.
    pub bytes: u64,
    /// Pieces in which they were read off the links: about the packets that carry anything.
    pub writes: u64,
    /// Connections that were dialled and came about.
    pub dials: u64,
}

impl Wires {
    /// `port_base`: the memory address of node i is `port_base + i`.
    pub fn new(network: Network, port_base: u64) -> Self {
        Self {
            network: Arc::new(Mutex::new(network)),
            start: Instant::now(),
            port_base,
            carried: Arc::default(),
        }
    }

    /// What passed over all links so far.
    pub fn carried(&self) -> OnLinks {
        OnLinks {
            bytes: self.carried.bytes.load(Relaxed),
            writes: self.carried.writes.load(Relaxed),
            dials: self.carried.dials.load(Relaxed),
        }
    }

    /// The network, to cut and repair.
    pub fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment on the lab's clock.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// The memory address of a node.
    pub fn address(&self, node: usize) -> Multiaddr {
        Multiaddr::empty().with(Protocol::Memory(self.port_base + node as u64))
    }

    fn node_at(&self, address: &Multiaddr) -> Option<usize> {
        let Protocol::Memory(port) = address.iter().next()? else {
            return None;
        };
        usize::try_from(port.checked_sub(self.port_base)?).ok()
    }
}

/// The wrapped transport of one node.
///
/// Dropped, it frees its addresses: libp2p's in-process transport does so only when asked, and a
/// node of the lab that was killed must find its address again.
#[derive(Debug)]
pub struct EmulatedTransport<T: Transport> {
    inner: T,
    listeners: Vec<ListenerId>,
    me: usize,
    wires: Wires,
}

impl<T: Transport> EmulatedTransport<T> {
    /// The transport of node `me`.
    pub fn new(inner: T, me: usize, wires: Wires) -> Self {
        Self {
            inner,
            listeners: Vec::new(),
            me,
            wires,
        }
    }
}

impl<T: Transport> Drop for EmulatedTransport<T> {
    fn drop(&mut self) {
        for id in self.listeners.drain(..) {
            self.inner.remove_listener(id);
        }
    }
}

/// A connection over an emulated link.
#[derive(Debug)]
pub struct EmulatedStream<S> {
    inner: S,
    wires: Wires,
    me: usize,
    them: usize,
    flight: VecDeque<(Time, Bytes)>,
    flight_bytes: usize,
    /// When the end of the stream arrives, once the other side closed it.
    ends_at: Option<Time>,
    /// Read, but the way is cut: travels when the cut ends.
    held: Option<Bytes>,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> EmulatedStream<S> {
    fn new(inner: S, wires: Wires, me: usize, them: usize) -> Self {
        Self {
            inner,
            wires,
            me,
            them,
            flight: VecDeque::new(),
            flight_bytes: 0,
            ends_at: None,
            held: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Takes what the other side wrote and asks the network when it arrives.
    fn take_off(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.ends_at.is_none() && self.flight_bytes < FLIGHT_BYTES_MAX {
            let bytes = match self.held.take() {
                Some(bytes) => bytes,
                None => match self.read_chunk(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(bytes) => bytes?,
                },
            };
            let now = self.wires.now();
            let fate = self
                .wires
                .network()
                .send_in_order(now, self.them, self.me, bytes.len());
            match fate {
                Fate::Deliver(at) | Fate::Twice(at, _) if bytes.is_empty() => {
                    self.ends_at = Some(at);
                }
                Fate::Deliver(at) | Fate::Twice(at, _) => {
                    let carried = &self.wires.carried;
                    carried.bytes.fetch_add(bytes.len() as u64, Relaxed);
                    carried.writes.fetch_add(1, Relaxed);
                    self.flight_bytes += bytes.len();
                    self.flight.push_back((at, bytes));
                }
                Fate::Lost => return Err(io::ErrorKind::ConnectionReset.into()),
                Fate::Held => {
                    self.held = Some(bytes);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next bytes of the inner stream; empty at its end.
    fn read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut chunk = [0; CHUNK_BYTES];
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut chunk));
        // A broken inner stream ends like a closed one: after what was under way.
        let count = read.unwrap_or(0);
        Poll::Ready(Ok(Bytes::copy_from_slice(&chunk[..count])))
    }

    /// When something arrives next, or is worth another try.
    fn next_at(&self) -> Option<Time> {
        let arrival = self.flight.front().map(|(at, _)| *at).or(self.ends_at);
        let retry = self.held.as_ref().map(|_| self.wires.now() + HELD_RETRY);
        arrival.into_iter().chain(retry).min()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EmulatedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            this.take_off(cx)?;
            let now = this.wires.now();
            if let Some((at, bytes)) = this.flight.front_mut() {
                if *at <= now {
                    let count = bytes.len().min(out.len());
                    out[..count].copy_from_slice(&bytes[..count]);
                    bytes.advance(count);
                    if bytes.is_empty() {
                        this.flight.pop_front();
                    }
                    this.flight_bytes -= count;
                    return Poll::Ready(Ok(count));
                }
            } else if this.ends_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Ok(0));
            }
            let Some(at) = this.next_at() else {
                return Poll::Pending;
            };
            this.timer.as_mut().reset(Instant::now() + (at - now));
            ready!(this.timer.as_mut().poll(cx));
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EmulatedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<T> Transport for EmulatedTransport<T>
where
    T: Transport + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync + 'static,
{
    type Output = EmulatedStream<T::Output>;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner
            .listen_on(id, address)
            .map_err(|error| error.map(io::Error::other))?;
        self.listeners.push(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(them) = self.wires.node_at(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let dial = self
            .inner
            .dial(address, opts)
            .map_err(|error| error.map(io::Error::other))?;
        let (me, wires) = (self.me, self.wires.clone());
        let connect = async move {
            let mut stream = dial.await.map_err(io::Error::other)?;
            stream.write_all(&(me as u64).to_be_bytes()).await?;
            stream.flush().await?;
            wires.carried.dials.fetch_add(1, Relaxed);
            Ok(EmulatedStream::new(stream, wires, me, them))
        };
        Ok(connect.boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = self.get_mut();
        let (me, wires) = (this.me, this.wires.clone());
        let accept = move |upgrade: T::ListenerUpgrade| {
            async move {
                let mut stream = upgrade.await.map_err(io::Error::other)?;
                let mut preamble = [0; 8];
                stream.read_exact(&mut preamble).await?;
                let them = usize::try_from(u64::from_be_bytes(preamble));
                let them = them.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                Ok(EmulatedStream::new(stream, wires, me, them))
            }
            .boxed()
        };
        let event = ready!(Pin::new(&mut this.inner).poll(cx));
        Poll::Ready(event.map_upgrade(accept).map_err(io::Error::other))
    }
}
