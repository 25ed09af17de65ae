//! `opus-testnet`: many Opus nodes on one machine, to look at, to measure and to break.

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
mod chain;
mod demo;
mod lab_dicast;
mod picture;
mod run;
mod say;
mod scale;
mod up;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Many Opus nodes on one machine")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Twenty nodes, one application, one crash; ends by itself with a summary and a report.
    Demo(demo::DemoArgs),
    /// Starts nodes in this process, each with a socket for opus-node and for programs.
    Up(up::UpArgs),
    /// Kills a node of a running `up`, as a power cut does.
    Kill(up::TellArgs),
    /// Starts a killed node of a running `up` again.
    Restart(up::TellArgs),
    /// Measures the data path: three full nodes in a chain on loopback, over TCP and over QUIC.
    Chain,
    /// Measures how long nodes take to join one overlay, and what a node costs.
    Scale(scale::ScaleArgs),
    /// Measures what the hierarchy costs real nodes at rest, beside the simulator.
    LabDicast(lab_dicast::LabDicastArgs),
    /// Runs a scenario in the simulator and checks its claims.
    Run(run::RunArgs),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("OPUS_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let result = match Args::parse().verb {
        Verb::Demo(args) => live(demo::run(&args)),
        Verb::Up(args) => live(up::run(&args)),
        Verb::Kill(args) => live(up::tell("kill", &args)),
        Verb::Restart(args) => live(up::tell("restart", &args)),
        Verb::Chain => chain::run(),
        Verb::Scale(args) => scale::run(&args),
        Verb::LabDicast(args) => lab_dicast::run(&args),
        Verb::Run(args) => run::run(&args),
    };
    result.unwrap_or_else(|error| {
        // Standard error may be closed; the exit code still tells.
        drop(writeln!(std::io::stderr(), "opus-testnet: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Runs in real time, on all cores.
fn live(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    // Nodes may hold tasks that never end by themselves.
    runtime.shutdown_background();
    result
}
