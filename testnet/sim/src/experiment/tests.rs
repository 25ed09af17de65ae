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

fn assert_whole(outcome: &Outcome) {
    let broken: Vec<String> = outcome.broken.iter().map(ToString::to_string).collect();
    assert_eq!(outcome.broken_total, 0, "{}", broken.join("\n\n"));
}

#[test]
fn every_member_attaches_within_alpha_and_gets_every_frame() {
    let outcome = outcome(&scenario(PUBLISHING), 1, false);
    assert_whole(&outcome);
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
    assert_eq!(plain.trace_hash, encoded.trace_hash);
    assert_whole(&encoded);
}

#[test]
fn killed_nodes_are_missed_and_come_back_as_members() {
    let more = "[[faults]]\nat_s = 15.0\nkind = 'crash'\nnodes = [3, 4, 5]\nfor_s = 5.0\n";
    let scenario = scenario(&format!("{PUBLISHING}{more}"));
    let outcome = outcome(&scenario, 2, false);
    assert_whole(&outcome);
    assert!(outcome.alive.iter().all(|&alive| alive));
    assert_eq!(outcome.figures.unattached_end, 0);
    assert!(
        outcome
            .figures
            .repair_s
            .is_some_and(|repair_s| repair_s < 20.0)
    );
    assert_eq!(outcome.figures.delivered, Some(1.0));
    // In their second lives they missed what was sent meanwhile.
    assert!(outcome.figures.frames_due < 19 * outcome.figures.frames_sent);
}

#[test]
fn who_detaches_is_no_member_any_more_and_nothing_is_due_to_it() {
    let more = "[[faults]]\nat_s = 20.0\nkind = 'detach'\nnodes = [3, 4]\n";
    let scenario = scenario(&format!("{PUBLISHING}{more}"));
    let outcome = outcome(&scenario, 2, false);
    assert_whole(&outcome);
    assert_eq!(outcome.parent[3], None);
    assert_eq!(outcome.figures.frames_due, 17 * outcome.figures.frames_sent);
    assert_eq!(outcome.figures.delivered, Some(1.0));
}

#[test]
fn churn_under_loss_breaks_no_invariant() {
    let more = "[[faults]]\nat_s = 8.0\nkind = 'churn'\nshare = 0.5\nfor_s = 20.0\n\
                [conditions]\nloss = { kind = 'bernoulli', rate = 0.02 }\njitter = 0.2\n";
    let scenario = scenario(&format!("{PUBLISHING}{more}"));
    let outcome = outcome(&scenario, 5, true);
    assert_whole(&outcome);
    assert_eq!(outcome.figures.duplicates, 0);
    assert!(outcome.figures.frames_delivered > 0);
}

#[test]
fn lost_datagrams_delay_the_tree_but_do_not_prevent_it() {
    let text = "transport = 'datagrams'\n[conditions]\nduplicate = 0.01\nreorder = 0.1\n\
                loss = { kind = 'bernoulli', rate = 0.05 }\n";
    let outcome = outcome(&scenario(text), 4, true);
    assert_whole(&outcome);
    assert_eq!(outcome.figures.unattached_end, 0);
}

#[test]
fn a_fault_beyond_the_topology_is_an_error_and_no_panic() {
    let mut scenario = scenario(PUBLISHING);
    scenario.nodes = Some(1);
    let run = run(&scenario, &Delays::Generated, 1, Manner::default());
    assert!(matches!(
        run,
        Err(ExperimentError::Field { field: "nodes", .. })
    ));
    scenario.nodes = Some(20);
    let matrix = Matrix::parse("0 1\n1 0").unwrap();
    let run = super::run(&scenario, &Delays::Matrix(matrix), 1, Manner::default());
    assert!(matches!(run, Err(ExperimentError::Members(_))));
}
