//! What the hierarchy costs real nodes at rest, beside what the simulator says of as many.
//!
//! `cargo run --release --bin opus-testnet -- lab-dicast 200` (docs/performance.md, "The simulator
//! and the lab"). In virtual time, on one core.
//!
//! Exit 0: the lab's bytes are within the ratio; 1: they are not, or there was no tree of all; 2: a
//! flag is not usable, and nothing ran.

use std::{fs, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use opus_core::Seed;
use opus_lab::{Beside, LabConfig, Rest, beside};
use opus_sim::{DicastOutcome, DicastScenario, run_dicast};
use serde::Serialize;

/// The scenario whose figure stands beside both: loads walk in it, and datagrams are lost.
const SCENARIO: &str = include_str!("../../scenarios/dicast-10k.toml");

/// The end of its steady time, before anything happens.
const SCENARIO_S: u32 = 120;

/// A flag is wrong, or so many nodes have no network: nothing ran.
const USAGE: u8 = 2;

/// Options of `lab-dicast`.
#[derive(Args, Debug)]
pub(crate) struct LabDicastArgs {
    /// Number of nodes.
    #[arg(default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=2000))]
    nodes: u16,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// From the moment when all nodes count all until the counting of bytes begins, seconds.
    #[arg(long, value_name = "S", default_value_t = 60)]
    settle: u64,
    /// How long bytes are counted, seconds.
    #[arg(long, value_name = "S", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// The bytes on the lab's links over the simulator's at which it fails.
    #[arg(long, value_name = "TIMES", default_value_t = 2.5)]
    ratio_max: f64,
    /// Writes the figures as JSON to this file, or to standard output with `-`.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

/// The result object. Keys are a contract.
#[derive(Serialize)]
struct Figures {
    schema: u32,
    seed: u64,
    settle_s: u64,
    window_s: u64,
    #[serde(flatten)]
    beside: Beside,
    /// Sent by a node and second in the scenario `dicast-10k` with as many nodes.
    scenario: Option<f64>,
    ratio_max: f64,
}

/// Measures both. Exit code 1: more than `--ratio-max`, or no tree came about.
pub(crate) fn run(args: &LabDicastArgs) -> anyhow::Result<ExitCode> {
    let nodes = usize::from(args.nodes);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build()?;
    let config = match LabConfig::wide_area(nodes, Seed::new(args.seed)) {
        Ok(config) => config,
        Err(error) => {
            // Standard error may be closed; the exit code still tells.
            drop(writeln!(
                std::io::stderr(),
                "opus-testnet lab-dicast: {error}"
            ));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let rest = Rest {
        form_max: Duration::from_secs(300),
        settle: Duration::from_secs(args.settle),
        window: Duration::from_secs(args.window),
    };
    let figures = Figures {
        schema: 1,
        seed: args.seed,
        settle_s: args.settle,
        window_s: args.window,
        beside: runtime.block_on(beside(config, rest))?,
        scenario: scenario(nodes, args.seed)?.bytes_per_node_per_s_mean,
        ratio_max: args.ratio_max,
    };
    let json = serde_json::to_string_pretty(&figures)?;
    match &args.json {
        Some(file) if file.as_os_str() == "-" => writeln!(std::io::stdout(), "{json}"),
        Some(file) => {
            let shown = file.display();
            fs::write(file, json.as_bytes()).with_context(|| format!("cannot write {shown}"))?;
            writeln!(std::io::stdout(), "{}", summary(&figures))
        }
        None => writeln!(std::io::stdout(), "{}", summary(&figures)),
    }
    .context("cannot write to standard output")?;
    Ok(if figures.beside.ratio <= args.ratio_max {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn scenario(nodes: usize, seed: u64) -> anyhow::Result<DicastOutcome> {
    let mut scenario = DicastScenario::from_toml(SCENARIO).context("dicast-10k")?;
    scenario.nodes = nodes;
    scenario.duration_s = SCENARIO_S;
    scenario.crashes.clear();
    scenario.marks_s = None;
    Ok(run_dicast(&scenario, seed, None)?)
}

fn summary(figures: &Figures) -> String {
    let Beside {
        nodes,
        lab,
        sim,
        ratio,
    } = &figures.beside;
    let scenario = figures.scenario.map_or_else(
        || "not measured".to_owned(),
        |bytes| format!("{bytes:.0} bytes"),
    );
    format!(
        "{nodes} nodes at rest, seed {}, per node and second:\n\
         lab        {:.0} bytes on the links in {:.1} writes; dicast {:.0} and probe {:.0} bytes \
         in {:.2} messages, other protocols of ours {:.0}; {:.3} dials, {:.1} peers; one tree \
         after {:.0} s\n\
         simulator  {:.0} bytes: bodies {:.0}, headers {:.0}, dials {:.0}; {:.2} messages; one \
         tree after {:.0} s\n\
         dicast-10k {scenario} with as many nodes, whose values move\n\
         ratio      {ratio:.2}, at most {}",
        figures.seed,
        lab.links,
        lab.writes,
        lab.dicast,
        lab.probe,
        lab.messages,
        lab.others,
        lab.dials,
        lab.peers,
        lab.formed_s,
        sim.sent,
        sim.bodies,
        sim.headers,
        sim.dials,
        sim.messages,
        sim.formed_s,
        figures.ratio_max,
    )
}
