//! Connection limits per address block, which libp2p does not have.
//!
//! Also the operator's lists: `deny` and, if it names anybody, `allow`, of peers and CIDR blocks.
//!
//! At most 4 connections of one address, 16 of one /24 or /56, and 10 new ones per second of one
//! block, so that one machine cannot fill the node's connection table. Denied before the Noise
//! handshake. Loopback and in-process addresses are exempt: they are one machine by nature, and
//! the operator's own. The members of this node's own cluster in the tree are near each other, so
//! often of one block, and all keep a connection to its agent: of their addresses only the four of
//! each are counted.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use opus_core::Time;
use opus_swarm::Clock;

use super::addr::{block_of, ip_of};
use crate::config::Rule;

/// The limits; defaults as in docs/operations.md.
#[derive(Clone, Copy, Debug)]
pub struct AddressLimits {
    /// Connections of one IP address.
    pub per_address: usize,
    /// Connections of one /24 (IPv4) or /56 (IPv6).
    pub per_block: usize,
    /// New connections of one block within a second.
    pub new_per_second: usize,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            per_address: 4,
            per_block: 16,
            new_per_second: 10,
        }
    }
}

/// The operator's lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Only these, if any are named.
    pub allow: Vec<Rule>,
    /// Never these.
    pub deny: Vec<Rule>,
}

impl Lists {
    /// Whether a peer at this address may be connected.
    pub fn admit(&self, peer: PeerId, address: &Multiaddr) -> bool {
        let named = |rules: &[Rule]| {
            rules
                .iter()
                .any(|rule| rule.matches(Some(peer), ip_of(address)))
        };
        !named(&self.deny) && (self.allow.is_empty() || named(&self.allow))
    }
}

/// Why a connection was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Too many connections of this address.
    #[error("too many connections from {0}")]
    Address(IpAddr),
    /// Too many connections of this block.
    #[error("too many connections from the address block of {0}")]
    Block(IpAddr),
    /// Too many new connections of this block within a second.
    #[error("connections from the address block of {0} come too fast")]
    Rate(IpAddr),
    /// On the operator's `deny` list, or not on the `allow` list.
    #[error("the operator's lists do not admit {0}")]
    Listed(PeerId),
}

/// Counts connections by address and block.
#[derive(Debug)]
pub struct Behaviour {
    clock: Clock,
    limits: AddressLimits,
    lists: Lists,
    /// Bounded by the swarm's limits on pending and established connections.
    connections: BTreeMap<ConnectionId, IpAddr>,
    recent: VecDeque<(Time, IpAddr)>,
    /// Addresses of the members of our cluster, at most [`EXPECTED_MAX`] members. Overflow: the
    /// further ones count as anybody.
    expected: BTreeMap<PeerId, Vec<IpAddr>>,
    denied: u64,
}

/// Members of a cluster at most, and as many who are about to go.
const EXPECTED_MAX: usize = 128;

/// Most remembered arrivals of the last second; beyond it every arrival counts as too fast.
const RECENT_MAX: usize = 4_096;

impl Behaviour {
    /// Nothing counted yet.
    pub fn new(limits: AddressLimits, lists: Lists, clock: Clock) -> Self {
        Self {
            clock,
            limits,
            lists,
            connections: BTreeMap::new(),
            recent: VecDeque::new(),
            expected: BTreeMap::new(),
            denied: 0,
        }
    }

    /// Connections denied so far.
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// A node is in our cluster and may be reached at, and come from, these addresses.
    pub fn expect(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let room = self.expected.len() < EXPECTED_MAX || self.expected.contains_key(&peer);
        let ips: Vec<IpAddr> = addresses.iter().filter_map(ip_of).collect();
        if room && !ips.is_empty() {
            self.expected.insert(peer, ips);
        }
    }

    /// A node is no longer in our cluster.
    pub fn forget(&mut self, peer: &PeerId) {
        self.expected.remove(peer);
    }

    fn is_expected(&self, ip: IpAddr) -> bool {
        self.expected.values().any(|ips| ips.contains(&ip))
    }

    fn admit(&mut self, connection: ConnectionId, remote: &Multiaddr) -> Result<(), Denied> {
        let Some(ip) = ip_of(remote).filter(|ip| !ip.is_loopback()) else {
            return Ok(());
        };
        let now = self.clock.now();
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now - *at >= Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        let verdict = self.judge(ip);
        if self.recent.len() < RECENT_MAX && !self.is_expected(ip) {
            self.recent.push_back((now, block_of(ip)));
        }
        match verdict {
            Ok(()) => {
                self.connections.insert(connection, ip);
            }
            Err(_) => self.denied += 1,
        }
        verdict
    }

    fn listed(&mut self, peer: PeerId, remote: &Multiaddr) -> Result<(), Denied> {
        if self.lists.admit(peer, remote) {
            return Ok(());
        }
        self.denied += 1;
        Err(Denied::Listed(peer))
    }

