//! Made-up crates that break the direction table, each in one way.

use super::*;

fn member(name: &str, dir: &str, normal: &[&str], dev: &[&str], reached: &[&str]) -> Member {
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Member {
        name: name.to_owned(),
        dir: dir.to_owned(),
        lib: true,
        normal: set(normal),
        dev: set(dev),
        reached: set(reached),
    }
}

fn broken(member: Member) -> Vec<(&'static str, String)> {
    let members = BTreeMap::from([(member.name.clone(), member)]);
    check(&members)
        .into_iter()
        .map(|finding| (finding.rule.name, finding.what))
        .collect()
}

#[test]
fn a_protocol_may_know_core_and_model() {
    let normal = ["opus-core", "opus-model", "serde"];
    let dev = ["opus-core", "proptest"];
    let probe = member("opus-probe", "behaviours/probe", &normal, &dev, &normal);
    assert_eq!(broken(probe), []);
}

#[test]
fn a_protocol_must_not_know_a_sibling_not_even_in_its_tests() {
    let probe = member(
        "opus-probe",
        "behaviours/probe",
        &["opus-overlay"],
        &["opus-site"],
        &[],
    );
    assert_eq!(
        broken(probe),
        [
            ("direction", "opus-probe depends on opus-overlay".to_owned()),
            (
                "direction",
                "the tests of opus-probe depend on opus-site".to_owned()
            ),
        ]
    );
}

#[test]
fn model_knows_nothing_of_ours() {
    let model = member("opus-model", "behaviours/model", &["opus-core"], &[], &[]);
    assert_eq!(broken(model)[0].0, "direction");
}

#[test]
fn a_pure_crate_must_not_name_a_runtime() {
    let site = member(
        "opus-site",
        "behaviours/site",
        &["tokio"],
        &["futures"],
        &[],
    );
    assert_eq!(
        broken(site),
        [
            ("pure-dependency", "opus-site depends on tokio".to_owned()),
            (
                "pure-dependency",
                "the tests of opus-site depend on futures".to_owned()
            ),
        ]
    );
}

#[test]
fn a_pure_crate_must_not_reach_a_runtime_through_others() {
    let sim = member(
        "opus-sim",
        "testnet/sim",
        &["serde"],
        &[],
        &["serde", "mio"],
    );
    assert_eq!(broken(sim)[0].0, "pure-dependency");
}

#[test]
fn an_application_must_not_reach_libp2p() {
    let samples = member(
        "opus-samples",
        "tools/samples",
        &["opus-ipc"],
        &[],
        &["libp2p-core", "tokio"],
    );
    assert_eq!(
        broken(samples),
        [("libp2p", "opus-samples reaches libp2p".to_owned())]
    );
}

#[test]
fn a_crate_that_the_table_does_not_know_is_told() {
    let stray = member("opus-common", "behaviours/common", &[], &[], &[]);
    assert_eq!(broken(stray)[0].0, "room");
    let moved = member("opus-core", "core", &[], &[], &[]);
    assert_eq!(
        broken(moved),
        [("room", "opus-core belongs in behaviours/core".to_owned())]
    );
}
