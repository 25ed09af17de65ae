//! Counters of a flow at this node, and the distribution of its latency.

use std::time::Duration;

/// What happened to one flow at this node since it was first seen. At a node with sinks,
/// `offered = on_time + late + lost`; at the source `offered` is what `send` took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// At the source: frames taken. Elsewhere: frames that were due to local sinks.
    pub offered: u64,
    /// Frames delivered within the class's promise, once however many sinks are here.
    pub on_time: u64,
    /// Frames that came after their deadline and were dropped.
    pub late: u64,
    /// Frames given up, or dropped by a full or expired queue of this node's sinks.
    pub lost: u64,
    /// At the source: frames not taken because the window was full.
    pub refused: u64,
    /// Copies that were here already.
    pub duplicates: u64,
    /// Payload bytes taken in: from the application at the source, from the parent elsewhere.
    pub bytes: u64,
    /// Copies written to neighbours, or queued for them (timed).
    pub copies: u64,
    /// Frames that filled a hole, received by a resend.
    pub repaired: u64,
    /// Frames written to neighbours a second time, at their request.
    pub resent: u64,
    /// Timed frames that a queue of this node dropped: expired or over its bound.
    pub dropped: u64,
    /// Frames with a tag that does not fit; never delivered.
    pub forged: u64,
    /// Frames held: ring, order buffer.
    pub held: usize,
    /// Bytes held.
    pub held_bytes: usize,
    /// The next sequence expected from the parent, or to be sent; 0 before the first frame.
    pub next: u64,
    /// Complete class: all sinks known here have everything up to this sequence.
    pub acked: u64,
    /// Complete class: all sinks of the overlay have everything up to this sequence.
    pub stable: u64,
    /// From the source's `send` to delivery here, by residence and link delays (no clock sync).
    pub latency: Latency,
}

/// A distribution of durations in 64 buckets, each 1.4 times as wide as the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    count: u64,
    sum_us: u64,
    max_us: u64,
    buckets: [u32; Self::BUCKETS],
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            count: 0,
            sum_us: 0,
            max_us: 0,
            buckets: [0; Self::BUCKETS],
        }
    }
}

impl Latency {
    /// 64: two buckets an octave reach 2^32 us, over an hour.
    const BUCKETS: usize = 64;

    /// Counts one delivery.
    pub(crate) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
        let bucket = &mut self.buckets[bucket_of(us)];
        *bucket = bucket.saturating_add(1);
    }

    /// Number of deliveries counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Arithmetic mean; `None` before the first delivery.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us
            .checked_div(self.count)
            .map(Duration::from_micros)
    }

    /// The largest.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max_us))
    }

    /// Upper edge of the bucket in which quantile `q` (0 to 1) lies: at most 1.5 times too high.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut seen = 0;
        for (bucket, &n) in self.buckets.iter().enumerate() {
            seen += u64::from(n);
            if n > 0 && seen as f64 >= q * self.count as f64 {
                return Some(Duration::from_micros(upper_edge(bucket).min(self.max_us)));
            }
        }
        self.max()
    }
}

/// Two buckets an octave: the octave of the number and its next bit.
fn bucket_of(us: u64) -> usize {
    let us = us.max(1);
    let octave = us.ilog2() as usize;
    let half = if octave == 0 {
        0
    } else {
        usize::from((us >> (octave - 1)) & 1 == 1)
    };
    (2 * octave + half).min(Latency::BUCKETS - 1)
}

fn upper_edge(bucket: usize) -> u64 {
    let low = 1_u64 << (bucket / 2);
    if bucket.is_multiple_of(2) {
        low + low / 2
    } else {
        2 * low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_half_too_high_and_never_too_low() {
        let mut latency = Latency::default();
        for us in 1..=10_000 {
            latency.record(Duration::from_micros(us));
        }
        for q in [0.1, 0.5, 0.9, 0.99] {
            let got = latency.quantile(q).unwrap().as_micros() as f64;
            let exact = q * 10_000.0;
            assert!(got >= exact && got <= 1.51 * exact, "{q}: {got}");
        }
        assert_eq!(latency.max(), Some(Duration::from_millis(10)));
        assert_eq!(latency.mean(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn nothing_counted_is_no_latency() {
        assert_eq!(Latency::default().quantile(0.5), None);
        assert_eq!(Latency::default().mean(), None);
    }
}
