//! How files and crates look: module docs, lengths, lints, no empty rooms, no unnamed scenario.

use std::collections::BTreeMap;

use super::{
    Finding, Rule, lex,
    tree::{Tree, extension_of},
};
use crate::workspace::Member;

/// A reader keeps about this much of a file in mind.
const LINES_WARN: usize = 400;
/// Past this a file holds two subjects.
const LINES_MAX: usize = 600;
/// Two files side by side on a screen.
const COLUMNS_MAX: usize = 100;

const MODULE_DOC: Rule = Rule {
    name: "module-doc",
    why: "the first paragraph of a file says what it is, so that nobody reads code to find out",
    mend: "begin the file with `//!` and a sentence in the paper's words",
};

const FILE_LENGTH: Rule = Rule {
    name: "file-length",
    why: "a file is 150 to 400 lines: one subject, read in one go",
    mend: "split it by what changes together; tests beyond 100 lines go to tests.rs beside",
};

const LINE_LENGTH: Rule = Rule {
    name: "line-length",
    why: "lines end at 100 columns, as rustfmt has it; it leaves long literals alone",
    mend: "break the line; a string continues after `\\` at its end",
};

const EMPTY: Rule = Rule {
    name: "empty-room",
    why: "a file or crate without content promises what is not there",
    mend: "write it or remove it; later work brings its own rooms",
};

const LINTS: Rule = Rule {
    name: "lints",
    why: "every crate obeys the lints of the root manifest",
    mend: "add `[lints]` with `workspace = true` to its Cargo.toml",
};

const SCENARIO: Rule = Rule {
    name: "scenario-named",
    why: "a scenario measures a claim, and the claim stands in the docs",
    mend: "name the scenario in docs/paper-map.md or docs/testing.md, beside what it proves",
};

/// Checks every file by itself, and the scenarios against the docs.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.files() {
        if extension_of(file) == Some("rs") {
            findings.extend(check_rust(file, text));
        }
        if has_columns(file) {
            findings.extend(check_columns(file, text));
        }
        if file.starts_with("testnet/scenarios/") && extension_of(file) == Some("toml") {
            findings.extend(check_scenario(file, tree));
        }
    }
    findings
}

fn check_rust(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(Finding::new(
            file,
            1,
            &MODULE_DOC,
            "the file does not begin with `//!`",
        ));
    }
    if !lex::has_code(text) {
        findings.push(Finding::new(file, 0, &EMPTY, "the file holds no code"));
    }
    let lines = text.lines().count();
    if lines > LINES_WARN {
        let limit = if lines > LINES_MAX {
            LINES_MAX
        } else {
            LINES_WARN
        };
        let what = format!("{lines} lines, more than {limit}");
        let mut finding = Finding::new(file, lines, &FILE_LENGTH, what);
        finding.warning = lines <= LINES_MAX;
        findings.push(finding);
    }
    findings
}

/// Prose wraps on the screen, an inline table of TOML cannot be broken, and CDDL is a table with
/// one rule a line.
fn has_columns(file: &str) -> bool {
    match extension_of(file) {
        Some("rs" | "py" | "sh") => true,
        _ => file == ".ci/run",
    }
}

fn check_columns(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // An address cannot be broken.
        if columns > COLUMNS_MAX && !line.contains("https://") {
            let what = format!("{columns} columns, more than {COLUMNS_MAX}");
            findings.push(Finding::new(file, index + 1, &LINE_LENGTH, what));
        }
    }
    findings
}

fn check_scenario(file: &str, tree: &Tree) -> Option<Finding> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let named = tree
        .with_extension("md")
        .filter(|(page, _)| page.starts_with("docs/"))
        .any(|(_, text)| text.contains(&format!("`{name}`")));
    (!named).then(|| Finding::new(file, 0, &SCENARIO, "no page of docs/ names it"))
}

/// Checks the manifest and the content of each member.
pub(super) fn check_manifests(tree: &Tree, members: &BTreeMap<String, Member>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members.values() {
        let manifest = format!("{}/Cargo.toml", member.dir);
        if !tree.get(&manifest).is_some_and(has_workspace_lints) {
            findings.push(Finding::new(
                &manifest,
                0,
                &LINTS,
                "no `[lints] workspace = true`",
            ));
        }
        let sources = format!("{}/src/", member.dir);
        let content = tree
            .with_extension("rs")
            .any(|(file, text)| file.starts_with(&sources) && lex::has_code(text));
        if !content {
            let what = format!("{} has no content", member.name);
            findings.push(Finding::new(&manifest, 0, &EMPTY, what));
        }
    }
    findings
}

