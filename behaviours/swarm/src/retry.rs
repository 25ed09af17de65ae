//! How often an outbound substream is opened again, and after what delay.

use std::time::Duration;

use web_time::Instant;

/// Failures in a row before the peer counts as gone: five reopenings, after 0.1 s to 1.6 s.
const REOPENINGS_MAX: u32 = 5;
/// The delay before the first reopening; it doubles with each.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// Without a failure for this long, counting starts anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Counts failures of one substream.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failures: u32,
    last: Option<Instant>,
}

impl Retry {
    /// It failed to open, or broke. Gives the delay before the next attempt; `None` to give up.
    pub(crate) fn failed(&mut self) -> Option<Duration> {
        let long_ago = self.last.is_some_and(|at| at.elapsed() >= FORGIVEN_AFTER);
        self.last = Some(Instant::now());
        self.failures = if long_ago { 1 } else { self.failures + 1 };
        if self.failures > REOPENINGS_MAX {
            return None;
        }
        Some(DELAY_MIN * (1 << (self.failures - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_reopenings_with_a_doubling_delay_then_none() {
        let mut retry = Retry::default();
        let delays: Vec<_> = std::iter::from_fn(|| retry.failed()).collect();
        assert_eq!(
            delays,
            [100, 200, 400, 800, 1_600].map(Duration::from_millis)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_minute_forgives_earlier_failures() {
        let mut retry = Retry::default();
        while retry.failed().is_some() {}
        tokio::time::advance(FORGIVEN_AFTER).await;
        assert_eq!(retry.failed(), Some(DELAY_MIN));
    }
}
