//! Sizes, intervals and limits.

use std::time::Duration;

/// Settings of a machine. All nodes of a network should have equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Least size of a cluster that is not the root, called d: one below merges, and one of three
    /// times as many splits. Opus 3.3 leaves it open; at 16 a tree of 10,000 nodes has height 3.
    pub size_min: usize,
    /// Time between two beats of a member, and between two pulses to deputies.
    pub heartbeat: Duration,
    /// An agent pulses each leaf once in so many heartbeats.
    pub leaf_pulse: u32,
    /// Heartbeats that may be missed before an agent is suspected.
    pub missed_max: u32,
    /// Added to every wait for a heartbeat: a late timer is no death.
    pub grace: Duration,
    /// A timer that fires so much after it was due says that we are slow ourselves.
    pub late_max: Duration,
    /// Between two pings of a suspect, for who is healthy.
    pub ping_apart: Duration,
    /// Between the claims of two deputies.
    pub claim_apart: Duration,
    /// How long a claim waits for its parent before it is made to another one there.
    pub claim_wait: Duration,
    /// Claims without an answer after which a deputy acts without a grant.
    pub claims_max: u32,
    /// Silence after which a member's agent is replaced without a deputy.
    pub agent_silence: Duration,
    /// Silence after which a member looks for another cluster.
    pub orphan_silence: Duration,
    /// Silence after which a member is expelled, if pings fail too.
    pub member_silence: Duration,
    /// The same for an agent that took over and has not heard the member since: all beat at once
    /// when they hear of it.
    pub member_silence_new: Duration,
    /// Silence after which the seat of a cluster is given up: its agent and all deputies may have
    /// died, and what is left of it has to find out, to claim the post and to speak again.
    pub cluster_silence: Duration,
    /// How long before that the pings begin, by the agent and by another member.
    pub trial: Duration,
    /// How long a joiner waits for an answer.
    pub join_wait: Duration,
    /// A node that has come into the tree looks for a nearer cluster after so long, give or take a
    /// half, and again after as long; ...
    pub scout_soon: Duration,
    /// ... so often, and up to three times as often while looks still bring something; ...
    pub scouts_soon: u32,
    /// ... then as seldom as this.
    pub scout: Duration,
    /// How long a node seeks a tree before it is one of its own.
    pub seek_max: Duration,
    /// Children whose delay a joiner measures before it goes on to the nearest.
    pub measured_max: usize,
    /// How long a measurement may take.
    pub measure_wait: Duration,
    /// How long a split or merge may take before it is given up.
    pub change_wait: Duration,
    /// Pause after a split or merge that failed.
    pub change_pause: Duration,
    /// How long an agent holds two posts before it gives the lower one to a deputy.
    pub two_posts: Duration,
    /// How long a new deputy must have been up to go before the others.
    pub proven: Duration,
    /// Time between two tries of a root to find another one.
    pub hello: Duration,
    /// Time between two looks of a root into the directory, and between two records there, give or
    /// take a quarter. The first come soon, each after twice the pause before it, from `hello` on.
    pub publish: Duration,
    /// The directory is asked for the tree, and by a newcomer for its label, again after this at
    /// the earliest.
    pub want_apart: Duration,
    /// How long a key lives of which nobody has a value.
    pub key_unused: Duration,
    /// Messages that one peer may send a second, and at once: more are not read, and penalised. A
    /// lawful agent of an eager key that never rests says twenty.
    pub messages_per_s: u32,
    /// See `messages_per_s`.
    pub messages_burst: u32,
    /// How often the first deputy of a cluster of level 1 looks whether its agent lies, others
    /// far less often; nobody does if this is none.
    pub audit: Option<Duration>,
    /// Contacts from the command line and the directory. Overflow: the oldest goes.
    pub seeds_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            size_min: 16,
            heartbeat: Duration::from_secs(1),
            leaf_pulse: 5,
            missed_max: 2,
            grace: Duration::from_millis(250),
            late_max: Duration::from_millis(250),
            ping_apart: Duration::from_millis(300),
            claim_apart: Duration::from_millis(300),
            claim_wait: Duration::from_millis(400),
            claims_max: 10,
            agent_silence: Duration::from_millis(5_250),
            orphan_silence: Duration::from_secs(12),
            member_silence: Duration::from_millis(6_500),
            member_silence_new: Duration::from_secs(5),
            cluster_silence: Duration::from_secs(8),
            trial: Duration::from_millis(1_500),
            join_wait: Duration::from_secs(2),
            scout_soon: Duration::from_secs(3),
            scouts_soon: 5,
            scout: Duration::from_secs(600),
            seek_max: Duration::from_secs(5),
            measured_max: 6,
            measure_wait: Duration::from_secs(3),
            change_wait: Duration::from_secs(3),
            change_pause: Duration::from_secs(5),
            two_posts: Duration::from_secs(10),
            proven: Duration::from_secs(30),
            hello: Duration::from_secs(10),
            publish: Duration::from_secs(300),
            want_apart: Duration::from_secs(10),
            key_unused: Duration::from_secs(600),
            messages_per_s: 50,
            messages_burst: 250,
            audit: Some(Duration::from_secs(20)),
            seeds_max: 16,
        }
    }
}

impl Config {
    /// How long a member at `level` may be silent before it is expelled: one that was heard, and
    /// one that was not heard since we took over.
    pub(crate) const fn silences(&self, level: u8) -> (Duration, Duration) {
        if level > 1 {
            (self.cluster_silence, self.cluster_silence)
        } else {
            (self.member_silence, self.member_silence_new)
        }
    }

    /// Longest pause between two words of one who speaks each heartbeat, but for the words that may
    /// be lost.
    pub(crate) fn often(&self) -> Duration {
        self.heartbeat * self.missed_max + self.grace
    }

    /// Seats from which a cluster splits.
    pub const fn size_split(&self) -> usize {
        3 * self.size_min
    }
}
