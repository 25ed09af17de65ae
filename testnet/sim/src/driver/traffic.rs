//! Messages and frames over a connection.
//!
//! A message is posted when a host says so. Frames are pulled from a host while the link takes
//! them: at most 64 KiB wait for a link's capacity or the end of a cut, so that a slow link presses
//! back on the host as a full socket would.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use opus_core::{Input, NodeId};
use opus_net::Fate;

use super::{Driver, Happening, Host, Packet, Transport};
use crate::{
    driver::id_of,
    host::Tally,
    trace::{Detail, Kind},
};

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
pub(super) type Held<M> = VecDeque<(u64, Packet<M>)>;

impl<H: Host> Driver<H> {
    /// Sends a message if the peer is connected; drops it otherwise, as the contract says.
    pub(super) fn post(&mut self, from: usize, to: usize, message: H::Message) {
        let Some(connection) = self.connection(from, to) else {
            return;
        };
        let bytes = Bytes::from(H::encode(&message));
        self.counts.messages += 1;
        self.counts.message_bytes += bytes.len() as u64;
        self.tally(from, to, H::tally(&message));
        self.carry(from, to, connection, Packet::Message { message, bytes });
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
        while let Some(link) = self.nodes[from].links.get(&to) {
            let connection = link.connection;
            if link.blocked {
                return;
            }
            let waiting = self.network.backlog_bytes(self.now, from, to);
            if self.is_cut(from, to) || waiting >= BUDGET as u64 {
                self.block(from, to, connection, waiting);
                return;
            }
            let now = self.now;
            let Some(host) = &mut self.nodes[from].host else {
                return;
            };
            let mut out = BytesMut::new();
            let more = host.fill(now, id_of(to), &mut out, BUDGET);
            if !out.is_empty() {
                self.counts.writes += 1;
                self.counts.frame_bytes += out.len() as u64;
                self.carry(from, to, connection, Packet::Frames(out.freeze()));
            }
            if !more {
                return;
            }
        }
    }

    /// No more frames until the capacity is free; or until the cut is repaired, which pumps anew.
    fn block(&mut self, from: usize, to: usize, connection: u64, waiting: u64) {
        if let Some(link) = self.link_mut(from, to, connection) {
            link.blocked = true;
        }
        if let Some(bytes_per_s) = self
            .network
            .conditions()
            .bytes_per_s
            .filter(|_| waiting > 0)
        {
            let us = waiting.saturating_mul(500_000) / bytes_per_s;
            let at = self.now + Duration::from_micros(us.max(1));
            self.schedule(
                at,
                Happening::Writable {
                    from,
                    to,
                    connection,
                },
            );
        }
    }

    fn carry(&mut self, from: usize, to: usize, connection: u64, packet: Packet<H::Message>) {
        let (bytes, alone) = match &packet {
            Packet::Message { bytes, .. } => (bytes.len(), true),
            Packet::Frames(bytes) => (bytes.len(), false),
        };
        let bytes = bytes + OVERHEAD_BYTES;
        let datagram = alone && self.options.transport == Transport::Datagrams;
        let fate = if datagram {
            self.network.send(self.now, from, to, bytes)
        } else {
            self.network.send_in_order(self.now, from, to, bytes)
        };
        match fate {
            Fate::Lost => {}
            Fate::Held => {
                let held = self.held.entry((from, to)).or_default();
                if held.len() < HELD_MAX {
                    held.push_back((connection, packet));
                }
            }
            Fate::Deliver(at) => {
                let packet = Box::new(packet);
                self.schedule(
                    at,
                    Happening::Arrival {
                        from,
                        to,
                        connection,
                        packet,
                    },
                );
            }
            Fate::Twice(first, second) => {
                for (at, packet) in [(first, packet.clone()), (second, packet)] {
                    let packet = Box::new(packet);
                    self.schedule(
                        at,
                        Happening::Arrival {
                            from,
                            to,
                            connection,
                            packet,
                        },
                    );
                }
            }
        }
    }

    /// After a repair: what was held goes on, and frames are pulled again.
    pub(super) fn release_held(&mut self) {
        for ((from, to), held) in std::mem::take(&mut self.held) {
            for (connection, packet) in held {
                if self.connection(from, to) == Some(connection) {
                    self.carry(from, to, connection, packet);
                }
            }
        }
        let links: Vec<(usize, usize)> = (0..self.nodes.len())
            .flat_map(|node| self.nodes[node].links.keys().map(move |&peer| (node, peer)))
            .collect();
        for (from, to) in links {
            if let Some(link) = self.nodes[from]
                .links
                .get_mut(&to)
                .filter(|link| link.blocked)
            {
                link.blocked = false;
                self.pump(from, to);
                self.settle(from);
            }
        }
    }

    pub(super) fn on_arrival(
        &mut self,
        from: usize,
        to: usize,
        connection: u64,
        packet: Packet<H::Message>,
    ) {
        if self.connection(to, from) != Some(connection) {
            return;
        }
        match packet {
            Packet::Message { message, bytes } => {
                let detail = Detail::Message(bytes.clone());
                self.note(to, Kind::Received, Some(from), &bytes, detail);
                let message = if self.options.encode {
                    self.read(from, &bytes)
                } else {
                    Some(message)
                };
                if let Some(message) = message {
                    let from = id_of(from);
                    self.input(to, Input::Received { from, message });
                }
            }
            Packet::Frames(bytes) => {
                self.note(
                    to,
                    Kind::Frames,
                    Some(from),
                    &bytes,
                    Detail::Frames(bytes.len()),
                );
                self.read_frames(to, id_of(from), bytes);
                self.settle(to);
            }
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
                if H::encode(&message) != bytes {
                    self.defect(from, sentence, format!("{message:?}"));
                }
                Some(message)
            }
            Err(error) => {
                self.counts.malformed += 1;
                self.defect(from, sentence, error.to_string());
                None
            }
        }
    }

    fn read_frames(&mut self, to: usize, from: NodeId, mut bytes: Bytes) {
        let now = self.now;
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
