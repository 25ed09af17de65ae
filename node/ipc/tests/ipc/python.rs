//! The Python example, run against the dispatcher at a real socket; the vectors, read by Python.
//!
//! With the package cbor2 when it is installed, else with `tests/python/fallback`. Without
//! `python3` there is nothing to run, which the test says.

use std::{path::Path, process::Stdio, sync::atomic::Ordering};

use bytes::Bytes;
use opus_ipc::{
    bind::{Audience, bind},
    serve::Roles,
};
use tokio::process::Command;

use crate::desk::server;

/// Runs `python3`; its exit and what it printed. `None`: this machine has none.
async fn python(script: &str, args: &[&str], socket: &Path) -> Option<(bool, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let has = |package: &'static str| async move {
        let mut probe = Command::new("python3");
        probe
            .args(["-c", package])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().await.map(|status| status.success())
    };
    let Ok(installed) = has("import cbor2").await else {
        eprintln!("python3 is not installed: not run");
        return None;
    };
    let mut command = Command::new("python3");
    command
        .arg(root.join(script))
        .args(args)
        .env("OPUS_SOCKET", socket);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    if !installed {
        command.env("PYTHONPATH", root.join("tests/python/fallback"));
    }
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = text(output.stdout) + &text(output.stderr);
    Some((output.status.success(), said))
}

#[tokio::test]
async fn the_python_example_sees_the_status_and_receives_frames() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("n.sock");
    let bound = bind(&root.path().join("data"), &socket, Audience::User).unwrap();
    let (desk, server) = server();
    *desk.payload.lock().unwrap() = Bytes::from_static(b"tick");
    desk.frames.store(200, Ordering::Relaxed);
    let listener = bound.listener().unwrap();
    let serving = server.clone();
    let task = tokio::spawn(async move {
        serving.accept(listener, Roles::of_this_machine()).await;
    });
    let Some((ok, said)) = python("examples/hello.py", &["ticker"], &socket).await else {
        return;
    };
    assert!(ok, "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..2],
        ["welcome admin", "ok 12D3KooWtest with 3 peers"]
    );
    assert_eq!(lines.len(), 202, "{said}");
    assert_eq!(lines[201], "09090909 200 0 b'tick'");
    task.abort();
}

#[tokio::test]
async fn python_reads_and_writes_the_vectors_alike() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    let done = python("tests/python/vectors.py", &[folder], Path::new("")).await;
    if let Some((ok, said)) = done {
        assert!(ok && said.contains("vectors"), "{said}");
    }
}
