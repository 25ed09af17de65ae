//! The fast loop: what an edit can have broken, in about two minutes when warm.
//!
//! The crates that changed and those that depend on them are checked by clippy and by their quick
//! tests (layers 1 to 3 of docs/testing.md): all tests of a pure crate, the unit tests of the
//! others.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    steps::Steps,
    tidy,
    workspace::{self, Member},
};

/// Files that concern every crate. The lock is not one: each new dependency touches it, and `ci`
/// tests what an update of versions breaks.
const EVERYWHERE: [&str; 3] = ["Cargo.toml", "clippy.toml", "rustfmt.toml"];

/// Runs the fast loop. Returns whether every step passed.
pub(crate) fn fast(root: &Path, base: Option<&str>, out: &mut impl Write) -> Result<bool> {
    let members = workspace::members(root)?;
    let files = files(root, base)?;
    let all = workspace::with_dependants(&members, &crates(&members, &files));
    writeln!(out, "{} changed files; crates: {}", files.len(), join(&all))?;
    let mut steps = Steps::default();
    steps.run(
        root,
        out,
        "fmt",
        "cargo",
        &["fmt", "--all", "--", "--check"],
    )?;
    writeln!(out, "== tidy")?;
    let tidy = tidy::run(root, out)?;
    steps.note("tidy", tidy);
    if !all.is_empty() {
        let packages: Vec<&str> = all.iter().flat_map(|name| ["-p", name.as_str()]).collect();
        let clippy = [
            &["clippy", "--all-targets"],
            &packages[..],
            &["--", "-D", "warnings"],
        ];
        steps.run(root, out, "clippy", "cargo", &clippy.concat())?;
    }
    // One call for each kind, so that cargo builds side by side.
    let (networked, quick): (Vec<&Member>, Vec<&Member>) = members
        .values()
        .filter(|member| all.contains(&member.name))
        .partition(|member| member.reached.contains("libp2p"));
    for (name, of, unit_only) in [("tests", quick, false), ("unit tests", networked, true)] {
        if !of.is_empty() {
            let mut arguments = vec!["test"];
            // `--lib` alone is an error where there is none.
            arguments.extend(unit_only.then_some("--bins"));
            arguments.extend((unit_only && of.iter().any(|member| member.lib)).then_some("--lib"));
            arguments.extend(of.iter().flat_map(|member| ["-p", member.name.as_str()]));
            steps.run(root, out, name, "cargo", &arguments)?;
        }
    }
    steps.summary(out)
}

fn join(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

/// The files that differ from `base`; without a base the uncommitted ones, or, if there are none,
/// those of the last commit.
fn files(root: &Path, base: Option<&str>) -> Result<Vec<String>> {
    let since = |base: &str| -> Result<Vec<String>> {
        let mut files = git(root, &["diff", "--name-only", base])?;
        files.extend(git(root, &["ls-files", "--others", "--exclude-standard"])?);
        Ok(files)
    };
    match base {
        Some(base) => since(base),
        None => match since("HEAD")? {
            files if files.is_empty() => since("HEAD~1"),
            files => Ok(files),
        },
    }
}

fn git(root: &Path, arguments: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The members whose files these are: the deepest directory wins, so `node/ipc` is not `node`.
fn crates(members: &BTreeMap<String, Member>, files: &[String]) -> BTreeSet<String> {
    if files.iter().any(|file| EVERYWHERE.contains(&file.as_str())) {
        return members.keys().cloned().collect();
    }
    let owner = |file: &String| {
        members
            .values()
            .filter(|member| file.starts_with(&format!("{}/", member.dir)))
            .max_by_key(|member| member.dir.len())
            .map(|member| member.name.clone())
    };
    files.iter().filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> BTreeMap<String, Member> {
        let member = |name: &str, dir: &str| {
            let member = Member {
                name: name.to_owned(),
                dir: dir.to_owned(),
                ..Member::default()
            };
            (name.to_owned(), member)
        };
        BTreeMap::from([member("opus-node", "node"), member("opus-ipc", "node/ipc")])
    }

    fn of(files: &[&str]) -> String {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        join(&crates(&members(), &files))
    }

    #[test]
    fn a_file_belongs_to_the_innermost_crate() {
        assert_eq!(of(&["node/ipc/src/lib.rs"]), "opus-ipc");
        assert_eq!(of(&["node/src/main.rs"]), "opus-node");
        assert_eq!(of(&["docs/ipc.md", "nodes/x.rs"]), "none");
    }

    #[test]
    fn the_root_manifest_concerns_every_crate() {
        assert_eq!(of(&["Cargo.toml"]), "opus-ipc opus-node");
    }
}
