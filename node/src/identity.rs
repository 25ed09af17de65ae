//! The identity of a node, and the keys of owners: an ed25519 key alone in its file.
//!
//! The file is a state file (see [`crate::state`]) of mode 0600. It is made on the first start and
//! never replaced: a damaged one stops the node, because a new identity is a decision of its owner.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use libp2p::{PeerId, identity};
use opus_core::NodeId;
use rand::{TryRng, rngs::SysRng};

use crate::state::{Damage, Kind, sync_dir, write};

/// Name of the identity in the data directory.
pub const FILE: &str = "identity.key";

const KIND: Kind = Kind {
    name: FILE,
    tag: *b"KEY1",
    version: 1,
    bytes_max: 32,
};

/// Permission bits of everybody but the owner.
const MODE_OTHERS: u32 = 0o077;

/// An ed25519 key pair.
#[derive(Clone)]
pub struct Identity {
    secret: [u8; 32],
    public: [u8; 32],
}

/// Why there is no identity. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be opened, read or written.
    #[error("cannot {action} the key file {path}: {error}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("others may read the key file {path} (mode {mode:o}); run: chmod 600 {path}")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not a key.
    #[error(
        "the key file {path} is damaged: {damage}; restore it from a backup, or move it away \
             to begin with a new identity"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// There is a file already.
    #[error("{path} exists; a key is never overwritten")]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random numbers: {0}")]
    Randomness(String),
}

impl Identity {
    /// The identity in this file; made if there is none. Tells whether it was made.
    ///
    /// Errors: [`IdentityError`]; a node stops then.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), IdentityError> {
        match Self::load(path) {
            Ok(identity) => Ok((identity, false)),
            Err(IdentityError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Self::create(path).map(|identity| (identity, true))
            }
            Err(error) => Err(error),
        }
    }

    /// The identity in this file. Errors: [`IdentityError`].
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        let metadata = file.metadata().map_err(failed("look at", path))?;
        let mode = metadata.mode() & 0o7777;
        if mode & MODE_OTHERS != 0 {
            return Err(IdentityError::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Vec::new();
        let count = Read::by_ref(&mut file).take(1_024).read_to_end(&mut bytes);
        count.map_err(failed("read", path))?;
        let damaged = |damage| IdentityError::Damaged {
            path: path.to_owned(),
            damage,
        };
        let payload = KIND.open(&bytes).map_err(damaged)?;
        let secret = payload.try_into().map_err(|_| damaged(Damage::Length))?;
        Ok(Self::from_secret(secret))
    }

    /// Draws a key and writes it to a new file. Errors: [`IdentityError`].
    pub fn create(path: &Path) -> Result<Self, IdentityError> {
        let mut secret = [0; 32];
        let drawn = SysRng.try_fill_bytes(&mut secret);
        drawn.map_err(|error| IdentityError::Randomness(error.to_string()))?;
        let identity = Self::from_secret(secret);
        identity.write_new(path)?;
        Ok(identity)
    }

    /// The key pair of a secret.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let pair = identity::ed25519::SecretKey::try_from_bytes(secret);
        let pair = identity::ed25519::Keypair::from(pair.expect("any 32 bytes are a secret"));
        let public = pair.public().to_bytes();
        Self { secret, public }
    }

    /// The node that this identity is.
    pub fn node(&self) -> NodeId {
        NodeId(self.public)
    }

    /// The same node in libp2p.
    pub fn peer(&self) -> PeerId {
        self.keypair().public().to_peer_id()
    }

    /// The key pair for libp2p.
    pub fn keypair(&self) -> identity::Keypair {
        identity::Keypair::ed25519_from_bytes(self.secret).expect("any 32 bytes are a secret")
    }

    /// The secret, for signing specs offline.
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Writes beside the file first and links it there: a crash leaves no half key, and a file that
    /// exists is never replaced.
    fn write_new(&self, path: &Path) -> Result<(), IdentityError> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}.new", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let written = write(&fresh, &KIND.seal(&self.secret));
        let linked = written.and_then(|()| fs::hard_link(&fresh, path));
        let removed = fs::remove_file(&fresh);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(IdentityError::Exists {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed("write", path)(error)),
        }
        removed.map_err(failed("tidy up beside", path))?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(directory.unwrap_or(Path::new("."))).map_err(failed("sync", path))
    }
}

impl std::fmt::Debug for Identity {
    /// The secret is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.peer())
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |error| IdentityError::File {
        action,
        path,
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn temp() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(FILE);
        (temp, path)
    }

    #[test]
    fn the_first_start_makes_it_and_later_ones_find_it() {
        let (_temp, path) = temp();
        let (first, made) = Identity::load_or_create(&path).unwrap();
        assert!(made);
        let (second, made) = Identity::load_or_create(&path).unwrap();
        assert!(!made);
        assert_eq!(first.peer(), second.peer());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_temp, path) = temp();
        let first = Identity::create(&path).unwrap();
        assert!(matches!(
            Identity::create(&path),
            Err(IdentityError::Exists { .. })
        ));
        assert_eq!(Identity::load(&path).unwrap().node(), first.node());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_temp, path) = temp();
        Identity::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Identity::load_or_create(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_damaged_key_stops_and_stays_where_it_is() {
        let (_temp, path) = temp();
        Identity::create(&path).unwrap();
        let good = fs::read(&path).unwrap();
        for end in 0..good.len() {
            fs::write(&path, &good[..end]).unwrap();
            let refused = Identity::load_or_create(&path).unwrap_err();
            assert!(
                matches!(refused, IdentityError::Damaged { .. }),
                "cut at {end}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), good[..good.len() - 1]);
    }

    #[test]
    fn node_and_peer_are_the_same_key() {
        let identity = Identity::from_secret([7; 32]);
        let public = identity.keypair().public().try_into_ed25519().unwrap();
        assert_eq!(identity.node(), NodeId(public.to_bytes()));
        assert_eq!(identity.keypair().public().to_peer_id(), identity.peer());
        assert!(!format!("{identity:?}").contains('7'.to_string().repeat(9).as_str()));
    }
}
