//! What the source of a pure crate may not name: clock, system, threads, async, transport, and
//! randomness without a seed.

use super::{
    Finding, Rule,
    lex::{self, Path},
    rooms::ROOMS,
    tree::Tree,
};

const CLOCK: Rule = Rule {
    name: "pure-clock",
    why: "time is an input; with a clock of its own a machine could be neither replayed nor run \
          in virtual time",
    mend: "take `now: opus_core::Time` as an argument",
};

const SYSTEM: Rule = Rule {
    name: "pure-system",
    why: "a pure crate touches no file, socket, thread, process or environment, so that all three \
          drivers run the same code",
    mend: "emit an event and let the node do it; only tests read files, and only \
           those of the data beside the project",
};

const ASYNC: Rule = Rule {
    name: "pure-async",
    why: "a protocol is a value, not a task: inputs go in, outputs come out, nothing waits",
    mend: "turn the wait into state and a deadline in the timer table",
};

const RANDOM: Rule = Rule {
    name: "pure-random",
    why: "equal seeds give equal runs, byte for byte",
    mend: "draw from an `opus_core::Rng` made from the machine's seed",
};

const UNSAFE: Rule = Rule {
    name: "forbid-unsafe",
    why: "a pure crate has no reason for unsafe code",
    mend: "begin lib.rs, after the module doc, with `#![forbid(unsafe_code)]`",
};

/// Modules of the standard library that are closed, and the rule that closes them.
const CLOSED: [(&str, &Rule); 6] = [
    ("std::net", &SYSTEM),
    ("std::fs", &SYSTEM),
    ("std::thread", &SYSTEM),
    ("std::process", &SYSTEM),
    ("std::env", &SYSTEM),
    ("std::os", &SYSTEM),
];

/// Of these, what a test (`tests.rs`, a file below `tests/`, or `mod tests` at the end of a file)
/// may name: it reads data that lies beside the project.
const OPEN_IN_TESTS: [&str; 2] = ["std::fs", "std::env"];

/// (file, module that it may name), with the reason.
const EXCEPTIONS: [(&str, &str); 4] = [
    // `OPUS_SEED` repeats a failed test; the function exists under the feature `testing` only.
    ("behaviours/core/src/seed.rs", "std::env"),
    // A benchmark takes its size from the command line, and reads the clock and its own memory.
    ("testnet/sim/examples/load.rs", "std::env"),
    ("testnet/sim/examples/load.rs", "std::fs"),
    ("testnet/sim/examples/load.rs", "std::time::Instant"),
];

/// The only names of `std::time` and `core::time` that carry no clock.
const TIME_OPEN: [&str; 1] = ["Duration"];

const TRANSPORTS: [&str; 3] = ["libp2p", "tokio", "futures"];

const CLOCK_NAMES: [&str; 2] = ["Instant", "SystemTime"];

const RANDOM_NAMES: [&str; 6] = [
    "OsRng",
    "SysRng",
    "ThreadRng",
    "thread_rng",
    "from_os_rng",
    "StdRng",
];

/// Checks the sources of all pure crates.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for room in ROOMS.iter().filter(|room| room.is_pure()) {
        let lib = format!("{}/src/lib.rs", room.dir);
        if tree
            .get(&lib)
            .is_some_and(|text| !text.contains("#![forbid(unsafe_code)]"))
        {
            findings.push(Finding::new(
                &lib,
                0,
                &UNSAFE,
                "no `#![forbid(unsafe_code)]`",
            ));
        }
        let inside = format!("{}/", room.dir);
        for (file, text) in tree.with_extension("rs") {
            let Some(below) = file.strip_prefix(&inside) else {
                continue;
            };
            let whole = below
                .split('/')
                .any(|part| part == "tests" || part == "tests.rs");
            let tests_from = if whole { 0 } else { tests_from(text) };
            for path in lex::paths(text) {
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|(of, name)| *of == file && path.begins_with(name));
                if let Some(rule) = breach(&path, path.line > tests_from).filter(|_| !excepted) {
                    let what = format!("`{}`", path.parts.join("::"));
                    findings.push(Finding::new(file, path.line, rule, what));
                }
            }
        }
    }
    findings
}

/// The line of `#[cfg(test)]` before an inline `mod tests`, which ends a file by our order; else
/// the last line there can be.
fn tests_from(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let inline = |next: &str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| inline(next)) {
            return index + 1;
        }
    }
    usize::MAX
}

