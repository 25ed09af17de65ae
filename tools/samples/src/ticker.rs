//! The ticker: a market that walks by chance, and what its followers make of it.
//!
//! The source sends a tick a frame. A follower checks what the complete class promises (ipc.md,
//! Delivery): each tick sent while it was joined, once, in order. A tick carries its own number,
//! so that the check does not rely on the node's sequences.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use opus_ipc::{
    client::{Attachment, CallError, Client},
    message::{AppAttach, As, Frame},
};
use opus_site::spec::{Spec, SpecError};
use rand::{Rng, RngExt};

/// The application's spec, as an owner would sign it.
pub const APP_TOML: &str = include_str!("../ticker/app.toml");

/// Traded names.
const SYMBOLS: [&str; 4] = ["OPUS", "LAST", "DICA", "SPAN"];
/// First price of each, in cents.
const CENTS_AT_START: u32 = 10_000;

/// The application's spec. Errors: never for the file that is shipped.
pub fn spec() -> Result<Spec, SpecError> {
    Spec::from_toml(APP_TOML)
}

/// One price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Counts from 0.
    pub number: u64,
    /// Index of the traded name.
    pub symbol: u8,
    /// Price.
    pub cents: u32,
}

impl Tick {
    /// Bytes of one tick.
    pub const BYTES: usize = 13;

    /// The traded name.
    pub fn name(&self) -> &'static str {
        SYMBOLS[usize::from(self.symbol) % SYMBOLS.len()]
    }

    /// As a payload: number, symbol, cents, little endian.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        bytes.put_u64_le(self.number);
        bytes.put_u8(self.symbol);
        bytes.put_u32_le(self.cents);
        bytes.freeze()
    }

    /// Of a payload; `None` for anything else than a tick.
    pub fn decode(mut payload: &[u8]) -> Option<Self> {
        (payload.len() == Self::BYTES).then(|| Self {
            number: payload.get_u64_le(),
            symbol: payload.get_u8(),
            cents: payload.get_u32_le(),
        })
    }
}

/// Prices that walk by chance: one name moves a tick by at most 1 %.
#[derive(Debug)]
pub struct Market<R> {
    rng: R,
    number: u64,
    cents: [u32; SYMBOLS.len()],
}

impl<R: Rng> Market<R> {
    /// All names at their first price.
    pub fn new(rng: R) -> Self {
        Self {
            rng,
            number: 0,
            cents: [CENTS_AT_START; SYMBOLS.len()],
        }
    }

    /// The next tick.
    pub fn tick(&mut self) -> Tick {
        let at = self.rng.random_range(0..SYMBOLS.len());
        let step = self.cents[at] / 100 + 1;
        let up = self.rng.random_range(0..=2 * step);
        self.cents[at] = (self.cents[at] + up).saturating_sub(step).max(1);
        let symbol = u8::try_from(at).expect("there are four names");
        let tick = Tick {
            number: self.number,
            symbol,
            cents: self.cents[at],
        };
        self.number += 1;
        tick
    }
}

/// Attaches to the ticker in a role.
pub async fn attach(client: &Client, app: &str, role: As) -> Result<Attachment, CallError> {
    let params = AppAttach {
        app: app.to_owned(),
        role,
        lease: None,
        ports: None,
        resume: None,
    };
    client.attach(params).await
}

/// Sends ticks, `interval` apart, until `stop` says so; the last one ends the stream. Returns how
/// many were sent, after every joined follower has acknowledged them.
pub async fn publish<R: Rng>(
    attachment: &Attachment,
    market: &mut Market<R>,
    interval: Duration,
    mut stop: impl FnMut(u64) -> bool,
) -> Result<u64, CallError> {
    let mut clock = tokio::time::interval(interval);
    loop {
        clock.tick().await;
        let tick = market.tick();
        let last = stop(tick.number);
        attachment.send(vec![tick.encode()], last).await?;
        if last {
            attachment.flush().await?;
            return Ok(tick.number + 1);
        }
    }
}

/// What one follower has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Number of the first tick.
    pub first: Option<u64>,
    /// Number of the newest tick.
    pub newest: Option<u64>,
    /// Ticks in all.
    pub ticks: u64,
    /// Ticks that were missing before a later one.
    pub missing: u64,
    /// Ticks that came again, or after a later one.
    pub duplicates: u64,
    /// Frames that were no ticks.
    pub strange: u64,
    /// Whether the last tick of the stream came.
    pub ended: bool,
}

impl Followed {
    /// Takes a frame into account; gives the tick in it.
    pub fn take(&mut self, frame: &Frame) -> Option<Tick> {
        let Some(tick) = Tick::decode(&frame.data) else {
            self.strange += 1;
            return None;
        };
        match self.newest {
            Some(newest) if tick.number <= newest => self.duplicates += 1,
            Some(newest) => self.missing += tick.number - newest - 1,
            None => self.first = Some(tick.number),
        }
        self.newest = self.newest.max(Some(tick.number));
        self.ticks += 1;
        self.ended |= frame.flags & Frame::LAST != 0;
        Some(tick)
    }

    /// Whether everything from the first tick on came once and in order, up to the last.
    pub fn is_whole(&self) -> bool {
        self.ended && self.missing == 0 && self.duplicates == 0 && self.strange == 0
    }
}

/// Follows the ticker until its last tick, or until the node ends the attachment.
pub async fn follow(
    attachment: &Attachment,
    mut on_tick: impl FnMut(Tick, &Followed),
) -> Result<Followed, CallError> {
    let mut followed = Followed::default();
    let mut frames = attachment.frames(Some(0), 256);
    while let Some(frame) = frames.next().await {
        if let Some(tick) = followed.take(&frame?) {
            on_tick(tick, &followed);
        }
        if followed.ended {
            break;
        }
    }
    Ok(followed)
}

#[cfg(test)]
mod tests {
    use opus_core::{NodeId, Seed};

    use super::*;

    fn frame(number: u64, flags: u32) -> Frame {
        let tick = Tick {
            number,
            symbol: 1,
            cents: 5,
        };
        Frame {
            src: NodeId([1; 32]),
            seq: number,
            flags,
            data: tick.encode(),
        }
    }

    #[test]
    fn the_shipped_spec_is_lawful_and_complete() {
        let spec = spec().unwrap();
        assert_eq!(spec.name, "ticker");
        assert!((spec.sla.reliability - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_tick_survives_the_round_trip_and_nothing_else_is_one() {
        let tick = Market::new(Seed::new(1).rng()).tick();
        assert_eq!(Tick::decode(&tick.encode()), Some(tick));
        assert_eq!(Tick::decode(b"price"), None);
    }

    #[test]
    fn gaps_and_repetitions_are_counted() {
        let mut followed = Followed::default();
        for (number, flags) in [(5, 0), (6, 0), (9, 0), (9, 0), (10, Frame::LAST)] {
            followed.take(&frame(number, flags));
        }
        assert_eq!(
            (followed.first, followed.missing, followed.duplicates),
            (Some(5), 2, 1)
        );
        assert!(followed.ended && !followed.is_whole());
    }

    #[test]
    fn equal_seeds_give_equal_markets_and_prices_stay_positive() {
        let walk = |seed| {
            let mut market = Market::new(Seed::new(seed).rng());
            (0..10_000).map(|_| market.tick()).collect::<Vec<_>>()
        };
        assert_eq!(walk(3), walk(3));
        assert_ne!(walk(3), walk(4));
        assert!(walk(3).iter().all(|tick| tick.cents > 0));
    }
}
