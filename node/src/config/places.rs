//! Where files live by default: of a user, of a system service.

use std::path::{Path, PathBuf};

use directories::BaseDirs;

/// The directories that the environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Data of the user: `~/.local/share`.
    pub data_home: Option<PathBuf>,
    /// Configuration of the user: `~/.config`.
    pub config_home: Option<PathBuf>,
    /// Sockets of the user's session: `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// State of a system service, from systemd: `$STATE_DIRECTORY`.
    pub service_state: Option<PathBuf>,
    /// Sockets of a system service, from systemd: `$RUNTIME_DIRECTORY`.
    pub service_runtime: Option<PathBuf>,
}

impl Places {
    /// The directories of this process.
    pub fn of_process() -> Self {
        let base = BaseDirs::new();
        let named = |variable| {
            let value = std::env::var_os(variable).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        Self {
            data_home: base.as_ref().map(|base| base.data_dir().to_owned()),
            config_home: base.as_ref().map(|base| base.config_dir().to_owned()),
            runtime: named("XDG_RUNTIME_DIR"),
            service_state: named("STATE_DIRECTORY"),
            service_runtime: named("RUNTIME_DIRECTORY"),
        }
    }

    /// Where a node of `network` keeps its state.
    pub fn data_dir(&self, network: &str) -> Option<PathBuf> {
        let of_user = self
            .data_home
            .as_ref()
            .map(|home| home.join("opus").join(network));
        self.service_state.clone().or(of_user)
    }

    /// Where a node of `network` with its state in `data_dir` binds its socket.
    pub fn socket(&self, network: &str, data_dir: &Path) -> PathBuf {
        if let Some(runtime) = &self.service_runtime {
            return socket_in(runtime, network);
        }
        match &self.runtime {
            Some(runtime) => socket_in(&runtime.join("opus"), network),
            None => socket_in(&data_dir.join("run"), network),
        }
    }

    /// The configuration files, the weaker first.
    pub fn config_files(&self) -> Vec<PathBuf> {
        let system = Path::new("/etc/opus/opus.toml").to_owned();
        let of_user = self
            .config_home
            .as_ref()
            .map(|home| home.join("opus").join("opus.toml"));
        std::iter::once(system).chain(of_user).collect()
    }
}

/// The socket of `network` in a directory.
pub fn socket_in(directory: &Path, network: &str) -> PathBuf {
    directory.join(format!("{network}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Places {
        Places {
            data_home: Some("/home/a/.local/share".into()),
            config_home: Some("/home/a/.config".into()),
            runtime: Some("/run/user/7".into()),
            ..Places::default()
        }
    }

    #[test]
    fn a_user_keeps_state_in_the_home_and_sockets_in_the_session() {
        let data_dir = user().data_dir("main").unwrap();
        assert_eq!(data_dir, Path::new("/home/a/.local/share/opus/main"));
        let socket = user().socket("main", &data_dir);
        assert_eq!(socket, Path::new("/run/user/7/opus/main.sock"));
    }

    #[test]
    fn without_a_session_the_socket_is_beside_the_state() {
        let places = Places {
            runtime: None,
            ..user()
        };
        let socket = places.socket("test", Path::new("/data"));
        assert_eq!(socket, Path::new("/data/run/test.sock"));
    }

    #[test]
    fn a_system_service_uses_what_systemd_gave_it() {
        let places = Places {
            service_state: Some("/var/lib/opus".into()),
            service_runtime: Some("/run/opus".into()),
            ..user()
        };
        assert_eq!(places.data_dir("main").unwrap(), Path::new("/var/lib/opus"));
        let socket = places.socket("main", Path::new("/var/lib/opus"));
        assert_eq!(socket, Path::new("/run/opus/main.sock"));
    }
}
