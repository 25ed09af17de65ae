//! State files: written so that a power cut leaves the old or the new content, and read so that a
//! damaged one is noticed, kept aside and reported.
//!
//! A file is an envelope around its payload, see [`Kind`]. Writing: temporary file, fsync, the old
//! file becomes the previous copy, rename, fsync of the directory. Reading: a damaged file moves to
//! `corrupt/` and the previous copy is taken, if there is one; a newer version is left alone.

mod boots;
mod envelope;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

pub use self::{
    boots::{BOOTS_MAX, Boots, next_boot},
    envelope::{Damage, Kind},
};

/// Names tried in `corrupt/` before the oldest damaged file is replaced.
const CORRUPT_MAX: u32 = 16;

/// A directory of state files, readable by its owner only.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded {
    /// There is no such file.
    Absent,
    /// The payload, whole.
    Good(Vec<u8>),
    /// The file was damaged and put aside; this is the payload of the previous copy, if any.
    Recovered {
        /// Of the previous copy.
        payload: Option<Vec<u8>>,
        /// What was wrong.
        damage: Damage,
        /// Where the damaged file lies.
        aside: PathBuf,
    },
    /// A newer program wrote it; it is left alone and must not be written.
    Newer(u16),
}

/// A state file could not be read or written. The file on disk is the old one, whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {error}")]
pub struct StateError {
    /// What was tried.
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// Why it failed.
    pub error: io::Error,
}

impl StateDir {
    /// Opens a directory, making it (mode 0700) with its parents if it is absent.
    ///
    /// Errors: [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("make", path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file of this kind; see [`Loaded`].
    ///
    /// Errors: [`StateError`] when the disk fails; damage is not an error.
    pub fn load(&self, kind: &Kind) -> Result<Loaded, StateError> {
        let path = self.path.join(kind.name);
        let Some(bytes) = read(&path, kind)? else {
            // A crash between the two renames leaves the previous copy only.
            let previous = self.previous(kind)?;
            return Ok(previous.map_or(Loaded::Absent, Loaded::Good));
        };
        match kind.open(&bytes) {
            Ok(payload) => Ok(Loaded::Good(payload.to_vec())),
            Err(Damage::Newer(version)) => Ok(Loaded::Newer(version)),
            Err(damage) => {
                let aside = self.put_aside(&path, kind)?;
                let payload = self.previous(kind)?;
                Ok(Loaded::Recovered {
                    payload,
                    damage,
                    aside,
                })
            }
        }
    }

    /// Replaces the file of this kind; the content from before becomes the previous copy.
    ///
    /// Errors: [`StateError`]; the content from before is in force.
    ///
    /// # Panics
    /// If the payload is longer than its kind allows: a defect of the caller.
    pub fn save(&self, kind: &Kind, payload: &[u8]) -> Result<(), StateError> {
        let bytes = kind.seal(payload);
        let path = self.path.join(kind.name);
        let fresh = self.path.join(format!("{}.new", kind.name));
        write(&fresh, &bytes).map_err(failed("write", &fresh))?;
        let previous = self.path.join(format!("{}.previous", kind.name));
        match fs::rename(&path, &previous) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("keep", &path)(error)),
        }
        fs::rename(&fresh, &path).map_err(failed("replace", &path))?;
        sync_dir(&self.path).map_err(failed("sync", &self.path))
    }

    fn previous(&self, kind: &Kind) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(format!("{}.previous", kind.name));
        let bytes = read(&path, kind)?;
        Ok(bytes.and_then(|bytes| kind.open(&bytes).ok().map(<[u8]>::to_vec)))
    }

    /// Moves a damaged file to `corrupt/`, beside earlier ones.
    fn put_aside(&self, path: &Path, kind: &Kind) -> Result<PathBuf, StateError> {
        let corrupt = Self::open(&self.path.join("corrupt"))?.path;
        let named = |n: u32| corrupt.join(format!("{}.{n}", kind.name));
        let free = (1..CORRUPT_MAX).map(named).find(|name| !name.exists());
        let aside = free.unwrap_or_else(|| named(CORRUPT_MAX));
        fs::rename(path, &aside).map_err(failed("put aside", path))?;
        Ok(aside)
    }
}

/// Writes a new file of mode 0600 and syncs it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames in a directory last.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The bytes of a file, at most one more than a lawful one has; `None` if it is absent.
fn read(path: &Path, kind: &Kind) -> Result<Option<Vec<u8>>, StateError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(kind.file_bytes_max() + 1).unwrap_or(u64::MAX);
    let count = file.take(limit).read_to_end(&mut bytes);
    count.map_err(failed("read", path))?;
    Ok(Some(bytes))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError {
        action,
        path,
        error,
    }
}
