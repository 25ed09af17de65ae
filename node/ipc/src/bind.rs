//! Puts the socket in its place without races.
//!
//! "What can be seen can be connected to; nothing is chmodded." Two locks come first: the data
//! directory's and the socket's. The kernel drops both when the process dies, so nothing has to be
//! cleaned by hand; the lock files stay. Then the socket is bound as `<socket>~` under a umask and
//! renamed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use rustix::{
    fs::{FlockOperation, Mode, flock},
    process::umask,
};

/// For whom the socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The user alone: directory 0700, socket 0600.
    User,
    /// A system service: directory 0750, socket 0660, both of this group (`opus`).
    System {
        /// The group's id.
        gid: u32,
    },
}

/// A bound socket. Its name goes away with it; the locks last as long.
#[derive(Debug)]
pub struct Bound {
    /// Listens, in blocking mode.
    pub listener: UnixListener,
    path: PathBuf,
    locks: [File; 2],
}

/// Why the socket was not bound. Other nodes are not disturbed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the data directory or the socket.
    #[error(
        "{} is in use{}: stop that node, or choose another --data-dir and --socket",
        lock.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Held {
        /// The lock file.
        lock: PathBuf,
        /// Who holds it.
        pid: Option<u32>,
    },
    /// Others could put a socket of their own in this place.
    #[error(
        "others may write to {}: chmod o-w it, or choose another --socket", directory.display()
    )]
    Exposed {
        /// The socket's directory.
        directory: PathBuf,
    },
    /// Something that is not a socket has the name.
    #[error("{} is there and no socket: move it away, or choose another --socket", .0.display())]
    Occupied(PathBuf),
    /// The system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl Bound {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For tokio. Call it within a runtime.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Still under the lock: the name is ours.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket's name was gone");
        }
        let [_, _] = &self.locks;
    }
}

/// Locks `<data_dir>/lock` and `<socket>.lock`, then binds `socket`.
///
/// `socket` is at most [`crate::endpoint::PATH_MAX`] bytes. Errors: [`BindError`].
pub fn bind(data_dir: &Path, socket: &Path, audience: Audience) -> Result<Bound, BindError> {
    directory(data_dir, 0o700, None)?;
    let data_lock = lock(&data_dir.join("lock"))?;
    let parent = match socket.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match audience {
        Audience::User => directory(parent, 0o700, None)?,
        Audience::System { gid } => directory(parent, 0o750, Some(gid))?,
    }
    safe(parent)?;
    let socket_lock = lock(&beside(socket, ".lock"))?;
    free(socket)?;
    let listener = listen(socket, audience)?;
    Ok(Bound {
        listener,
        path: socket.to_owned(),
        locks: [data_lock, socket_lock],
    })
}

fn listen(socket: &Path, audience: Audience) -> Result<UnixListener, BindError> {
    let hidden = beside(socket, "~");
    match fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("cannot remove", &hidden)(error));
        }
        _ => {}
    }
    let (mask, gid) = match audience {
        Audience::User => (0o177, None),
        Audience::System { gid } => (0o117, Some(gid)),
    };
    let listener = under(mask, || UnixListener::bind(&hidden));
    let listener = listener.map_err(failed("cannot bind", &hidden))?;
    if let Some(gid) = gid {
        chown(&hidden, None, Some(gid)).map_err(failed("cannot chown", &hidden))?;
    }
    fs::rename(&hidden, socket).map_err(failed("cannot rename to", socket))?;
    Ok(listener)
}

/// Creates the directory, and those above it, unless it is there.
fn directory(path: &Path, mode: u32, gid: Option<u32>) -> Result<(), BindError> {
    if path.is_dir() {
        return Ok(());
    }
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(failed("cannot create", path))?;
    if let Some(gid) = gid {
        chown(path, None, Some(gid)).map_err(failed("cannot chown", path))?;
    }
    Ok(())
}

/// Refuses a directory that others may write to, unless it is sticky.
fn safe(directory: &Path) -> Result<(), BindError> {
    let mode = fs::metadata(directory)
        .map_err(failed("cannot look at", directory))?
        .mode();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(BindError::Exposed {
            directory: directory.to_owned(),
        });
    }
    Ok(())
}

