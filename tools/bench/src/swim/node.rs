//! One node of foca: its name, the codec, and the numbers that it holds.

use std::{cell::RefCell, fmt, rc::Rc};

use foca::{BroadcastHandler, Config, Foca, Identity, Invalidates, PostcardCodec};
use opus_core::Rng;
use serde::{Deserialize, Serialize};

use crate::world::{World, node_of};

/// Name, version and number of a broadcast.
const BROADCAST_BYTES: usize = 32 + 4 + 8;

/// 32 bytes and a count that lets a node come back after it was called down, which the crate's
/// documentation recommends. One byte more on the wire as long as that is rare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Id {
    pub(super) key: [u8; 32],
    bump: u32,
}

impl Id {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self { key, bump: 0 }
    }
}

impl Identity for Id {
    type Addr = [u8; 32];

    fn renew(&self) -> Option<Self> {
        let bump = self.bump.checked_add(1)?;
        Some(Self { bump, ..*self })
    }

    fn addr(&self) -> [u8; 32] {
        self.key
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

/// The numbers of all nodes, as one of them has them.
#[derive(Debug)]
pub(super) struct Held {
    /// Version, above 0, and number.
    of: Vec<(u32, f64)>,
}

impl Held {
    /// 0 if nothing is known.
    pub(super) fn version(&self, node: usize) -> u32 {
        self.of[node].0
    }
}

/// What foca calls for each broadcast that arrives.
#[derive(Debug)]
pub(super) struct Handler {
    held: Rc<RefCell<Held>>,
}

/// Whose number it is, and which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    node: usize,
    version: u32,
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node && self.version >= other.version
    }
}

/// A broadcast of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misshapen;

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a broadcast is not a name, a version and a number")
    }
}

impl std::error::Error for Misshapen {}

impl BroadcastHandler<Id> for Handler {
    type Key = Key;
    type Error = Misshapen;

    fn receive_item(&mut self, data: &[u8], _: Option<&Id>) -> Result<Option<Key>, Misshapen> {
        let (key, version, number) = unpack(data).ok_or(Misshapen)?;
        let node = node_of(&key);
        let mut held = self.held.borrow_mut();
        let known = held.of.get_mut(node).ok_or(Misshapen)?;
        if version <= known.0 {
            return Ok(None);
        }
        *known = (version, number);
        Ok(Some(Key { node, version }))
    }
}

fn pack(key: &[u8; 32], version: u32, number: f64) -> [u8; BROADCAST_BYTES] {
    let mut data = [0; BROADCAST_BYTES];
    data[..32].copy_from_slice(key);
    data[32..36].copy_from_slice(&version.to_be_bytes());
    data[36..].copy_from_slice(&number.to_be_bytes());
    data
}

fn unpack(data: &[u8]) -> Option<([u8; 32], u32, f64)> {
    let (key, rest) = data.split_first_chunk::<32>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let number = <[u8; 8]>::try_from(rest).ok()?;
    let (version, number) = (u32::from_be_bytes(*version), f64::from_be_bytes(number));
    Some((*key, version, number))
}

/// See the module.
pub(super) struct Node {
    pub(super) foca: Foca<Id, PostcardCodec, Rng, Handler>,
    pub(super) held: Rc<RefCell<Held>>,
    key: [u8; 32],
    /// When it set each version, in whole seconds; the first has number 1.
    set_s: Vec<u64>,
}

impl Node {
    pub(super) fn new(world: &World, node: usize, config: Config) -> Self {
        let held = Held {
            of: vec![(0, 0.0); world.nodes],
        };
        let held = Rc::new(RefCell::new(held));
        let key = world.key_of(node);
        let handler = Handler {
            held: Rc::clone(&held),
        };
        let rng = world.seed.derive("foca", node as u64).rng();
        Self {
            foca: Foca::with_custom_broadcast(Id::new(key), config, rng, PostcardCodec, handler),
            held,
            key,
            set_s: Vec::new(),
        }
    }

    /// The node's number changes.
    pub(super) fn set(&mut self, now_s: u64, number: f64) {
        self.set_s.push(now_s);
        let version = u32::try_from(self.set_s.len()).unwrap_or(u32::MAX);
        let data = pack(&self.key, version, number);
        let added = self.foca.add_broadcast(&data);
        assert!(added.is_ok_and(|added| added), "a newer version is taken");
    }

    /// How long ago the version of this node's number was replaced that another holds; 0: never.
    pub(super) fn replaced_s(&self, version: u32, now_s: u64) -> u64 {
        let next = self.set_s.get(version as usize);
        next.map_or(0, |set_s| now_s.saturating_sub(*set_s))
    }

    /// The mean of the numbers at hand of the nodes that are listed.
    pub(super) fn mean(&self, listed: &[bool]) -> Option<f64> {
        let held = self.held.borrow();
        let known = held.of.iter().zip(listed);
        let known = known.filter(|((version, _), listed)| *version > 0 && **listed);
        let (count, sum) = known.fold((0_u32, 0.0), |(count, sum), ((_, number), _)| {
            (count + 1, sum + number)
        });
        (count > 0).then(|| sum / f64::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_is_44_bytes_and_comes_back() {
        let data = pack(&[7; 32], 9, 1.25);
        assert_eq!(data.len(), 44);
        assert_eq!(unpack(&data), Some(([7; 32], 9, 1.25)));
        assert_eq!(unpack(&data[1..]), None);
    }

    #[test]
    fn only_newer_numbers_are_passed_on_and_replace_older_ones() {
        let world = World::new(3, 1).unwrap();
        let config = Config::simple();
        let mut node = Node::new(&world, 0, config);
        let key = world.key_of(2);
        assert!(node.foca.add_broadcast(&pack(&key, 5, 2.0)).unwrap());
        assert!(!node.foca.add_broadcast(&pack(&key, 4, 9.0)).unwrap());
        assert!(node.foca.add_broadcast(&pack(&key, 6, 3.0)).unwrap());
        assert_eq!(node.foca.custom_broadcast_backlog(), 1);
        assert_eq!(node.mean(&[true, true, true]), Some(3.0));
        assert_eq!(node.mean(&[true, true, false]), None);
    }

    #[test]
    fn a_version_is_behind_since_the_next_was_set() {
        let world = World::new(2, 1).unwrap();
        let mut node = Node::new(&world, 0, Config::simple());
        node.set(10, 1.0);
        node.set(12, 2.0);
        assert_eq!(node.replaced_s(0, 13), 3, "not even the first is known");
        assert_eq!(node.replaced_s(1, 13), 1);
        assert_eq!(node.replaced_s(2, 13), 0);
    }
}
