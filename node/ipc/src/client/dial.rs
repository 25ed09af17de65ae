//! How a client gets a transport.

use std::{fmt, future::Future, io, path::PathBuf, pin::Pin, sync::Mutex};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::serve::{Peer, Server};

/// A transport: a Unix socket, a pipe, a `tokio::io::duplex`.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A transport on its way.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + 'a>>;

/// Makes transports to one node, each time anew.
pub trait Dial: Send + Sync + fmt::Debug {
    /// Tries once.
    fn dial(&self) -> Dialling<'_>;

    /// What is dialled, for error messages.
    fn name(&self) -> String;
}

/// Unix sockets, tried in order: the user's node before the system's.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub struct Paths {
    paths: Vec<PathBuf>,
}

#[cfg(unix)]
impl Paths {
    /// Tries `paths` in this order.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }
}

#[cfg(unix)]
impl Dial for Paths {
    fn dial(&self) -> Dialling<'_> {
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "no path to try");
            for path in &self.paths {
                match tokio::net::UnixStream::connect(path).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Io>),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    fn name(&self) -> String {
        let names: Vec<_> = self
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    }
}

/// A node in the same process: each dial is a pipe to its dispatcher.
#[derive(Clone, Debug)]
pub struct Local {
    server: Server,
    peer: Peer,
}

impl Local {
    /// Bytes on their way in each direction.
    const PIPE: usize = 64 << 10;

    /// Dials `server` as `peer`. Call it within a tokio runtime.
    pub fn new(server: Server, peer: Peer) -> Self {
        Self { server, peer }
    }
}

impl Dial for Local {
    fn dial(&self) -> Dialling<'_> {
        let (ours, theirs) = tokio::io::duplex(Self::PIPE);
        let Self { server, peer } = self.clone();
        tokio::spawn(async move { server.serve(theirs, peer).await });
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Io>) })
    }

    fn name(&self) -> String {
        "the node in this process".to_owned()
    }
}

/// A transport that is open already.
pub(super) struct Once(Mutex<Option<Box<dyn Io>>>);

impl Once {
    pub(super) fn new(io: impl Io + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(io))))
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl Dial for Once {
    fn dial(&self) -> Dialling<'_> {
        let io = self.0.lock().expect("no holder of this lock panics").take();
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the only transport is gone");
        Box::pin(async move { io.ok_or_else(gone) })
    }

    fn name(&self) -> String {
        "the given transport".to_owned()
    }
}
