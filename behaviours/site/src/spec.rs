//! Applications: the spec that an owner signs.

/// `name.owner`: a name and its owner's ed25519 key in lower-case base32 without padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppRef {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub name: String,
    /// The owner's public key; `None` where the user named only the name.
    pub owner: Option<[u8; 32]>,
}

/// What an owner signed, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub name: String,
    /// An update is higher.
    pub version: u64,
}
