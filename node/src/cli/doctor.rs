//! `doctor`: what can be checked without a node, then what the node says of itself.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use opus_ipc::{
    endpoint::PATH_MAX,
    message::{Check, NodeDoctor},
};

use super::{
    args::{Global, NodeArgs},
    connect::{connect, settle},
    exit::{Exit, Failure},
    output::Output,
};
use crate::{
    config::{Config, layers::Values},
    identity::{self, Identity},
};

/// Before this the clock is certainly wrong: 2026-01-01.
const CLOCK_MIN_S: u64 = 1_767_225_600;

/// Fewer open files than this are too few for the connections of a server.
const FILES_MIN: u64 = 1_024;

/// A line for each check. Fails with 5 if one is not ok, with 3 if no node answers.
pub(super) async fn doctor(
    global: &Global,
    args: &NodeArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let (config, settled) = settle(global, args, Values::new())?;
    let mut checks = local(&config);
    let warned = settled.warnings.first();
    checks.insert(
        0,
        check("config", warned.cloned(), "opus-node config check"),
    );
    let exit = match ask(global).await {
        Ok(said) => {
            checks.extend(said);
            let healthy = checks.iter().all(|check| check.ok);
            if healthy { Exit::Done } else { Exit::Unhealthy }
        }
        Err(failure) => {
            let fix = failure.help.unwrap_or_default();
            checks.push(check("node", Some(failure.message), &fix));
            failure.exit
        }
    };
    output.result(&checks, |to| show(to, &checks))?;
    Ok(exit)
}

async fn ask(global: &Global) -> Result<Vec<Check>, Failure> {
    let client = connect(global).await?;
    Ok(client.call(&NodeDoctor {}).await?)
}

/// What needs no node.
fn local(config: &Config) -> Vec<Check> {
    let identity = config.data_dir.join(identity::FILE);
    let key = match Identity::load(&identity) {
        Err(error) if identity.exists() => Some(error.to_string()),
        Ok(_) | Err(_) => None,
    };
    vec![
        check("clock", clock(), "timedatectl set-ntp true"),
        check("identity", key, "opus-node id show"),
        check(
            "data_dir",
            unwritable(&config.data_dir),
            "opus-node run --data-dir DIR",
        ),
        check(
            "socket",
            bad_socket(&config.socket),
            "opus-node run --socket PATH",
        ),
        check("files", few_files(), "ulimit -n 4096"),
    ]
}

fn check(name: &str, cause: Option<String>, fix: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: cause.is_none(),
        fix: cause.as_ref().map(|_| fix.to_owned()),
        cause,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the system's clock itself is what is checked"
)]
fn clock() -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    (seconds < CLOCK_MIN_S).then(|| "the system's clock is before 2026".to_owned())
}

/// Why the nearest existing directory on the way to `path` cannot be written, if so.
fn unwritable(path: &Path) -> Option<String> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    match tempfile::tempfile_in(existing) {
        Ok(_) => None,
        Err(error) => Some(format!("cannot write in {}: {error}", existing.display())),
    }
}

/// Why a socket cannot be bound there, if so.
fn bad_socket(socket: &Path) -> Option<String> {
    let length = socket.as_os_str().len();
    if length > PATH_MAX {
        let limit = format!("of at most {PATH_MAX}");
        return Some(format!("{} has {length} bytes {limit}", socket.display()));
    }
    let directory = socket.parent()?;
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        // The node makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return unwritable(directory),
        Err(error) => return Some(format!("cannot look at {}: {error}", directory.display())),
    };
    let (others, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
    let open = others && !sticky;
    open.then(|| format!("others may write in {}", directory.display()))
}

fn few_files() -> Option<String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    (limit < FILES_MIN).then(|| format!("only {limit} files may be open at once"))
}

fn show(to: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    for Check {
        name,
        ok,
        cause,
        fix,
    } in checks
    {
        if *ok {
            writeln!(to, "ok    {name}")?;
            continue;
        }
        let cause = cause.as_deref().unwrap_or("not well");
        writeln!(to, "FAIL  {name}: {cause}")?;
        if let Some(fix) = fix.as_deref().filter(|fix| !fix.is_empty()) {
            writeln!(to, "        try: {fix}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_path_that_is_too_long_is_told() {
        let long = Path::new("/").join("x".repeat(200));
        assert!(bad_socket(&long).unwrap().contains("201 bytes"));
    }

    #[test]
    fn a_directory_that_others_may_write_is_told_unless_it_is_sticky() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("s");
        let set = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(temp.path(), mode).unwrap();
        };
        set(0o777);
        assert!(bad_socket(&socket).unwrap().contains("others may write"));
        set(0o1777);
        assert_eq!(bad_socket(&socket), None);
        set(0o700);
        assert_eq!(bad_socket(&socket), None);
    }

    #[test]
    fn a_state_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(unwritable(&temp.path().join("a/b/c")), None);
        assert!(unwritable(Path::new("/proc/nowhere")).is_some());
    }
}
