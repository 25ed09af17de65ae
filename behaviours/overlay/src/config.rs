//! The constants of the protocol. Defaults are those the scenarios are measured with.

use std::time::Duration;

/// What one node's overlay machine may use. All bounds are per node unless it says per overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time between two ticks (gossip, probes, at most one move) of a member at rest.
    pub tick: Duration,
    /// The same while a member is new, over its bound or was just orphaned.
    pub tick_early: Duration,
    /// How many early ticks such a member makes.
    pub ticks_early: u8,
    /// Time between two beats on an edge.
    pub beat: Duration,
    /// The same during early ticks.
    pub beat_early: Duration,
    /// Silent for this many beats: the other end of the edge is gone.
    pub beats_missed_max: u32,
    /// Smallest and largest capacity of a view; in between it is `2 ceil(log2 members)`.
    pub view_min: usize,
    /// See `view_min`.
    pub view_max: usize,
    /// View entries not heard of for this many ticks at rest are dropped.
    pub view_age_ticks: u32,
    /// Unmeasured view entries that one tick may ask to be measured.
    pub probes_per_tick: usize,
    /// Measurements under way, above which a tick asks for no more.
    pub probes_open_max: usize,
    /// Candidates that one tick may ask for their present delay.
    pub asks_per_tick: u8,
    /// A measured round trip older than this is measured again before a move relies on it.
    pub rtt_age: Duration,
    /// Round trips remembered. Overflow: the oldest is forgotten.
    pub rtts_max: usize,
    /// Memberships. Overflow: `Join` is refused.
    pub overlays_max: usize,
    /// Peers held connected or being dialled. Overflow: the message is dropped, as on any network.
    pub holds_max: usize,
    /// How long a peer that is neither parent nor child is held after the last message to it.
    pub hold: Duration,
    /// Strangers remembered per overlay. Overflow: a random one is replaced.
    pub pool_max: usize,
    /// Claims in transit per overlay. Overflow: refused as busy.
    pub claims_max: usize,
    /// First and largest wait between two rounds of a search for a parent.
    pub search_wait_min: Duration,
    /// See `search_wait_min`.
    pub search_wait_max: Duration,
    /// How long a search waits for a measurement before it goes on without it.
    pub search_measure: Duration,
    /// A move must lower the cost below this share of the present edge, in thousandths: 0.995, so
    /// that noise does not move anybody.
    pub gain_milli: u32,
    /// Messages that one peer may send within one `tick`; more are ignored and told as a flood.
    pub messages_per_tick_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            tick_early: Duration::from_millis(500),
            ticks_early: 12,
            beat: Duration::from_secs(2),
            beat_early: Duration::from_millis(500),
            beats_missed_max: 3,
            view_min: 8,
            view_max: 48,
            view_age_ticks: 12,
            probes_per_tick: 2,
            probes_open_max: 8,
            asks_per_tick: 2,
            rtt_age: Duration::from_secs(600),
            rtts_max: 512,
            overlays_max: 64,
            holds_max: 1_024,
            hold: Duration::from_secs(15),
            pool_max: 64,
            claims_max: 64,
            search_wait_min: Duration::from_secs(1),
            search_wait_max: Duration::from_secs(60),
            search_measure: Duration::from_secs(2),
            gain_milli: 995,
            messages_per_tick_max: 500,
        }
    }
}
