//! `opus-testnet demo`: twenty real nodes, one real application, one crash, one report.
//!
//! The nodes run in this process over emulated wide-area links, in real time. The ticker is
//! deployed through IPC on one node; that node's program publishes, all others follow. On the way
//! the busiest inner node of the tree is killed. The exit is 0 only if every receiver that lived
//! got every tick that was sent while it was attached, once and in order.

mod followers;
mod report;
mod stage;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use opus_lab::TreeReport;
use tokio::time::Instant;

use self::{followers::Outcome, stage::Stage};
use crate::say::Say;

/// The demo ends by itself: before this, or it has failed.
const LIMIT: Duration = Duration::from_secs(58);
/// How long the tree may take to come to rest before the kill.
const REST_LIMIT: Duration = Duration::from_secs(12);
/// From the first tick to the kill, and from the kill to the last tick.
const ACT: Duration = Duration::from_secs(8);

/// Options of the demo.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Number of nodes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=200))]
    nodes: u16,
    /// Seed of the network, the identities and the market.
    #[arg(long, env = "OPUS_SEED", default_value_t = 7)]
    seed: u64,
    /// Milliseconds between two ticks.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    interval_ms: u64,
    /// Where the report goes.
    #[arg(long, default_value = "out/demo.html")]
    report: PathBuf,
}

/// All that the demo measured.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) alpha: f64,
    pub(crate) sent: u64,
    pub(crate) killed: usize,
    pub(crate) before: TreeReport,
    pub(crate) after: TreeReport,
    pub(crate) outcomes: Vec<Outcome>,
    /// Longest silence of a survivor after the kill, beyond the interval between ticks.
    pub(crate) repair: Duration,
}

/// Runs the demo.
pub(crate) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let say = Say::start();
    let figures = tokio::time::timeout(LIMIT, play(args, &say))
        .await
        .with_context(|| format!("the demo did not end within {LIMIT:?} (seed {})", args.seed))??;
    if let Some(folder) = args.report.parent() {
        std::fs::create_dir_all(folder).context("cannot make the report's folder")?;
    }
    std::fs::write(&args.report, report::html(&figures))
        .with_context(|| format!("cannot write {}", args.report.display()))?;
    let whole = figures
        .outcomes
        .iter()
        .all(|outcome| outcome.is_whole(figures.sent));
    say.line(&report::summary(&figures));
    say.step(&format!("report: {}", args.report.display()));
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play(args: &DemoArgs, say: &Say) -> anyhow::Result<Figures> {
    let nodes = usize::from(args.nodes);
    let mut stage = Stage::set(nodes, args.seed)?;
    say.step(&format!(
        "{nodes} nodes started over emulated wide-area links (seed {})",
        args.seed
    ));
    let app = stage.deploy().await?;
    say.step(&format!("deployed {app} through IPC on n0"));
    let source = stage.attach_source(&app).await?;
    let followers = stage.follow_everywhere(&app).await?;
    source.all_joined(nodes - 1).await?;
    say.step(&format!("{} receivers joined the overlay", nodes - 1));
    let before = stage.tree_at_rest(REST_LIMIT).await?;
    say.step(&report::tree_line(&before));
    let publishing = source.publish(args.seed, Duration::from_millis(args.interval_ms));
    tokio::time::sleep(ACT).await;
    let killed = stage::busiest_inner(&before).context("the tree has no inner node to kill")?;
    let children = report::children_of(&before, killed);
    let at = Instant::now();
    stage.kill(killed).await;
    say.step(&format!("killed n{killed}, the parent of {children}"));
    tokio::time::sleep(ACT).await;
    let after = stage.tree_at_rest(REST_LIMIT).await?;
    say.step(&report::tree_line(&after));
    let sent = publishing.stop().await?;
    say.step(&format!("{sent} ticks sent, all acknowledged"));
    let outcomes = followers.outcomes(killed).await?;
    let interval = Duration::from_millis(args.interval_ms);
    let silences = outcomes.iter().map(|outcome| outcome.silence_after(at));
    let repair = silences.max().unwrap_or_default().saturating_sub(interval);
    Ok(Figures {
        seed: args.seed,
        nodes,
        alpha: stage.alpha(),
        sent,
        killed,
        before,
        after,
        outcomes,
        repair,
    })
}
