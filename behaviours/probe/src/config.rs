//! What an operator or a test may set.

use std::time::Duration;

/// Rates, times and capacities of a [`crate::Probe`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Measurements started a second. 4: a stranger costs a dial (overlay.md, section 5).
    pub measurements_per_s: u32,
    /// Measurements that may start at once after a rest. 16: the landmarks of one overlay.
    pub measurements_burst: u32,
    /// Counted round trips a measurement; the first one after a connect comes on top. 3: the
    /// least of three is within a few per cent of the propagation delay on most paths.
    pub pings: u8,
    /// A ping unanswered for this long is lost.
    pub ping_timeout: Duration,
    /// A dial unanswered for this long failed.
    pub dial_timeout: Duration,
    /// Lost pings or connections that one measurement mends.
    pub retries: u8,
    /// An unreachable peer is not dialled again for this long, unless it connects.
    pub unreachable_for: Duration,
    /// Time between pings to a watched peer, of which a random tenth is added or taken.
    pub watch_interval: Duration,
    /// Unanswered intervals after which a watched peer is told to be silent.
    pub watch_silent_max: u8,
    /// Watched peers. Overflow: the command is refused.
    pub watched_max: usize,
    /// Measurements queued and under way. Overflow: the command is refused.
    pub jobs_max: usize,
    /// Requests that wait for one measurement. Overflow: the command is refused.
    pub waiters_max: usize,
    /// Paths remembered. Overflow: the one heard of longest ago is forgotten.
    pub paths_max: usize,
    /// Connected peers. Overflow: further ones are taken as not connected.
    pub links_max: usize,
    /// How long the path to a peer is remembered that is neither watched nor connected.
    pub path_idle: Duration,
    /// Pings of one peer answered a second.
    pub answers_per_s: u32,
    /// Pings of one peer answered at once after a rest.
    pub answers_burst: u32,
}

impl Config {
    /// Targets of one command. Overflow: the command is refused.
    pub const TARGETS_MAX: usize = 64;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            measurements_per_s: 4,
            measurements_burst: 16,
            pings: 3,
            ping_timeout: Duration::from_secs(2),
            dial_timeout: Duration::from_secs(15),
            retries: 1,
            unreachable_for: Duration::from_secs(10),
            watch_interval: Duration::from_secs(5),
            watch_silent_max: 3,
            watched_max: 512,
            jobs_max: 1_024,
            waiters_max: 64,
            paths_max: 4_096,
            links_max: 4_096,
            path_idle: Duration::from_secs(120),
            answers_per_s: 4,
            answers_burst: 32,
        }
    }
}
