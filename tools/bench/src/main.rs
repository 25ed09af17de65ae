//! `opus-bench`: the yardsticks as a command.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use opus_bench::{
    dicast::Dicast,
    drive::{self, Plan, Telling},
    gossip::Gossip,
    report::{Report, Row, Table},
    side::Side,
    swim::{Numbers, Settings, Swim},
    world::{LOSS, NODES_MAX, World},
};

/// Runs dicast, foca and chitchat through one workload and compares what they cost and know.
///
/// Exit 0: the figures are printed; 2: an argument is not usable, or the file cannot be written.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Numbers of nodes, each a run of its own; chitchat takes minutes from 1,000 on.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300])]
    nodes: Vec<usize>,
    /// Virtual seconds over which bytes and accuracy are measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Virtual seconds from the last start until that begins.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    settle: u64,
    /// What everything is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workloads to run.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Workload::ALL)]
    workloads: Vec<Workload>,
    /// Sides to run; the first is what ratios are over.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Which::ALL)]
    sides: Vec<Which>,
    /// Writes all figures there, as one object.
    #[arg(long, value_name = "OUT.json")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Track the mean.
    W1,
    /// Membership only.
    W2,
    /// The first with every number at every node; not for dicast, and not for foca-wan.
    Exact,
}

impl Workload {
    const ALL: [Self; 3] = [Self::W1, Self::W2, Self::Exact];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Ours.
    Dicast,
    /// SWIM with the settings for wide-area networks.
    FocaWan,
    /// SWIM with the settings for local networks.
    FocaLan,
    /// Gossip of a table.
    Chitchat,
}

impl Which {
    const ALL: [Self; 4] = [Self::Dicast, Self::FocaWan, Self::FocaLan, Self::Chitchat];
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(&nodes) = args.nodes.iter().find(|n| !(2..=NODES_MAX).contains(*n)) {
        let problem = format!("--nodes {nodes} is not within 2 and {NODES_MAX}");
        Args::command()
            .error(ErrorKind::ValueValidation, problem)
            .exit();
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code still tells.
            drop(writeln!(std::io::stderr(), "opus-bench: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    // Before minutes of work, not after.
    let file = args.json.as_ref().map(|path| {
        let file = std::fs::File::create(path);
        file.with_context(|| format!("{} cannot be written", path.display()))
    });
    let file = file.transpose()?;
    let mut tables = Vec::new();
    for &nodes in &args.nodes {
        let table = table(args, nodes)?;
        // The next takes longer.
        std::io::stdout().write_all(table.to_text().as_bytes())?;
        tables.push(table);
    }
    let report = Report {
        schema: 1,
        seed: args.seed,
        loss: LOSS,
        steady_s: args.seconds,
        tables,
    };
    if let Some(file) = file {
        serde_json::to_writer_pretty(file, &report).context("the figures cannot be written")?;
    }
    std::io::stdout().write_all(report.notes().as_bytes())?;
    Ok(())
}

fn table(args: &Args, nodes: usize) -> anyhow::Result<Table> {
    let world = World::new(nodes, args.seed).context("no such number of nodes")?;
    let mut rows = Vec::new();
    for &which in &args.sides {
        rows.push(row(args, &world, which)?);
    }
    Ok(Table { nodes, rows })
}

fn row(args: &Args, world: &World, which: Which) -> anyhow::Result<Row> {
    let swim = |settings, workload| {
        let numbers = match workload {
            Workload::W1 | Workload::W2 => Numbers::Along,
            Workload::Exact => Numbers::All,
        };
        Ok(Swim::new(world, settings, numbers))
    };
    match which {
        Which::Dicast => measure(args, world, which, |workload| {
            Ok(Dicast::new(world, workload == Workload::W1))
        }),
        Which::FocaWan => measure(args, world, which, |workload| swim(Settings::Wan, workload)),
        Which::FocaLan => measure(args, world, which, |workload| swim(Settings::Lan, workload)),
        Which::Chitchat => measure(args, world, which, |_| {
            Gossip::new(world).context("no runtime for chitchat")
        }),
    }
}

/// Runs a fresh side through each workload that it has.
fn measure<S: Side>(
    args: &Args,
    world: &World,
    which: Which,
    fresh: impl Fn(Workload) -> anyhow::Result<S>,
) -> anyhow::Result<Row> {
    let plan = Plan {
        settle_s: args.settle,
        steady_s: args.seconds,
        ..Plan::default()
    };
    let first = fresh(Workload::W2)?;
    let mut row = Row {
        side: first.name(),
        promise: first.promise(),
        mean: None,
        members: None,
        exact: None,
    };
    drop(first);
    let telling = match which {
        Which::Dicast => Telling::EACH,
        Which::FocaWan | Which::FocaLan => Telling::REPEATED,
        Which::Chitchat => Telling::FILTERED,
    };
    for workload in Workload::ALL {
        // dicast does not offer it; foca's settings make no difference to it.
        let lacks = matches!(which, Which::Dicast | Which::FocaWan) && workload == Workload::Exact;
        if lacks || !args.workloads.contains(&workload) {
            continue;
        }
        let nodes = world.nodes;
        // Progress is for whoever waits; nobody may be there.
        drop(writeln!(
            std::io::stderr(),
            "{nodes} nodes, {workload:?}, {}",
            row.side
        ));
        let mut side = fresh(workload)?;
        match workload {
            Workload::W1 => row.mean = Some(drive::mean(&mut side, world, plan, telling)),
            Workload::W2 => row.members = Some(drive::members(&mut side, world, plan)),
            Workload::Exact => row.exact = Some(drive::mean(&mut side, world, plan, Telling::EACH)),
        }
    }
    Ok(row)
}
