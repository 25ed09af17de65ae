//! Addresses: what a hint holds, and which addresses this node may dial or pass on.
//!
//! *No nuisance* (docs/operations.md): loopback, private, CGNAT, link-local and ULA addresses that
//! were learned from others are neither dialled nor passed on, but for the subnets the node itself
//! is in (profile `home`). What the operator wrote is always dialled. A node whose own listeners
//! are all on loopback speaks to loopback only.

use std::net::{IpAddr, Ipv4Addr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use opus_core::Hint;

/// Most addresses in one hint.
const HINT_ADDRESSES_MAX: usize = 2;

/// Writes up to two addresses, each with a length byte in front, without their `/p2p` part.
pub fn hint_of(addresses: &[Multiaddr]) -> Hint {
    let mut bytes = Vec::new();
    for address in addresses.iter().take(HINT_ADDRESSES_MAX) {
        let encoded = without_peer(address.clone()).to_vec();
        let fits = bytes.len() + 1 + encoded.len() <= Hint::BYTES_MAX;
        if let Some(length) = u8::try_from(encoded.len()).ok().filter(|_| fits) {
            bytes.push(length);
            bytes.extend_from_slice(&encoded);
        }
    }
    Hint(bytes.into())
}

/// Reads a hint; whatever is malformed in it is left out.
pub fn addresses_of(hint: &Hint) -> Vec<Multiaddr> {
    let mut rest = &*hint.0;
    let mut addresses = Vec::new();
    while let Some((&length, tail)) = rest.split_first() {
        let Some((encoded, tail)) = tail.split_at_checked(usize::from(length)) else {
            break;
        };
        addresses.extend(Multiaddr::try_from(encoded.to_vec()).ok());
        rest = tail;
        if addresses.len() == HINT_ADDRESSES_MAX {
            break;
        }
    }
    addresses
}

/// The address without its final `/p2p/ID`.
pub fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// The peer that an address names last, if any.
pub fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The IP address in front, if the address starts with one.
pub fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        _ => None,
    }
}

/// The block that one operator usually holds: the /24 or /56 of an address.
pub fn block_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[7..].fill(0);
            IpAddr::from(octets)
        }
    }
}

/// Whether the address goes through somebody else's circuit relay.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::P2pCircuit))
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This machine only.
    Loopback,
    /// A private, shared, link-local or unique-local network.
    Private,
    /// The world, or a name that only a resolver can judge.
    Global,
    /// Within this process.
    Memory,
}

/// How far `address` reaches; `None` for what nobody should dial (unspecified, multicast, empty).
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an address may begin with any of some forty protocols; only these can be dialled"
)]
pub fn reach_of(address: &Multiaddr) -> Option<Reach> {
    match address.iter().next()? {
        Protocol::Memory(_) => Some(Reach::Memory),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => {
            Some(Reach::Global)
        }
        Protocol::Ip4(_) | Protocol::Ip6(_) => ip_of(address).and_then(reach_of_ip),
        _ => None,
    }
}

fn reach_of_ip(ip: IpAddr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Reach::Loopback);
    }
    let private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    Some(if private {
        Reach::Private
    } else {
        Reach::Global
    })
}

/// 100.64.0.0/10, carrier-grade NAT (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && (64..128).contains(&second)
}

/// Which addresses that others told are good for dialling and for passing on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever is written: labs, tests, private networks.
    Any,
    /// Loopback only: every listener of this node is on loopback.
    LoopbackOnly,
    /// Global addresses, and private ones in the /24 or /64 of one of these own addresses.
    GlobalAndOwn(Vec<IpAddr>),
    /// Global addresses only.
    GlobalOnly,
}

impl Policy {
    /// Whether an address learned from a peer may be dialled or passed on.
    pub fn allows(&self, address: &Multiaddr) -> bool {
        let Some(reach) = reach_of(address) else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::LoopbackOnly => reach == Reach::Loopback,
            Self::GlobalOnly => reach == Reach::Global,
            Self::GlobalAndOwn(own) => match (reach, ip_of(address)) {
                (Reach::Global, _) => true,
                (Reach::Private, Some(ip)) => own.iter().any(|own| same_subnet(*own, ip)),
                (Reach::Private, None) | (Reach::Loopback | Reach::Memory, _) => false,
            },
        }
    }
}

fn same_subnet(own: IpAddr, other: IpAddr) -> bool {
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => own.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(own), IpAddr::V6(other)) => own.octets()[..8] == other.octets()[..8],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_hint_carries_two_addresses_and_not_the_peer() {
        let peer = PeerId::random();
        let quic = addr("/ip4/203.0.113.9/udp/4801/quic-v1");
        let tcp = addr("/ip6/2001:db8::1/tcp/4801");
        let with_peer = quic.clone().with(Protocol::P2p(peer));
        let hint = hint_of(&[with_peer, tcp.clone(), addr("/ip4/1.2.3.4/tcp/1")]);
        assert_eq!(addresses_of(&hint), [quic, tcp]);
    }

    #[test]
    fn a_malformed_hint_gives_what_is_good_in_it() {
        let good = hint_of(&[addr("/ip4/203.0.113.9/tcp/1")]);
        let hint = Hint([&*good.0, &[200, 1, 2]].concat().into());
        assert_eq!(addresses_of(&hint), [addr("/ip4/203.0.113.9/tcp/1")]);
        assert!(addresses_of(&Hint([3, 255, 255, 255].into())).is_empty());
    }

    #[test]
    fn a_server_never_dials_a_private_address_it_was_told() {
        for text in [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/192.168.1.1/tcp/1",
            "/ip4/172.16.9.9/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/memory/7",
        ] {
            assert!(!Policy::GlobalOnly.allows(&addr(text)), "{text}");
        }
        assert!(Policy::GlobalOnly.allows(&addr("/ip4/203.0.113.9/tcp/1")));
        assert!(Policy::GlobalOnly.allows(&addr("/dns/boot.example.org/tcp/1")));
    }

    #[test]
    fn a_home_node_dials_its_own_subnet_only() {
        let policy = Policy::GlobalAndOwn(vec!["192.168.1.20".parse().unwrap()]);
        assert!(policy.allows(&addr("/ip4/192.168.1.77/tcp/1")));
        assert!(!policy.allows(&addr("/ip4/192.168.2.77/tcp/1")));
        assert!(!policy.allows(&addr("/ip4/127.0.0.1/tcp/1")));
    }

    #[test]
    fn a_loopback_node_speaks_to_loopback_only() {
        assert!(Policy::LoopbackOnly.allows(&addr("/ip4/127.0.0.1/udp/1/quic-v1")));
        assert!(!Policy::LoopbackOnly.allows(&addr("/ip4/203.0.113.9/tcp/1")));
    }
}
