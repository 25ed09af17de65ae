//! The verbs of `opus-node` that need no node, as a person or a script runs them.

#![cfg(test)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use opus_site::spec::SignedApp;
use serde_json::Value;

/// A directory of its own, and the program in it with a clean environment.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opus-node"));
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        let words = line.split_whitespace();
        self.command().args(words).output().unwrap()
    }

    fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json"));
        assert_eq!(code(&output), 0, "{}", errors(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_shown() {
    let bench = Bench::new();
    let made = bench.json("id new --out owner.key");
    assert_eq!(mode(&bench.path("owner.key")), 0o600);
    assert_eq!(made["owner"].as_str().unwrap().len(), 52);
    assert!(made["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
    assert_eq!(bench.json("id show --key owner.key"), made);
    let again = bench.run("id new --out owner.key");
    assert_eq!(code(&again), 1);
    assert!(errors(&again).contains("never overwritten"));
    assert_eq!(bench.json("id show --key owner.key"), made);
}

#[test]
fn a_node_that_never_ran_has_no_identity_to_show() {
    let bench = Bench::new();
    let shown = bench.run("id show");
    assert_eq!(code(&shown), 1);
    assert!(errors(&shown).contains("opus-node run"));
    assert!(text(&shown).is_empty());
}

#[test]
fn an_application_is_described_and_signed_offline() {
    let bench = Bench::new();
    bench.json("id new --out owner.key");
    let init = bench.run("app init ticker.toml --kind multicast");
    assert_eq!(code(&init), 0, "{}", errors(&init));
    assert_eq!(
        code(&bench.run("app init ticker.toml")),
        1,
        "never overwritten"
    );
    let signed = bench.json("app sign ticker.toml --key owner.key --out ticker.app --network lab");
    let bytes = fs::read(bench.path("ticker.app")).unwrap();
    let app = SignedApp::decode(&bytes).unwrap().verify("lab").unwrap();
    assert_eq!(signed["app"].as_str().unwrap(), app.app.to_string());
    assert_eq!(signed["version"], 1);
    assert!(SignedApp::decode(&bytes).unwrap().verify("main").is_err());
}

#[test]
fn a_spec_or_key_that_is_wrong_is_told_by_name() {
    let bench = Bench::new();
    bench.json("id new --out owner.key");
    fs::write(bench.path("a.toml"), "name = \"a\"\nkind = \"multicast\"").unwrap();
    let sign = "app sign a.toml --key owner.key --out a.app";
    let refused = bench.run(sign);
    assert_eq!(code(&refused), 1);
    assert!(errors(&refused).contains("a.toml: version is missing"));
    assert!(!bench.path("a.app").exists());
    fs::set_permissions(bench.path("owner.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(
        bench.path("a.toml"),
        "name = \"a\"\nkind = \"multicast\"\nversion = 1",
    )
    .unwrap();
    let refused = bench.run(sign);
    assert_eq!(code(&refused), 1);
    assert!(errors(&refused).contains("chmod 600"));
    fs::write(bench.path("x.app"), b"junk").unwrap();
    let refused = bench.run("app deploy x.app");
    assert_eq!(code(&refused), 1);
    assert!(errors(&refused).contains("x.app is no signed spec"));
}

#[test]
fn without_a_node_verbs_say_so_and_print_nothing() {
    let bench = Bench::new();
    for verb in [
        "status --json",
        "peers",
        "events --count 1",
        "dicast",
        "dicast load --scope own --json",
        "dicast define t --function sum --min 0 --max 1",
        "dicast set t 1",
        "app list",
        "call node.status {}",
        "drain",
        "subscribe x --patience 0",
        "publish x --file /dev/null",
    ] {
        let output = bench.run(&format!("--socket nowhere.sock {verb}"));
        assert_eq!(code(&output), 3, "{verb}: {}", errors(&output));
        assert!(text(&output).is_empty(), "{verb}");
        assert!(errors(&output).contains("opus-node run"), "{verb}");
    }
}

#[test]
fn each_value_is_shown_with_its_origin() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path(".config/opus")).unwrap();
    let file = bench.path(".config/opus/opus.toml");
    fs::write(&file, "mdns = false\n[limits]\nmemory = \"1 GiB\"").unwrap();
    let output = bench
        .command()
        .env("OPUS_LIMITS_MEMORY", "3 GiB")
        .args(["config", "show", "--origin", "--network", "lab", "--json"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let origin = |key: &str| shown[key]["origin"].as_str().unwrap().to_owned();
    assert_eq!(shown["limits.memory"]["value"], "3 GiB");
    assert_eq!(origin("limits.memory"), "OPUS_LIMITS_MEMORY");
    assert_eq!(origin("mdns"), file.display().to_string());
    assert_eq!(origin("network"), "command line");
    assert_eq!(origin("upnp"), "profile home");
    let data_dir = shown["data_dir"]["value"].as_str().unwrap();
    assert!(data_dir.ends_with(".local/share/opus/lab"), "{data_dir}");
    assert!(text(&bench.run("config show --origin")).contains("mdns = false  # "));
}

#[test]
fn a_configuration_is_checked() {
    let bench = Bench::new();
    fs::write(bench.path("a.toml"), "[limits]\nmemroy = \"1 GiB\"").unwrap();
    let warned = bench.run("config check --config a.toml");
    assert_eq!(code(&warned), 0);
    assert!(errors(&warned).contains("did you mean limits.memory?"));
    assert_eq!(code(&bench.run("config check --config a.toml --strict")), 1);
    assert_eq!(code(&bench.run("config check --config absent.toml")), 1);
    assert_eq!(code(&bench.run("config check --listen nonsense")), 2);
    assert_eq!(code(&bench.run("run --profile cloud")), 2);
}

#[test]
fn a_wrong_usage_is_told_apart_from_a_failure() {
    let bench = Bench::new();
    for line in [
        "dicast load set t 1",
        "",
        "fly",
        "id new",
        "call node.status [1]",
        "call node.status {",
    ] {
        let output = bench.run(line);
        assert_eq!(code(&output), 2, "{line:?}: {}", errors(&output));
        assert!(text(&output).is_empty(), "{line:?}");
    }
    for line in ["--help", "--version", "app --help"] {
        assert_eq!(code(&bench.run(line)), 0, "{line}");
    }
}

#[test]
fn the_variables_and_the_completions_are_listed() {
    let bench = Bench::new();
    let variables = bench.json("env");
    let names = variables.as_array().unwrap().iter();
    assert!(
        names
            .map(|row| &row["name"])
            .any(|name| name == "OPUS_LIMITS_MEMORY")
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.run(&format!("completions {shell}"));
        assert!(text(&script).contains("subscribe"), "{shell}");
    }
}

#[test]
fn doctor_checks_what_needs_no_node() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("data")).unwrap();
    fs::write(bench.path("data/identity.key"), b"broken").unwrap();
    let line = "doctor --data-dir data --socket data/s.sock --json";
    let output = bench.run(line);
    assert_eq!(code(&output), 3);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |name: &str| {
        let mut checks = checks.as_array().unwrap().iter();
        checks.find(|check| check["name"] == name).unwrap().clone()
    };
    assert_eq!(find("clock")["ok"], true);
    assert_eq!(find("data_dir")["ok"], true);
    assert_eq!(find("identity")["ok"], false);
    assert_eq!(find("node")["fix"], "opus-node run");
    let shown = text(&bench.run("doctor --data-dir data --socket data/s.sock"));
    assert!(
        shown.contains("FAIL  identity: ") && shown.contains("ok    clock\n"),
        "{shown}"
    );
}
