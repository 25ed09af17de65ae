//! What each node sent and received, in bytes as dicast's scenarios count them.
//!
//! A message costs its encoded body and 28 bytes for each started 1,200: the headers of UDP over
//! IPv4 and of a QUIC packet. A dial costs 2,500 bytes at each of both sides, sent and received,
//! for the handshakes of Noise and of the protocols' names; one that fails costs the dialler what
//! it sent. A lost message was sent; a doubled one is received twice; what reaches no connection is
//! not received. Frames are counted by the same rule, apart.

use opus_core::Time;

/// Bytes of headers for each started [`PACKET_BYTES`].
pub const HEADER_BYTES: u64 = 28;
/// What one packet takes of a body: 1,280 is the least MTU of IPv6, less headers.
pub const PACKET_BYTES: u64 = 1_200;
/// What a dial costs each side; an estimate, about 5 kB in all.
pub const DIAL_BYTES: u64 = 2_500;

/// Totals of one node over all its lives. Only the difference of two snapshots means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of messages and dials that it sent.
    pub sent: u64,
    /// Bytes of messages and dials that it received.
    pub received: u64,
    /// Bytes of frames that it sent.
    pub frames_sent: u64,
    /// Bytes of frames that it received.
    pub frames_received: u64,
    /// Messages that it sent.
    pub messages_sent: u64,
    /// Messages that it received.
    pub messages_received: u64,
    /// Sides of dials that it paid for, failed ones too.
    pub dials: u64,
}

/// All nodes' totals at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Time,
    /// By node.
    pub nodes: Vec<Traffic>,
}

/// What passed in a window, of messages and dials, in bytes per second and node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Sent, the mean over the nodes asked for.
    pub sent_mean: f64,
    /// Received, the mean over the same.
    pub received_mean: f64,
    /// The worst of them, sent or received, whichever is more.
    pub worst: f64,
    /// Which one that is; none if none was asked for.
    pub worst_node: Option<usize>,
}

/// What a body of so many bytes costs on the wire.
pub const fn wire_bytes(body: usize) -> u64 {
    let body = body as u64;
    let packets = body.div_ceil(PACKET_BYTES);
    // An empty message is a packet too.
    let packets = if packets == 0 { 1 } else { packets };
    body + packets * HEADER_BYTES
}

impl Traffic {
    /// What was added since `earlier`, an earlier state of the same node.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            frames_sent: self.frames_sent - earlier.frames_sent,
            frames_received: self.frames_received - earlier.frames_received,
            messages_sent: self.messages_sent - earlier.messages_sent,
            messages_received: self.messages_received - earlier.messages_received,
            dials: self.dials - earlier.dials,
        }
    }

    pub(super) const fn message_sent(&mut self, body: usize) {
        self.sent += wire_bytes(body);
        self.messages_sent += 1;
    }

    pub(super) const fn message_received(&mut self, body: usize) {
        self.received += wire_bytes(body);
        self.messages_received += 1;
    }

    /// One side of a dial; `answered`: the other side said something.
    pub(super) const fn dialled(&mut self, answered: bool) {
        self.sent += DIAL_BYTES;
        if answered {
            self.received += DIAL_BYTES;
        }
        self.dials += 1;
    }
}

impl Snapshot {
    /// What the nodes of `of` used between `earlier` and this. All zero if no time passed or no
    /// node is asked for. Panics if a node is beyond either snapshot.
    pub fn usage(&self, earlier: &Self, of: impl IntoIterator<Item = usize>) -> Usage {
        let seconds = self.at.since(earlier.at).as_secs_f64();
        let mut usage = Usage::default();
        if seconds <= 0.0 {
            return usage;
        }
        let (mut count, mut sent, mut received, mut worst) = (0_u64, 0, 0, 0);
        for node in of {
            let passed = self.nodes[node].since(&earlier.nodes[node]);
            count += 1;
            sent += passed.sent;
            received += passed.received;
            let most = passed.sent.max(passed.received);
            if usage.worst_node.is_none() || most > worst {
                worst = most;
                usage.worst_node = Some(node);
            }
        }
        if count > 0 {
            usage.sent_mean = sent as f64 / count as f64 / seconds;
            usage.received_mean = received as f64 / count as f64 / seconds;
            usage.worst = worst as f64 / seconds;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_started_packet_has_headers() {
        let rows = [
            (0, 28),
            (1, 29),
            (1_200, 1_228),
            (1_201, 1_257),
            (8_192, 8_388),
        ];
        for (body, bytes) in rows {
            assert_eq!(wire_bytes(body), bytes, "{body}");
        }
    }

    #[test]
    fn usage_is_the_difference_per_second_and_names_the_worst() {
        let traffic = |sent, received| Traffic {
            sent,
            received,
            ..Traffic::default()
        };
        let snapshot = |at, nodes: [(u64, u64); 3]| Snapshot {
            at: Time::from_secs(at),
            nodes: nodes.map(|(sent, received)| traffic(sent, received)).into(),
        };
        let before = snapshot(10, [(5, 5), (1_000, 0), (0, 0)]);
        let after = snapshot(20, [(105, 5), (1_100, 600), (9_999, 9_999)]);
        let usage = after.usage(&before, [0, 1]);
        assert_eq!(
            usage,
            Usage {
                sent_mean: 10.0,
                received_mean: 30.0,
                worst: 60.0,
                worst_node: Some(1),
            }
        );
        assert_eq!(after.usage(&before, []), Usage::default());
        assert_eq!(after.usage(&after, [0]), Usage::default());
    }
}
