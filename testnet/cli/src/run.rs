//! `opus-testnet run SCENARIO`: a claim, checked in the simulator.
//!
//! Exit 0: all that the scenario expects holds for every seed; 1: something does not, and the
//! results are written; 2: the scenario, a file or a flag is not usable, and nothing ran.

mod chart;
mod data;
mod hierarchy;
mod report;
mod write;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Args;
use opus_sim::{Delays, DicastScenario, Manner, Outcome, Scenario};

/// A flag, a file or the scenario is wrong: nothing ran.
const USAGE: u8 = 2;

/// Options of a run.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The scenario: a TOML file.
    file: PathBuf,
    /// Run this seed only, instead of those of the scenario.
    #[arg(long, env = "OPUS_SEED")]
    seed: Option<u64>,
    /// Another number of nodes.
    #[arg(long)]
    nodes: Option<usize>,
    /// Another knob, 1 to 16.
    #[arg(long)]
    alpha: Option<f64>,
    /// Round trips from this file: a square of milliseconds, one node a row.
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// Writes the round trips of the first seed.
    #[arg(long, value_name = "FILE")]
    dump_matrix: Option<PathBuf>,
    /// As small as the scenario says for where time is short; says what differs.
    #[arg(long)]
    ci: bool,
    /// Every message passes the real codec.
    #[arg(long)]
    encode: bool,
    /// Writes the result object; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes report.html, history.csv, result.json and the trace of the first seed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What is run: a scenario after the flags, and where its delays come from.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) delays: Delays,
}

/// All that came of it, by seed.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) outcomes: Vec<Outcome>,
    /// Of the first seed, if it was asked for.
    pub(crate) trace: Option<Vec<u8>>,
}

/// Runs the scenario. Errors: a result cannot be written.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    if let Ok(text) = std::fs::read_to_string(&args.file)
        && DicastScenario::is_meant(&text)
    {
        return hierarchy::run(args, &text);
    }
    let results = data::plan(args).and_then(|plan| {
        let results = sweep(&plan, args)?;
        Ok((plan, results))
    });
    let (plan, results) = match results {
        Ok(done) => done,
        Err(error) => {
            write::complain(&format!("opus-testnet run: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    write::all(args, &plan, &results)?;
    let holds = results
        .outcomes
        .iter()
        .all(|outcome| outcome.expect_failed.is_empty());
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One seed a thread, as many threads as cores. Errors: of the first seed that cannot run.
fn sweep(plan: &Plan, args: &RunArgs) -> anyhow::Result<Results> {
    let seeds = &plan.scenario.seeds;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores.min(seeds.len()) {
            scope.spawn(|| {
                while let Some((at, &seed)) = take(&next, seeds) {
                    let record = args.out.is_some() && at == 0;
                    let result = one(
                        plan,
                        seed,
                        Manner {
                            encode: args.encode,
                            record,
                        },
                    );
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(at, _)| at);
    let mut results = Results {
        outcomes: Vec::new(),
        trace: None,
    };
    for (_, result) in done {
        let (outcome, trace) = result?;
        results.outcomes.push(outcome);
        results.trace = results.trace.or(trace);
    }
    Ok(results)
}

fn take<'a>(next: &AtomicUsize, seeds: &'a [u64]) -> Option<(usize, &'a u64)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    seeds.get(at).map(|seed| (at, seed))
}

fn one(plan: &Plan, seed: u64, manner: Manner) -> anyhow::Result<(Outcome, Option<Vec<u8>>)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the wall time of a run is a figure of it"
    )]
    let began = std::time::Instant::now();
    let (mut outcome, trace) = opus_sim::run(&plan.scenario, &plan.delays, seed, manner)?;
    outcome.wall_s = Some(began.elapsed().as_secs_f64());
    outcome.peak_rss_bytes = data::peak_rss_bytes();
    Ok((outcome, trace))
}
