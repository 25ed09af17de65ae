//! The node's transports: TCP (with an optional private network key), QUIC, circuit relay and DNS,
//! behind a guard that dials only what the address policy allows.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{
        Transport,
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
        upgrade::Version,
    },
    dns, identity, noise,
    pnet::{PnetConfig, PreSharedKey},
    quic, relay, tcp, yamux,
};

use super::addr::{Policy, without_peer};

/// Streams of one connection: more than all our protocols need, less than the default of 256.
const YAMUX_STREAMS_MAX: usize = 128;

/// What a peer connection is made of.
pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// What may be dialled: shared by the transport and the node, which learns its own addresses late.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Mutex<Rules>>);

#[derive(Debug)]
struct Rules {
    policy: Policy,
    written: Vec<Multiaddr>,
}

impl Guard {
    /// Dials what `policy` allows, and what the operator wrote.
    pub fn new(policy: Policy, written: &[Multiaddr]) -> Self {
        let written = written.iter().cloned().map(without_peer).collect();
        Self(Arc::new(Mutex::new(Rules { policy, written })))
    }

    /// Replaces the policy.
    pub fn set_policy(&self, policy: Policy) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).policy = policy;
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .policy
            .clone()
    }

    fn allows(&self, address: &Multiaddr) -> bool {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first two parts tell host and port; a name resolves later, behind the guard.
        rules.policy.allows(address) || rules.written.contains(&without_peer(address.clone()))
    }
}

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportFailure {
    /// The noise keys could not be derived from the identity.
    #[error("the identity key does not fit the Noise handshake: {0}")]
    Noise(#[from] noise::Error),
}

/// TCP, QUIC, DNS and, if `relayed`, the circuit relay client, for the given identity.
///
/// With a private network key TCP is closed to others, and QUIC, which cannot use one, is off.
/// DNS that cannot be set up (no resolver configured) is left out with a warning: a node that is
/// told IP addresses works without.
pub fn real(
    keypair: &identity::Keypair,
    psk: Option<PreSharedKey>,
    relayed: bool,
    guard: Guard,
) -> Result<(Connections, Option<relay::client::Behaviour>), TransportFailure> {
    let transport = match dns::tokio::Transport::system(direct(keypair, psk)?) {
        Ok(with_names) => with_names.boxed(),
        Err(error) => {
            tracing::warn!(%error, "no DNS resolver: addresses with names cannot be dialled");
            direct(keypair, psk)?
        }
    };
    let client = relayed.then(|| relay::client::new(keypair.public().to_peer_id()));
    let (transport, client) = match client {
        None => (transport, None),
        Some((circuits, client)) => {
            let circuits = secure(circuits, keypair)?;
            let both = circuits
                .or_transport(transport)
                .map(|either, _| either.into_inner());
            (both.boxed(), Some(client))
        }
    };
    Ok((
        Guarded {
            inner: transport,
            guard,
        }
        .boxed(),
        client,
    ))
}

/// TCP, and QUIC unless a private network key excludes it.
fn direct(
    keypair: &identity::Keypair,
    psk: Option<PreSharedKey>,
) -> Result<Connections, TransportFailure> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let Some(key) = psk else {
        let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let both = secure(tcp, keypair)?.or_transport(quic);
        return Ok(both.map(|either, _| either.into_inner()).boxed());
    };
    let config = PnetConfig::new(key);
    secure(
        tcp.and_then(move |socket, _| config.handshake(socket)),
        keypair,
    )
}

/// Noise and yamux over any byte stream, as all transports but QUIC have it.
pub fn secure<T>(transport: T, keypair: &identity::Keypair) -> Result<Connections, TransportFailure>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    let mut mux = yamux::Config::default();
    mux.set_max_num_streams(YAMUX_STREAMS_MAX);
    let upgraded = transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(mux);
    Ok(upgraded.boxed())
}

struct Guarded {
    inner: Connections,
    guard: Guard,
}

impl Transport for Guarded {
    type Output = (PeerId, StreamMuxerBox);
    type Error = io::Error;
    type ListenerUpgrade = <Connections as Transport>::ListenerUpgrade;
    type Dial = <Connections as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        if !self.guard.allows(&address) {
            let why = format!("this node does not dial {address}: it was told by others");
            return Err(TransportError::Other(io::Error::other(why)));
        }
        self.inner.dial(address, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_wrote_passes_the_guard_and_what_others_told_does_not() {
        let written: Multiaddr = "/ip4/10.0.0.1/tcp/4801".parse().unwrap();
        let with_peer = written
            .clone()
            .with(libp2p::multiaddr::Protocol::P2p(PeerId::random()));
        let guard = Guard::new(Policy::GlobalOnly, &[with_peer]);
        assert!(guard.allows(&written));
        assert!(!guard.allows(&"/ip4/10.0.0.1/tcp/22".parse().unwrap()));
        guard.set_policy(Policy::Any);
        assert!(guard.allows(&"/ip4/10.0.0.1/tcp/22".parse().unwrap()));
    }
}
