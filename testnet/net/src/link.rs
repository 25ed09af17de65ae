//! One direction of one pair: a value that answers for each frame when it arrives.
//!
//! A frame first waits for the capacity, then is lost or not, then travels: delay, jitter, perhaps
//! held up, perhaps doubled. As a datagram ([`Link::send`]) it may be lost and overtaken. As part
//! of a stream ([`Link::send_in_order`]) it is only late: a loss costs one retransmission timeout,
//! and everything behind it waits.

use std::time::Duration;

use opus_core::{Seed, Time};

use crate::{
    conditions::{BadConditions, Conditions, Loss},
    draws::Draws,
};

/// What a lost segment waits beyond one round trip before it is sent again: the least timeout of
/// the TCP that most hosts run.
pub const RTO_MIN: Duration = Duration::from_millis(200);

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives once.
    Deliver(Time),
    /// It arrives twice; the first moment is the earlier one.
    Twice(Time, Time),
    /// Only from a network: the way is held. Keep the frame, in order, and send it again when the
    /// cut ends.
    Held,
}

/// A link with its delay and conditions; some 120 bytes, however many frames pass.
#[derive(Clone, Debug)]
pub struct Link {
    delay: Duration,
    conditions: Conditions,
    state: State,
}

impl Link {
    /// An idle link. `delay` is one way; `seed` should be derived for this direction of this pair.
    pub fn new(delay: Duration, conditions: Conditions, seed: Seed) -> Result<Self, BadConditions> {
        Ok(Self {
            delay,
            conditions: conditions.checked()?,
            state: State::new(key(seed)),
        })
    }

    /// Sends a datagram of `bytes`. `now` must not decrease.
    pub fn send(&mut self, now: Time, bytes: usize) -> Fate {
        self.state.send(now, bytes, self.delay, &self.conditions)
    }

    /// Sends `bytes` of a stream and returns when they arrive: after all that was sent before.
    ///
    /// Nothing is lost, also not for want of room: ask [`Link::backlog_bytes`] before and let the
    /// writer wait. `now` must not decrease.
    pub fn send_in_order(&mut self, now: Time, bytes: usize) -> Time {
        self.state
            .send_in_order(now, bytes, self.delay, &self.conditions)
    }

    /// Bytes that wait for the capacity.
    pub fn backlog_bytes(&self, now: Time) -> u64 {
        self.state.backlog_bytes(now, &self.conditions)
    }

    /// One-way delay without jitter.
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// The conditions of this link.
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }
}

/// The word that a link's draws begin with.
pub(crate) fn key(seed: Seed) -> u64 {
    let bytes = seed.bytes();
    u64::from_le_bytes(*bytes.first_chunk().expect("a seed has 32 bytes"))
}

/// What a used link remembers. Each frame has draws of its own, by its number: 40 bytes then
/// suffice where a generator kept per pair would take 320.
#[derive(Clone, Debug)]
pub(crate) struct State {
    key: u64,
    /// Frames sent so far.
    frames: u64,
    /// When the capacity is free again, nanoseconds: a microsecond is long for a small frame.
    free_at_ns: u64,
    /// Latest arrival of a stream's bytes so far.
    arrived_at: Time,
    /// The bad state of Gilbert's chain.
    in_burst: bool,
}

impl State {
    pub(crate) const fn new(key: u64) -> Self {
        Self {
            key,
            frames: 0,
            free_at_ns: 0,
            arrived_at: Time::ZERO,
            in_burst: false,
        }
    }

    pub(crate) fn send(
        &mut self,
        now: Time,
        bytes: usize,
        delay: Duration,
        conditions: &Conditions,
    ) -> Fate {
        let waiting = self.backlog_bytes(now, conditions);
        if waiting > 0 && waiting.saturating_add(bytes as u64) > conditions.queue_bytes {
            return Fate::Lost;
        }
        let mut draws = self.next_draws();
        let sent_at = self.serialise(now, bytes, conditions);
        if self.loses(&mut draws, conditions.loss) {
            return Fate::Lost;
        }
        let once = sent_at + travel(&mut draws, delay, conditions);
        if !draws.happens(conditions.duplicate) {
            return Fate::Deliver(once);
        }
        let again = sent_at + travel(&mut draws, delay, conditions);
        Fate::Twice(once.min(again), once.max(again))
    }

    pub(crate) fn send_in_order(
        &mut self,
        now: Time,
        bytes: usize,
        delay: Duration,
        conditions: &Conditions,
    ) -> Time {
        let mut draws = self.next_draws();
        let sent_at = self.serialise(now, bytes, conditions);
        let lost = self.loses(&mut draws, conditions.loss);
        let timeout = if lost {
            delay.saturating_mul(2) + RTO_MIN
        } else {
            Duration::ZERO
        };
        let arrives = sent_at + timeout + travel(&mut draws, delay, conditions);
        self.arrived_at = self.arrived_at.max(arrives);
        self.arrived_at
    }

    pub(crate) fn backlog_bytes(&self, now: Time, conditions: &Conditions) -> u64 {
        let Some(bytes_per_s) = conditions.bytes_per_s else {
            return 0;
        };
        let waiting_ns = self.free_at_ns.saturating_sub(nanos(now));
        let bytes = u128::from(waiting_ns) * u128::from(bytes_per_s) / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Whether forgetting this state changes no frame's time: nothing waits, nothing is ahead.
    pub(crate) fn is_quiet(&self, now: Time) -> bool {
        self.free_at_ns <= nanos(now) && self.arrived_at <= now
    }

    fn next_draws(&mut self) -> Draws {
        let draws = Draws::new(self.key, self.frames);
        self.frames += 1;
        draws
    }

    /// Takes the capacity for `bytes` and returns when the last of them has left.
    fn serialise(&mut self, now: Time, bytes: usize, conditions: &Conditions) -> Time {
        let Some(bytes_per_s) = conditions.bytes_per_s else {
            return now;
        };
        let takes_ns = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(bytes_per_s));
        let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX);
        self.free_at_ns = self.free_at_ns.max(nanos(now)).saturating_add(takes_ns);
        Time(self.free_at_ns.div_ceil(1_000))
    }

    fn loses(&mut self, draws: &mut Draws, loss: Loss) -> bool {
        match loss {
            Loss::None => false,
            Loss::Bernoulli { rate } => draws.happens(rate),
            Loss::Gilbert { rate, burst_frames } => {
                let leave = 1.0 / burst_frames;
                // In the long run as many bursts begin as end: enter * (1 - rate) = leave * rate.
                let enter = (leave * rate / (1.0 - rate)).min(1.0);
                let stays = draws.happens(if self.in_burst { 1.0 - leave } else { enter });
                self.in_burst = stays;
                stays
            }
        }
    }
}

/// Time on the wire: the delay, its jitter, and perhaps up to one more delay.
fn travel(draws: &mut Draws, delay: Duration, conditions: &Conditions) -> Duration {
    let jitter = conditions.jitter * draws.unit();
    let held_up = if draws.happens(conditions.reorder) {
        draws.unit()
    } else {
        0.0
    };
    delay + fraction(delay, jitter + held_up)
}

/// `times` (not negative) of `delay`, in whole microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "delays are far below 2^53 microseconds and the factor is not negative"
)]
fn fraction(delay: Duration, times: f64) -> Duration {
    Duration::from_micros((delay.as_micros() as f64 * times) as u64)
}

const fn nanos(at: Time) -> u64 {
    at.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests;
