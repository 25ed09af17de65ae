//! A token bucket: how often a peer may open a substream of one protocol.

use std::time::Duration;

use web_time::Instant;

/// Holds `burst` tokens; one comes back each `interval`.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u32,
    burst: u32,
    interval: Duration,
    /// When the tokens were last counted.
    counted: Instant,
}

impl Bucket {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        Self {
            tokens: burst,
            burst,
            interval,
            counted: Instant::now(),
        }
    }

    /// Inbound substreams of one protocol and connection. 8 at once, then one each 5 s: an honest
    /// peer reopens five times with a growing delay.
    pub(crate) fn of_inbound_opens() -> Self {
        Self::new(8, Duration::from_secs(5))
    }

    /// Takes a token, or tells that there is none.
    pub(crate) fn take(&mut self) -> bool {
        let passed = self.counted.elapsed();
        let back = passed.as_micros() / self.interval.as_micros().max(1);
        if let Ok(back) = u32::try_from(back.min(u128::from(self.burst)))
            && back > 0
        {
            self.tokens = self.tokens.saturating_add(back).min(self.burst);
            self.counted = Instant::now();
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back_one_an_interval_up_to_the_burst() {
        let mut bucket = Bucket::new(2, Duration::from_secs(5));
        assert!(bucket.take() && bucket.take());
        assert!(!bucket.take(), "the burst is spent");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(bucket.take());
        assert!(!bucket.take());
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(bucket.take() && bucket.take());
        assert!(!bucket.take(), "an hour brings back no more than the burst");
    }
}
