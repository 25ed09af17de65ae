//! Scenarios of the hierarchy: one seed after the other, since each takes the memory of thousands
//! of nodes.

mod report;

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use opus_sim::{DicastOutcome, DicastScenario, Weigh};
use serde::Serialize;

use super::{RunArgs, USAGE, data, write};

/// All runs of one seed: one, or one for each size.
#[derive(Debug)]
struct Family {
    runs: Vec<DicastOutcome>,
    /// The bytes of the mean node over those at the first size.
    bytes_over_first: Vec<f64>,
    /// What is expected of all sizes together and does not hold.
    failed: Option<&'static str>,
}

/// The result object of several seeds or sizes.
#[derive(Serialize)]
struct Sweep<'a> {
    schema: u32,
    scenario: &'a str,
    seeds: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bytes_over_first: Vec<&'a [f64]>,
    expect_failed: Vec<&'static str>,
    runs: Vec<&'a DicastOutcome>,
}

/// Runs the scenario of `text`. Errors: a result cannot be written.
pub(super) fn run(args: &RunArgs, text: &str) -> anyhow::Result<ExitCode> {
    let families = plan(args, text).and_then(|scenario| {
        let seeds = scenario.seeds.iter();
        let families = seeds.map(|seed| family(&scenario, *seed));
        let families = families.collect::<anyhow::Result<Vec<_>>>()?;
        Ok((scenario, families))
    });
    let (scenario, families) = match families {
        Ok(done) => done,
        Err(error) => {
            write::complain(&format!("opus-testnet run: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    if let Some(folder) = &args.out {
        folder_of(folder, &scenario, &families)?;
    }
    let on_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = &args.json {
        let json = object(&families)?;
        if on_stdout {
            writeln!(std::io::stdout(), "{json}").context("cannot write to standard output")?;
        } else {
            write::put(file, json.as_bytes())?;
        }
    }
    if !on_stdout {
        let mut out = std::io::stdout();
        for family in &families {
            for outcome in &family.runs {
                let text = summary(outcome)?;
                writeln!(out, "{text}").context("cannot write to standard output")?;
            }
            if let Some(text) = sizes(family) {
                writeln!(out, "{text}").context("cannot write to standard output")?;
            }
        }
    }
    Ok(if failed_names(&families).is_empty() {
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
    ];
    if let Some((flag, _)) = beside.iter().find(|(_, given)| *given) {
        bail!("{flag} is not for scenarios of the hierarchy: leave it out");
    }
    if args.ci {
        let changes = scenario.shrink()?;
        if !changes.is_empty() {
            write::complain(&format!(
                "{}: not as large as the claim: {}",
                scenario.name,
                changes.join("; ")
            ));
        }
    }
    if let Some(nodes) = args.nodes {
        scenario.nodes = nodes;
        scenario.sizes.clear();
    }
    if let Some(seed) = args.seed {
        scenario.seeds = vec![seed];
    }
    scenario.check()?;
    Ok(scenario)
}

fn family(scenario: &DicastScenario, seed: u64) -> anyhow::Result<Family> {
    let mut runs = Vec::new();
    for nodes in scenario.all_sizes() {
        let sized = DicastScenario {
            nodes,
            ..scenario.clone()
        };
        runs.push(one(&sized, seed)?);
    }
    let (bytes_over_first, failed) = scenario.expect.failed_of_sizes(&runs);
    Ok(Family {
        runs,
        bytes_over_first,
        failed,
    })
}

fn one(scenario: &DicastScenario, seed: u64) -> anyhow::Result<DicastOutcome> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the wall time of a run is a figure of it"
    )]
    let began = std::time::Instant::now();
    let weigh: Weigh<'_> = &|drop| {
        let info = allocation_counter::measure(drop);
        u64::try_from(-info.bytes_current).unwrap_or_default()
    };
    let mut outcome = opus_sim::run_dicast(scenario, seed, Some(weigh))?;
    outcome.wall_s = Some(began.elapsed().as_secs_f64());
    outcome.peak_rss_bytes = data::peak_rss_bytes();
    outcome.expect_failed = scenario.expect.failed(&outcome);
    Ok(outcome)
}

fn failed_names(families: &[Family]) -> Vec<&'static str> {
    let names = families.iter().flat_map(|family| {
        let each = family.runs.iter().flat_map(|run| run.expect_failed.clone());
        each.chain(family.failed)
    });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn object(families: &[Family]) -> anyhow::Result<String> {
    let runs: Vec<_> = families.iter().flat_map(|family| &family.runs).collect();
    let json = if let [outcome] = runs.as_slice() {
        serde_json::to_string(outcome)
    } else {
        let sized = families.iter().filter(|family| family.runs.len() > 1);
        let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
        seeds.dedup();
        serde_json::to_string(&Sweep {
            schema: 1,
            scenario: runs.first().map_or("", |run| &run.scenario),
            seeds,
            bytes_over_first: sized.map(|it| it.bytes_over_first.as_slice()).collect(),
            expect_failed: failed_names(families),
            runs,
        })
    };
    json.context("the result is not finite")
}

fn folder_of(folder: &Path, scenario: &DicastScenario, families: &[Family]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    write::put(&folder.join("result.json"), object(families)?.as_bytes())?;
    let runs: Vec<_> = families.iter().flat_map(|family| &family.runs).collect();
    write::put(
        &folder.join("history.csv"),
        report::history(&runs).as_bytes(),
    )?;
    let html = report::html(scenario, &runs)?;
    write::put(&folder.join("report.html"), html.as_bytes())
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

/// The bytes by size, if there are several.
fn sizes(family: &Family) -> Option<String> {
    if family.runs.len() < 2 {
        return None;
    }
    let rows = family.runs.iter().zip(&family.bytes_over_first);
    let rows = rows.map(|(run, ratio)| format!("{ratio:.3} at {}", run.nodes));
    let rows: Vec<String> = rows.collect();
    let mut text = format!("bytes over those of the first size: {}", rows.join(", "));
    if let Some(name) = family.failed {
        text.push_str("\ndoes not hold: ");
        text.push_str(name);
    }
    Some(text)
}
