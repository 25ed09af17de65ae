//! Messages and frames over a connection.
//!
//! A message is posted when a host says so. Frames are pulled from a host while the link takes
//! them: at most 64 KiB wait for a link's capacity or the end of a cut, so that a slow link presses
//! back on the host as a full socket would.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use opus_core::{Input, NodeId};
use opus_net::Fate;

use super::{
    Driver, Host, Transport,
    account::wire_bytes,
    happening::{Happening, Index},
    parcels::{Content, Parcel, Ticket},
};
use crate::{driver::id_of, host::Tally, trace::Kind};

/// Bytes asked of a host at a time, and what may wait for a link.
const BUDGET: usize = 64 << 10;
/// What a message costs beside its body: the header of a QUIC packet and of UDP over IPv4.
const OVERHEAD_BYTES: usize = 28;
/// Messages that wait for the end of a cut, of one direction. Overflow: the newest is dropped, as
/// from a full lane; frames are not pulled meanwhile.
const HELD_MAX: usize = 4_096;

/// Pings to one peer that follow each other within this time are one measurement: longer than a
/// lost ping's timeout and than the time between pings to a watched peer.
const PINGS_APART: Duration = Duration::from_secs(10);

/// What waits for the end of a cut, in order.
pub(super) type Held = VecDeque<(u32, Ticket)>;

impl<H: Host> Driver<H> {
    /// Sends a message if the peer is connected; drops it otherwise, as the contract says.
    pub(super) fn post(&mut self, from: usize, to: usize, mut message: H::Message) {
        let Some(connection) = self.connection(from, to) else {
            return;
        };
        self.tampered(from, &mut message);
        let mut bytes = self.parcels.scratch();
        H::encode_into(&message, &mut bytes);
        self.counts.messages += 1;
        self.counts.message_bytes += bytes.len() as u64;
        self.nodes[from].traffic.message_sent(bytes.len());
        self.tally(from, to, H::tally(&message));
        let content = if self.options.encode {
            Content::Encoded
        } else {
            Content::Message(message)
        };
        let parcel = self.parcels.put(Parcel { bytes, content });
        self.carry(from, to, connection, parcel);
    }

    fn tally(&mut self, from: usize, to: usize, tally: Tally) {
        let now = self.now;
        let node = &mut self.nodes[from];
        node.tallies.messages += 1;
        match tally {
            Tally::Ping => {
                let before = node.pinged.insert(to, now);
                if before.is_none_or(|before| now.since(before) > PINGS_APART) {
                    node.tallies.probes += 1;
                }
            }
            Tally::Overlay => node.tallies.overlay += 1,
            Tally::Other => {}
        }
    }

    /// Pulls frames of `from` for `to` while the link takes them.
    pub(super) fn pump(&mut self, from: usize, to: usize) {
        let now = self.local_time(from);
        while let Some(connection) = self.connection(from, to) {
            let link = self.nodes[from].links.get(to);
            if link.is_some_and(|link| link.blocked) {
                return;
            }
            let waiting = self.network.backlog_bytes(self.now, from, to);
            if self.is_cut(from, to) || waiting >= BUDGET as u64 {
                self.block(from, to, connection, waiting);
                return;
            }
            let Some(host) = &mut self.nodes[from].host else {
                return;
            };
            let mut out = BytesMut::new();
            let more = host.fill(now, id_of(to), &mut out, BUDGET);
            if !out.is_empty() {
                self.counts.writes += 1;
                self.counts.frame_bytes += out.len() as u64;
                self.nodes[from].traffic.frames_sent += wire_bytes(out.len());
                let parcel = self.parcels.put(Parcel {
                    bytes: Vec::new(),
                    content: Content::Frames(out.freeze()),
                });
                self.carry(from, to, connection, parcel);
            }
            if !more {
                return;
            }
        }
    }

    /// No more frames until the capacity is free; or until the cut is repaired, which pumps anew.
    fn block(&mut self, from: usize, to: usize, connection: u32, waiting: u64) {
        if let Some(link) = self.link_mut(from, to, connection) {
            link.blocked = true;
        }
        if let Some(bytes_per_s) = self
            .network
            .conditions_of(from, to)
            .bytes_per_s
            .filter(|_| waiting > 0)
        {
            let us = waiting.saturating_mul(500_000) / bytes_per_s;
            let at = self.now + Duration::from_micros(us.max(1));
            self.schedule(
                at,
                Happening::Writable {
                    from: Index::of(from),
                    to: Index::of(to),
                    connection,
                },
            );
        }
    }

