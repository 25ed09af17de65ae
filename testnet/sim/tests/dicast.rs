//! The scenario of the hierarchy at a size that a test can afford: what every node is told holds.

use opus_sim::{DicastOutcome, DicastScenario, run_dicast};

const SCENARIO: &str = include_str!("../../scenarios/dicast-10k.toml");

fn small(nodes: usize) -> DicastScenario {
    let mut scenario = DicastScenario::from_toml(SCENARIO).expect("the scenario is lawful");
    scenario.nodes = nodes;
    scenario
}

/// Seeds of one test, from `OPUS_SEED` on: three networks of 100 take as long as one of 300.
const SEEDS: u64 = 3;

#[test]
fn answers_hold_and_marks_come_in_time_through_crashes() {
    let first = opus_core::testing::test_seed(3);
    for seed in first..first + SEEDS {
        let outcome = run_dicast(&small(100), seed, None).expect("it is lawful");
        let told = format!("OPUS_SEED={seed}: {outcome:#?}");
        assert!(outcome.answer_samples > 35_000, "{told}");
        assert_eq!(
            (outcome.bound_violations, outcome.count_violations),
            (0, 0),
            "{told}"
        );
        assert_eq!(outcome.fence_violations, 0, "{told}");
        assert_eq!(outcome.commands_refused, 0, "{told}");
        let within = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
        assert!(within(outcome.half_width_over_eps_p99, 1.01), "{told}");
        assert!(within(outcome.staleness_eager_s_p99, 1.0), "{told}");
        assert!(within(outcome.staleness_lazy_s_p99, 2.5), "{told}");
        assert!(outcome.coverage_end > Some(0.999), "{told}");
    }
}

#[test]
fn equal_seeds_give_equal_results() {
    let mut scenario = small(120);
    scenario.duration_s = 80;
    let run = |seed| run_dicast(&scenario, seed, None).expect("it is lawful");
    let (one, again, other): (DicastOutcome, _, _) = (run(1), run(1), run(2));
    assert_eq!(one, again);
    assert_ne!(one.trace_hash, other.trace_hash);
}

#[test]
fn a_scenario_that_cannot_run_is_refused_with_its_reason() {
    let mut scenario = small(1);
    let refused = run_dicast(&scenario, 1, None).map(|_| ());
    let text = refused.expect_err("one node is no network").to_string();
    assert_eq!(text, "nodes: is not within 2 and 100,000");
    scenario.nodes = 10;
    scenario.seeds.clear();
    assert!(scenario.check().is_err());
    assert!(DicastScenario::from_toml(&format!("surprise = 1\n{SCENARIO}")).is_err());
    assert!(DicastScenario::is_meant(SCENARIO));
    assert!(!DicastScenario::is_meant("name = \"other\""));
}
