//! Seeds: one number replays a run, and a new draw moves no other.

use std::{convert::Infallible, fmt};

use rand::{SeedableRng, TryRng};

/// The one generator of the project, by name, so that a stored seed means the same everywhere.
pub type Rng = rand::rngs::ChaCha12Rng;

/// A seed from which independent sub-seeds are derived by purpose and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of a run.
    pub fn new(seed: u64) -> Self {
        Self(*blake3::hash(&seed.to_le_bytes()).as_bytes())
    }

    /// A seed from 32 bytes of the system's randomness: for the node, not for tests.
    pub const fn from_entropy(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The sub-seed for `purpose` and `index`: hash(seed, purpose, index).
    #[must_use]
    pub fn derive(&self, purpose: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose.as_bytes());
        hasher.update(&[0]);
        hasher.update(&index.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// A generator at the start of this seed's sequence.
    pub fn rng(&self) -> Rng {
        Rng::from_seed(self.0)
    }

    /// The 32 bytes, for example as an ed25519 secret of a simulated node.
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// A generator that remembers how far it has come, and makes its numbers anew each time: a tenth of
/// a microsecond a draw, and 48 bytes instead of 320. For machines, which draw seldom.
///
/// It gives what the [`Rng`] would give that it was made of, and has no `Clone` either, so that
/// nobody draws the same numbers by mistake.
pub struct Draws {
    seed: [u8; 32],
    stream: u64,
    /// Words of 32 bits so far.
    words: u64,
}

impl Draws {
    fn draw<T>(&mut self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        let mut rng = Rng::from_seed(self.seed);
        rng.set_stream(self.stream);
        rng.set_word_pos(self.words.into());
        let drawn = draw(&mut rng);
        *self = Self::from(rng);
        drawn
    }

    /// Another that will give the same numbers: for tests that go on in more than one way.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub const fn twin(&self) -> Self {
        let Self {
            seed,
            stream,
            words,
        } = *self;
        Self {
            seed,
            stream,
            words,
        }
    }
}

impl From<Rng> for Draws {
    fn from(rng: Rng) -> Self {
        Self {
            seed: rng.get_seed(),
            stream: rng.get_stream(),
            words: u64::try_from(rng.get_word_pos()).expect("nobody draws for so long"),
        }
    }
}

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.draw(TryRng::try_next_u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.draw(TryRng::try_next_u64)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.draw(|rng| rng.try_fill_bytes(bytes))
    }
}

/// Says nothing of what will come.
impl fmt::Debug for Draws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draws")
    }
}

/// The seed a test runs with: `OPUS_SEED` if set, else `default`. Print it on failure.
#[cfg(any(test, feature = "testing"))]
pub fn test_seed(default: u64) -> u64 {
    std::env::var("OPUS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    proptest! {
        #[test]
        fn draws_are_those_of_the_generator_that_they_were_made_of(
            seed: u64,
            steps in proptest::collection::vec(0..100_usize, 0..50),
        ) {
            let begun = || {
                let mut rng = Seed::new(seed).rng();
                let _: u32 = rng.random();
                rng
            };
            let (mut rng, mut draws) = (begun(), Draws::from(begun()));
            for step in steps {
                match step {
                    0..30 => prop_assert_eq!(rng.random::<u32>(), draws.random::<u32>()),
                    30..60 => prop_assert_eq!(rng.random::<u64>(), draws.random::<u64>()),
                    _ => {
                        let (mut one, mut other) = (vec![0_u8; step], vec![0_u8; step]);
                        rng.fill(&mut one[..]);
                        draws.fill(&mut other[..]);
                        prop_assert_eq!(one, other);
                    }
                }
            }
        }
    }

    #[test]
    fn purposes_and_indices_are_independent() {
        let seed = Seed::new(7);
        let draw = |purpose, index| seed.derive(purpose, index).rng().random::<u64>();
        assert_eq!(draw("loss", 3), draw("loss", 3));
        assert_ne!(draw("loss", 3), draw("loss", 4));
        assert_ne!(draw("loss", 3), draw("delay", 3));
        assert_ne!(
            draw("loss", 3),
            Seed::new(8).derive("loss", 3).rng().random::<u64>()
        );
    }
}
