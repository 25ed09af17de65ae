//! What the queue holds, and the state of one node.

use std::collections::{BTreeMap, BTreeSet};

use opus_core::Time;

use super::{account::Traffic, clock::Clock, links::Links, parcels::Ticket, settings::Tallies};

/// A node's index, in half the bytes of a `usize`: the queue moves these a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index(u32);

impl Index {
    pub(super) fn of(node: usize) -> Self {
        Self(u32::try_from(node).expect("a topology is far below 2^32 nodes"))
    }

    pub(super) const fn get(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Timeout {
        node: Index,
    },
    Arrival {
        from: Index,
        to: Index,
        connection: u32,
        parcel: Ticket,
    },
    /// The answer to a dial, or its timeout.
    Dialled {
        from: Index,
        to: Index,
        incarnations: (u32, u32),
    },
    /// A dial whose failure is certain already.
    DialFailed {
        from: Index,
        to: Index,
        incarnation: u32,
    },
    /// `node` notices that the connection is gone.
    Closed {
        node: Index,
        peer: Index,
        connection: u32,
    },
    /// Nothing passed for a while, if the cut or the pause still stands.
    Silence {
        one: Index,
        other: Index,
        connection: u32,
    },
    /// Nobody wanted the connection for a while, if that is still so.
    Idle {
        one: Index,
        other: Index,
        connection: u32,
    },
    Redial {
        from: Index,
        to: Index,
        incarnation: u32,
    },
    /// The link's capacity is free again.
    Writable {
        from: Index,
        to: Index,
        connection: u32,
    },
    /// The end of a pause.
    Resume {
        node: Index,
        pause: u32,
    },
}

#[derive(Debug)]
pub(super) struct Node<H> {
    pub(super) host: Option<H>,
    /// The next timeout in the queue that counts; not later than the host's.
    pub(super) armed: Option<Time>,
    pub(super) links: Links,
    /// Peers that the host dialled and did not release.
    pub(super) wanted: BTreeSet<usize>,
    /// Bootstrap contacts that the node itself keeps connected.
    pub(super) kept: BTreeSet<usize>,
    /// Sends nothing when killed: the machine lost its power, not only its process.
    pub(super) silent: bool,
    /// Strangers cannot dial it; see `Driver::hide`.
    pub(super) hidden: bool,
    /// Handles nothing; see `Driver::pause`.
    pub(super) stalled: bool,
    pub(super) clock: Clock,
    pub(super) tallies: Tallies,
    pub(super) traffic: Traffic,
    /// When each peer was last pinged; bounded by the nodes.
    pub(super) pinged: BTreeMap<usize, Time>,
}

impl<H> Node<H> {
    pub(super) fn new() -> Self {
        Self {
            host: None,
            armed: None,
            links: Links::default(),
            wanted: BTreeSet::new(),
            kept: BTreeSet::new(),
            silent: false,
            hidden: false,
            stalled: false,
            clock: Clock::default(),
            tallies: Tallies::default(),
            traffic: Traffic::default(),
            pinged: BTreeMap::new(),
        }
    }
}
