//! Scenarios of the hierarchy: one seed after the other, since each takes the memory of thousands
//! of nodes.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use opus_sim::{DicastOutcome, DicastScenario};
use serde::Serialize;

use super::{RunArgs, USAGE, data, write};

/// The result object of several seeds.
#[derive(Serialize)]
struct Sweep<'a> {
    schema: u32,
    scenario: &'a str,
    seeds: Vec<u64>,
    expect_failed: Vec<&'static str>,
    runs: &'a [DicastOutcome],
}

/// Runs the scenario of `text`. Errors: a result cannot be written.
pub(super) fn run(args: &RunArgs, text: &str) -> anyhow::Result<ExitCode> {
    let outcomes = plan(args, text).and_then(|scenario| {
        let seeds = scenario.seeds.iter();
        let runs = seeds.map(|seed| one(&scenario, *seed));
        runs.collect::<anyhow::Result<Vec<_>>>()
    });
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => {
            write::complain(&format!("opus-testnet run: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let on_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = &args.json {
        let json = object(&outcomes)?;
        if on_stdout {
            writeln!(std::io::stdout(), "{json}").context("cannot write to standard output")?;
        } else {
            std::fs::write(file, json)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    if !on_stdout {
        for outcome in &outcomes {
            let text = summary(outcome)?;
            writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")?;
        }
    }
    let holds = outcomes
        .iter()
        .all(|outcome| outcome.expect_failed.is_empty());
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn plan(args: &RunArgs, text: &str) -> anyhow::Result<DicastScenario> {
    let mut scenario = DicastScenario::from_toml(text)
        .with_context(|| format!("{} is no scenario", args.file.display()))?;
    let beside = [
        ("--alpha", args.alpha.is_some()),
        ("--matrix", args.matrix.is_some()),
        ("--dump-matrix", args.dump_matrix.is_some()),
        ("--encode", args.encode),
        ("--out", args.out.is_some()),
    ];
    if let Some((flag, _)) = beside.iter().find(|(_, given)| *given) {
        bail!("{flag} is not for scenarios of the hierarchy: leave it out");
    }
    scenario.nodes = args.nodes.unwrap_or(scenario.nodes);
    if let Some(seed) = args.seed {
        scenario.seeds = vec![seed];
    }
    scenario.check()?;
    Ok(scenario)
}

fn one(scenario: &DicastScenario, seed: u64) -> anyhow::Result<DicastOutcome> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the wall time of a run is a figure of it"
    )]
    let began = std::time::Instant::now();
    let mut outcome = opus_sim::run_dicast(scenario, seed)?;
    outcome.wall_s = Some(began.elapsed().as_secs_f64());
    outcome.peak_rss_bytes = data::peak_rss_bytes();
    Ok(outcome)
}

fn object(outcomes: &[DicastOutcome]) -> anyhow::Result<String> {
    let json = match outcomes {
        [outcome] => serde_json::to_string(outcome),
        runs => {
            let names = runs.iter().flat_map(|run| run.expect_failed.clone());
            let mut expect_failed: Vec<_> = names.collect();
            expect_failed.sort_unstable();
            expect_failed.dedup();
            serde_json::to_string(&Sweep {
                schema: 1,
                scenario: runs.first().map_or("", |run| &run.scenario),
                seeds: runs.iter().map(|run| run.seed).collect(),
                expect_failed,
                runs,
            })
        }
    };
    json.context("the result is not finite")
}

/// The figures, one a line, and what does not hold.
fn summary(outcome: &DicastOutcome) -> anyhow::Result<String> {
    let value = serde_json::to_value(outcome).context("the result is not finite")?;
    let figures = value.as_object().into_iter().flatten();
    let lines = figures.map(|(name, figure)| format!("  {name:<28} {figure}"));
    let mut text = vec![format!("{}, seed {}:", outcome.scenario, outcome.seed)];
    text.extend(lines);
    if !outcome.expect_failed.is_empty() {
        text.push(format!(
            "does not hold: {}\nreplay: opus-testnet run testnet/scenarios/{}.toml --seed {} \
             --nodes {}",
            outcome.expect_failed.join(", "),
            outcome.scenario,
            outcome.seed,
            outcome.nodes
        ));
    }
    Ok(text.join("\n"))
}
