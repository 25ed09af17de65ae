//! What happened: a hash over all of it, the last of it by node, and on request all of it.
//!
//! The hash covers (time, node, kind, peer, bytes) of every input of every node, in order. Two runs
//! with equal seeds have equal hashes; a hash is never compared with a stored one.

use std::{fmt, fmt::Write as _};

use opus_core::Time;

mod history;

use self::history::{Event, History};

/// Inputs of a node that a failure prints.
pub const RECENT_MAX: usize = 50;
/// Bytes of a recorded trace. Overflow: what follows is counted, not kept.
pub const RECORD_BYTES_MAX: usize = 512 << 20;
/// Bytes that the hash takes at a time.
const BATCH: usize = 64 << 10;
/// Time, node, kind, peer and length before an event's bytes in the hash.
const HEAD: usize = 25;
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
    const ALL: [Self; 10] = [
        Self::Started,
        Self::Command,
        Self::Timeout,
        Self::Connected,
        Self::Disconnected,
        Self::DialFailed,
        Self::Received,
        Self::Frames,
        Self::Crashed,
        Self::Told,
    ];

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

/// The trace of a run. See the module.
pub struct Trace {
    hasher: blake3::Hasher,
    /// What the hash has not taken yet: it is several times as fast on large pieces.
    pending: Vec<u8>,
    recent: History,
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
    /// An empty trace of `nodes` nodes, with the last `recent` events of each, at most
    /// [`RECENT_MAX`]; with `record` every event is kept, see [`Self::recorded`].
    pub fn new(nodes: usize, recent: usize, record: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            pending: Vec::with_capacity(BATCH + HEAD),
            recent: History::new(nodes, recent.min(RECENT_MAX)),
            recorded: record.then(Vec::new),
            unrecorded: 0,
            events: 0,
        }
    }

    /// Notes an event: `bytes` are a message, frames or words, by its kind.
    pub fn note(&mut self, at: Time, node: usize, kind: Kind, peer: Option<u32>, bytes: &[u8]) {
        self.events += 1;
        let node_index = u32::try_from(node).expect("a topology is far below 2^32 nodes");
        let mut head = [0; HEAD];
        head[0..8].copy_from_slice(&at.0.to_le_bytes());
        head[8..12].copy_from_slice(&node_index.to_le_bytes());
        head[12] = kind as u8;
        head[13..17].copy_from_slice(&peer.unwrap_or(u32::MAX).to_le_bytes());
        head[17..25].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.pending.extend_from_slice(&head);
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= BATCH {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
        if self.recorded.is_some() {
            self.keep(at, node_index, kind, peer, bytes);
        }
        if kind == Kind::Frames {
            let length = (bytes.len() as u64).to_le_bytes();
            self.recent.push(node, (at, kind, peer), &length);
        } else {
            self.recent.push(node, (at, kind, peer), bytes);
        }
    }

    /// Adds words to a node's history that are no input: they are not hashed, not counted.
    pub fn remark(&mut self, at: Time, node: usize, text: &str) {
        let told = (at, Kind::Told, None);
        self.recent.push(node, told, text.as_bytes());
    }

    /// Whether [`Self::remark`] keeps anything.
    pub const fn remembers(&self) -> bool {
        self.recent.keeps()
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far: 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.pending);
        hasher.finalize().to_hex().to_string()
    }

    /// The last events of a node, oldest first, one line each. `show` renders a message's bytes.
    pub fn recent(&self, node: usize, show: impl Fn(&[u8]) -> String) -> Vec<String> {
        let events = self.recent.events(node);
        events.iter().map(|event| line(event, &show)).collect()
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

    fn keep(&mut self, at: Time, node: u32, kind: Kind, peer: Option<u32>, bytes: &[u8]) {
        let Some(kept) = &mut self.recorded else {
            return;
        };
        if kept.len() + bytes.len() > RECORD_BYTES_MAX {
            self.unrecorded += 1;
            return;
        }
        let bytes = serde_bytes::Bytes::new(bytes);
        kept.extend_from_slice(&opus_core::codec::encode(&(
            at, node, kind as u8, peer, bytes,
        )));
    }
}

fn line(event: &Event, show: &impl Fn(&[u8]) -> String) -> String {
    let kind = Kind::ALL[usize::from(event.kind)];
    let mut line = format!("{:?} {}", event.at, kind.name());
    let written = match event.peer {
        Some(peer) => write!(line, " n{peer}"),
        None => Ok(()),
    };
    let content = &event.content;
    let detail = match kind {
        Kind::Received => show(content),
        Kind::Frames => {
            let length = content
                .first_chunk()
                .map_or(0, |&le| u64::from_le_bytes(le));
            format!("{length} bytes")
        }
        Kind::Started
        | Kind::Command
        | Kind::Timeout
        | Kind::Connected
        | Kind::Disconnected
        | Kind::DialFailed
        | Kind::Crashed
        | Kind::Told => String::from_utf8_lossy(content).into_owned(),
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

    fn note(trace: &mut Trace, node: usize, at: u64, bytes: &[u8]) {
        trace.note(Time(at), node, Kind::Received, Some(3), bytes);
    }

    #[test]
    fn the_hash_changes_with_time_node_and_bytes() {
        let hash = |node, at, bytes: &[u8]| {
            let mut trace = Trace::new(2, 0, false);
            note(&mut trace, node, at, bytes);
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
    fn the_hash_is_that_of_all_bytes_whatever_the_batches() {
        let mut trace = Trace::new(2, 0, false);
        let mut all = Vec::new();
        for at in 0..3_000_u64 {
            let bytes = at.to_be_bytes().repeat(5);
            note(&mut trace, 1, at, &bytes);
            all.extend_from_slice(&at.to_le_bytes());
            all.extend_from_slice(&[1, 0, 0, 0, 6, 3, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0]);
            all.extend_from_slice(&bytes);
        }
        assert_eq!(trace.hash(), blake3::hash(&all).to_hex().to_string());
        assert!(trace.recent(1, |_| String::new()).is_empty());
    }

    #[test]
    fn a_kind_is_found_by_its_number() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn only_the_last_fifty_events_of_a_node_are_shown() {
        let mut trace = Trace::new(2, RECENT_MAX, true);
        for at in 0..60 {
            note(&mut trace, 1, at, &[7]);
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
