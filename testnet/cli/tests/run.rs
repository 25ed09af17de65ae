//! `opus-testnet run` as a process: what it writes, and its exit codes.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

const SCENARIO: &str = "name = 'small'\nclaim = 'small'\ntopology = 'transit-stub'\nnodes = 8\n\
                        duration_s = 30\nseeds = [1, 2]\n[expect]\nunattached_end = 0\n";

/// Runs a scenario of this text in `folder`; exit code and standard error.
fn run(folder: &Path, scenario: &str, args: &[&str]) -> (Option<i32>, String) {
    fs::write(folder.join("small.toml"), scenario).expect("a temporary folder can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_opus-testnet"))
        .current_dir(folder)
        .env_remove("OPUS_SEED")
        .args(["run", "small.toml"])
        .args(args)
        .output()
        .expect("the program was built");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn json(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("it was written");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn a_claim_that_holds_exits_with_0_and_writes_what_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let args = [
        "--seed",
        "7",
        "--json",
        "r.json",
        "--out",
        "out",
        "--dump-matrix",
        "m.txt",
    ];
    let (code, stderr) = run(folder.path(), SCENARIO, &args);
    assert_eq!(code, Some(0), "{stderr}");
    let result = json(&folder.path().join("r.json"));
    assert_eq!((&result["seed"], &result["nodes"]), (&7.into(), &8.into()));
    assert_eq!(result["expect_failed"], Value::Array(Vec::new()));
    assert_eq!(result["parent"][0], Value::Null);
    let html = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(html.contains("<svg") && !html.contains("<script"), "{html}");
    let trace = fs::read(folder.path().join("out/trace.cbor")).unwrap();
    assert_eq!(trace.first(), Some(&0x85), "an array of five");
    let csv = fs::read_to_string(folder.path().join("out/history.csv")).unwrap();
    assert_eq!(
        csv.lines().count(),
        7,
        "a head, and a row each five of 30 seconds"
    );
    let again = [
        "--seed",
        "7",
        "--json",
        "again.json",
        "--matrix",
        "m.txt",
        "--encode",
    ];
    let (code, stderr) = run(folder.path(), SCENARIO, &again);
    assert_eq!(code, Some(0), "{stderr}");
    let again = json(&folder.path().join("again.json"));
    assert_eq!(
        again["trace_hash"], result["trace_hash"],
        "the same delays, the same run"
    );
}

#[test]
fn a_claim_that_does_not_hold_exits_with_1_and_names_it() {
    let folder = TempDir::new().unwrap();
    let text = format!("{SCENARIO}rdp_max = 0.5\n");
    let (code, stderr) = run(folder.path(), &text, &["--json", "r.json"]);
    assert_eq!(code, Some(1), "{stderr}");
    let result = json(&folder.path().join("r.json"));
    assert_eq!(result["expect_failed"], Value::from(vec!["rdp_max"]));
    assert_eq!(result["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_cannot_be_used_exits_with_2_and_says_why() {
    let folder = TempDir::new().unwrap();
    let unknown = SCENARIO.replace("duration_s", "durations");
    let cases: [(&str, &[&str], &str); 4] = [
        (&unknown, &[], "line 5"),
        (SCENARIO, &["--alpha", "0.9"], "alpha must be 1 to 16"),
        (SCENARIO, &["--matrix", "none.txt"], "cannot read none.txt"),
        (SCENARIO, &["--bogus"], "--bogus"),
    ];
    for (text, args, said) in cases {
        let (code, stderr) = run(folder.path(), text, args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

const HIERARCHY: &str = "kind = 'dicast'\nname = 'small'\nclaim = 'small'\nnodes = 60\n\
    sizes = [60, 90]\nduration_s = 66\nseeds = [1]\nstart_s = 5.0\nloss = 0.0\njitter = 0.0\n\
    steady_s = [40, 60]\n[ci]\nsizes = [30, 40]\nwithout = ['formed_s_max']\n\
    [expect]\nformed_s_max = 0\nfence_violations_max = 0\n";

#[test]
fn a_scenario_of_the_hierarchy_writes_a_report_and_says_what_ci_leaves_out() {
    let folder = TempDir::new().unwrap();
    let args = ["--ci", "--out", "out", "--json", "r.json"];
    let (code, stderr) = run(folder.path(), HIERARCHY, &args);
    assert_eq!(code, Some(0), "{stderr}");
    let told = "small: not as large as the claim: sizes [30, 40] instead of [60, 90]; formed_s_max \
                not checked";
    assert!(stderr.contains(told), "{stderr}");
    let result = json(&folder.path().join("r.json"));
    assert_eq!(result["runs"][1]["nodes"], 40);
    assert_eq!(result["bytes_over_first"][0][0], 1.0);
    assert!(result["runs"][0]["state_bytes_leaf_p99"].as_u64() > Some(1_000));
    let html = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(
        html.contains("<polyline") && !html.contains("<script"),
        "{html}"
    );
    let csv = fs::read_to_string(folder.path().join("out/history.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 66);
    let (code, stderr) = run(
        folder.path(),
        HIERARCHY,
        &["--nodes", "30", "--json", "r.json"],
    );
    assert_eq!(code, Some(1), "{stderr}");
    let result = json(&folder.path().join("r.json"));
    assert_eq!(result["expect_failed"], Value::from(vec!["formed_s"]));
}
