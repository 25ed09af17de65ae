//! One connection's share of a machine's protocol: at most one substream out and one in.
//!
//! The outbound one is opened when there is something to send or the machine wants the peer, and
//! opened again at most five times in a row; then the peer is gone for this machine. A second
//! inbound one replaces the first. Bytes that do not decode cost the peer its substream.

mod inbound;
mod outbound;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, ConnectionId, StreamUpgradeError,
        SubstreamProtocol, handler::ConnectionEvent,
    },
};
use opus_core::{Offence, Wire};

use self::{
    inbound::{Inbound, Read},
    outbound::{Outbound, Step},
};
use crate::{
    bucket::Bucket,
    counters::{Counters, add},
    mailbox::Mailbox,
};

/// What a [`Handler`] tells its behaviour.
#[derive(Debug)]
pub enum FromHandler<T> {
    /// A message, decoded and checked.
    Received(T),
    /// The peer broke the protocol below the machine.
    Offence(Offence),
    /// The peer cannot be reached by this protocol on this connection.
    Gone,
}

/// See the module. Made by [`crate::Behaviour`] only.
pub struct Handler<T> {
    id: ConnectionId,
    protocol: StreamProtocol,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    outbound: Outbound,
    inbound: Option<Inbound>,
    opens: Bucket,
    /// At most one of each kind: a second offence of a kind before the first is told is not told.
    events: VecDeque<FromHandler<T>>,
    gone: bool,
}

impl<T> fmt::Debug for Handler<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("id", &self.id)
            .field("protocol", &self.protocol)
            .field("outbound", &self.outbound)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

impl<T: Wire> Handler<T> {
    pub(crate) fn new(
        id: ConnectionId,
        protocol: &'static str,
        mailbox: Arc<Mailbox>,
        counters: Arc<Counters>,
        linger: Duration,
    ) -> Self {
        Self {
            id,
            protocol: StreamProtocol::new(protocol),
            mailbox,
            counters,
            outbound: Outbound::new(linger),
            inbound: None,
            opens: Bucket::of_inbound_opens(),
            events: VecDeque::new(),
            gone: false,
        }
    }

    fn on_gone(&mut self) {
        if !self.gone {
            self.gone = true;
            self.inbound = None;
            self.events.push_back(FromHandler::Gone);
        }
    }

    fn on_offence(&mut self, offence: Offence) {
        let told = |event: &FromHandler<T>| match event {
            FromHandler::Offence(other) => *other == offence,
            FromHandler::Received(_) | FromHandler::Gone => false,
        };
        if !self.events.iter().any(told) {
            self.events.push_back(FromHandler::Offence(offence));
        }
    }

    fn on_inbound(&mut self, stream: libp2p::Stream) {
        if self.gone {
            return;
        }
        if !self.opens.take() {
            add(&self.counters.refused, 1);
            self.on_offence(Offence::Flood);
            return;
        }
        self.inbound = Some(Inbound::new(stream));
    }

    /// Reads until there is a message, or nothing more to read.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let Some(inbound) = &mut self.inbound else {
            return Poll::Pending;
        };
        match std::task::ready!(inbound.poll(cx, &self.counters)) {
            Read::Message(message) => {
                add(&self.counters.received, 1);
                return Poll::Ready(message);
            }
            Read::Malformed(why) => {
                tracing::debug!(id = %self.id, protocol = %self.protocol, %why, "malformed");
                add(&self.counters.malformed, 1);
                self.on_offence(Offence::Malformed);
            }
            Read::Closed => {}
        }
        self.inbound = None;
        Poll::Pending
    }
}

impl<T: Wire> ConnectionHandler for Handler<T> {
    type FromBehaviour = Infallible;
    type ToBehaviour = FromHandler<T>;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        !self.gone && self.mailbox.keeps(self.id)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if !self.gone {
            match self
                .outbound
                .poll(cx, self.id, &self.mailbox, &self.counters)
            {
                Step::Pending => {}
                Step::Gone => self.on_gone(),
                Step::Request => {
                    let protocol = self.listen_protocol();
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol,
                    });
                }
            }
        }
        // What this end has to tell goes before what the peer has to say.
        if self.events.is_empty()
            && let Poll::Ready(message) = self.poll_inbound(cx)
        {
            self.events.push_back(FromHandler::Received(message));
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
            ConnectionEvent::FullyNegotiatedOutbound(event) => self.outbound.opened(event.protocol),
            ConnectionEvent::DialUpgradeError(event) => {
                let unsupported = matches!(event.error, StreamUpgradeError::NegotiationFailed);
                if unsupported || self.outbound.failed(&self.counters).is_none() {
                    self.on_gone();
                }
            }
            _ => {}
        }
    }
}
