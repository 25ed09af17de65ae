//! What happened: a hash over all of it, the last of it by node, and on request all of it.
//!
//! The hash covers (time, node, kind, peer, bytes) of every input of every node, in order. Two runs
//! with equal seeds have equal hashes; a hash is never compared with a stored one.

use std::{collections::VecDeque, fmt, fmt::Write as _};

use bytes::Bytes;
use opus_core::Time;

/// Inputs of a node that a failure prints.
pub const RECENT_MAX: usize = 50;
/// Bytes of a recorded trace. Overflow: what follows is counted, not kept.
pub const RECORD_BYTES_MAX: usize = 512 << 20;
/// Characters of one line of a failure's history. Overflow: cut, with an ellipsis.
const LINE_CHARS_MAX: usize = 240;

/// What kind of thing happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It began to run.
    Started = 0,
    /// A program or the driver asked something.
    Command = 1,
    /// A timer fired.
    Timeout = 2,
    /// A connection is up.
    Connected = 3,
    /// A connection is gone.
    Disconnected = 4,
    /// A dial failed.
    DialFailed = 5,
    /// A message arrived.
    Received = 6,
    /// Frames arrived.
    Frames = 7,
    /// It was killed.
    Crashed = 8,
    /// It told its programs something.
    Told = 9,
}

impl Kind {
    /// The word in a failure's history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Command => "command",
            Self::Timeout => "timeout",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::DialFailed => "dial failed",
            Self::Received => "received",
            Self::Frames => "frames",
            Self::Crashed => "crashed",
            Self::Told => "told",
        }
    }
}

/// One thing that happened to a node.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Time,
    /// What.
    pub kind: Kind,
    /// With whom, by index.
    pub peer: Option<u32>,
    /// More about it.
    pub detail: Detail,
}

/// What belongs to a [`Record`].
#[derive(Clone, Debug)]
pub enum Detail {
    /// Nothing.
    None,
    /// An encoded message.
    Message(Bytes),
    /// So many bytes of frames.
    Frames(usize),
    /// Words.
    Text(String),
    /// The name of a timer.
    Reason(&'static str),
}

/// The trace of a run. See the module.
pub struct Trace {
    hasher: blake3::Hasher,
    /// By node, at most [`RECENT_MAX`] each. Overflow: the oldest goes.
    recent: Vec<VecDeque<Record>>,
    recorded: Option<Vec<u8>>,
    unrecorded: u64,
    events: u64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty trace of `nodes` nodes; with `record` every event is kept, see [`Self::recorded`].
    pub fn new(nodes: usize, record: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            recent: vec![VecDeque::with_capacity(RECENT_MAX); nodes],
            recorded: record.then(Vec::new),
            unrecorded: 0,
            events: 0,
        }
    }

    /// Notes an event. `bytes` go into the hash, `detail` into the node's history.
    pub fn note(&mut self, node: usize, bytes: &[u8], record: Record) {
        self.events += 1;
        let node_index = u32::try_from(node).expect("a topology is far below 2^32 nodes");
        let peer = record.peer.unwrap_or(u32::MAX);
        let mut head = [0; 25];
        head[0..8].copy_from_slice(&record.at.0.to_le_bytes());
        head[8..12].copy_from_slice(&node_index.to_le_bytes());
        head[12] = record.kind as u8;
        head[13..17].copy_from_slice(&peer.to_le_bytes());
        head[17..25].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(&head);
        self.hasher.update(bytes);
        self.keep(node_index, bytes, &record);
        let recent = &mut self.recent[node];
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(record);
    }

    /// Adds to a node's history something that is no input: it is not hashed, not counted.
    pub fn remark(&mut self, node: usize, record: Record) {
        let recent = &mut self.recent[node];
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(record);
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far: 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// The last events of a node, oldest first, one line each. `show` renders a message's bytes.
    pub fn recent(&self, node: usize, show: impl Fn(&[u8]) -> String) -> Vec<String> {
        self.recent[node]
            .iter()
            .map(|record| line(record, &show))
            .collect()
    }

    /// Everything: a sequence of CBOR arrays `[time in us, node, kind, peer or null, bytes]`.
    /// `None` if recording was not asked for.
    pub fn recorded(&self) -> Option<&[u8]> {
        self.recorded.as_deref()
    }

    /// Events that did not fit into [`RECORD_BYTES_MAX`].
    pub const fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    fn keep(&mut self, node: u32, bytes: &[u8], record: &Record) {
        let Some(kept) = &mut self.recorded else {
            return;
        };
        if kept.len() + bytes.len() > RECORD_BYTES_MAX {
            self.unrecorded += 1;
            return;
        }
        let row = (
            record.at,
            node,
            record.kind as u8,
            record.peer,
            serde_bytes::Bytes::new(bytes),
        );
        kept.extend_from_slice(&opus_core::codec::encode(&row));
    }
}

fn line(record: &Record, show: &impl Fn(&[u8]) -> String) -> String {
    let mut line = format!("{:?} {}", record.at, record.kind.name());
    let written = match record.peer {
        Some(peer) => write!(line, " n{peer}"),
        None => Ok(()),
    };
    let detail = match &record.detail {
        Detail::None => String::new(),
        Detail::Message(bytes) => show(bytes),
        Detail::Frames(bytes) => format!("{bytes} bytes"),
        Detail::Text(text) => text.clone(),
        Detail::Reason(reason) => (*reason).to_owned(),
    };
    let whole = written.and_then(|()| write!(line, " {detail}"));
    whole.expect("writing into a string cannot fail");
    if line.chars().count() > LINE_CHARS_MAX {
        line = line
            .chars()
            .take(LINE_CHARS_MAX)
            .chain("...".chars())
            .collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64) -> Record {
        Record {
            at: Time(at),
            kind: Kind::Received,
            peer: Some(3),
            detail: Detail::None,
        }
    }

    #[test]
    fn the_hash_changes_with_time_node_and_bytes() {
        let hash = |node, at, bytes: &[u8]| {
            let mut trace = Trace::new(2, false);
            trace.note(node, bytes, record(at));
            trace.hash()
        };
        let base = hash(0, 1, b"a");
        assert_eq!(base.len(), 64);
        assert_eq!(base, hash(0, 1, b"a"));
        for other in [
            hash(1, 1, b"a"),
            hash(0, 2, b"a"),
            hash(0, 1, b"b"),
            hash(0, 1, b""),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn only_the_last_fifty_events_of_a_node_are_shown() {
        let mut trace = Trace::new(2, true);
        for at in 0..60 {
            trace.note(1, &[7], record(at));
        }
        let lines = trace.recent(1, |_| String::new());
        assert_eq!(lines.len(), RECENT_MAX);
        assert!(
            lines[0].starts_with("0.000010s received n3"),
            "{}",
            lines[0]
        );
        assert!(trace.recent(0, |_| String::new()).is_empty());
        assert_eq!(trace.events(), 60);
        // [time, node, kind, peer, bytes] in 6 or 7 bytes each, the first with time 0.
        assert_eq!(trace.recorded().unwrap()[..7], [0x85, 0, 1, 6, 3, 0x41, 7]);
    }
}
