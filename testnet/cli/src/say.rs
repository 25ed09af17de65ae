//! What a command tells the person before it: progress with the time passed, and the summary.

use std::{fmt, io::Write};

use tokio::time::Instant;

/// Appends to a text.
pub(crate) fn put(text: &mut String, what: fmt::Arguments<'_>) {
    fmt::Write::write_fmt(text, what).expect("writing to memory cannot fail");
}

/// Lines on standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say(Instant);

impl Say {
    /// Time counts from here.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// A line of progress.
    pub(crate) fn step(&self, text: &str) {
        self.line(&format!("{:6.1} s  {text}", self.0.elapsed().as_secs_f64()));
    }

    /// A line as it is. A closed terminal does not stop the command: its exit code still tells.
    #[expect(clippy::unused_self, reason = "lines come from who holds the clock")]
    pub(crate) fn line(&self, text: &str) {
        drop(writeln!(std::io::stdout(), "{text}"));
    }
}
