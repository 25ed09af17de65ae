//! Allow and deny lists: a peer, or a block of addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use libp2p::PeerId;

/// One entry of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One peer, wherever it is.
    Peer(PeerId),
    /// Every peer at an address of this block.
    Block(Block),
}

/// An address block in CIDR notation: `203.0.113.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    ip: IpAddr,
    bits: u8,
}

/// A text is neither a peer id nor an address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a peer id (12D3KooW..), an IP address or a block (203.0.113.0/24)")]
pub struct NotARule;

impl Rule {
    /// The peer, if the rule is about one.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Peer(peer) => Some(*peer),
            Self::Block(_) => None,
        }
    }

    /// Whether a connection with `peer` at `ip` falls under this rule.
    pub fn matches(&self, peer: Option<PeerId>, ip: Option<IpAddr>) -> bool {
        match self {
            Self::Peer(own) => peer == Some(*own),
            Self::Block(block) => ip.is_some_and(|ip| block.contains(ip)),
        }
    }
}

impl Block {
    /// Whether `ip` is in the block; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                Ipv4Addr::to_bits(own) & mask == Ipv4Addr::to_bits(ip) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                Ipv6Addr::to_bits(own) & mask == Ipv6Addr::to_bits(ip) & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Rule {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        if let Ok(peer) = text.parse() {
            return Ok(Self::Peer(peer));
        }
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u8>().map_err(|_| NotARule)?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| NotARule)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(NotARule);
        }
        Ok(Self::Block(Block { ip, bits }))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "{peer}"),
            Self::Block(Block { ip, bits }) => write!(f, "{ip}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_contains(block: &str, ip: &str) -> bool {
        let rule: Rule = block.parse().unwrap();
        rule.matches(None, Some(ip.parse().unwrap()))
    }

    #[test]
    fn a_block_contains_its_addresses_only() {
        assert!(block_contains("203.0.113.0/24", "203.0.113.255"));
        assert!(!block_contains("203.0.113.0/24", "203.0.114.0"));
        assert!(block_contains("203.0.113.7", "::ffff:203.0.113.7"));
        assert!(block_contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!block_contains("0.0.0.0/0", "2001:db8::1"));
        assert!(block_contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!block_contains("2001:db8::/32", "2001:db9::1"));
        assert!(block_contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn a_peer_rule_is_about_that_peer() {
        let peer = PeerId::random();
        let rule: Rule = peer.to_string().parse().unwrap();
        assert!(rule.matches(Some(peer), None));
        assert!(!rule.matches(Some(PeerId::random()), None));
        assert_eq!(rule.to_string(), peer.to_string());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "bob", "1.2.3.4/33", "::/129", "1.2.3/8", "1.2.3.4/x"] {
            assert_eq!(text.parse::<Rule>(), Err(NotARule), "{text}");
        }
    }
}
