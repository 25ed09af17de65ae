//! The ticker as a program: `ticker publish APP` on one node, `ticker follow APP` on others.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use opus_core::Seed;
use opus_ipc::{client::Client, message::As};
use opus_samples::ticker::{self, Market};

#[derive(Parser)]
#[command(version, about = "Sends or follows prices over Opus")]
struct Args {
    /// The socket of the local node.
    #[arg(long, env = "OPUS_SOCKET")]
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends ticks.
    Publish {
        /// The application: name or name.owner.
        #[arg(default_value = "ticker")]
        app: String,
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        count: u64,
        /// Milliseconds between two.
        #[arg(long, default_value_t = 20)]
        interval_ms: u64,
        /// Seed of the market.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Prints ticks until the last one.
    Follow {
        /// The application: name or name.owner.
        #[arg(default_value = "ticker")]
        app: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = Client::connect(&[args.socket], "ticker").await?;
    match args.verb {
        Verb::Publish {
            app,
            count,
            interval_ms,
            seed,
        } => {
            let attachment = ticker::attach(&client, &app, As::Source).await?;
            let mut market = Market::new(Seed::new(seed).rng());
            let interval = Duration::from_millis(interval_ms.max(1));
            let last = count.saturating_sub(1);
            let sent = ticker::publish(&attachment, &mut market, interval, |n| n >= last).await?;
            say(&format!("{sent} ticks sent and acknowledged"))
        }
        Verb::Follow { app } => {
            let attachment = ticker::attach(&client, &app, As::Sink).await?;
            let mut failed = Ok(());
            let followed = ticker::follow(&attachment, |tick, _| {
                let line = format!(
                    "{:8} {} {:.2}",
                    tick.number,
                    tick.name(),
                    f64::from(tick.cents) / 1e2
                );
                failed = say(&line);
            })
            .await?;
            failed?;
            anyhow::ensure!(
                followed.is_whole(),
                "the stream was not whole: {followed:?}"
            );
            Ok(())
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}
