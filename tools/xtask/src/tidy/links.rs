//! The docs point at files that exist.

use super::{Finding, Rule, tree::Tree};

const BROKEN: Rule = Rule {
    name: "doc-link",
    why: "the docs are the map of the tree; a reader who follows them must arrive",
    mend: "correct the path, or remove the sentence with the file",
};

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
