//! The golden vectors of opus-ipc: bytes that every client in any language must read and write.
//!
//! The crate itself makes them, in a test that compares them with the committed ones; this only
//! gives the test a name, and the wish to write instead.

use std::{io::Write, path::Path, process::Command};

use anyhow::{Context, Result};

/// The test that knows how to make the vectors.
const TEST: &str = "the_vectors_on_disk_are_those_that_the_code_makes";

/// Makes that test write the vectors before it compares them.
const WRITE: &str = "OPUS_VECTORS_WRITE";

/// Writes the vectors anew, or compares the committed ones with what the code makes. Returns
/// whether they were written, or are equal.
pub(crate) fn run(root: &Path, check: bool, out: &mut impl Write) -> Result<bool> {
    writeln!(
        out,
        "opus-ipc: {} the golden vectors",
        if check { "checking" } else { "writing" }
    )?;
    out.flush()?;
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--quiet",
        "--package",
        "opus-ipc",
        "--test",
        "ipc",
        TEST,
    ]);
    if check {
        command.env_remove(WRITE);
    } else {
        command.env(WRITE, "1");
    }
    let status = command
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace;

    #[test]
    fn the_test_that_makes_the_vectors_is_there_and_knows_the_wish() {
        let path = workspace::root()
            .unwrap()
            .join("node/ipc/tests/ipc/vectors.rs");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("fn {TEST}()")));
        assert!(text.contains(WRITE));
    }
}
