//! Numbered words between two ends, and how long each may have been under way.

use std::{collections::VecDeque, time::Duration};

use opus_core::{Time, packed};

/// Words whose time is remembered. Overflow: the oldest is forgotten.
const WORDS_MAX: usize = 6;

/// How long a word is taken to have been under way whose echo says nothing: longer than a dial with
/// all its tries.
const TRANSIT_UNKNOWN: Duration = Duration::from_secs(5);

/// How much of a dwell is not believed: clocks that run by so much more slowly than ours.
const DRIFT: u32 = 1_000;

/// The last word heard from the other end, and how long ago: with it the other end bounds how long
/// what it hears was under way, by its own clock alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// Number of the word; 0 if none was heard.
    pub number: u32,
    /// Since then.
    pub dwell: Duration,
}

packed!(Echo { number, dwell });

/// When our last words to one peer were said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// Of the last one.
    number: u32,
    /// The last ones, numbered without a gap.
    said: VecDeque<Time>,
}

impl Words {
    /// Numbers begin at one that an earlier sequence to the same peer is unlikely to have used of
    /// late.
    pub(crate) fn new(now: Time) -> Self {
        let millis = now.as_micros() / 1_000;
        Self {
            number: u32::try_from(millis & 0x3fff).unwrap_or_default(),
            said: VecDeque::new(),
        }
    }

    /// The number of a word said now.
    pub(crate) fn say(&mut self, now: Time) -> u32 {
        self.number = self.number.saturating_add(1);
        if self.said.len() >= WORDS_MAX {
            self.said.pop_front();
        }
        self.said.reserve_exact(1);
        self.said.push_back(now);
        self.number
    }

    /// At least as long as a message was under way that echoes one of our words: the whole round
    /// trip.
    pub(crate) fn round_trip(&self, now: Time, echo: Echo) -> Option<Duration> {
        let since = self.number.checked_sub(echo.number)?;
        let back = usize::try_from(since).ok()?.checked_add(1)?;
        let said = self.said.get(self.said.len().checked_sub(back)?)?;
        let dwell = echo.dwell.saturating_sub(echo.dwell / DRIFT);
        // Dwells are rounded up on the wire.
        let dwell = dwell.saturating_sub(Duration::from_millis(1));
        Some(now.since(*said).saturating_sub(dwell))
    }

    pub(crate) fn transit(&self, now: Time, echo: Echo) -> Duration {
        self.round_trip(now, echo).unwrap_or(TRANSIT_UNKNOWN)
    }
}
