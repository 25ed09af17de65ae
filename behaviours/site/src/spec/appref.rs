//! How an application is named: `name.owner`.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use opus_core::OverlayId;

/// Letters of an owner's key: 32 bytes at 5 bits a letter.
const OWNER_LETTERS: usize = 52;

/// `name.owner`: a name and its owner's ed25519 key in lower-case base32 without padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppRef {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub name: String,
    /// The owner's public key; `None` where the user named only the name.
    pub owner: Option<[u8; 32]>,
}

/// A text does not name an application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppRefError {
    /// The part before the dot.
    #[error("{0}")]
    Name(String),
    /// The part after the dot.
    #[error("the owner after the dot must be {OWNER_LETTERS} letters of a-z and 2-7")]
    Owner,
}

impl AppRef {
    /// The full reference.
    pub fn new(name: &str, owner: [u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            owner: Some(owner),
        }
    }

    /// Whether `self`, which may lack the owner, means `full`.
    pub fn means(&self, full: &Self) -> bool {
        self.name == full.name && (self.owner.is_none() || self.owner == full.owner)
    }
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(owner) = &self.owner {
            write!(f, ".{}", BASE32_NOPAD.encode(owner).to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl FromStr for AppRef {
    type Err = AppRefError;

    fn from_str(text: &str) -> Result<Self, AppRefError> {
        let (name, owner) = match text.split_once('.') {
            Some((name, owner)) => (name, Some(parse_owner(owner)?)),
            None => (text, None),
        };
        super::label("the name", name).map_err(|error| AppRefError::Name(error.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            owner,
        })
    }
}

/// The overlay of an application: the first 8 bytes of BLAKE3 over name, a zero byte and owner.
pub fn overlay_of(name: &str, owner: &[u8; 32]) -> OverlayId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(owner);
    let hash = hasher.finalize();
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    OverlayId(u64::from_le_bytes(*first))
}

fn parse_owner(text: &str) -> Result<[u8; 32], AppRefError> {
    let lawful = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
    if text.len() != OWNER_LETTERS || !text.bytes().all(lawful) {
        return Err(AppRefError::Owner);
    }
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(AppRefError::Owner)
}