    fn carry(&mut self, from: usize, to: usize, connection: u32, parcel: Ticket) {
        let Parcel { bytes, content } = self.parcels.get(parcel);
        let (bytes, alone) = match content {
            Content::Message(_) | Content::Encoded => (bytes.len(), true),
            Content::Frames(bytes) => (bytes.len(), false),
        };
        let bytes = bytes + OVERHEAD_BYTES;
        let datagram = alone && self.options.transport == Transport::Datagrams;
        let fate = if datagram {
            self.network.send(self.now, from, to, bytes)
        } else {
            self.network.send_in_order(self.now, from, to, bytes)
        };
        let arrival = |parcel| Happening::Arrival {
            from: Index::of(from),
            to: Index::of(to),
            connection,
            parcel,
        };
        match fate {
            Fate::Lost => self.parcels.discard(parcel),
            Fate::Held => {
                let held = self.held.entry((from, to)).or_default();
                if held.len() < HELD_MAX {
                    held.push_back((connection, parcel));
                } else {
                    self.counts.overflowed += 1;
                    self.parcels.discard(parcel);
                }
            }
            Fate::Deliver(at) => self.schedule(at, arrival(parcel)),
            Fate::Twice(first, second) => {
                let again = self.parcels.double(parcel);
                self.schedule(first, arrival(parcel));
                self.schedule(second, arrival(again));
            }
        }
    }

    /// What waited for the end of a cut is lost with its connection.
    pub(super) fn drop_held(&mut self, from: usize, to: usize) {
        for (_, parcel) in self.held.remove(&(from, to)).into_iter().flatten() {
            self.parcels.discard(parcel);
        }
    }

    /// After a repair: what was held goes on, and frames are pulled again.
    pub(super) fn release_held(&mut self) {
        for ((from, to), held) in std::mem::take(&mut self.held) {
            for (connection, parcel) in held {
                if self.connection(from, to) == Some(connection) {
                    self.carry(from, to, connection, parcel);
                } else {
                    self.parcels.discard(parcel);
                }
            }
        }
        for node in 0..self.nodes.len() {
            self.unblock(node);
        }
    }

    /// Pulls frames for all peers again for which they waited. A stalled node waits on.
    pub(super) fn unblock(&mut self, node: usize) {
        if self.nodes[node].stalled {
            return;
        }
        let links = self.nodes[node].links.iter();
        let blocked: Vec<(usize, u32)> = links
            .filter(|(.., link)| link.blocked)
            .map(|(peer, connection, _)| (peer, connection))
            .collect();
        for (peer, connection) in blocked {
            self.on_writable(node, peer, connection);
        }
    }

    pub(super) fn on_writable(&mut self, from: usize, to: usize, connection: u32) {
        if let Some(link) = self.link_mut(from, to, connection) {
            link.blocked = false;
            self.pump(from, to);
            self.settle(from);
        }
    }

    pub(super) fn on_arrival(&mut self, from: usize, to: usize, connection: u32, ticket: Ticket) {
        if self.connection(to, from) != Some(connection) {
            self.parcels.discard(ticket);
            return;
        }
        let Parcel { bytes, content } = self.parcels.take(ticket);
        let message = match content {
            Content::Frames(frames) => {
                self.parcels.free(ticket, bytes);
                self.nodes[to].traffic.frames_received += wire_bytes(frames.len());
                self.note(to, Kind::Frames, Some(from), &frames);
                self.read_frames(to, id_of(from), frames);
                self.settle(to);
                return;
            }
            Content::Message(message) => Some(message),
            Content::Encoded => None,
        };
        self.nodes[to].traffic.message_received(bytes.len());
        self.note(to, Kind::Received, Some(from), &bytes);
        let message = message.or_else(|| self.read(from, &bytes));
        self.parcels.free(ticket, bytes);
        if let Some(message) = message {
            let from = id_of(from);
            self.input(to, Input::Received { from, message });
        }
    }

    /// Honest nodes are refused by nobody, unless datagrams were lost: then the ends of an edge may
    /// disagree on it for longer than the frames' grace.
    fn on_refused(&mut self, to: usize, from: NodeId) {
        self.counts.refused += 1;
        if self.options.transport == Transport::Streams {
            let sender = self.index_of(from).unwrap_or(to);
            self.defect(
                sender,
                "a peer's frames are lawful",
                format!("refused by n{to}"),
            );
        }
    }

    /// Decodes what `from` sent. A receiver clamps only what no honest node says.
    fn read(&mut self, from: usize, bytes: &[u8]) -> Option<H::Message> {
        let sentence = "every message decodes to what was sent";
        match H::decode(bytes) {
            Ok(message) => {
                if H::encode(&message) != bytes && !self.tampers(from) {
                    self.defect(from, sentence, format!("{message:?}"));
                }
                Some(message)
            }
            Err(error) => {
                self.counts.malformed += 1;
                if !self.tampers(from) {
                    self.defect(from, sentence, error.to_string());
                }
                None
            }
        }
    }

    fn read_frames(&mut self, to: usize, from: NodeId, mut bytes: Bytes) {
        let now = self.local_time(to);
        while bytes.len() >= 4 {
            let length = bytes.get_u32_le() as usize;
            if length > bytes.len() {
                let sender = self.index_of(from).unwrap_or(to);
                self.defect(
                    sender,
                    "a write holds whole frames",
                    format!("{length} bytes"),
                );
                return;
            }
            let frame = bytes.split_to(length);
            let Some(host) = &mut self.nodes[to].host else {
                return;
            };
            if !host.received(now, from, frame) {
                self.on_refused(to, from);
                return;
            }
        }
    }
}
