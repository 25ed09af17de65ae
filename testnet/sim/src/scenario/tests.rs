//! Reading of scenario files.

use super::*;

const TEXT: &str = r#"
name = "a-1"
claim = "it works"
topology = "transit-stub"
nodes = 10
duration_s = 60
seeds = [1, 2]

[conditions]
jitter = 0.1
loss = { kind = "bernoulli", rate = 0.01 }

[app]
alpha = 1.25
rate = 10.0
publish_s = [10.0, 50.0]

[[faults]]
at_s = 20.0
kind = "crash"
share = 0.1

[[faults]]
at_s = 30.0
kind = "cut-parents"
nodes = [3]
for_s = 5.0

[expect]
violators_end = 0
delivered = 1.0
"#;

fn error(text: &str) -> String {
    Scenario::from_toml(text).unwrap_err().to_string()
}

#[test]
fn a_scenario_is_read_with_the_defaults_of_what_it_leaves_out() {
    let scenario = Scenario::from_toml(TEXT).unwrap();
    assert_eq!(scenario.topology, Topology::TransitStub);
    assert_eq!(scenario.app.cap, 12);
    assert_eq!(scenario.app.publish_s, (10.0, 50.0));
    assert_eq!(scenario.faults[1].kind, FaultKind::CutParents);
    assert_eq!(scenario.expect.delivered, Some(1.0));
    assert_eq!(scenario.contacts, 3);
    assert!((scenario.faults_end_s() - 35.0).abs() < 1e-9);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let message = error(&TEXT.replace("alpha", "alhpa"));
    assert!(message.contains("line 14"), "{message}");
    assert!(message.contains("alhpa"), "{message}");
    assert!(error(&TEXT.replace("share", "shrae")).contains("line 21"));
    assert!(error(&TEXT.replace("violators_end", "violators")).contains("line 30"));
}

#[test]
fn a_value_out_of_its_range_is_refused_with_its_line_and_the_range() {
    let message = error(&TEXT.replace("alpha = 1.25", "alpha = 0.5"));
    assert_eq!(message, "line 14: alpha must be 1 to 16");
    assert!(error(&TEXT.replace("50.0]", "58.0]")).starts_with("line 16: publish_s"));
    assert!(error(&TEXT.replace("nodes = [3]", "nodes = [30]")).contains("must exist"));
    assert!(error(&TEXT.replace("share = 0.1", "")).contains("needs nodes or a share"));
    assert!(error(&TEXT.replace("rate = 0.01", "rate = 1.5")).contains("no probability"));
    assert!(error(&TEXT.replace("nodes = 10", "")).contains("must be given"));
    assert!(error(&TEXT.replace("seeds = [1, 2]", "seeds = []")).starts_with("line 7: seeds"));
}

#[test]
fn a_topology_is_a_word_and_perhaps_a_file() {
    let of = |text: &str| Topology::try_from(text.to_owned());
    assert_eq!(of("matrix a b.txt"), Ok(Topology::Matrix("a b.txt".into())));
    assert_eq!(of("ts600 g.alt").unwrap().to_string(), "ts600 g.alt");
    assert!(of("ts600").is_err());
    assert!(of("torus").is_err());
    assert!(of("transit-stub x").is_err());
}
