//! How long N nodes take to join one overlay, and what a node costs: time, memory, connections.
//!
//! `cargo run --release --bin opus-testnet -- scale 300` (docs/performance.md). In virtual time:
//! the wall time is the CPU time of all nodes on one core.

use std::{io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use opus_core::Seed;
use opus_ipc::{
    client::{Attachment, Client},
    message::{AppDeploy, As},
};
use opus_lab::{Lab, LabConfig};
use opus_model::Stretch;
use opus_samples::ticker;
use opus_site::spec::SignedApp;

/// Options of `scale`.
#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// Number of nodes.
    #[arg(default_value_t = 300, value_parser = clap::value_parser!(u16).range(2..=2000))]
    nodes: u16,
    /// Fail if a node takes more memory than this, MiB.
    #[arg(long, value_name = "MIB")]
    mib_max: Option<f64>,
}

/// Measures, on one core and in virtual time.
pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build()?;
    let mib = runtime.block_on(measure(usize::from(args.nodes)))?;
    if let Some(max) = args.mib_max.filter(|max| mib > *max) {
        bail!("a node takes {mib:.2} MiB, more than {max}: see docs/performance.md for what it is");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the figures, and returns the memory of a node in MiB.
async fn measure(nodes: usize) -> anyhow::Result<f64> {
    let before = rss_bytes()?;
    let wall = wall();
    let virtual_start = tokio::time::Instant::now();
    let lab = Lab::start(LabConfig::wide_area(nodes, Seed::new(7))?)?;
    let spec = ticker::spec()?;
    let alpha = Stretch::new(f64::from(spec.knob_milli()) / 1e3)?;
    let signed = SignedApp::sign(&spec, "main", &Seed::new(7).bytes())?;
    let overlay = signed.clone().verify("main")?.overlay;
    let client = dial(&lab, 0).await?;
    let app = client
        .call(&AppDeploy {
            signed: signed.encode(),
            dry_run: None,
        })
        .await?
        .app;
    let mut attachments = vec![attach(&client, &app, As::Source).await?];
    for node in 1..nodes {
        attachments.push(attach(&dial(&lab, node).await?, &app, As::Sink).await?);
    }
    let mut joined = None;
    for _ in 0..1_200 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let Some(tree) = lab.tree(overlay, alpha).await else {
            continue;
        };
        if tree.members.len() < nodes {
            continue;
        }
        let joined = *joined.get_or_insert_with(|| {
            (
                wall.elapsed().as_secs_f64(),
                virtual_start.elapsed().as_secs_f64(),
            )
        });
        if !tree.violators(alpha, 3.0).is_empty() {
            continue;
        }
        let mut ends = 0;
        for node in 0..nodes {
            let handle = lab.handle(node).context("it runs")?;
            ends += handle.ask(|core| core.peer_count()).await?;
        }
        let rdp = tree.tree.rdp(&tree.matrix);
        let used = rss_bytes()?.saturating_sub(before);
        let mib = used as f64 / f64::from(1 << 20) / nodes as f64;
        writeln!(
            std::io::stdout(),
            "{nodes} nodes: all joined after {:.1} s wall, {:.1} s virtual; all within alpha {} \
             after {:.1} s wall, {:.1} s virtual; \
             {mib:.2} MiB a node, {:.1} connection ends a node, RDP max {:.3} mean {:.3}, \
             cost {:.3} x MST, {:.3} x central LAST",
            joined.0,
            joined.1,
            alpha.factor(),
            wall.elapsed().as_secs_f64(),
            virtual_start.elapsed().as_secs_f64(),
            ends as f64 / nodes as f64,
            rdp.max,
            rdp.mean,
            tree.cost_ms() / tree.mst_ms,
            tree.cost_ms() / tree.last_ms,
        )?;
        return Ok(mib);
    }
    bail!("{nodes} nodes did not come to rest within 600 virtual seconds")
}

async fn dial(lab: &Lab, node: usize) -> anyhow::Result<Client> {
    Ok(Client::over(lab.dial_ipc(node).context("it runs")?, "scale").await?)
}

async fn attach(client: &Client, app: &str, role: As) -> anyhow::Result<Attachment> {
    loop {
        match ticker::attach(client, app, role).await {
            Err(error) if error.fault().is_some_and(|fault| fault.retry_ms.is_some()) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return Ok(other?),
        }
    }
}

/// Resident memory of this process.
fn rss_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    let kib = line.split_whitespace().nth(1).context("no number")?;
    Ok(kib.parse::<u64>()? << 10)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the wall time is what is measured"
)]
fn wall() -> std::time::Instant {
    std::time::Instant::now()
}
