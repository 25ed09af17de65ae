//! The docs point at files and tests that exist.

use std::collections::BTreeSet;

use super::{Finding, Rule, tree::Tree};

const BROKEN: Rule = Rule {
    name: "doc-link",
    why: "the docs are the map of the tree; a reader who follows them must arrive",
    mend: "correct the path, or remove the sentence with the file",
};

const NO_TEST: Rule = Rule {
    name: "doc-test",
    why: "the paper map says which test proves what; a test that is gone proves nothing",
    mend: "name the test by the name of its function",
};

/// Pages whose long names in back quotes are names of tests.
const PROVING: [&str; 2] = ["docs/paper-map.md", "docs/testing.md"];

/// A name of so many words is a sentence, and so a test's.
const WORDS_MIN: usize = 4;

/// A path in back quotes is a claim if it begins with one of these.
const OURS: [&str; 7] = [
    "behaviours/",
    "node/",
    "testnet/",
    "tools/",
    "docs/",
    ".ci/",
    ".config/",
];

/// Checks the links and the quoted paths of every page.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (page, text) in tree.with_extension("md") {
        let dir = page.rsplit_once('/').map_or("", |(dir, _)| dir);
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            let links = links(line)
                .into_iter()
                .filter_map(|link| resolved(dir, link));
            for path in links.chain(quoted_paths(line)) {
                if !tree.contains(&path) && !tree.has_dir(&path) && !is_pattern(&path, tree) {
                    findings.push(Finding::new(page, index + 1, &BROKEN, format!("`{path}`")));
                }
            }
        }
    }
    findings
}

/// Checks that each test that a page names is there.
pub(super) fn check_tests(tree: &Tree) -> Vec<Finding> {
    let pages: Vec<_> = tree
        .with_extension("md")
        .filter(|(page, _)| PROVING.contains(page))
        .collect();
    if pages.is_empty() {
        return Vec::new();
    }
    let functions: BTreeSet<&str> = tree
        .with_extension("rs")
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| c != '_' && !c.is_alphanumeric())
                .next()
        })
        .collect();
    let mut findings = Vec::new();
    for (page, text) in pages {
        for (index, line) in text.lines().enumerate() {
            for name in line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|text| is_sentence(text))
            {
                if !functions.contains(name) {
                    findings.push(Finding::new(page, index + 1, &NO_TEST, format!("`{name}`")));
                }
            }
        }
    }
    findings
}

fn is_sentence(text: &str) -> bool {
    let plain = |c: char| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit();
    text.split('_').count() >= WORDS_MIN && text.chars().all(plain)
}

/// The targets of `[text](target)`.
fn links(line: &str) -> Vec<&str> {
    line.match_indices("](")
        .filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next())
        .collect()
}

/// The path, from the root, that a link on a page in `dir` means; none for addresses and anchors.
fn resolved(dir: &str, link: &str) -> Option<String> {
    let link = link.split('#').next().unwrap_or_default();
    if link.is_empty() || link.contains(':') {
        return None;
    }
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Paths of the project in back quotes.
fn quoted_paths(line: &str) -> impl Iterator<Item = String> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted
        .filter(|text| OURS.iter().any(|dir| text.starts_with(dir)))
        .filter(|text| !text.contains(char::is_whitespace))
        .map(|text| {
            text.split(':')
                .next()
                .unwrap_or(text)
                .trim_end_matches('/')
                .to_owned()
        })
}

/// `testnet/scenarios/*.toml`: a star stands for one name, and its directory exists.
fn is_pattern(path: &str, tree: &Tree) -> bool {
    let Some((before, _)) = path.split_once('*') else {
        return false;
    };
    before
        .rsplit_once('/')
        .is_some_and(|(dir, _)| tree.has_dir(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(page: &str, line: &str) -> Vec<(String, usize)> {
        let tree = Tree::of(&[
            ("behaviours/core/src/id.rs", ""),
            ("docs/ipc.md", ""),
            ("testnet/scenarios/a.toml", ""),
            (page, line),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| (finding.what, finding.line))
            .collect()
    }

    #[test]
    fn links_and_quoted_paths_that_lead_nowhere_are_found() {
        let gone = |path: &str| vec![(format!("`{path}`"), 1)];
        assert_eq!(
            broken("README.md", "see [a](docs/gone.md)"),
            gone("docs/gone.md")
        );
        assert_eq!(
            broken("docs/a.md", "see [a](../gone.md#x)"),
            gone("gone.md")
        );
        assert_eq!(
            broken("docs/a.md", "`node/src/gone.rs`"),
            gone("node/src/gone.rs")
        );
    }

    #[test]
    fn a_test_that_the_paper_map_names_is_there() {
        let broken = |page: &str, line: &str| {
            let source = (
                "a.rs",
                "//! A.\n#[test]\nasync fn a_node_finds_its_way() {}\n",
            );
            let findings = check_tests(&Tree::of(&[source, (page, line)]));
            findings
                .into_iter()
                .map(|finding| finding.what)
                .collect::<Vec<_>>()
        };
        let page = "docs/paper-map.md";
        assert_eq!(
            broken(page, "| `a_node_finds_its_way` | `rtt_us` |"),
            [""; 0]
        );
        assert_eq!(
            broken(page, "`a_node_finds_its_end`"),
            ["`a_node_finds_its_end`"]
        );
        assert_eq!(broken("docs/ipc.md", "`a_node_finds_its_end`"), [""; 0]);
    }

    #[test]
    fn what_exists_is_somewhere_else_or_is_an_example_is_let_through() {
        for line in [
            "[a](ipc.md#frame) [b](https://example.org/x) [c](#here)",
            "`behaviours/core/src/id.rs:3`, `behaviours/core/`, `testnet/scenarios/*.toml`",
            "```\nvi `node/gone.rs`\n```",
            "`node.status`, `out/report.html`, `cargo run -p node/x`",
        ] {
            assert_eq!(broken("docs/a.md", line), [], "{line}");
        }
    }
}
