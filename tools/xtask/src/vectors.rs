//! The golden vectors of opus-ipc: bytes that every client in any language must read and write.
//!
//! The crate itself knows how to make them; this only calls it, so that the task has one name.

use std::{io::Write, path::Path, process::Command};

use anyhow::{Context, Result};

/// Writes the vectors anew, or compares the committed ones with what the code makes. Returns
/// whether they were written, or are equal.
pub(crate) fn run(root: &Path, check: bool, out: &mut impl Write) -> Result<bool> {
    let mode = if check { "--check" } else { "--write" };
    writeln!(out, "opus-ipc: vectors {mode}")?;
    out.flush()?;
    let status = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--package",
            "opus-ipc",
            "--example",
            "vectors",
            "--",
            mode,
        ])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}
