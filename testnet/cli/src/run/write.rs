//! What a run writes: the summary, the result object, and the folder of a report.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::Context;
use opus_sim::{Outcome, Spread, spreads};
use serde::Serialize;

use super::{Plan, Results, RunArgs, report};

/// The result object of several seeds.
#[derive(Serialize)]
struct Sweep<'a> {
    schema: u32,
    scenario: &'a str,
    seeds: Vec<u64>,
    figures: Vec<Spread>,
    expect_failed: Vec<&'static str>,
    runs: &'a [Outcome],
}

/// Writes all that was asked for, and the summary. Errors: a file cannot be written.
pub(super) fn all(args: &RunArgs, plan: &Plan, results: &Results) -> anyhow::Result<()> {
    if let Some(file) = &args.dump_matrix {
        matrix(file, plan)?;
    }
    if let Some(folder) = &args.out {
        folder_of(folder, plan, results)?;
    }
    let on_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = &args.json {
        let json = object(results)?;
        if on_stdout {
            writeln!(std::io::stdout(), "{json}").context("cannot write to standard output")?;
        } else {
            put(file, json.as_bytes())?;
        }
    }
    if !on_stdout {
        writeln!(std::io::stdout(), "{}", summary(plan, results))
            .context("cannot write to standard output")?;
    }
    for failure in results.outcomes.iter().flat_map(|outcome| &outcome.broken) {
        complain(&failure.to_string());
    }
    Ok(())
}

/// A line for people.
pub(super) fn complain(text: &str) {
    // Standard error may be closed; the exit code still tells.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn object(results: &Results) -> anyhow::Result<String> {
    let json = match results.outcomes.as_slice() {
        [outcome] => serde_json::to_string(outcome),
        runs => serde_json::to_string(&Sweep {
            schema: 1,
            scenario: runs.first().map_or("", |outcome| &outcome.scenario),
            seeds: runs.iter().map(|outcome| outcome.seed).collect(),
            figures: spreads(runs),
            expect_failed: failed_names(runs),
            runs,
        }),
    };
    json.context("the result is not finite")
}

fn failed_names(runs: &[Outcome]) -> Vec<&'static str> {
    let mut names: Vec<_> = runs
        .iter()
        .flat_map(|run| run.expect_failed.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn folder_of(folder: &Path, plan: &Plan, results: &Results) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    put(&folder.join("result.json"), object(results)?.as_bytes())?;
    put(
        &folder.join("history.csv"),
        history(&results.outcomes).as_bytes(),
    )?;
    put(
        &folder.join("report.html"),
        report::html(plan, &results.outcomes).as_bytes(),
    )?;
    if let Some(trace) = &results.trace {
        put(&folder.join("trace.cbor"), trace)?;
    }
    Ok(())
}

pub(super) fn put(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

fn history(outcomes: &[Outcome]) -> String {
    let mut csv = String::from(
        "seed,tick,at_s,violators,unattached,cost_ms,rdp_max,rdp_mean,sent,delivered\n",
    );
    for outcome in outcomes {
        for row in &outcome.history {
            let line = writeln!(
                csv,
                "{},{},{},{},{},{},{},{},{},{}",
                outcome.seed,
                row.tick,
                row.at_s,
                row.violators,
                row.unattached,
                row.cost,
                row.max_rdp,
                row.mean_rdp,
                row.sent,
                row.delivered
            );
            line.expect("writing into a string cannot fail");
        }
    }
    csv
}

fn matrix(file: &Path, plan: &Plan) -> anyhow::Result<()> {
    let seed = plan.scenario.seeds.first().copied().unwrap_or_default();
    let topology = opus_sim::topology(&plan.scenario, &plan.delays, seed)?;
    let open = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut out = BufWriter::new(open);
    for u in 0..topology.len() {
        let row: Vec<String> = (0..topology.len())
            .map(|v| format!("{}", topology.rtt_us(u, v) as f64 / 1e3))
            .collect();
        writeln!(out, "{}", row.join(" "))?;
    }
    out.flush()
        .with_context(|| format!("cannot write {}", file.display()))
}

fn summary(plan: &Plan, results: &Results) -> String {
    let mut text = format!("{}: {}\n", plan.scenario.name, plan.scenario.claim);
    for outcome in &results.outcomes {
        let wall = outcome.wall_s.unwrap_or_default();
        let rate = outcome.events as f64 / wall.max(1e-9) / 1e3;
        let line = write!(
            text,
            "  seed {:<6} {} nodes, {} s in {wall:.2} s: {} events, {rate:.0} k/s, trace {}",
            outcome.seed,
            outcome.nodes,
            outcome.virtual_s,
            outcome.events,
            outcome.trace_hash.get(..12).unwrap_or_default()
        );
        line.expect("writing into a string cannot fail");
        text.push_str(if outcome.expect_failed.is_empty() {
            "  ok\n"
        } else {
            "  FAILED\n"
        });
        for failed in &outcome.failed {
            let (name, expected, got) = (failed.name, &failed.expected, &failed.got);
            let line = writeln!(text, "    {name}: expected {expected}, got {got}");
            line.expect("writing into a string cannot fail");
        }
    }
    let line = writeln!(text, "  {:<28}{:>14}{:>14}", "figure", "median", "worst");
    line.expect("writing into a string cannot fail");
    for Spread {
        name,
        median,
        worst,
    } in spreads(&results.outcomes)
    {
        let line = writeln!(text, "  {name:<28}{median:>14.4}{worst:>14.4}");
        line.expect("writing into a string cannot fail");
    }
    text
}
