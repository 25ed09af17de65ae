//! The envelope of a state file: magic, kind, version, length, checksum, payload.

/// The first bytes of every state file of this project.
const MAGIC: [u8; 4] = *b"OPUS";

/// Magic, kind, version, length, checksum.
const HEAD: usize = 4 + 4 + 2 + 4 + CHECKSUM;

/// Bytes of BLAKE3 that are kept: damage is noticed, forgery is not the question.
const CHECKSUM: usize = 16;

/// One kind of state file. Layout, little endian: `"OPUS"`, tag, version (u16), length of the
/// payload (u32), the first 16 bytes of BLAKE3 over all that and the payload, the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Name of the file.
    pub name: &'static str,
    /// Four letters that keep one kind from being read as another.
    pub tag: [u8; 4],
    /// A program reads its own version; a change of layout raises it.
    pub version: u16,
    /// Most bytes of the payload.
    pub bytes_max: usize,
}

/// Why a file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not a state file, or one of another kind.
    #[error("it is not a file of this kind")]
    Foreign,
    /// An older version that this program does not read.
    #[error("version {0} is not read any more")]
    Older(u16),
    /// A version that a newer program wrote.
    #[error("version {0} is newer than this program")]
    Newer(u16),
    /// Cut short, or something follows.
    #[error("its length does not fit")]
    Length,
    /// The content changed.
    #[error("its checksum does not fit")]
    Checksum,
}

impl Kind {
    /// Most bytes of a lawful file.
    pub(super) const fn file_bytes_max(&self) -> usize {
        HEAD + self.bytes_max
    }

    /// The file around a payload.
    ///
    /// # Panics
    /// If the payload is too long: a defect of the caller.
    pub(crate) fn seal(&self, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= self.bytes_max, "{} is too long", self.name);
        let length = u32::try_from(payload.len()).expect("a payload is below 4 GiB");
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.extend(MAGIC);
        bytes.extend(self.tag);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        let checksum = checksum(&bytes, payload);
        bytes.extend(checksum);
        bytes.extend(payload);
        bytes
    }

    /// The payload of a file. Errors: [`Damage`].
    pub(crate) fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
        let (head, payload) = bytes.split_at_checked(HEAD).ok_or(Damage::Length)?;
        let (said, found) = head.split_at(HEAD - CHECKSUM);
        if said[..4] != MAGIC || said[4..8] != self.tag {
            return Err(Damage::Foreign);
        }
        let version = u16::from_le_bytes([said[8], said[9]]);
        // A damaged version must not look like a newer program: the checksum covers it.
        if version == self.version || found == checksum(said, payload) {
            match version.cmp(&self.version) {
                std::cmp::Ordering::Less => return Err(Damage::Older(version)),
                std::cmp::Ordering::Greater => return Err(Damage::Newer(version)),
                std::cmp::Ordering::Equal => {}
            }
        }
        let length = u32::from_le_bytes([said[10], said[11], said[12], said[13]]);
        if usize::try_from(length) != Ok(payload.len()) || payload.len() > self.bytes_max {
            return Err(Damage::Length);
        }
        if found != checksum(said, payload) {
            return Err(Damage::Checksum);
        }
        Ok(payload)
    }
}

fn checksum(said: &[u8], payload: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(said);
    hasher.update(payload);
    let hash = hasher.finalize();
    *hash
        .as_bytes()
        .first_chunk()
        .expect("a hash is longer than its beginning")
}
