//! Standard output: text for people, or one JSON document.

use std::io::{self, Write};

use serde::Serialize;

/// Where results go, and in which form.
pub(super) struct Output {
    json: bool,
    to: Box<dyn Write>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// Writes to `to`.
    pub(super) fn new(json: bool, to: Box<dyn Write>) -> Self {
        Self { json, to }
    }

    /// Whether documents are wanted.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A result: `value` as one document, or what `text` writes.
    pub(super) fn result<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.json {
            return text(&mut *self.to);
        }
        serde_json::to_writer_pretty(&mut *self.to, value)?;
        self.to.write_all(b"\n")
    }

    /// One of many results: a line each.
    pub(super) fn item<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *self.to, value)?;
            self.to.write_all(b"\n")?;
        } else {
            text(&mut *self.to)?;
        }
        self.to.flush()
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// Hands on what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Rows with their columns aligned, two spaces apart; the first row is the head.
pub(super) fn table(to: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let padded: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        writeln!(to, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

/// Milliseconds as people say them.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let mut text = Vec::new();
        table(&mut text, &[row(["a", "b"]), row(["long", ""])]).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "a     b\nlong\n");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let said = [999, 1_500, 61_000, 3_660_000, 90_000_000].map(duration);
        assert_eq!(
            said,
            ["999 ms", "1.5 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
    }
}
