//! Start, drain, signals, exit codes.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::process::Signal;

use super::bench::{Bench, TCP, code, errors};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_signal_drains_and_exits_well() {
    let bench = Bench::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
        node.signal(signal);
        assert_eq!(node.ended().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signals_at_once_end_the_node_well() {
    let bench = Bench::new();
    let flags = format!("--listen {TCP} --no-mdns --set drain_ms=3600000");
    let mut node = bench.node("n", &flags).await;
    node.signal(Signal::TERM);
    node.signal(Signal::INT);
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_of_each_value_is_shown() {
    let bench = Bench::new();
    fs::write(bench.path("more.toml"), "relay_server = true\n").unwrap();
    let mut command =
        bench.command("config show --origin --json --config more.toml --profile server --no-mdns");
    let shown = command
        .env("OPUS_LIMITS_CONNECTIONS", "77")
        .output()
        .await
        .unwrap();
    assert_eq!(code(&shown), 0, "{}", errors(&shown));
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in [
        "more.toml",
        "OPUS_LIMITS_CONNECTIONS",
        "77",
        "profile server",
        "command line",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_same_files_names_the_first() {
    let bench = Bench::new();
    let node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    let pid = node.pid().to_string();
    for line in [
        "--data-dir n/d --socket other",
        "--data-dir other --socket n/s",
    ] {
        let second = bench
            .run(&format!("run {line} --listen {TCP} --no-mdns"))
            .await;
        assert_eq!(code(&second), 1, "{line}");
        assert!(
            errors(&second).contains(&pid),
            "{line}: {}",
            errors(&second)
        );
    }
    assert_eq!(node.status().await.pid, node.pid());
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_usage_no_node_and_an_answer() {
    let bench = Bench::new();
    assert_eq!(code(&bench.run("run --no-such-flag").await), 2);
    assert_eq!(code(&bench.run("run --listen nowhere").await), 2);
    assert_eq!(code(&bench.run("--socket n/s status").await), 3);
    let _node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    assert_eq!(code(&bench.run("--socket n/s status").await), 0);
    let status = bench.json("--socket n/s status").await;
    let listen = status["listen"][0].as_str().unwrap();
    assert!(listen.ends_with(&format!("/p2p/{}", status["peer_id"].as_str().unwrap())));
    assert!(!listen.contains("/tcp/0/"), "the real port");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let bench = Bench::new();
    let mut node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    node.kill().await;
    let key = node.dir.join("d/identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = bench
        .run(&format!("run --data-dir n/d --socket n/s --listen {TCP}"))
        .await;
    assert_eq!(code(&refused), 1);
    assert!(
        errors(&refused).contains("chmod 600"),
        "{}",
        errors(&refused)
    );
    assert!(
        errors(&refused).contains("n/d/identity.key"),
        "{}",
        errors(&refused)
    );
}