/// A name that a socket had may be taken over under the lock; anything else may not.
fn free(socket: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(socket) {
        Ok(found) if !found.file_type().is_socket() => Err(BindError::Occupied(socket.to_owned())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("cannot look at", socket)(error)),
    }
}

/// Takes a lock that the kernel drops with this process, and writes our pid into it.
fn lock(path: &Path) -> Result<File, BindError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(path).map_err(failed("cannot open", path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let read = (&file).take(16).read_to_string(&mut holder);
            let pid = read.ok().and_then(|_| holder.trim().parse().ok());
            let lock = path.to_owned();
            return Err(BindError::Held { lock, pid });
        }
        Err(errno) => return Err(failed("cannot lock", path)(errno.into())),
    }
    let mut note = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note().map_err(failed("cannot write", path))?;
    Ok(file)
}

/// Runs `action` under a umask. The mask belongs to the whole process: one at a time.
fn under<T>(mask: u32, action: impl FnOnce() -> T) -> T {
    static MASK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MASK.lock().expect("no holder of this lock panics");
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::useless_conversion, reason = "mode_t is narrower elsewhere")
    )]
    let mask = Mode::from_bits_truncate(mask.try_into().expect("three octal digits"));
    let before = umask(mask);
    let result = action();
    umask(before);
    result
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |error| BindError::Io { what, path, error }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, os::unix::net::UnixStream};

    use super::*;

    fn bound(root: &Path, name: &str) -> Result<Bound, BindError> {
        bind(&root.join(name), &root.join("run/n.sock"), Audience::User)
    }

    #[test]
    fn a_bound_socket_is_the_users_alone_and_answers() {
        let root = tempfile::tempdir().unwrap();
        let bound = bound(root.path(), "d").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(bound.path()), 0o600);
        assert_eq!(mode(bound.path().parent().unwrap()), 0o700);
        UnixStream::connect(bound.path()).unwrap();
        assert!(!beside(bound.path(), "~").exists());
    }

    #[test]
    fn a_second_node_learns_who_holds_the_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let _first = bound(root.path(), "d").unwrap();
        let other = root.path().join("other.sock");
        let error = bind(&root.path().join("d"), &other, Audience::User).unwrap_err();
        let BindError::Held { lock, pid } = &error else {
            panic!("{error}");
        };
        assert_eq!(lock, &root.path().join("d/lock"));
        assert_eq!(*pid, Some(std::process::id()));
        assert!(error.to_string().contains(&std::process::id().to_string()));
    }

    #[test]
    fn a_second_node_does_not_take_the_socket_of_a_living_one() {
        let root = tempfile::tempdir().unwrap();
        let first = bound(root.path(), "d").unwrap();
        let error = bound(root.path(), "e").unwrap_err();
        assert!(matches!(error, BindError::Held { .. }), "{error}");
        UnixStream::connect(first.path()).unwrap();
    }

    #[test]
    fn a_socket_left_by_a_killed_node_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/n.sock");
        fs::create_dir(root.path().join("run")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        drop(UnixListener::bind(beside(&path, "~")).unwrap());
        assert!(path.exists() && UnixStream::connect(&path).is_err());
        let bound = bound(root.path(), "d").unwrap();
        UnixStream::connect(bound.path()).unwrap();
    }

    #[test]
    fn the_name_goes_with_the_node_and_the_place_is_free_again() {
        let root = tempfile::tempdir().unwrap();
        let path = bound(root.path(), "d").unwrap().path().to_owned();
        assert!(!path.exists());
        bound(root.path(), "d").unwrap();
    }

    #[test]
    fn a_directory_open_to_others_is_refused_unless_sticky() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        let error = bound(root.path(), "d").unwrap_err();
        assert!(matches!(error, BindError::Exposed { .. }), "{error}");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o1777)).unwrap();
        bound(root.path(), "d").unwrap();
    }

    #[test]
    fn a_file_with_the_sockets_name_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("run")).unwrap();
        let path = root.path().join("run/n.sock");
        fs::write(&path, "mine").unwrap();
        let error = bound(root.path(), "d").unwrap_err();
        assert!(matches!(error, BindError::Occupied(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