fn breach(path: &Path, in_tests: bool) -> Option<&'static Rule> {
    let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
    let whole = parts.join("::");
    if parts == ["async"] || parts == ["await"] {
        return Some(&ASYNC);
    }
    let first = parts.first().copied().unwrap_or_default();
    let transport = TRANSPORTS.iter().any(|&name| {
        first == name
            || first
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('_'))
    });
    // A lone name may be a variable; a crate's is followed by `::` or imported.
    if transport && (parts.len() > 1 || path.imported) {
        return Some(&ASYNC);
    }
    if let ["std" | "core", "time", rest @ ..] = parts.as_slice() {
        let open = rest.first().is_some_and(|name| TIME_OPEN.contains(name));
        return (!open).then_some(&CLOCK);
    }
    if parts.len() > 1 && CLOCK_NAMES.contains(&first) {
        return Some(&CLOCK);
    }
    for (closed, rule) in CLOSED {
        if path.begins_with(closed) && !(in_tests && OPEN_IN_TESTS.contains(&closed)) {
            return Some(rule);
        }
    }
    let random = whole == "rand::rng" || whole.starts_with("rand::random");
    if random || parts.iter().any(|part| RANDOM_NAMES.contains(part)) {
        return Some(&RANDOM);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "behaviours/relay/src/lib.rs";

    fn broken(file: &str, source: &str) -> Vec<(&'static str, usize)> {
        let findings = check(&Tree::of(&[(file, source)]));
        findings
            .into_iter()
            .map(|finding| (finding.rule.name, finding.line))
            .collect()
    }

    #[test]
    fn each_closed_name_is_found_with_its_line() {
        let cases = [
            ("use std::time::Instant;", "pure-clock"),
            (
                "use std::{collections::BTreeMap, time::SystemTime};",
                "pure-clock",
            ),
            ("use std::time;", "pure-clock"),
            ("fn f() { let t = Instant::now(); }", "pure-clock"),
            ("use std::net::IpAddr;", "pure-system"),
            ("fn f() { std::fs::read(\"a\"); }", "pure-system"),
            ("use std::thread;", "pure-system"),
            ("use std::{env, fmt};", "pure-system"),
            ("async fn f() {}", "pure-async"),
            ("fn f() { g().await }", "pure-async"),
            ("use libp2p::PeerId;", "pure-async"),
            ("#[tokio::test]\nfn f() {}", "pure-async"),
            ("use futures_timer::Delay;", "pure-async"),
            ("fn f() -> u8 { rand::random::<u8>() }", "pure-random"),
            ("fn f() { let r = rand::rng(); }", "pure-random"),
            ("use rand::rngs::StdRng;", "pure-random"),
        ];
        for (line, rule) in cases {
            let source = format!("//! Relay.\n#![forbid(unsafe_code)]\n{line}\n");
            assert_eq!(broken(LIB, &source), [(rule, 3)], "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_closed_name_is_let_through() {
        let source = "//! On std::net and tokio.\n#![forbid(unsafe_code)]\n\
                      use std::time::Duration;\nuse crate::net::Link;\n\
                      // std::fs\nfn f(futures: u8) { g(\"async\", futures); network::tokio(); }\n";
        assert_eq!(broken(LIB, source), []);
    }

    #[test]
    fn crates_that_are_not_pure_may_wait_and_touch_the_system() {
        let source = "//! Node.\nuse std::fs;\nasync fn f() { tokio::task::yield_now().await }\n";
        assert_eq!(broken("node/src/lib.rs", source), []);
        assert_eq!(broken("node/ipc/src/lib.rs", source), []);
    }

    #[test]
    fn a_test_of_a_pure_crate_may_read_files_but_has_no_clock() {
        for file in [
            "behaviours/model/tests/data.rs",
            "behaviours/model/src/last/tests.rs",
        ] {
            assert_eq!(broken(file, "//! Data.\nuse std::{env, fs};\n"), []);
            assert_eq!(
                broken(file, "//! Data.\nuse std::time::Instant;\n"),
                [("pure-clock", 2)]
            );
        }
        let inline = "//! A.\nuse std::env;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(
            broken("behaviours/model/src/a.rs", inline),
            [("pure-system", 2)]
        );
        let unit = "behaviours/model/src/contests.rs";
        assert_eq!(
            broken(unit, "//! Data.\nuse std::fs;\n"),
            [("pure-system", 2)]
        );
    }

    #[test]
    fn an_exception_opens_one_name_in_one_file() {
        let source = "//! Seed.\nfn f() { std::env::var(\"OPUS_SEED\"); std::fs::read(\"a\"); }\n";
        assert_eq!(
            broken("behaviours/core/src/seed.rs", source),
            [("pure-system", 2)]
        );
        assert_eq!(broken("behaviours/core/src/id.rs", source).len(), 2);
    }

    #[test]
    fn a_pure_crate_forbids_unsafe_code() {
        assert_eq!(broken(LIB, "//! Relay.\nmod a;\n"), [("forbid-unsafe", 0)]);
    }
}