    fn judge(&self, ip: IpAddr) -> Result<(), Denied> {
        let block = block_of(ip);
        let expected = self.is_expected(ip);
        let recent = self
            .recent
            .iter()
            .filter(|(_, other)| *other == block)
            .count();
        let fast = recent >= self.limits.new_per_second && !expected;
        if fast || self.recent.len() >= RECENT_MAX {
            return Err(Denied::Rate(ip));
        }
        if self
            .connections
            .values()
            .filter(|other| **other == ip)
            .count()
            >= self.limits.per_address
        {
            return Err(Denied::Address(ip));
        }
        if expected {
            return Ok(());
        }
        let in_block = self
            .connections
            .values()
            .filter(|other| block_of(**other) == block && !self.is_expected(**other));
        if in_block.count() >= self.limits.per_block {
            return Err(Denied::Block(ip));
        }
        Ok(())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.admit(connection, remote)
            .map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.listed(peer, remote).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.listed(peer, remote).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum is open; what is not named here is no concern of this behaviour"
    )]
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
            }
            FromSwarm::ListenFailure(failed) => {
                self.connections.remove(&failed.connection_id);
            }
            _ => {}
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str) -> Multiaddr {
        format!("/ip4/{ip}/tcp/1").parse().unwrap()
    }

    fn admit(behaviour: &mut Behaviour, id: usize, ip: &str) -> Result<(), Denied> {
        behaviour.admit(ConnectionId::new_unchecked(id), &at(ip))
    }

    #[tokio::test(start_paused = true)]
    async fn the_fifth_connection_of_an_address_is_denied_and_a_closed_one_makes_room() {
        let mut behaviour =
            Behaviour::new(AddressLimits::default(), Lists::default(), Clock::new());
        for id in 0..4 {
            assert_eq!(admit(&mut behaviour, id, "203.0.113.9"), Ok(()));
        }
        let ip = "203.0.113.9".parse().unwrap();
        assert_eq!(
            admit(&mut behaviour, 4, "203.0.113.9"),
            Err(Denied::Address(ip))
        );
        behaviour
            .connections
            .remove(&ConnectionId::new_unchecked(0));
        assert_eq!(admit(&mut behaviour, 5, "203.0.113.9"), Ok(()));
        assert_eq!(behaviour.denied(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_is_limited_in_rate_and_in_number() {
        let mut behaviour =
            Behaviour::new(AddressLimits::default(), Lists::default(), Clock::new());
        for id in 0..10 {
            assert_eq!(
                admit(&mut behaviour, id, &format!("203.0.113.{id}")),
                Ok(())
            );
        }
        assert!(matches!(
            admit(&mut behaviour, 10, "203.0.113.99"),
            Err(Denied::Rate(_))
        ));
        tokio::time::advance(Duration::from_secs(2)).await;
        for id in 10..16 {
            assert_eq!(
                admit(&mut behaviour, id, &format!("203.0.113.{id}")),
                Ok(())
            );
        }
        assert!(matches!(
            admit(&mut behaviour, 16, "203.0.113.99"),
            Err(Denied::Block(_))
        ));
        assert_eq!(admit(&mut behaviour, 17, "203.0.114.1"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_cluster_may_come_from_one_block_and_strangers_only_as_far_as_ever() {
        let mut behaviour =
            Behaviour::new(AddressLimits::default(), Lists::default(), Clock::new());
        let members: Vec<PeerId> = (0..47).map(|_| PeerId::random()).collect();
        for (id, member) in members.iter().enumerate() {
            behaviour.expect(*member, &[at(&format!("203.0.113.{id}"))]);
            let came = admit(&mut behaviour, id, &format!("203.0.113.{id}"));
            assert_eq!(came, Ok(()), "member {id}");
        }
        for id in 47..50 {
            assert_eq!(admit(&mut behaviour, id, "203.0.113.0"), Ok(()), "{id}");
        }
        let ip = "203.0.113.0".parse().unwrap();
        let fifth = admit(&mut behaviour, 50, "203.0.113.0");
        assert_eq!(fifth, Err(Denied::Address(ip)));
        for id in 100..110 {
            assert_eq!(
                admit(&mut behaviour, id, &format!("203.0.113.{id}")),
                Ok(())
            );
        }
        let stranger = admit(&mut behaviour, 110, "203.0.113.110");
        assert!(matches!(stranger, Err(Denied::Rate(_))));
        behaviour.forget(&members[1]);
        let once = admit(&mut behaviour, 111, "203.0.113.1");
        assert!(matches!(once, Err(Denied::Rate(_))));
    }

    #[test]
    fn deny_wins_over_allow_and_an_allow_list_admits_nobody_else() {
        let (friend, foe) = (PeerId::random(), PeerId::random());
        let rule = |text: String| text.parse::<Rule>().unwrap();
        let lists = Lists {
            allow: vec![rule(friend.to_string()), rule("203.0.113.0/24".to_owned())],
            deny: vec![rule(foe.to_string())],
        };
        let near = "/ip4/203.0.113.9/tcp/1".parse().unwrap();
        let far = "/ip4/198.51.100.9/tcp/1".parse().unwrap();
        assert!(lists.admit(friend, &far) && lists.admit(PeerId::random(), &near));
        assert!(!lists.admit(foe, &near) && !lists.admit(PeerId::random(), &far));
    }

    #[tokio::test(start_paused = true)]
    async fn loopback_is_exempt() {
        let mut behaviour =
            Behaviour::new(AddressLimits::default(), Lists::default(), Clock::new());
        for id in 0..100 {
            assert_eq!(admit(&mut behaviour, id, "127.0.0.1"), Ok(()));
        }
    }
}
