//! Whole runs of small scenarios.

use super::*;
use crate::scenario::Scenario;

fn scenario(more: &str) -> Scenario {
    let text = format!(
        "name = 'test'\nclaim = 'test'\ntopology = 'transit-stub'\nseeds = [1]\n\
         duration_s = 40\nnodes = 20\n{more}"
    );
    Scenario::from_toml(&text).unwrap()
}

const PUBLISHING: &str = "[app]\nrate = 10.0\npayload = 100\npublish_s = [12.0, 30.0]\n";

fn outcome(scenario: &Scenario, seed: u64, encode: bool) -> Outcome {
    let manner = Manner {
        encode,
        record: false,
    };
    run(scenario, &Delays::Generated, seed, manner).unwrap().0
}

#[test]
fn every_member_attaches_within_alpha_and_gets_every_frame() {
    let outcome = outcome(&scenario(PUBLISHING), 1, false);
    for failure in &outcome.broken {
        println!("{failure}");
    }
    println!("{:#?}", outcome.figures);
    assert_eq!(outcome.broken_total, 0);
    assert_eq!(outcome.figures.unattached_end, 0);
    assert_eq!(outcome.figures.violators_end, 0);
    assert_eq!(outcome.figures.frames_sent, 180);
    assert_eq!(outcome.figures.delivered, Some(1.0));
    assert_eq!(outcome.figures.frames_due, 19 * 180);
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let scenario = scenario(PUBLISHING);
    let first = outcome(&scenario, 7, false);
    assert_eq!(first.trace_hash, outcome(&scenario, 7, false).trace_hash);
    assert_ne!(first.trace_hash, outcome(&scenario, 8, false).trace_hash);
}

#[test]
fn messages_that_pass_the_codec_change_nothing() {
    let scenario = scenario(PUBLISHING);
    let plain = outcome(&scenario, 3, false);
    let encoded = outcome(&scenario, 3, true);
    for failure in &encoded.broken {
        println!("{failure}");
    }
    assert_eq!(plain.trace_hash, encoded.trace_hash);
    assert_eq!(encoded.broken_total, 0);
}
