//! The other scenarios of the hierarchy at sizes that a test can afford: that what goes wrong in
//! them does go wrong, is seen, and is survived.

use opus_core::testing::test_seed;
use opus_sim::{DicastOutcome, DicastScenario, run_dicast};

fn scenario(name: &str) -> DicastScenario {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let file = folder.join(format!("{name}.toml"));
    let text = std::fs::read_to_string(file).expect("it is shipped");
    let mut scenario = DicastScenario::from_toml(&text).expect("it is lawful");
    scenario.check().expect("it is lawful at full size");
    assert_eq!(scenario.name, name, "a scenario is named as its file");
    let told = scenario.shrink().expect("what it leaves out is expected");
    assert!(!told.is_empty(), "{name} is small where time is short");
    scenario.check().expect("it is lawful when small");
    scenario.sizes.clear();
    scenario.nodes = 120;
    scenario
}

fn run(scenario: &DicastScenario) -> DicastOutcome {
    let outcome = run_dicast(scenario, test_seed(1), None).expect("it is lawful");
    let told = || DicastOutcome {
        history: Vec::new(),
        ..outcome.clone()
    };
    assert_eq!(outcome.defects, 0, "{:#?}", told());
    assert_eq!(outcome.fence_violations, 0, "{:#?}", told());
    assert_eq!(outcome.commands_refused, 0, "{:#?}", told());
    assert_eq!(outcome.history.len(), scenario.duration_s as usize);
    outcome
}

#[test]
fn a_hostile_network_stalls_and_cuts_nodes_and_equal_seeds_replay_it() {
    let mut scenario = scenario("dicast-hostile");
    scenario.duration_s = 130;
    let one = run(&scenario);
    assert_eq!(one, run(&scenario));
    let ages = one.history.iter().filter_map(|row| Some(row.age_s?.1));
    let oldest = ages.fold(0.0, f64::max);
    assert!(oldest > 5.0, "nodes stalled for 5 s: {oldest}");
    assert!(one.coverage_mean > Some(0.9), "{:?}", one.coverage_mean);
}

#[test]
fn a_region_that_dies_is_noticed_and_the_rest_is_covered_again() {
    let mut scenario = scenario("dicast-region");
    scenario.duration_s = 170;
    let outcome = run(&scenario);
    let last = outcome.history.last().expect("a row a second");
    assert_eq!((last.alive, last.covered), (84, 84), "{last:?}");
    let crashed = outcome.coverage_after_crash["30"];
    assert!(crashed.t99_s.is_some(), "{crashed:?}");
}

#[test]
fn both_sides_of_a_cut_go_on_and_become_one_tree_again() {
    let mut scenario = scenario("dicast-partition");
    scenario.cuts[0].at_s = 70;
    scenario.cuts[0].for_s = 60;
    scenario.duration_s = 190;
    let outcome = run(&scenario);
    let parted = outcome.after_cut.expect("there was a cut");
    assert!(parted.one_tree_s.is_some(), "{parted:?}");
    let row = |second: usize| outcome.history[second - 1];
    assert!(row(125).roots >= 2, "{:?}", row(125));
    assert_eq!((row(125).alive, row(125).unseated), (120, 0), "{parted:?}");
    assert_eq!((row(190).roots, row(190).covered), (1, 120), "{parted:?}");
}

#[test]
fn nodes_that_leave_and_crash_come_back() {
    let mut scenario = scenario("dicast-churn");
    scenario.duration_s = 200;
    if let Some(churn) = &mut scenario.churn {
        churn.until_s = 140;
        churn.per_min = 0.4;
        churn.away_s = (5.0, 20.0);
    }
    let outcome = run(&scenario);
    let alive = |second: usize| outcome.history[second - 1].alive;
    assert!(alive(130) < 120, "some are away: {}", alive(130));
    let last = outcome.history.last().expect("a row a second");
    assert_eq!((last.alive, last.covered), (120, 120), "{last:?}");
}

