//! What a link does to frames beside delaying them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A jitter above this is no jitter but another topology.
pub const JITTER_MAX: f64 = 10.0;

/// Conditions of a link, the same in a scenario file. The default is a perfect link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Each frame takes up to this fraction of the delay longer, uniformly: the delay of the
    /// topology is the floor. 0 to [`JITTER_MAX`].
    pub jitter: f64,
    /// Which frames are lost.
    pub loss: Loss,
    /// Probability that a frame arrives twice, each copy with a jitter of its own.
    pub duplicate: f64,
    /// Probability that a frame is held up by up to one more delay, so that later ones overtake it.
    pub reorder: f64,
    /// Capacity in bytes per second; none: a frame takes no time to send.
    pub bytes_per_s: Option<u64>,
    /// Bytes that may wait for the capacity. A frame beyond is lost, unless nothing waits; a
    /// stream's writer waits instead.
    pub queue_bytes: u64,
}

/// A model of loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// Nothing is lost.
    #[default]
    None,
    /// Each frame alone, with probability `rate`.
    Bernoulli {
        /// 0 to 1.
        rate: f64,
    },
    /// In bursts: a chain of two states, of which the bad one loses every frame.
    /// Source: Gilbert 1960, "Capacity of a burst-noise channel".
    Gilbert {
        /// Fraction of all frames that is lost in the long run, 0 to below 1.
        rate: f64,
        /// Mean length of a burst in frames, at least 1; also at least `rate / (1 - rate)`, for a
        /// good state lasts one frame or more.
        burst_frames: f64,
    },
}

/// A condition out of its range. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum BadConditions {
    /// A probability is not within 0 and 1.
    #[error("{name} {value} is no probability")]
    Probability {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Jitter is not within 0 and [`JITTER_MAX`].
    #[error("jitter {0} is not between 0 and {JITTER_MAX}")]
    Jitter(f64),
    /// Bursts are shorter than one frame, or too short for the rate.
    #[error("bursts of {burst_frames} frames cannot lose {rate} of all")]
    Burst {
        /// The rate asked for.
        rate: f64,
        /// The mean length asked for.
        burst_frames: f64,
    },
    /// Nothing passes.
    #[error("a capacity of 0 bytes per second carries nothing")]
    NoCapacity,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            jitter: 0.0,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            bytes_per_s: None,
            // A fifth of a second at 10 Mbit/s: what home routers are known to buffer.
            queue_bytes: 256 * 1024,
        }
    }
}

impl Conditions {
    /// These conditions, if each is within its range.
    pub fn checked(self) -> Result<Self, BadConditions> {
        let rate = match self.loss {
            Loss::None => 0.0,
            Loss::Bernoulli { rate } => rate,
            Loss::Gilbert { rate, burst_frames } => {
                // Written so that NaN fails.
                if !(burst_frames >= 1.0 && rate < 1.0 && burst_frames * (1.0 - rate) >= rate) {
                    return Err(BadConditions::Burst { rate, burst_frames });
                }
                rate
            }
        };
        for (name, value) in [
            ("loss", rate),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(BadConditions::Probability { name, value });
            }
        }
        if !(0.0..=JITTER_MAX).contains(&self.jitter) {
            return Err(BadConditions::Jitter(self.jitter));
        }
        if self.bytes_per_s == Some(0) {
            return Err(BadConditions::NoCapacity);
        }
        Ok(self)
    }

    /// Whether a frame needs neither a draw nor a queue: it arrives once, after the delay.
    pub(crate) fn is_perfect(&self) -> bool {
        let sum = self.jitter + self.duplicate + self.reorder;
        sum <= 0.0 && self.loss == Loss::None && self.bytes_per_s.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_out_of_range_are_refused() {
        let perfect = Conditions::default();
        assert_eq!(perfect.checked(), Ok(perfect));
        let bad = [
            Conditions {
                jitter: -0.1,
                ..perfect
            },
            Conditions {
                jitter: f64::NAN,
                ..perfect
            },
            Conditions {
                duplicate: 1.1,
                ..perfect
            },
            Conditions {
                reorder: f64::NAN,
                ..perfect
            },
            Conditions {
                bytes_per_s: Some(0),
                ..perfect
            },
            Conditions {
                loss: Loss::Bernoulli { rate: 2.0 },
                ..perfect
            },
            Conditions {
                loss: Loss::Gilbert {
                    rate: 0.1,
                    burst_frames: 0.5,
                },
                ..perfect
            },
            Conditions {
                loss: Loss::Gilbert {
                    rate: 0.9,
                    burst_frames: 5.0,
                },
                ..perfect
            },
            Conditions {
                loss: Loss::Gilbert {
                    rate: 0.1,
                    burst_frames: f64::NAN,
                },
                ..perfect
            },
            Conditions {
                loss: Loss::Gilbert {
                    rate: -0.1,
                    burst_frames: 2.0,
                },
                ..perfect
            },
        ];
        for conditions in bad {
            assert!(conditions.checked().is_err(), "{conditions:?}");
        }
    }

    #[test]
    fn only_the_default_needs_no_state() {
        let perfect = Conditions::default();
        assert!(perfect.is_perfect());
        assert!(
            !Conditions {
                jitter: 0.1,
                ..perfect
            }
            .is_perfect()
        );
        assert!(
            !Conditions {
                bytes_per_s: Some(1),
                ..perfect
            }
            .is_perfect()
        );
        assert!(
            !Conditions {
                loss: Loss::Bernoulli { rate: 0.0 },
                ..perfect
            }
            .is_perfect()
        );
    }
}
