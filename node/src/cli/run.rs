//! `run`: the daemon in the foreground.

use std::{io, sync::Arc};

use super::{
    args::{Global, RunArgs},
    complain,
    connect::{run_flags, settle},
    exit::{Exit, Failure},
};
use crate::daemon;

/// Runs a node until it is told to stop.
pub(super) fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    let (config, settled) = settle(global, &args.node, run_flags(args))?;
    for warning in &settled.warnings {
        complain(&format!("warning: {warning}"));
    }
    let log = daemon::start_log(&config.log).map_err(Failure::usage)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| unstarted(&error))?;
    let ended = runtime.block_on(daemon::run(config, Some(Arc::new(log))));
    // Whatever still blocks a thread must not keep a node that has left.
    runtime.shutdown_background();
    ended.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    Ok(Exit::Done)
}

fn unstarted(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot start the runtime: {error}"))
}
