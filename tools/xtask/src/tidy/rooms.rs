//! Which crate may know which: the direction table of docs/architecture.md.
//!
//! `model` and `core` <- the protocols <- `site`; `core` <- `swarm` -> libp2p; all of them <-
//! `node`; `core`, `site`, `net` <- `sim`; `node` as a library and `net` <- `lab`.

use std::collections::BTreeMap;

use super::{Finding, Rule};
use crate::workspace::Member;

const DIRECTION: Rule = Rule {
    name: "direction",
    why: "cargo holds the fence between the layers; a protocol that knows a sibling, or a pure \
          crate that knows the node, can no longer be run by all three drivers",
    mend: "move the decision to behaviours/site, or the shared type to behaviours/core; if the \
           architecture really changes, change ROOMS in tools/xtask/src/tidy/rooms.rs together \
           with docs/architecture.md",
};

const UNKNOWN: Rule = Rule {
    name: "room",
    why: "every crate has its place in the direction table",
    mend: "add it to ROOMS in tools/xtask/src/tidy/rooms.rs and to docs/architecture.md",
};

const PURE: Rule = Rule {
    name: "pure-dependency",
    why: "a pure crate runs in the simulator, the lab and the node alike, and compiles for \
          wasm32; it needs no runtime, transport, clock or system",
    mend: "keep the I/O in node or swarm; for a crate that is pure itself, add it to \
           PURE_EXTERNAL in tools/xtask/src/tidy/rooms.rs",
};

const LIBP2P: Rule = Rule {
    name: "libp2p",
    why: "only swarm, node, lab and the testnet command line know libp2p; the others build in \
          seconds and can be read without it",
    mend: "go through opus-ipc (applications) or through a Machine (protocols)",
};

/// A crate of ours and what it may know.
#[derive(Debug)]
pub(super) struct Room {
    name: &'static str,
    /// Directory, relative to the root.
    pub(super) dir: &'static str,
    kind: Kind,
    /// Crates of ours that it may depend on.
    may: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No clock, no I/O, no async, no transport.
    Pure,
    /// May use tokio, never libp2p.
    Plain,
    /// May use libp2p.
    Network,
}

impl Room {
    pub(super) fn is_pure(&self) -> bool {
        self.kind == Kind::Pure
    }
}

const fn room(
    name: &'static str,
    dir: &'static str,
    kind: Kind,
    may: &'static [&'static str],
) -> Room {
    Room {
        name,
        dir,
        kind,
        may,
    }
}

/// The direction table.
pub(super) const ROOMS: [Room; 18] = [
    room("opus-core", "behaviours/core", Kind::Pure, &[]),
    room("opus-model", "behaviours/model", Kind::Pure, &[]),
    room(
        "opus-probe",
        "behaviours/probe",
        Kind::Pure,
        &["opus-core", "opus-model"],
    ),
    room(
        "opus-dicast",
        "behaviours/dicast",
        Kind::Pure,
        &["opus-core", "opus-model"],
    ),
    room(
        "opus-overlay",
        "behaviours/overlay",
        Kind::Pure,
        &["opus-core", "opus-model"],
    ),
    room(
        "opus-relay",
        "behaviours/relay",
        Kind::Pure,
        &["opus-core", "opus-model"],
    ),
    room(
        "opus-site",
        "behaviours/site",
        Kind::Pure,
        &[
            "opus-core",
            "opus-model",
            "opus-probe",
            "opus-dicast",
            "opus-overlay",
            "opus-relay",
        ],
    ),
    room(
        "opus-swarm",
        "behaviours/swarm",
        Kind::Network,
        &["opus-core"],
    ),
    room("opus-ipc", "node/ipc", Kind::Plain, &["opus-core"]),
    room(
        "opus-node",
        "node",
        Kind::Network,
        &[
            "opus-core",
            "opus-model",
            "opus-probe",
            "opus-dicast",
            "opus-overlay",
            "opus-relay",
            "opus-site",
            "opus-swarm",
            "opus-ipc",
        ],
    ),
    room(
        "opus-net",
        "testnet/net",
        Kind::Pure,
        &["opus-core", "opus-model"],
    ),
    room(
        "opus-sim",
        "testnet/sim",
        Kind::Pure,
        &["opus-core", "opus-model", "opus-net", "opus-site"],
    ),
    room(
        "opus-lab",
        "testnet/lab",
        Kind::Network,
        &[
            "opus-core",
            "opus-model",
            "opus-probe",
            "opus-dicast",
            "opus-overlay",
            "opus-relay",
            "opus-site",
            "opus-swarm",
            "opus-net",
            // The simulator beside it: the same nodes, the same links.
            "opus-sim",
            "opus-node",
            "opus-ipc",
            "opus-samples",
        ],
    ),
    room(
        "opus-testnet",
        "testnet/cli",
        Kind::Network,
        &[
            "opus-core",
            "opus-model",
            "opus-net",
            "opus-sim",
            "opus-lab",
            "opus-node",
            "opus-ipc",
            "opus-samples",
            // `chain` measures the data path below the site manager, on whole nodes.
            "opus-relay",
            "opus-swarm",
            "opus-site",
        ],
    ),
    room(
        "opus-fuzz-targets",
        "testnet/fuzz/targets",
        Kind::Plain,
        &[
            "opus-core",
            "opus-model",
            "opus-probe",
            "opus-dicast",
            "opus-overlay",
            "opus-relay",
            "opus-site",
            "opus-ipc",
        ],
    ),
    room(
        "opus-samples",
        "tools/samples",
        Kind::Plain,
        &["opus-core", "opus-ipc", "opus-site"],
    ),
    room(
        "opus-bench",
        "tools/bench",
        Kind::Plain,
        &["opus-core", "opus-net", "opus-sim", "opus-site"],
    ),
    room("xtask", "tools/xtask", Kind::Plain, &[]),
];

