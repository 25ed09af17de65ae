//! One connection's end of a frame channel.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Acquire, Release},
        },
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_timer::Delay;
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::ConnectionEvent,
    },
};
use opus_core::NodeId;

use super::{
    Plane, Wake,
    counters::Counters,
    reader::{self, Reader},
};
use crate::{bucket::Bucket, counters::add, retry::Retry};

/// Bytes asked of the plane at once: about what one write of the muxer's layers can take.
const BATCH_BYTES: usize = 64 << 10;
/// Writes before other work of the connection gets its turn. The muxer takes 16 KiB each.
const WRITES_MAX: usize = 32;
/// Reads before other work of the connection gets its turn.
const READS_MAX: usize = 8;
/// Room for frames of one read that an idle handler may keep.
const FRAMES_IDLE_MAX: usize = 16;

/// What the behaviour and the handler of one connection share.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Of which the plane holds a copy while this connection is active.
    wake: Wake,
    /// Whether this connection carries what we send.
    active: AtomicBool,
    /// How many breaks of this connection the plane knows of.
    acknowledged: AtomicU32,
}

impl Port {
    pub(super) fn wake(&self) -> Wake {
        self.wake.clone()
    }

    pub(super) fn set_active(&self, active: bool) {
        self.active.store(active, Release);
        self.wake.nudge();
    }

    pub(super) fn acknowledge(&self, breaks: u32) {
        self.acknowledged.store(breaks, Release);
        self.wake.nudge();
    }
}

/// What a [`Handler`] tells its behaviour.
#[derive(Debug)]
pub enum FromHandler {
    /// A substream broke or did not open. The handler rests until the behaviour acknowledges.
    Broken {
        /// How often so far.
        breaks: u32,
        /// It will not be tried again on this connection.
        gone: bool,
    },
    /// The peer broke the protocol.
    Violated(&'static str),
}

#[derive(Debug)]
enum Outbound {
    Idle,
    /// It failed; opened again after the delay.
    Waiting(Delay),
    Opening,
    Open(Stream),
    /// Given up.
    Gone,
}

/// See the module. Made by [`super::Behaviour`] only.
pub struct Handler<P> {
    peer: NodeId,
    port: Arc<Port>,
    plane: Arc<P>,
    counters: Arc<Counters>,
    outbound: Outbound,
    retry: Retry,
    /// Encoded frames on their way out: at most a batch and one frame.
    out: BytesMut,
    /// The plane said that more waits.
    more: bool,
    inbound: Option<Stream>,
    reader: Reader,
    /// Frames of one read; empty between polls.
    frames: Vec<Bytes>,
    opens: Bucket,
    breaks: u32,
    /// A break and a violation at most, before the handler rests.
    events: VecDeque<FromHandler>,
}

impl<P> fmt::Debug for Handler<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("peer", &self.peer)
            .field("outbound", &self.outbound)
            .field("breaks", &self.breaks)
            .finish_non_exhaustive()
    }
}

/// Why a channel stops.
enum Stop {
    /// It broke; frames may be lost.
    Broken,
    /// The peer broke the protocol.
    Violated(&'static str),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl<P: Plane> Handler<P> {
    pub(super) fn new(
        peer: NodeId,
        port: Arc<Port>,
        plane: Arc<P>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            peer,
            port,
            plane,
            counters,
            outbound: Outbound::Idle,
            retry: Retry::default(),
            out: BytesMut::new(),
            more: false,
            inbound: None,
            reader: Reader::default(),
            frames: Vec::new(),
            opens: Bucket::of_inbound_opens(),
            breaks: 0,
            events: VecDeque::new(),
        }
    }

    /// Both substreams go, and nothing moves until the plane has been told.
    fn stop(&mut self, why: &Stop) {
        if let Stop::Violated(what) = why {
            add(&self.counters.violations, 1);
            self.events.push_back(FromHandler::Violated(what));
        }
        add(&self.counters.broken, 1);
        self.inbound = None;
        self.reader = Reader::default();
        self.out = BytesMut::new();
        self.more = false;
        if !matches!(self.outbound, Outbound::Gone) {
            self.outbound = match self.retry.failed() {
                Some(delay) => Outbound::Waiting(Delay::new(delay)),
                None => Outbound::Gone,
            };
        }
        self.breaks += 1;
        let gone = matches!(self.outbound, Outbound::Gone);
        self.events.push_back(FromHandler::Broken {
            breaks: self.breaks,
            gone,
        });
    }

