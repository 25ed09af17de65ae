//! Seeds: one number replays a run, and a new draw moves no other.

use rand::SeedableRng;

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
    use rand::RngExt;

    use super::*;

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
