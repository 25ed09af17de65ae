//! The command line of `opus-node`: verbs that speak to a running node over opus-ipc, verbs that
//! need none, and `run`.
//!
//! Every verb gives a result to `output::Output`, as text or, with `--json`, as one document, and
//! ends in an `exit::Exit`. What a person sees, a program can see: no verb has knowledge that the
//! socket does not give.

mod apps;
mod args;
mod call;
mod configure;
mod connect;
mod dicast;
mod doctor;
mod exit;
mod identify;
mod keys;
mod look;
mod output;
mod publish;
mod run;
mod subscribe;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use self::{
    args::{Cli, Verb},
    exit::{Exit, Failure},
    output::Output,
};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut output = Output::new(cli.global.json, Box::new(std::io::stdout()));
    let done = dispatch(&cli, &mut output).and_then(|exit| {
        output.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit.into()
        }
    }
}

fn dispatch(cli: &Cli, output: &mut Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Run(args) => run::run(global, args),
        Verb::Config(args) => configure::config(global, args, output),
        Verb::Env => configure::env(output),
        Verb::Completions { shell } => configure::completions(*shell, output),
        Verb::Id(args) => identify::id(global, args, output),
        Verb::App(args) => apps::app(global, args, output),
        Verb::Status(args) => blocking(look::status(global, args, output)),
        Verb::Peers => blocking(look::peers(global, output)),
        Verb::Dicast(args) => blocking(dicast::dicast(global, args, output)),
        Verb::Events(args) => blocking(look::events(global, args, output)),
        Verb::Drain(args) => blocking(look::drain(global, args, output)),
        Verb::Doctor(args) => blocking(doctor::doctor(global, args, output)),
        Verb::Call(args) => blocking(call::call(global, args, output)),
        Verb::Publish(args) => blocking(publish::publish(global, args, output)),
        Verb::Subscribe(args) => blocking(subscribe::subscribe(global, args, output)),
    }
}

/// Runs the future of one verb on this thread.
fn blocking<F>(verb: F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Exit, Failure>>,
{
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot start the runtime: {error}"))
    })?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = verb => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted")),
        }
    });
    // A read of standard input may never end; it must not keep the process.
    runtime.shutdown_background();
    done
}

/// What clap says: help and version are no failure, all else is a wrong usage.
fn refuse(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    match error.print() {
        Ok(()) => exit.into(),
        Err(_) => Exit::Failed.into(),
    }
}

/// One line on standard error; if even that fails, the exit code is left to tell.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "opus-node: {text}"));
}
