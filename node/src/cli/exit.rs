//! How a verb ends: an exit code, and for people what happened and the command that mends it.

use std::{fmt, io, process::ExitCode};

use opus_ipc::{
    Code, Fault,
    client::{CallError, ConnectError},
};

use crate::{
    config::{ConfigError, Origin},
    identity::IdentityError,
};

/// The exit codes of docs/operations.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// It was asked for wrongly.
    Usage = 2,
    /// No node answers.
    NoNode = 3,
    /// The node does not allow it.
    Denied = 4,
    /// The node is not well.
    Unhealthy = 5,
    /// It took too long.
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb could not be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For programs.
    pub(super) exit: Exit,
    /// What happened, and why.
    pub(super) message: String,
    /// The command that mends it.
    pub(super) help: Option<String>,
}

impl Failure {
    /// A failure without help.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            help: None,
        }
    }

    /// A wrong usage.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds the command that mends it.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  try: {help}"),
            None => Ok(()),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = match fault.code {
            Code::Denied => Exit::Denied,
            Code::Deadline => Exit::TimedOut,
            Code::BadRequest
            | Code::Unsupported
            | Code::Version
            | Code::NotFound
            | Code::Exists
            | Code::Busy
            | Code::Quota
            | Code::TooLarge
            | Code::SlowConsumer
            | Code::Cancelled
            | Code::Unavailable
            | Code::Internal => Exit::Failed,
        };
        Self {
            exit,
            message: fault.to_string(),
            help: fault.help,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoNode { error: cause, at } => {
                let denied = cause.kind() == io::ErrorKind::PermissionDenied;
                let exit = if denied { Exit::Denied } else { Exit::NoNode };
                let failure = Self::new(exit, format!("no node answers at {at}: {cause}"));
                if denied {
                    failure.help("run it as the node's user, or join the group opus")
                } else {
                    failure.help("opus-node run")
                }
            }
            ConnectError::Refused(fault) => fault.into(),
            ConnectError::Protocol(error) => Self::new(
                Exit::Failed,
                format!("what answers is no Opus node: {error}"),
            ),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Fault(fault) => fault.into(),
            CallError::Connect(error) => error.into(),
            CallError::Lost(_) => Self::new(Exit::NoNode, error.to_string()),
            CallError::Malformed(_) => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        match error {
            ConfigError::Value {
                origin: Origin::Flag,
                ..
            }
            | ConfigError::NoHome => Self::usage(message),
            ConfigError::Value { .. }
            | ConfigError::Read { .. }
            | ConfigError::Toml { .. }
            | ConfigError::Strict(_) => Self::new(Exit::Failed, message),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// Of standard output: whoever reads it may stop, which is no failure worth a word.
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, format!("cannot write the result: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_node_keeps_its_help() {
        let fault = Fault::new(Code::Denied, "not yours").help("sudo");
        let failure = Failure::from(fault);
        assert_eq!(failure.exit, Exit::Denied);
        assert_eq!(failure.to_string(), "not yours (denied)\n  try: sudo");
    }

    #[test]
    fn a_wrong_flag_is_a_wrong_usage_and_a_wrong_file_a_failure() {
        let value = |origin| ConfigError::Value {
            key: "mdns".to_owned(),
            origin,
            problem: "must be true or false".to_owned(),
        };
        assert_eq!(Failure::from(value(Origin::Flag)).exit, Exit::Usage);
        let file = Origin::File("/etc/opus/opus.toml".into());
        assert_eq!(Failure::from(value(file)).exit, Exit::Failed);
    }
}
