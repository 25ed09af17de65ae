//! The architecture as a test. Each rule is a function from plain data (a tree of files, a table
//! of crates) to findings, so that a made-up tree can break it.
//!
//! A finding says where, which rule, why the rule is there, and how to mend it.

mod layout;
mod lex;
mod links;
mod purity;
mod rooms;
mod tree;
mod words;

use std::{io::Write, path::Path};

use anyhow::Result;

use self::tree::Tree;
use crate::workspace;

/// A rule: its name, why it is there, how to mend a breach.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    name: &'static str,
    why: &'static str,
    mend: &'static str,
}

/// One breach of a rule. `line` counts from 1; 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    rule: &'static Rule,
    what: String,
    /// Told, but does not fail the check.
    warning: bool,
}

impl Finding {
    fn new(file: &str, line: usize, rule: &'static Rule, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            rule,
            what: what.into(),
            warning: false,
        }
    }
}

/// Checks the tree below `root`. Returns whether no rule is broken; warnings do not count.
pub(crate) fn run(root: &Path, out: &mut impl Write) -> Result<bool> {
    let tree = Tree::read(root)?;
    let members = workspace::members(root)?;
    let mut findings = rooms::check(&members);
    findings.extend(check_files(&tree));
    findings.extend(layout::check_manifests(&tree, &members));
    report(&findings, &tree, out)
}

fn check_files(tree: &Tree) -> Vec<Finding> {
    let mut findings = purity::check(tree);
    findings.extend(layout::check(tree));
    findings.extend(words::check(tree));
    findings.extend(links::check(tree));
    findings.extend(links::check_tests(tree));
    findings
}

fn report(findings: &[Finding], tree: &Tree, out: &mut impl Write) -> Result<bool> {
    for finding in findings {
        let Finding {
            file,
            line,
            rule,
            what,
            warning,
        } = finding;
        let kind = if *warning { "warning" } else { "error" };
        writeln!(out, "{file}:{line}: {kind} [{}] {what}", rule.name)?;
        writeln!(out, "    why: {}", rule.why)?;
        writeln!(out, "    mend: {}", rule.mend)?;
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    let warnings = findings.len() - errors;
    let files = tree.len();
    writeln!(
        out,
        "tidy: {files} files, {errors} errors, {warnings} warnings"
    )?;
    Ok(errors == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_is_told_with_place_reason_and_remedy_and_fails() {
        let tree = Tree::of(&[(
            "behaviours/core/src/a.rs",
            "//! A.\nfn f() { tokio::spawn(); }\n",
        )]);
        let mut out = Vec::new();
        let ok = report(&check_files(&tree), &tree, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!ok, "{text}");
        assert!(
            text.contains("behaviours/core/src/a.rs:2: error [pure-async]"),
            "{text}"
        );
        assert!(text.contains("why: ") && text.contains("mend: "), "{text}");
    }

    #[test]
    fn a_warning_is_told_but_does_not_fail() {
        let long = format!("//! A long file.\n{}", "const A: u8 = 1;\n".repeat(450));
        let tree = Tree::of(&[("node/src/a.rs", &long)]);
        let mut out = Vec::new();
        assert!(report(&check_files(&tree), &tree, &mut out).unwrap());
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("0 errors, 1 warnings")
        );
    }

    #[test]
    fn this_workspace_is_tidy() {
        let mut out = Vec::new();
        let ok = run(&workspace::root().unwrap(), &mut out).unwrap();
        assert!(ok, "{}", String::from_utf8_lossy(&out));
    }
}
