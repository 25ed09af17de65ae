//! The last events of every node, in one ring of bytes.
//!
//! Each event names the place of the one before it of the same node, so a node's history is read
//! backward, and writing goes through memory in order: with a ring a node, each event would touch
//! three places that no cache holds. The ring has room for so many events of every node on the
//! average; of a node that is quiet among busy ones fewer are left.

use opus_core::Time;

use super::Kind;

/// Bytes of an event in the ring, on the average: head, a small message.
const EVENT_BYTES: usize = 64;
/// Least and most bytes of the ring. Overflow: the oldest events go.
const BYTES: (usize, usize) = (4 << 20, 128 << 20);
/// Time, kind, peer, length, place of the event before.
const HEAD: usize = 8 + 1 + 4 + 4 + 8;
/// Bytes of one event's content. Overflow: cut.
const CONTENT_MAX: usize = 64 << 10;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct History {
    ring: Vec<u8>,
    /// The ring's length once it is full.
    size: usize,
    /// Bytes written so far, gaps included; modulo `size` the place of the next event.
    written: u64,
    /// By node: where its last event lies, plus one; 0 for none.
    last: Vec<u64>,
    most: usize,
}

/// One event as it is read back.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Time,
    pub(super) kind: u8,
    pub(super) peer: Option<u32>,
    pub(super) content: Vec<u8>,
}

impl History {
    /// Of `nodes` nodes `most` events each; 0 keeps nothing.
    pub(super) fn new(nodes: usize, most: usize) -> Self {
        let (least, largest) = BYTES;
        Self::with_size(
            nodes,
            most,
            (nodes * most * EVENT_BYTES).clamp(least, largest),
        )
    }

    fn with_size(nodes: usize, most: usize, size: usize) -> Self {
        Self {
            ring: Vec::new(),
            size,
            written: 0,
            last: vec![0; if most > 0 { nodes } else { 0 }],
            most,
        }
    }

    /// Whether anything is kept.
    pub(super) const fn keeps(&self) -> bool {
        self.most > 0
    }

    pub(super) fn push(
        &mut self,
        node: usize,
        (at, kind, peer): (Time, Kind, Option<u32>),
        content: &[u8],
    ) {
        if !self.keeps() {
            return;
        }
        let content = &content[..content.len().min(CONTENT_MAX)];
        let length = u32::try_from(content.len()).expect("content is cut");
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&at.0.to_le_bytes());
        head[8] = kind as u8;
        head[9..13].copy_from_slice(&peer.unwrap_or(u32::MAX).to_le_bytes());
        head[13..17].copy_from_slice(&length.to_le_bytes());
        head[17..].copy_from_slice(&self.last[node].to_le_bytes());
        let place = self.room(HEAD + content.len());
        self.last[node] = self.written + 1;
        self.write(place, &head);
        self.write(place + HEAD, content);
        self.written += (HEAD + content.len()) as u64;
    }

    /// What is kept of a node, oldest first.
    pub(super) fn events(&self, node: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let mut next = self.last.get(node).copied().unwrap_or(0);
        while events.len() < self.most
            && let Some(from) = next.checked_sub(1)
            && self.written - from <= self.size as u64
        {
            let place = self.place(from);
            let length = u32::from_le_bytes(self.word(place + 13)) as usize;
            let content = place + HEAD..place + HEAD + length;
            events.push(Event {
                at: Time(u64::from_le_bytes(self.word(place))),
                kind: self.ring[place + 8],
                peer: Some(u32::from_le_bytes(self.word(place + 9)))
                    .filter(|&peer| peer < u32::MAX),
                content: self.ring[content].to_vec(),
            });
            next = u64::from_le_bytes(self.word(place + 17));
        }
        events.reverse();
        events
    }

    /// The place of the next `bytes`, which lie in one piece: at the end a gap is left.
    fn room(&mut self, bytes: usize) -> usize {
        let place = self.place(self.written);
        if place + bytes <= self.size {
            return place;
        }
        self.ring.resize(self.size, 0);
        self.written += (self.size - place) as u64;
        0
    }

    fn place(&self, written: u64) -> usize {
        usize::try_from(written % self.size as u64).expect("below the size of the ring")
    }

    fn write(&mut self, place: usize, bytes: &[u8]) {
        if place == self.ring.len() {
            self.ring.extend_from_slice(bytes);
        } else {
            self.ring[place..place + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn word<const N: usize>(&self, place: usize) -> [u8; N] {
        std::array::from_fn(|byte| self.ring[place + byte])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(history: &mut History, node: usize, at: u64, content: &[u8]) {
        history.push(node, (Time(at), Kind::Received, Some(3)), content);
    }

    fn times(history: &History, node: usize) -> Vec<u64> {
        let events = history.events(node);
        events.iter().map(|event| event.at.0).collect()
    }

    #[test]
    fn nodes_do_not_mix_and_only_the_last_events_are_told() {
        let mut history = History::new(3, 4);
        for at in 0..30 {
            push(&mut history, usize::from(at % 3 == 0), at, &[7; 9]);
        }
        assert_eq!(times(&history, 0), [25, 26, 28, 29]);
        assert_eq!(times(&history, 1), [18, 21, 24, 27]);
        assert!(times(&history, 2).is_empty());
        let event = &history.events(0)[0];
        assert_eq!((event.peer, &event.content[..]), (Some(3), &[7; 9][..]));
    }

    #[test]
    fn the_oldest_go_when_the_ring_is_full_whatever_the_lengths() {
        let mut history = History::with_size(2, 50, 1_000);
        for at in 0..500_u64 {
            let length = usize::try_from(at * 37 % 101).unwrap();
            push(
                &mut history,
                0,
                at,
                &vec![u8::try_from(length).unwrap(); length],
            );
            let kept = history.events(0);
            let first = kept.first().map_or(0, |event| event.at.0);
            assert!(kept.len() >= 7 || first == 0, "{} at {at}", kept.len());
            let whole = kept.iter().zip(first..).all(|(event, expected)| {
                let length = usize::from(event.content.first().copied().unwrap_or(0));
                event.at.0 == expected && event.content.len() == length
            });
            assert!(whole && times(&history, 0).last() == Some(&at));
            assert!(history.ring.len() <= 1_000);
        }
    }

    #[test]
    fn a_huge_content_is_cut_and_none_is_kept_if_none_is_asked_for() {
        let mut history = History::new(1, 1);
        push(&mut history, 0, 1, &vec![1; 100_000]);
        assert_eq!(history.events(0)[0].content.len(), CONTENT_MAX);
        let mut history = History::new(1, 0);
        push(&mut history, 0, 1, &[1]);
        assert!(history.events(0).is_empty() && history.ring.is_empty());
    }
}