/// Crates from outside that a pure crate may name. All are pure themselves.
const PURE_EXTERNAL: [&str; 13] = [
    "blake3",
    "bytes",
    "cbor4ii",
    "data-encoding",
    "ed25519-dalek",
    "libm",
    "rand",
    "rand_xoshiro",
    "rustc-hash",
    "serde",
    "serde_bytes",
    "thiserror",
    "toml",
];

/// What the tests and benches of a pure crate may name besides.
const PURE_EXTERNAL_IN_TESTS: [&str; 3] = ["divan", "proptest", "serde_json"];

/// What no pure crate reaches, not even through others.
const RUNTIMES: [&str; 9] = [
    "async-io",
    "futures",
    "futures-core",
    "hyper",
    "libp2p",
    "mio",
    "quinn",
    "socket2",
    "tokio",
];

/// Checks the members of the workspace against the table.
pub(super) fn check(members: &BTreeMap<String, Member>) -> Vec<Finding> {
    members.values().flat_map(check_member).collect()
}

fn check_member(member: &Member) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", member.dir);
    let Some(room) = ROOMS.iter().find(|room| room.name == member.name) else {
        let what = format!("{} is not in the direction table", member.name);
        return vec![Finding::new(&manifest, 0, &UNKNOWN, what)];
    };
    let mut findings = Vec::new();
    let mut found = |rule, what: String| findings.push(Finding::new(&manifest, 0, rule, what));
    if room.dir != member.dir {
        found(&UNKNOWN, format!("{} belongs in {}", member.name, room.dir));
    }
    for on in &member.normal {
        if is_ours(on) && !room.may.contains(&on.as_str()) {
            found(&DIRECTION, format!("{} depends on {on}", member.name));
        }
        if room.is_pure() && !is_ours(on) && !PURE_EXTERNAL.contains(&on.as_str()) {
            found(&PURE, format!("{} depends on {on}", member.name));
        }
    }
    for on in &member.dev {
        // A crate may name itself to switch its own features on.
        if is_ours(on) && on != room.name && !room.may.contains(&on.as_str()) {
            found(
                &DIRECTION,
                format!("the tests of {} depend on {on}", member.name),
            );
        }
        let external = || {
            PURE_EXTERNAL
                .iter()
                .chain(&PURE_EXTERNAL_IN_TESTS)
                .any(|may| may == on)
        };
        if room.is_pure() && !is_ours(on) && !external() {
            found(
                &PURE,
                format!("the tests of {} depend on {on}", member.name),
            );
        }
    }
    if room.is_pure() {
        for runtime in RUNTIMES
            .iter()
            .filter(|&&runtime| member.reached.contains(runtime))
        {
            found(
                &PURE,
                format!("{} reaches {runtime} through its dependencies", member.name),
            );
        }
    }
    if room.kind != Kind::Network && member.reached.iter().any(|name| name.starts_with("libp2p")) {
        found(&LIBP2P, format!("{} reaches libp2p", member.name));
    }
    findings
}

fn is_ours(name: &str) -> bool {
    name.starts_with("opus-") || name == "xtask"
}

#[cfg(test)]
mod tests;