    fn on_inbound(&mut self, mut stream: Stream) {
        if !self.opens.take() {
            add(&self.counters.violations, 1);
            if self.events.is_empty() {
                let flood = FromHandler::Violated("too many substreams");
                self.events.push_back(flood);
            }
            return;
        }
        if matches!(self.outbound, Outbound::Gone) {
            return;
        }
        stream.ignore_for_keep_alive();
        // The peer opened anew: what it sent on the old one may be lost.
        if self.inbound.is_some() {
            self.stop(&Stop::Broken);
        }
        self.inbound = Some(stream);
    }

    fn on_outbound(&mut self, mut stream: Stream) {
        // After a break while it opened, another attempt is on its way.
        if matches!(self.outbound, Outbound::Opening) {
            stream.ignore_for_keep_alive();
            self.outbound = Outbound::Open(stream);
        }
    }

    fn on_outbound_failed(&mut self, unsupported: bool) {
        if matches!(self.outbound, Outbound::Opening) {
            if unsupported {
                self.outbound = Outbound::Gone;
            }
            self.stop(&Stop::Broken);
        }
    }

    /// Whether a substream must be requested.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> bool {
        if let Outbound::Waiting(delay) = &mut self.outbound
            && delay.poll_unpin(cx).is_ready()
        {
            self.outbound = Outbound::Idle;
        }
        let idle = matches!(self.outbound, Outbound::Idle);
        let wanted = self.port.active.load(Acquire) && self.port.wake.is_pending();
        if idle && wanted {
            self.outbound = Outbound::Opening;
        }
        idle && wanted
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let Outbound::Open(stream) = &mut self.outbound else {
            return Poll::Pending;
        };
        for _ in 0..WRITES_MAX {
            if self.out.is_empty() {
                let active = self.port.active.load(Acquire);
                if active && (self.port.wake.take() || self.more) {
                    self.more = self.plane.fill(self.peer, &mut self.out, BATCH_BYTES);
                    add(&self.counters.frames_out, reader::count(&self.out));
                    add(&self.counters.bytes_out, self.out.len() as u64);
                }
            }
            if self.out.is_empty() {
                // An idle channel holds no buffer.
                self.out = BytesMut::new();
                self.more = false;
                return match ready!(Pin::new(stream).poll_flush(cx)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(error.into()),
                };
            }
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.out)) {
                Ok(0) => return Poll::Ready(Stop::Broken),
                Ok(count) => self.out.advance(count),
                Err(error) => return Poll::Ready(error.into()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let Some(stream) = &mut self.inbound else {
            return Poll::Pending;
        };
        for _ in 0..READS_MAX {
            let count = match Pin::new(&mut *stream).poll_read(cx, self.reader.room()) {
                Poll::Ready(Ok(count)) if count > 0 => count,
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Stop::Broken),
                Poll::Pending => {
                    self.reader.idle();
                    if self.frames.capacity() > FRAMES_IDLE_MAX {
                        self.frames = Vec::new();
                    }
                    return Poll::Pending;
                }
            };
            let read = self.reader.advance(count, &mut self.frames);
            add(&self.counters.frames_in, self.frames.len() as u64);
            add(&self.counters.bytes_in, count as u64);
            let lawful = self.frames.is_empty() || self.plane.received(self.peer, &mut self.frames);
            self.frames.clear();
            if let Err(bad) = read {
                tracing::debug!(peer = ?self.peer, length = bad.0, "frame of a bad length");
                return Poll::Ready(Stop::Violated("frame of a bad length"));
            }
            if !lawful {
                return Poll::Ready(Stop::Violated("frames that the plane refused"));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<P: Plane> ConnectionHandler for Handler<P> {
    type FromBehaviour = Infallible;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        let protocol = const { StreamProtocol::new(super::PROTOCOL) };
        SubstreamProtocol::new(ReadyUpgrade::new(protocol), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        self.port.wake.register(cx.waker());
        if self.port.acknowledged.load(Acquire) == self.breaks {
            if self.poll_open(cx) {
                let protocol = self.listen_protocol();
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            // What goes out frees memory, what comes in takes it.
            if let Poll::Ready(why) = self.poll_write(cx) {
                self.stop(&why);
            } else if let Poll::Ready(why) = self.poll_read(cx) {
                self.stop(&why);
            }
        }
        match self.events.pop_front() {
            Some(event) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ConnectionEvent is non-exhaustive; the other events do not concern substreams"
    )]
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(event) => self.on_inbound(event.protocol),
            ConnectionEvent::FullyNegotiatedOutbound(event) => self.on_outbound(event.protocol),
            ConnectionEvent::DialUpgradeError(event) => {
                let unsupported = matches!(event.error, StreamUpgradeError::NegotiationFailed);
                self.on_outbound_failed(unsupported);
            }
            _ => {}
        }
    }
}
