//! The node's clock: microseconds since it was made, over a time source that tests can pause.

use opus_core::Time;
use web_time::Instant;

/// Gives [`Time`] to machines. Copy one clock to all of a node, so that they agree.
///
/// It reads `web_time::Instant`, as libp2p does: under tokio's paused clock both stand still.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at [`Time::ZERO`] now.
    #[expect(
        clippy::new_without_default,
        reason = "a clock starts when it is made, not by default"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Microseconds since [`Clock::new`]. Never decreases.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }
}
