//! The command: what it prints, what it writes, and how it ends.

use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opus-bench"));
    command.args(args).output().expect("the command starts")
}

#[test]
fn a_small_run_prints_a_table_and_writes_its_figures() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let json = dir.join("bench.json");
    let small = "--nodes 10 --seconds 3 --settle 10 --workloads w2 --sides dicast,foca-lan --json";
    let mut args: Vec<&str> = small.split(' ').collect();
    args.push(json.to_str().expect("the build directory is UTF-8"));
    let output = bench(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("W2, membership only: 10 nodes"), "{text}");
    assert!(!text.contains("W1, track the mean: 10"), "{text}");
    let written = std::fs::read_to_string(json).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    let rows = &written["tables"][0]["rows"];
    assert_eq!(rows[0]["side"], "dicast");
    assert_eq!(rows[1]["side"], "foca, LAN");
    assert!(rows[1]["members"]["bytes"]["mean"].as_f64() > Some(1.0));
    assert!(rows[1]["mean"].is_null());
}

#[test]
fn what_is_not_usable_ends_with_2_and_says_why() {
    let rows: [(&[&str], &str); 4] = [
        (&["--nodes", "1"], "--nodes 1 is not within 2 and 5000"),
        (&["--nodes", "ten"], "invalid value 'ten'"),
        (&["--sides", "raft"], "foca-wan"),
        (&["--json", "/nowhere/at/all.json"], "cannot be written"),
    ];
    for (args, words) in rows {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
