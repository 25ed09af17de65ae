//! Where the socket is: the rules of the endpoint as pure functions.
//!
//! The first that applies: `--socket` or `OPUS_SOCKET`; `$XDG_RUNTIME_DIR/opus/<network>.sock`;
//! without that variable, and on macOS, `<data-dir>/run/<network>.sock`. A system service has
//! `/run/opus/<network>.sock`. A node binds [`Endpoint::user`] or [`Endpoint::system`]; a client
//! tries [`Endpoint::candidates`] in order.

use std::path::{Path, PathBuf};

/// The network's name unless it is set.
pub const NETWORK: &str = "main";

/// Most bytes of a socket's path: `sun_path` holds 108 (macOS 104) with its zero, and a node binds
/// one letter more (`<socket>~`).
pub const PATH_MAX: usize = if cfg!(target_os = "macos") { 102 } else { 106 };

/// Where the system service's sockets are.
pub const SYSTEM_DIR: &str = "/run/opus";

/// Longest network name.
const NETWORK_MAX: usize = 32;

/// What the rules look at. Whoever fills it reads flags and environment; nothing here does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `--socket`, else `OPUS_SOCKET`: `/path` or `unix:/path`.
    pub socket: Option<String>,
    /// `XDG_RUNTIME_DIR`; ignored on macOS.
    pub runtime_dir: Option<PathBuf>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// `--network`; [`NETWORK`] when absent.
    pub network: Option<String>,
}

/// Why there is no endpoint. Nothing was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The path does not fit in a socket address.
    #[error(
        "the socket path {} has {bytes} bytes, at most {PATH_MAX} are possible: \
         choose a shorter one with --socket or OPUS_SOCKET", path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        bytes: usize,
    },
    /// The network's name would not be a safe file name.
    #[error("the network name {0:?} is not 1 to 32 of a-z 0-9 -: choose another with --network")]
    Network(String),
    /// An empty path, or a scheme other than `unix:`.
    #[error("the socket {0:?} is neither /path nor unix:/path")]
    Socket(String),
}

impl Endpoint {
    /// The network's name, checked.
    pub fn network(&self) -> Result<&str, EndpointError> {
        let name = self.network.as_deref().unwrap_or(NETWORK);
        let lawful = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NETWORK_MAX || !name.bytes().all(lawful) {
            return Err(EndpointError::Network(name.to_owned()));
        }
        Ok(name)
    }

    /// The socket of a user's node.
    pub fn user(&self) -> Result<PathBuf, EndpointError> {
        let network = self.network()?;
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let runtime_dir = self
            .runtime_dir
            .as_ref()
            .filter(|_| !cfg!(target_os = "macos"));
        let directory = match runtime_dir {
            Some(runtime_dir) => runtime_dir.join("opus"),
            None => self.data_dir.join("run"),
        };
        fitting(directory.join(format!("{network}.sock")))
    }

    /// The socket of the system service.
    pub fn system(&self) -> Result<PathBuf, EndpointError> {
        let network = self.network()?;
        match self.given()? {
            Some(given) => Ok(given),
            None => fitting(Path::new(SYSTEM_DIR).join(format!("{network}.sock"))),
        }
    }

    /// What a client tries: the one that was given, or the user's and then the system's.
    pub fn candidates(&self) -> Result<Vec<PathBuf>, EndpointError> {
        match self.given()? {
            Some(given) => Ok(vec![given]),
            None => Ok(vec![self.user()?, self.system()?]),
        }
    }

    fn given(&self) -> Result<Option<PathBuf>, EndpointError> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        let path = socket.strip_prefix("unix:").unwrap_or(socket);
        let scheme = path
            .split('/')
            .next()
            .is_some_and(|first| first.contains(':'));
        if path.is_empty() || scheme {
            return Err(EndpointError::Socket(socket.clone()));
        }
        fitting(PathBuf::from(path)).map(Some)
    }
}

fn fitting(path: PathBuf) -> Result<PathBuf, EndpointError> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_MAX {
        return Err(EndpointError::TooLong { path, bytes });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(socket: Option<&str>, runtime_dir: Option<&str>) -> Endpoint {
        Endpoint {
            socket: socket.map(str::to_owned),
            runtime_dir: runtime_dir.map(PathBuf::from),
            data_dir: PathBuf::from("/d"),
            network: None,
        }
    }

    #[test]
    fn a_given_socket_comes_before_everything() {
        for given in ["/a/n.sock", "unix:/a/n.sock"] {
            let endpoint = endpoint(Some(given), Some("/run/user/1"));
            assert_eq!(endpoint.user(), Ok(PathBuf::from("/a/n.sock")));
            assert_eq!(endpoint.candidates(), Ok(vec![PathBuf::from("/a/n.sock")]));
        }
        let relative = endpoint(Some("run/n0.sock"), None).user();
        assert_eq!(relative, Ok(PathBuf::from("run/n0.sock")));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn the_runtime_directory_comes_before_the_data_directory() {
        let with = endpoint(None, Some("/run/user/1")).user();
        assert_eq!(with, Ok(PathBuf::from("/run/user/1/opus/main.sock")));
    }

    #[test]
    fn a_client_tries_the_users_node_and_then_the_systems() {
        let mut endpoint = endpoint(None, None);
        endpoint.network = Some("lab-2".to_owned());
        let paths = ["/d/run/lab-2.sock", "/run/opus/lab-2.sock"].map(PathBuf::from);
        assert_eq!(endpoint.candidates(), Ok(paths.to_vec()));
    }

    #[test]
    fn a_path_of_the_limit_fits_and_one_byte_more_does_not() {
        let path = format!("/{}", "a".repeat(PATH_MAX - 1));
        assert_eq!(endpoint(Some(&path), None).user(), Ok(PathBuf::from(&path)));
        let path = format!("{path}a");
        let bytes = PATH_MAX + 1;
        let error = EndpointError::TooLong {
            path: PathBuf::from(&path),
            bytes,
        };
        assert_eq!(endpoint(Some(&path), None).user(), Err(error));
    }

    #[test]
    fn names_and_schemes_that_are_not_lawful_are_refused() {
        for name in ["", "Main", "a/b", "..", "a b"] {
            let mut endpoint = endpoint(None, None);
            endpoint.network = Some(name.to_owned());
            assert_eq!(
                endpoint.user(),
                Err(EndpointError::Network(name.to_owned()))
            );
        }
        for socket in ["", "unix:", "tcp:127.0.0.1:1", "http://x/y"] {
            let refused = endpoint(Some(socket), None).user();
            assert_eq!(refused, Err(EndpointError::Socket(socket.to_owned())));
        }
    }
}
