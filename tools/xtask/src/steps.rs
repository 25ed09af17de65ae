//! Steps that run one after the other, go on after a failure, and end in a table.

use std::{io::Write, path::Path, process::Command};

use anyhow::{Context, Result};

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    name: String,
    ok: bool,
}

/// Steps run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Done>,
}

impl Steps {
    /// Runs `program` with `arguments` in `root` and notes its exit.
    pub(crate) fn run(
        &mut self,
        root: &Path,
        out: &mut impl Write,
        name: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<()> {
        writeln!(out, "== {name}: {program} {}", arguments.join(" "))?;
        out.flush()?;
        let status = Command::new(program)
            .args(arguments)
            .current_dir(root)
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        self.note(name, status.success());
        Ok(())
    }

    pub(crate) fn note(&mut self, name: &str, ok: bool) {
        self.done.push(Done {
            name: name.to_owned(),
            ok,
        });
    }

    /// Prints the table. Returns whether every step passed.
    pub(crate) fn summary(&self, out: &mut impl Write) -> Result<bool> {
        writeln!(out, "== summary")?;
        for Done { name, ok } in &self.done {
            writeln!(out, "{}  {name}", if *ok { "ok    " } else { "FAILED" })?;
        }
        Ok(self.done.iter().all(|done| done.ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_rest_but_the_whole_fails() {
        let mut steps = Steps::default();
        let mut out = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cargo = env!("CARGO");
        steps
            .run(root, &mut out, "bad", cargo, &["no-such-command"])
            .unwrap();
        steps
            .run(root, &mut out, "good", cargo, &["--version"])
            .unwrap();
        assert!(!steps.summary(&mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with("== summary\nFAILED  bad\nok      good\n"),
            "{text}"
        );
    }

    #[test]
    fn when_all_pass_the_whole_passes() {
        let mut steps = Steps::default();
        steps.note("one", true);
        assert!(steps.summary(&mut Vec::new()).unwrap());
    }
}
