//! The result of a run: one object for a program, tables and what they mean for a reader.

use std::fmt::Write as _;

use serde::Serialize;

use crate::figures::{Mean, Members};

/// What was measured of one side.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub side: &'static str,
    /// What a node knows there, and its settings.
    pub promise: &'static str,
    /// W1; null if not run.
    pub mean: Option<Mean>,
    /// W2; null if not run.
    pub members: Option<Members>,
    /// W1 with every number at every node; null if not run, or not offered.
    pub exact: Option<Mean>,
}

/// All sides with one number of nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Nodes.
    pub nodes: usize,
    /// The first is dicast, if it ran: ratios are over it.
    pub rows: Vec<Row>,
}

/// One run. Keys are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of these keys.
    pub schema: u32,
    /// The seed.
    pub seed: u64,
    /// Share of datagrams that were lost.
    pub loss: f64,
    /// Virtual seconds over which bytes were measured.
    pub steady_s: u64,
    /// By number of nodes.
    pub tables: Vec<Table>,
}

/// What a reader has to know before comparing.
const FAIRNESS: &str = "\
Delays 20 to 80 ms one way, 32-byte names for all. A packet costs its body and 28 bytes for each
started 1,200; a dial of dicast 2,500 bytes at each side; foca and chitchat dial nobody. A datagram
is lost as a whole whatever its size. foca and chitchat give every node every member; dicast gives
a node its own region's list, and of all others the number and the mean. So \"lists right\" is about
all nodes there and about one region here; who \"knew\" has no dead node in its lists, and in dicast
also knows the number of the living exactly. In W1 a node of foca or chitchat tells its number when
it is off by half the tolerance, for a mean to 1 % asks no more (foca also each 30 s: it tells
newcomers nothing of what was told before, and is handed the list of members once all have
started); dicast has its own filters. \"Exact everywhere\" is W1 with each change told and held by
every node.
";

impl Report {
    /// What the tables mean, for a terminal.
    pub fn notes(&self) -> String {
        let mut text = FAIRNESS.to_owned();
        for row in self.tables.first().into_iter().flat_map(|it| &it.rows) {
            line(&mut text, format_args!("{}: {}.", row.side, row.promise));
        }
        text
    }
}

impl Table {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.means(&mut text);
        self.members(&mut text);
        self.exact(&mut text);
        text
    }

    fn means(&self, text: &mut String) {
        if self.rows.iter().all(|row| row.mean.is_none()) {
            return;
        }
        let nodes = self.nodes;
        line(text, format_args!("W1, track the mean: {nodes} nodes"));
        let head = "bytes/node/s   ratio   worst  within 1 %  error p99  drifting  error p99  \
                    lists right";
        line(text, format_args!("{:<12}{head}", "side"));
        let ours = self.rows.iter().find_map(|row| row.mean.as_ref());
        let ours = ours.map_or(0.0, |mean| mean.bytes.mean);
        for row in &self.rows {
            let Some(mean) = &row.mean else { continue };
            line(
                text,
                format_args!(
                    "{:<12}{:>12.0}{:>8.2}{:>8.0}{:>12}{:>11}{:>10}{:>11}{:>13}",
                    row.side,
                    mean.bytes.mean,
                    mean.bytes.mean / ours,
                    mean.bytes.worst,
                    percent(mean.walk.within),
                    tolerances(mean.walk.error_p99),
                    percent(mean.drift.within),
                    tolerances(mean.drift.error_p99),
                    percent(mean.lists),
                ),
            );
        }
        text.push('\n');
    }

    /// Who holds every number, at which price.
    fn exact(&self, text: &mut String) {
        if self.rows.iter().all(|row| row.exact.is_none()) {
            return;
        }
        let nodes = self.nodes;
        line(text, format_args!("Exact everywhere: {nodes} nodes"));
        for row in &self.rows {
            let Some(exact) = &row.exact else {
                line(
                    text,
                    format_args!("{:<12}not offered, or not run", row.side),
                );
                continue;
            };
            line(
                text,
                format_args!(
                    "{:<12}{:>12.0} bytes/node/s; 99 % of the numbers held were replaced at most \
                     {} ago",
                    row.side,
                    exact.bytes.mean,
                    exact.lag_s_p99.map_or_else(|| "-".to_owned(), seconds),
                ),
            );
        }
        text.push('\n');
    }

    fn members(&self, text: &mut String) {
        if self.rows.iter().all(|row| row.members.is_none()) {
            return;
        }
        let nodes = self.nodes;
        line(text, format_args!("W2, membership only: {nodes} nodes"));
        let head = "bytes/node/s   ratio   worst  lists right  taken for dead  suspected  \
                    99 % knew after  all knew after";
        line(text, format_args!("{:<12}{head}", "side"));
        let ours = self.rows.iter().find_map(|row| row.members.as_ref());
        let ours = ours.map_or(0.0, |members| members.bytes.mean);
        let never = || "not in the run".to_owned();
        for row in &self.rows {
            let Some(members) = &row.members else {
                continue;
            };
            let suspected = members.suspected.map(|nodes| nodes.to_string());
            line(
                text,
                format_args!(
                    "{:<12}{:>12.0}{:>8.2}{:>8.0}{:>13}{:>16}{:>11}{:>17}{:>16}",
                    row.side,
                    members.bytes.mean,
                    members.bytes.mean / ours,
                    members.bytes.worst,
                    percent(members.lists),
                    members.wronged,
                    suspected.unwrap_or_else(|| "-".to_owned()),
                    members.known_99_s.map_or_else(never, seconds),
                    members.known_all_s.map_or_else(never, seconds),
                ),
            );
        }
        text.push('\n');
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("writing into a string cannot fail");
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn tolerances(error: Option<f64>) -> String {
    error.map_or_else(|| "-".to_owned(), |error| format!("{error:.2}"))
}

fn seconds(seconds: u64) -> String {
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Accuracy, Bytes};

    fn row(side: &'static str, bytes: f64) -> Row {
        let bytes = Bytes {
            mean: bytes,
            worst: bytes,
        };
        let accuracy = Accuracy::default();
        Row {
            side,
            promise: "much",
            mean: Some(Mean {
                bytes,
                walk: accuracy,
                drift: accuracy,
                lists: 1.0,
                lag_s_p99: Some(4),
            }),
            members: Some(Members {
                bytes,
                lists: 1.0,
                wronged: 3,
                suspected: None,
                known_99_s: Some(9),
                known_all_s: None,
            }),
            exact: None,
        }
    }

    #[test]
    fn tables_show_ratios_over_the_first_and_who_does_not_offer_what() {
        let mut rows = vec![row("ours", 100.0), row("theirs", 250.0)];
        rows[1].exact = rows[1].mean.clone();
        let table = Table { nodes: 30, rows };
        let text = table.to_text();
        assert_eq!(text.matches("2.50").count(), 2, "{text}");
        assert!(text.contains("not offered"), "{text}");
        assert!(text.contains("at most 4 s ago"), "{text}");
        assert!(text.contains("not in the run"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 180), "{text}");
    }
}
