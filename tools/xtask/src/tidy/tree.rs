//! The files that the rules read: everything under version control or about to be.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

/// Directories that are never walked when there is no git: what builds and runs leave behind.
const LEFT_OUT: [&str; 4] = [".git", "target", "out", "run"];

/// Text files by path, relative to the root, with `/` between parts. Files that are not UTF-8
/// (pictures, golden bytes) are not in it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads what git tracks or would add; without git (a tarball), what lies there.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let paths = match tracked(root) {
            Some(paths) => paths,
            None => walked(root)?,
        };
        let mut files = BTreeMap::new();
        for path in paths {
            let bytes = match fs::read(root.join(&path)) {
                Ok(bytes) => bytes,
                // Tracked, but removed in the working tree.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
            };
            if let Ok(text) = String::from_utf8(bytes) {
                files.insert(path, text);
            }
        }
        Ok(Self { files })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether `dir` is a directory with at least one file.
    pub(super) fn has_dir(&self, dir: &str) -> bool {
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        self.files
            .range(prefix.clone()..)
            .next()
            .is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Files whose name ends with `.extension`.
    pub(super) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files()
            .filter(move |(path, _)| extension_of(path) == Some(extension))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self {
            files: files.iter().map(own).collect(),
        }
    }
}

/// The part after the last dot of a file's name.
pub(super) fn extension_of(path: &str) -> Option<&str> {
    Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let names = String::from_utf8(output.stdout).ok()?;
    Some(
        names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

fn walked(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if dir.is_empty() {
                name.clone()
            } else {
                format!("{dir}/{name}")
            };
            if !entry.file_type()?.is_dir() {
                paths.push(path);
            } else if !LEFT_OUT.contains(&name.as_str()) {
                open.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn without_git_the_same_sources_are_found_by_walking() {
        let root = workspace::root().unwrap();
        let walked = walked(&root).unwrap();
        assert!(
            walked
                .iter()
                .any(|path| path == "behaviours/core/src/lib.rs")
        );
        assert!(!walked.iter().any(|path| path.starts_with("target/")));
    }

    #[test]
    fn a_directory_is_there_when_a_file_is_below_it() {
        let tree = Tree::of(&[("docs/ipc/a.md", ""), ("docs/ipc.md", "")]);
        assert!(tree.has_dir("docs/ipc/"));
        assert!(!tree.has_dir("docs/ip"));
    }
}
