//! The workspace as cargo sees it: its root, its members, and who needs whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// One member of the workspace and what it asks for by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Directory, relative to the root, with `/` between parts.
    pub(crate) dir: String,
    /// It has a library, not only binaries.
    pub(crate) lib: bool,
    /// Direct dependencies that end up in the product (normal and build).
    pub(crate) normal: BTreeSet<String>,
    /// Direct dependencies of tests, examples and benches only.
    pub(crate) dev: BTreeSet<String>,
    /// Every crate that the product part reaches, the direct ones too.
    pub(crate) reached: BTreeSet<String>,
}

/// The root of the workspace: two levels above this crate's manifest.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .nth(2)
        .context("xtask lies in tools/xtask")?;
    Ok(root.to_path_buf())
}

/// The members by name, with the dependencies of this host's platform.
///
/// Errors: cargo is missing, or the manifests do not resolve.
pub(crate) fn members(root: &Path) -> Result<BTreeMap<String, Member>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--filter-platform".to_owned(), env!("TARGET").to_owned()])
        .exec()
        .context("cargo metadata")?;
    Ok(read(&metadata))
}

fn read(metadata: &Metadata) -> BTreeMap<String, Member> {
    let edges = edges(metadata);
    let mut members = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let name = package.name.to_string();
        let dir = package
            .manifest_path
            .parent()
            .unwrap_or(&metadata.workspace_root);
        let dir = dir.strip_prefix(&metadata.workspace_root).unwrap_or(dir);
        let mut member = Member {
            reached: reach(&edges, &name),
            dir: dir.as_str().replace('\\', "/"),
            lib: package.targets.iter().any(cargo_metadata::Target::is_lib),
            name: name.clone(),
            ..Member::default()
        };
        for dependency in &package.dependencies {
            let set = if dependency.kind == DependencyKind::Development {
                &mut member.dev
            } else {
                &mut member.normal
            };
            set.insert(dependency.name.clone());
        }
        members.insert(name, member);
    }
    members
}

/// Crate name -> crate names that it links, without dependencies of tests. Two versions of a crate
/// are one here: the rules are about names.
fn edges(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let Some(resolve) = &metadata.resolve else {
        return edges;
    };
    for node in &resolve.nodes {
        let to = edges
            .entry(metadata[&node.id].name.to_string())
            .or_default();
        for dependency in &node.deps {
            let linked = |kind: DependencyKind| kind == DependencyKind::Normal;
            if dependency.dep_kinds.iter().any(|of| linked(of.kind)) {
                to.insert(metadata[&dependency.pkg].name.to_string());
            }
        }
    }
    edges
}

fn reach(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in edges.get(&name).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

/// `changed` and every member that depends on one of them, directly or not, also by its tests.
pub(crate) fn with_dependants(
    members: &BTreeMap<String, Member>,
    changed: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut all = changed.clone();
    loop {
        let more: Vec<String> = members
            .values()
            .filter(|member| !all.contains(&member.name))
            .filter(|member| {
                member
                    .normal
                    .iter()
                    .chain(&member.dev)
                    .any(|on| all.contains(on))
            })
            .map(|member| member.name.clone())
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, normal: &[&str], dev: &[&str]) -> (String, Member) {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let member = Member {
            name: name.to_owned(),
            normal: set(normal),
            dev: set(dev),
            ..Member::default()
        };
        (name.to_owned(), member)
    }

    #[test]
    fn dependants_are_followed_through_products_and_tests() {
        let members = BTreeMap::from([
            member("core", &[], &[]),
            member("site", &["core"], &[]),
            member("sim", &["site"], &[]),
            member("model", &[], &[]),
            member("tool", &[], &["model"]),
        ]);
        let changed = BTreeSet::from(["site".to_owned()]);
        let all = with_dependants(&members, &changed);
        assert_eq!(all, BTreeSet::from(["sim".to_owned(), "site".to_owned()]));
        let changed = BTreeSet::from(["model".to_owned()]);
        assert!(with_dependants(&members, &changed).contains("tool"));
    }

    #[test]
    fn what_is_reached_includes_the_dependencies_of_dependencies() {
        let to = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let edges = BTreeMap::from([
            ("a".to_owned(), to(&["b"])),
            ("b".to_owned(), to(&["c", "a"])),
            ("d".to_owned(), to(&["e"])),
        ]);
        assert_eq!(reach(&edges, "a"), to(&["a", "b", "c"]));
    }

    #[test]
    fn this_workspace_has_the_core_and_knows_its_directory() {
        let members = members(&root().unwrap()).unwrap();
        assert_eq!(members["opus-core"].dir, "behaviours/core");
        assert!(members["opus-core"].lib && !members["xtask"].lib);
        assert!(members["opus-node"].reached.contains("libp2p"));
    }
}