#[test]
fn nodes_that_nobody_can_dial_are_members_without_posts() {
    let mut scenario = scenario("dicast-nat");
    scenario.crashes.clear();
    scenario.duration_s = 90;
    let outcome = run(&scenario);
    assert_eq!(outcome.posts_unreachable, Some(0));
    assert_eq!(outcome.coverage_end, Some(1.0));
    assert_eq!((outcome.bound_violations, outcome.count_violations), (0, 0));
}

#[test]
fn what_liars_say_is_sent_and_moves_the_mean_by_their_range_at_most() {
    let mut scenario = scenario("dicast-liars");
    scenario.liars = 0.05;
    scenario.duration_s = 100;
    scenario.steady_s = (70, 100);
    let outcome = run(&scenario);
    assert!(outcome.malformed > Some(0), "{:?}", outcome.malformed);
    let shift = outcome.shift_over_ranges.expect("there are liars");
    assert!((0.01..=1.0).contains(&shift), "{shift}");
}

#[test]
fn agents_that_lie_are_found_and_honest_ones_are_not() {
    let mut scenario = scenario("dicast-liars");
    scenario.duration_s = 200;
    scenario.nodes = 200;
    let lying = scenario.lying_agents.as_mut().expect("some lie");
    (lying.at_s, lying.share) = (70, 0.5);
    let outcome = run(&scenario);
    assert!(outcome.liar_agents >= Some(2), "{:?}", outcome.liar_agents);
    let found = outcome.liar_agents_found_s_p99.expect("some lied");
    assert!((1.0..=120.0).contains(&found), "{found}");
    assert_eq!(outcome.honest_deposed, 0);
    assert_eq!((outcome.bound_violations, outcome.count_violations), (0, 0));
    scenario.lying_agents = None;
    let honest = run(&scenario);
    assert_eq!((honest.liar_agents, honest.honest_deposed), (None, 0));
}

#[test]
fn sixteen_keys_cost_more_than_one_and_a_network_of_two_sizes_is_compared() {
    let mut scenario = scenario("dicast-keys16");
    scenario.duration_s = 80;
    scenario.steady_s = (60, 80);
    let many = run(&scenario).bytes_per_node_per_s_mean;
    scenario.keys = 1;
    let one = run(&scenario).bytes_per_node_per_s_mean;
    assert!(many > one, "{many:?} and {one:?}");
    assert!(self::scenario("dicast-scale").all_sizes().len() == 1);
}

#[test]
fn nodes_that_know_nobody_become_one_tree_through_the_directory() {
    let mut scenario = scenario("dicast-partition");
    scenario.cuts.clear();
    (scenario.strangers, scenario.neighbours) = (true, false);
    scenario.duration_s = 150;
    let outcome = run(&scenario);
    let last = outcome.history.last().expect("a row a second");
    assert_eq!((last.roots, last.alive, last.covered), (1, 120, 120));
    assert_eq!((outcome.bound_violations, outcome.count_violations), (0, 0));
}

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    let base = scenario("dicast-hostile");
    let refused = |change: fn(&mut DicastScenario)| {
        let mut scenario = base.clone();
        change(&mut scenario);
        let error = scenario.check().expect_err("it is not lawful");
        error.to_string()
    };
    assert_eq!(
        refused(|it| it.unreachable = 1.5),
        "unreachable: have shares within 0 and 1"
    );
    assert_eq!(refused(|it| it.keys = 33), "keys: is not within 1 and 32");
    assert_eq!(
        refused(|it| it.cuts[0].for_s = 0),
        "cuts: last a second at least"
    );
    let pauses = refused(|it| it.pauses.as_mut().expect("it pauses").every_s = 0);
    assert!(pauses.starts_with("pauses: come each second"), "{pauses}");
    let mut scenario = base.clone();
    scenario.ci.as_mut().expect("it is small").without = vec!["surprise".into()];
    let error = scenario.shrink().expect_err("nothing of this name");
    assert_eq!(error.to_string(), "ci.without: surprise is not expected");
}
