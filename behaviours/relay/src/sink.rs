//! Local sinks: what was given out to each and not yet taken, and what waits behind it.

use std::collections::VecDeque;

use opus_core::Time;

use crate::{command::Delivery, config::Config, flow::FlowRef, flow::Outputs};

/// The client lost frames before this one.
pub(crate) const FLAG_LOST_HERE: u8 = 2;

/// A delivery given out and not yet taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) at: FlowRef,
    pub(crate) seq: u64,
    bytes: usize,
}

/// One local sink.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) att: u32,
    /// Flow 0 continues after this sequence.
    pub(crate) resume: Option<u64>,
    handed: VecDeque<Handed>,
    handed_bytes: usize,
    /// Timed class: what waits for room, at most `sink_bytes`. Overflow: the oldest is dropped and
    /// the next one carries flag 2.
    waiting: VecDeque<(FlowRef, Delivery)>,
    waiting_bytes: usize,
    lost: bool,
    progressed: Time,
}

impl Sink {
    pub(crate) fn new(now: Time, att: u32, resume: Option<u64>) -> Self {
        Self {
            att,
            resume,
            handed: VecDeque::new(),
            handed_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost: false,
            progressed: now,
        }
    }

    /// Whether one more frame may be given out.
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.handed.len() < config.hand_frames && self.handed_bytes < config.hand_bytes
    }

    /// Gives a frame out.
    pub(crate) fn hand(&mut self, now: Time, at: FlowRef, delivery: Delivery, out: &mut Outputs) {
        if self.handed.is_empty() {
            self.progressed = now;
        }
        let bytes = delivery.data.len();
        self.handed.push_back(Handed {
            at,
            seq: delivery.seq,
            bytes,
        });
        self.handed_bytes += bytes;
        out.deliveries.push_back(delivery);
    }

    /// Timed class: gives a frame out or keeps it. Returns how many had to go.
    pub(crate) fn offer(
        &mut self,
        now: Time,
        config: &Config,
        at: FlowRef,
        delivery: Delivery,
        out: &mut Outputs,
    ) -> u64 {
        let mut dropped = 0;
        self.waiting_bytes += delivery.data.len();
        self.waiting.push_back((at, delivery));
        self.refill(now, config, out);
        while self.waiting_bytes + self.handed_bytes > config.sink_bytes
            || self.waiting.len() > Self::WAITING_MAX
        {
            let Some((_, oldest)) = self.waiting.pop_front() else {
                break;
            };
            self.waiting_bytes -= oldest.data.len();
            self.lost = true;
            dropped += 1;
        }
        dropped
    }

    /// Empty frames count too: 65,536 of them at most.
    const WAITING_MAX: usize = 65_536;

    /// Gives out what waits as far as there is room.
    pub(crate) fn refill(&mut self, now: Time, config: &Config, out: &mut Outputs) {
        while self.has_room(config)
            && let Some((at, mut delivery)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= delivery.data.len();
            delivery.flags |= self.take_lost();
            self.hand(now, at, delivery, out);
        }
    }

    /// Frames before the next one are lost to it.
    pub(crate) fn note_lost(&mut self) {
        self.lost = true;
    }

    /// What the next frame says of those before it.
    pub(crate) fn take_lost(&mut self) -> u8 {
        if std::mem::take(&mut self.lost) {
            FLAG_LOST_HERE
        } else {
            0
        }
    }

    /// The application took one more frame.
    pub(crate) fn take(&mut self, now: Time) -> Option<Handed> {
        let handed = self.handed.pop_front()?;
        self.handed_bytes -= handed.bytes;
        self.progressed = now;
        Some(handed)
    }

    /// Whether it holds frames and took none for `slow`.
    pub(crate) fn is_slow(&self, now: Time, slow: std::time::Duration) -> bool {
        !self.handed.is_empty() && now - self.progressed > slow
    }

    /// Whether frames are given out and not taken.
    pub(crate) fn is_owing(&self) -> bool {
        !self.handed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opus_core::{NodeId, OverlayId};

    use super::*;
    use crate::command::FlowId;

    const AT: FlowRef = FlowRef {
        overlay: 0,
        stream: 0,
        flow: 0,
    };

    fn delivery(seq: u64) -> Delivery {
        Delivery {
            att: 1,
            flow: FlowId {
                overlay: OverlayId(1),
                source: NodeId::from_index(0),
                flow: 0,
            },
            seq,
            flags: 0,
            data: Bytes::from(vec![0; 100]),
        }
    }

    #[test]
    fn a_slow_client_loses_the_oldest_and_is_told_so_once() {
        let config = Config {
            hand_frames: 2,
            sink_bytes: 500,
            ..Config::default()
        };
        let mut out = Outputs::default();
        let mut sink = Sink::new(Time(0), 1, None);
        let dropped: u64 = (1..=8)
            .map(|seq| sink.offer(Time(0), &config, AT, delivery(seq), &mut out))
            .sum();
        assert_eq!(dropped, 3, "2 given out, 3 kept");
        while sink.take(Time(1)).is_some() {
            sink.refill(Time(1), &config, &mut out);
        }
        let got: Vec<_> = out.deliveries.iter().map(|d| (d.seq, d.flags)).collect();
        assert_eq!(got, [(1, 0), (2, 0), (6, 2), (7, 0), (8, 0)]);
    }

    #[test]
    fn a_sink_is_slow_only_while_it_holds_frames() {
        let mut out = Outputs::default();
        let slow = std::time::Duration::from_secs(30);
        let mut sink = Sink::new(Time(0), 1, None);
        assert!(!sink.is_slow(Time::from_secs(99), slow));
        sink.hand(Time::from_secs(99), AT, delivery(1), &mut out);
        assert!(!sink.is_slow(Time::from_secs(120), slow));
        assert!(sink.is_slow(Time::from_secs(130), slow));
        assert!(sink.take(Time::from_secs(130)).is_some());
        assert!(!sink.is_slow(Time::from_secs(999), slow));
    }
}