fn has_workspace_lints(manifest: &str) -> bool {
    let table: Option<toml::Table> = manifest.parse().ok();
    let lints = table
        .as_ref()
        .and_then(|table| table.get("lints")?.get("workspace"));
    lints.and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(files: &[(&str, &str)]) -> Vec<(&'static str, usize, bool)> {
        let findings = check(&Tree::of(files));
        findings
            .iter()
            .map(|found| (found.rule.name, found.line, found.warning))
            .collect()
    }

    #[test]
    fn a_file_begins_with_its_module_doc() {
        assert_eq!(
            broken(&[("node/src/a.rs", "use a::B;\n")]),
            [("module-doc", 1, false)]
        );
        assert_eq!(broken(&[("node/src/a.rs", "//! A.\nuse a::B;\n")]), []);
    }

    #[test]
    fn a_long_file_is_a_warning_and_a_very_long_one_an_error() {
        let lines = |n: usize| format!("//! A.\n{}", "mod a;\n".repeat(n - 1));
        assert_eq!(broken(&[("a.rs", &lines(400))]), []);
        assert_eq!(
            broken(&[("a.rs", &lines(401))]),
            [("file-length", 401, true)]
        );
        assert_eq!(
            broken(&[("a.rs", &lines(601))]),
            [("file-length", 601, false)]
        );
    }

    #[test]
    fn a_line_ends_at_one_hundred_columns() {
        let line = |n: usize| format!("//! A.\n// {}\nmod a;\n", "é".repeat(n - 3));
        assert_eq!(broken(&[("a.rs", &line(100))]), []);
        assert_eq!(broken(&[("a.rs", &line(101))]), [("line-length", 2, false)]);
        let address = format!("# https://example.org/{}\n", "a".repeat(100));
        assert_eq!(broken(&[("a.py", &address)]), []);
        assert_eq!(broken(&[("docs/a.md", &line(200))]), []);
    }

    #[test]
    fn a_file_of_comments_only_is_an_empty_room() {
        assert_eq!(
            broken(&[("a.rs", "//! Later.\n\n// Soon.\n")]),
            [("empty-room", 0, false)]
        );
    }

    #[test]
    fn a_scenario_is_named_in_the_docs() {
        let scenario = ("testnet/scenarios/flash.toml", "");
        assert_eq!(
            broken(&[scenario, ("README.md", "flash")]),
            [("scenario-named", 0, false)]
        );
        assert_eq!(broken(&[scenario, ("docs/a.md", "see `flash`")]), []);
        let word = ("docs/a.md", "in a flash");
        assert_eq!(broken(&[scenario, word]), [("scenario-named", 0, false)]);
    }

    fn broken_manifest(files: &[(&str, &str)]) -> Vec<&'static str> {
        let member = Member {
            name: "a".to_owned(),
            dir: "x/a".to_owned(),
            ..Member::default()
        };
        let members = BTreeMap::from([("a".to_owned(), member)]);
        let findings = check_manifests(&Tree::of(files), &members);
        findings
            .into_iter()
            .map(|finding| finding.rule.name)
            .collect()
    }

    #[test]
    fn a_member_takes_the_lints_of_the_workspace() {
        let lib = ("x/a/src/lib.rs", "//! A.\nmod b;\n");
        let with = (
            "x/a/Cargo.toml",
            "[package]\nname = 'a'\n[lints]\nworkspace = true\n",
        );
        assert_eq!(broken_manifest(&[lib, with]), [""; 0]);
        let without = (
            "x/a/Cargo.toml",
            "[dependencies]\nb.workspace = true\n[lints]\n",
        );
        assert_eq!(broken_manifest(&[lib, without]), ["lints"]);
    }

    #[test]
    fn a_member_has_content() {
        let manifest = ("x/a/Cargo.toml", "[lints]\nworkspace = true\n");
        let lib = ("x/a/src/lib.rs", "//! A crate to come.\n");
        assert_eq!(broken_manifest(&[manifest, lib]), ["empty-room"]);
    }
}
