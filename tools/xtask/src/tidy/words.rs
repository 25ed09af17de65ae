//! Words that no committed file holds: paths of somebody's machine, and notes that something is
//! still to be done.

use super::{Finding, Rule, tree::Tree};

const MACHINE_PATH: Rule = Rule {
    name: "machine-path",
    why: "the project is cloned anywhere; a path of one machine is wrong on all others",
    mend: "write the path relative to the project, or make a directory with `tempfile`",
};

const UNFINISHED: Rule = Rule {
    name: "unfinished",
    why: "what is committed is finished; what is not belongs in an issue",
    mend: "do it, or open an issue and describe the limit as it is",
};

/// Roots of paths that exist on somebody's machine only.
const MACHINE_PATHS: [&str; 5] = ["/work/", "/root/", "/tmp/", "/home/", "/Users/"];

const UNFINISHED_WORDS: [&str; 6] = [
    "TODO",
    "FIXME",
    "XXX",
    "todo!",
    "unimplemented!",
    "Room to be furnished",
];

/// Files that must spell the words: this one; and those whose text is not ours.
const EXEMPT: [&str; 4] = [
    "tools/xtask/src/tidy/words.rs",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "Cargo.lock",
];

/// (beginning of a file's path, root of machine paths that may stand in it), with the reason.
const ALLOWED_PATHS: [(&str, &str); 2] = [
    // Made-up places that settings are resolved to in tests; nothing there is opened.
    ("node/src/config", "/home/"),
    ("node/src/config", "/tmp/"),
];

/// Checks all text files.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.files().filter(|(file, _)| !EXEMPT.contains(file)) {
        for (index, line) in text.lines().enumerate() {
            let path = MACHINE_PATHS
                .iter()
                .filter(|path| !is_allowed(file, path))
                .find(|path| stands_alone(line, path));
            if let Some(path) = path {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    &MACHINE_PATH,
                    format!("`{path}`"),
                ));
            }
            if let Some(word) = UNFINISHED_WORDS
                .iter()
                .find(|word| stands_alone(line, word))
            {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    &UNFINISHED,
                    format!("`{word}`"),
                ));
            }
        }
    }
    findings
}

fn is_allowed(file: &str, path: &str) -> bool {
    ALLOWED_PATHS
        .iter()
        .any(|(prefix, allowed)| *allowed == path && file.starts_with(prefix))
}

/// Whether `word` occurs in `line` with no letter, digit, `_`, `~` or dot before it and, if it
/// ends with a letter, none after it.
fn stands_alone(line: &str, word: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined_before = before.is_some_and(|c| is_word(c) || matches!(c, '~' | '.'));
        let joined_after = word.ends_with(is_word) && after.is_some_and(is_word);
        !joined_before && !joined_after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, line: &str) -> Vec<&'static str> {
        let text = format!("first\n{line}\n");
        let findings = check(&Tree::of(&[(file, &text)]));
        assert!(findings.iter().all(|finding| finding.line == 2));
        findings
            .into_iter()
            .map(|finding| finding.rule.name)
            .collect()
    }

    #[test]
    fn paths_of_a_machine_are_found_in_code_and_docs() {
        for line in [
            "see /work/a",
            "\"/root/.x\"",
            "`/tmp/a.sock`",
            "cd /home/me",
            "(/Users/me)",
        ] {
            assert_eq!(broken("docs/a.md", line), ["machine-path"], "{line}");
            assert_eq!(broken("node/src/a.rs", line), ["machine-path"], "{line}");
        }
    }

    #[test]
    fn paths_that_only_contain_such_a_part_are_let_through() {
        for line in [
            "frame/work/a",
            "~/work/",
            "target/tmp/a",
            "./tmp/a",
            "https://a.b/c/home/x",
        ] {
            assert_eq!(broken("docs/a.md", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn an_allowance_is_for_one_directory_and_one_root() {
        assert_eq!(
            broken("node/src/config/tests.rs", "\"/home/a/.config\""),
            [""; 0]
        );
        assert_eq!(
            broken("node/src/config/tests.rs", "\"/root/.config\""),
            ["machine-path"]
        );
        assert_eq!(
            broken("node/src/main.rs", "\"/home/a/.config\""),
            ["machine-path"]
        );
    }

    #[test]
    fn notes_of_unfinished_work_are_found() {
        let lines = [
            "// TODO: x",
            "FIXME",
            "# XXX",
            "todo!()",
            "unimplemented!(\"x\")",
        ];
        for line in lines.into_iter().chain(["//! Room to be furnished."]) {
            assert_eq!(broken("node/src/a.rs", line), ["unfinished"], "{line}");
        }
        for line in ["12D3KooWXXXa", "MASTODON_TODOS", "todo list"] {
            assert_eq!(broken("node/src/a.rs", line), [""; 0], "{line}");
        }
    }

    #[test]
    fn the_texts_of_the_licences_are_not_ours_to_change() {
        assert_eq!(broken("LICENSE-APACHE", "XXX"), [""; 0]);
    }
}
