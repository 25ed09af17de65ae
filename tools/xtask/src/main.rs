//! The project's own tasks: `cargo xtask tidy | fast | ci | vectors`.
//!
//! `tidy` is the architecture as a test: which crate may know which, what a pure crate may not
//! touch, how long a file may be, which words may not be committed. `fast` is the loop of one
//! edit, `ci` all that `.ci/run` asks for, `vectors` the golden bytes of the IPC protocol.
//!
//! It deliberately knows no protocol and links no crate of ours, so that it builds in seconds and
//! still runs when the rest does not compile.
//!
//! Weaknesses: the source rules read tokens, not types; a name that a macro assembles escapes them.

mod changed;
mod steps;
mod tidy;
mod vectors;
mod workspace;

use std::{
    io::{self, Write},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Checks the rules of docs/architecture.md and docs/testing.md over the whole tree
    Tidy,
    /// fmt, tidy, clippy, and the quick tests of the changed crates and their dependants
    Fast {
        /// What to compare with; default: uncommitted changes, or the last commit
        #[arg(long)]
        base: Option<String>,
    },
    /// All steps of .ci/run, with a summary; goes on after a failure
    Ci,
    /// Writes the golden vectors of opus-ipc anew
    Vectors {
        /// Compare only; exit 1 if they differ
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<ExitCode> {
    let root = workspace::root()?;
    let mut out = io::stdout().lock();
    let ok = match Arguments::parse().task {
        Task::Tidy => tidy::run(&root, &mut out)?,
        Task::Fast { base } => changed::fast(&root, base.as_deref(), &mut out)?,
        Task::Ci => {
            out.flush()?;
            let script = root.join(".ci").join("run");
            Command::new(&script)
                .current_dir(&root)
                .status()
                .with_context(|| format!("cannot start {}", script.display()))?
                .success()
        }
        Task::Vectors { check } => vectors::run(&root, check, &mut out)?,
    };
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
