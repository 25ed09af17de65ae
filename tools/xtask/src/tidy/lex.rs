//! Rust source as paths with line numbers, without comments and literals: as much of the language
//! as the rules need.
//!
//! `use` trees are spread out, so `use std::{fs, net::IpAddr as Ip};` gives `std::fs` and
//! `std::net::IpAddr`. Everywhere else a path is a run of names joined by `::`; a lone name or
//! keyword is a path of one part.

/// A path as the source names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// From 1.
    pub(super) line: usize,
    pub(super) parts: Vec<String>,
    /// It stands in a `use` declaration.
    pub(super) imported: bool,
}

impl Path {
    /// Whether the path begins with these parts, `::` between them.
    pub(super) fn begins_with(&self, prefix: &str) -> bool {
        let mut parts = self.parts.iter();
        prefix
            .split("::")
            .all(|part| parts.next().is_some_and(|own| own == part))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Colons,
    Other(char),
}

/// Whether there is anything but comments and white space.
pub(super) fn has_code(source: &str) -> bool {
    !tokens(source).is_empty()
}

/// All paths of a source file, in order.
pub(super) fn paths(source: &str) -> Vec<Path> {
    let tokens = tokens(source);
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some((token, line)) = tokens.get(at) {
        match token {
            Token::Name(name) if name == "use" => {
                at = use_tree(&tokens, at + 1, &[], &mut paths);
            }
            Token::Name(_) => {
                let (parts, next) = joined(&tokens, at);
                paths.push(Path {
                    line: *line,
                    parts,
                    imported: false,
                });
                at = next;
            }
            Token::Colons | Token::Other(_) => at += 1,
        }
    }
    paths
}

/// `a::b::c` from `at` on; the index after it.
fn joined(tokens: &[(Token, usize)], mut at: usize) -> (Vec<String>, usize) {
    let mut parts = Vec::new();
    while let Some((Token::Name(name), _)) = tokens.get(at) {
        parts.push(name.clone());
        at += 1;
        let colons = matches!(tokens.get(at), Some((Token::Colons, _)));
        if !colons || !matches!(tokens.get(at + 1), Some((Token::Name(_), _))) {
            break;
        }
        at += 1;
    }
    (parts, at)
}

/// One tree of a `use` from `at` on, below `prefix`; the index of the token that ends it.
fn use_tree(
    tokens: &[(Token, usize)],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<Path>,
) -> usize {
    let mut parts = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |(_, line)| *line);
    while let Some((token, here)) = tokens.get(at) {
        match token {
            Token::Name(name) if name == "as" => at += 2,
            Token::Name(name) => {
                line = *here;
                parts.push(name.clone());
                at += 1;
            }
            Token::Colons => at += 1,
            Token::Other('*') => {
                parts.push("*".to_owned());
                at += 1;
            }
            Token::Other('{') => {
                at += 1;
                while !matches!(tokens.get(at), None | Some((Token::Other('}'), _))) {
                    at = use_tree(tokens, at, &parts, paths);
                    if matches!(tokens.get(at), Some((Token::Other(','), _))) {
                        at += 1;
                    } else {
                        break;
                    }
                }
                return at + 1;
            }
            Token::Other(_) => break,
        }
    }
    if parts.last().is_some_and(|part| part == "self") {
        parts.pop();
    }
    if !parts.is_empty() {
        paths.push(Path {
            line,
            parts,
            imported: true,
        });
    }
    at
}

fn tokens(source: &str) -> Vec<(Token, usize)> {
    let mut reader = Reader {
        rest: source,
        line: 1,
        tokens: Vec::new(),
    };
    while reader.step() {}
    reader.tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<(Token, usize)>,
}

impl Reader<'_> {
    /// Reads one token, comment or literal; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        let rest = self.rest;
        if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(length) = literal(rest) {
            self.tokens.push((Token::Other('"'), self.line));
            self.skip(length);
        } else if first == '_' || first.is_alphanumeric() {
            let rest = rest.strip_prefix("r#").unwrap_or(rest);
            let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
            let name = &rest[..length.unwrap_or(rest.len())];
            self.tokens.push((Token::Name(name.to_owned()), self.line));
            self.skip(self.rest.len() - rest.len() + name.len());
        } else if rest.starts_with("::") {
            self.tokens.push((Token::Colons, self.line));
            self.skip(2);
        } else {
            if !first.is_whitespace() {
                self.tokens.push((Token::Other(first), self.line));
            }
            self.skip(first.len_utf8());
        }
        true
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// Length of the block comment at the start; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string or character literal at the start, if there is one.
fn literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(inner) = raw[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
            return Some(prefix + 1 + hashes + 1 + length);
        }
    }
    if body.starts_with('"') {
        return Some(prefix + quoted(body, '"'));
    }
    // `'a'` is a character, `'a` a lifetime.
    let mut chars = body.strip_prefix('\'')?.chars();
    let first = chars.next()?;
    if first == '\\' || chars.next() == Some('\'') {
        return Some(prefix + quoted(body, '\''));
    }
    None
}

/// Length of the literal that starts and ends with `quote`, with backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(source: &str) -> Vec<String> {
        paths(source)
            .into_iter()
            .map(|path| path.parts.join("::"))
            .collect()
    }

    #[test]
    fn a_use_tree_is_spread_out_with_the_line_of_each_leaf() {
        let source =
            "use std::{\n  fs::{self, File},\n  net::IpAddr as Ip,\n  time::*,\n};\nfn f() {}";
        assert_eq!(
            spelled(source),
            [
                "std::fs",
                "std::fs::File",
                "std::net::IpAddr",
                "std::time::*",
                "fn",
                "f"
            ]
        );
        assert_eq!(paths(source)[2].line, 3);
        assert!(paths(source)[2].imported);
    }

    #[test]
    fn comments_and_literals_hide_what_is_in_them() {
        let source = r##"
            // std::fs
            /* std::net /* nested */ tokio */
            let a = "std::thread \" still";
            let b = r#"async "quoted" "#;
            let c = ('"', b'\'', br"x");
            let d: &'static str = "e";
            end::of()
        "##;
        let seen = spelled(source);
        for hidden in [
            "std::fs",
            "std::net",
            "std::thread",
            "async",
            "tokio",
            "quoted",
            "still",
        ] {
            assert!(!seen.contains(&hidden.to_owned()), "{hidden} in {seen:?}");
        }
        assert!(seen.contains(&"end::of".to_owned()), "{seen:?}");
        assert!(seen.contains(&"static".to_owned()), "{seen:?}");
    }

    #[test]
    fn a_path_begins_with_whole_parts_only() {
        let path = &paths("std::network::X")[0];
        assert!(path.begins_with("std::network"));
        assert!(!path.begins_with("std::net"));
    }

    #[test]
    fn a_file_of_comments_has_no_code() {
        assert!(!has_code("//! Doc.\n\n// more\n/* and */\n"));
        assert!(has_code("//! Doc.\nmod a;\n"));
    }
}
