//! Every shipped scenario on generated topologies holds, with one seed; `opus-testnet run` and
//! `.ci/run` take all of them.

use std::{fs, path::Path};

use opus_core::testing::test_seed;
use opus_sim::{Delays, Manner, Outcome, Scenario, scenario::Topology};

fn run(name: &str) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let text = fs::read_to_string(folder.join(format!("{name}.toml"))).expect("it is shipped");
    let scenario = Scenario::from_toml(&text).expect("it is lawful");
    assert_eq!(scenario.name, name, "a scenario is named as its file");
    assert_eq!(scenario.topology, Topology::TransitStub);
    let seed = test_seed(scenario.seeds[0]);
    let manner = Manner {
        encode: true,
        record: false,
    };
    let run = opus_sim::run(&scenario, &Delays::Generated, seed, manner);
    let (outcome, _) = run.expect("generated topologies fit");
    let broken: Vec<String> = outcome.broken.iter().map(ToString::to_string).collect();
    let broken = broken.join("\n\n");
    let Outcome {
        failed, figures, ..
    } = &outcome;
    assert!(
        failed.is_empty(),
        "{broken}\n{name}, seed {seed}: {failed:#?}\n{figures:#?}"
    );
    outcome
}

#[test]
fn first_light() {
    let outcome = run("first-light");
    assert_eq!(outcome.figures.frames_due, 29 * outcome.figures.frames_sent);
}

#[test]
fn overlay_last_200() {
    run("overlay-last-200");
}

#[test]
fn relay_complete() {
    run("relay-complete");
}

#[test]
fn fail() {
    run("fail");
}

#[test]
fn cut_and_heal() {
    run("cut-and-heal");
}

#[test]
fn cut_beyond_hold() {
    let outcome = run("cut-beyond-hold");
    assert!(
        outcome.figures.gaps_told > 0,
        "the cut is longer than the hold"
    );
}
