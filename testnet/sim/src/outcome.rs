//! What a run came to: the object that `opus-testnet run --json` writes, and its figures.

use serde::Serialize;

use crate::{expect::Failed, failure::Failure};

/// The result of one scenario with one seed. Keys are a contract; `wall_s` and `peak_rss_bytes`
/// are filled in by who has a clock, and only they may differ between equal runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Version of these keys.
    pub schema: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Virtual seconds.
    pub virtual_s: u32,
    /// Share of frames that links lose.
    pub loss: f64,
    /// Inputs and timeouts handled.
    pub events: u64,
    /// Seconds of real time.
    pub wall_s: Option<f64>,
    /// Largest resident memory.
    pub peak_rss_bytes: Option<u64>,
    /// 64 hexadecimal digits over all events.
    pub trace_hash: String,
    /// Kind of overlay.
    pub kind: &'static str,
    /// The node at the root.
    pub root: usize,
    /// The knob; null is infinity.
    pub alpha: Option<f64>,
    /// What each node takes for its parent at the end.
    pub parent: Vec<Option<usize>>,
    /// What each node takes for its relative delay penalty at the end.
    pub rdp: Vec<Option<f64>>,
    /// True cost of the tree at the end, milliseconds of round trip.
    pub cost: f64,
    /// Whether each node runs at the end.
    pub alive: Vec<bool>,
    /// Delay measurements that each node started.
    pub probes: Vec<u64>,
    /// Messages of the overlay that each node sent.
    pub messages: Vec<u64>,
    /// The truth, a row a tick of five seconds.
    pub history: Vec<Row>,
    /// Summary.
    pub figures: Figures,
    /// Names of what was expected and does not hold.
    pub expect_failed: Vec<&'static str>,
    /// The same with bounds and values.
    pub failed: Vec<Failed>,
    /// The first broken invariants, with the history of the node.
    pub broken: Vec<Failure>,
    /// All broken invariants.
    pub broken_total: u64,
}

/// The truth at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Number of the tick.
    pub tick: u32,
    /// When, virtual seconds.
    pub at_s: u32,
    /// Members over the bound.
    pub violators: usize,
    /// Members without a way to the root.
    pub unattached: usize,
    /// Cost of the edges of all others, milliseconds.
    pub cost: f64,
    /// Largest relative delay penalty.
    pub max_rdp: f64,
    /// Mean of it.
    pub mean_rdp: f64,
    /// Frames sent so far.
    pub sent: u64,
    /// Frames given to sinks so far.
    pub delivered: u64,
}

/// The figures of a run. What did not occur is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Members over the bound at the end.
    pub violators_end: usize,
    /// Members without a way to the root at the end.
    pub unattached_end: usize,
    /// Cost of the central LAST over the members at the end, milliseconds.
    pub last_cost: Option<f64>,
    /// Cost by that.
    pub cost_over_last: Option<f64>,
    /// Cost of the minimum spanning tree over the same members, milliseconds.
    pub mst_cost: Option<f64>,
    /// Largest true relative delay penalty at the end.
    pub rdp_max: f64,
    /// Mean of it.
    pub rdp_mean: f64,
    /// When all members hung on the root for the first time.
    pub attached_s: Option<f64>,
    /// Frames that the source sent.
    pub frames_sent: u64,
    /// Times that the window was full and a frame had to wait.
    pub frames_blocked: u64,
    /// Frames due to sinks that lived.
    pub frames_due: u64,
    /// Frames given to sinks.
    pub frames_delivered: u64,
    /// Share of the due frames that were delivered.
    pub delivered: Option<f64>,
    /// Frames given to a sink twice.
    pub duplicates: u64,
    /// Gaps of the complete class of which a sink was told.
    pub gaps_told: u64,
    /// Longest time from a fault until all live members hung on the root again.
    pub repair_s: Option<f64>,
    /// Longest time in which a live sink got nothing while the source sent.
    pub stall_s: Option<f64>,
    /// Delay measurements that the mean node started.
    pub probes_mean: f64,
    /// Messages of the overlay that the mean node sent a second.
    pub overlay_messages_per_s: f64,
    /// Bytes of control messages that the mean node sent a second.
    pub control_bytes_per_s: f64,
    /// Connections that the mean node has at the end.
    pub connections_mean: f64,
    /// Most connections of a node at the end.
    pub connections_max: usize,
    /// Control messages sent, of all protocols.
    pub control_messages: u64,
    /// Bytes of frames sent, headers and copies included.
    pub frame_bytes: u64,
    /// The same by the bytes of all frames given to sinks with a header each: copies to the dead,
    /// resends, digests.
    pub frame_overhead: Option<f64>,
}

impl Figures {
    /// Name and value of each figure that exists, for medians and tables.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        let count = |value: u64| Some(value as f64);
        [
            ("violators_end", count(self.violators_end as u64)),
            ("unattached_end", count(self.unattached_end as u64)),
            ("cost_over_last", self.cost_over_last),
            ("rdp_max", Some(self.rdp_max)),
            ("rdp_mean", Some(self.rdp_mean)),
            ("attached_s", self.attached_s),
            ("frames_sent", count(self.frames_sent)),
            ("frames_blocked", count(self.frames_blocked)),
            ("delivered", self.delivered),
            ("duplicates", count(self.duplicates)),
            ("gaps_told", count(self.gaps_told)),
            ("repair_s", self.repair_s),
            ("stall_s", self.stall_s),
            ("probes_mean", Some(self.probes_mean)),
            ("overlay_messages_per_s", Some(self.overlay_messages_per_s)),
            ("control_bytes_per_s", Some(self.control_bytes_per_s)),
            ("frame_overhead", self.frame_overhead),
            ("connections_mean", Some(self.connections_mean)),
            ("connections_max", count(self.connections_max as u64)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// A figure over several seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Which.
    pub name: &'static str,
    /// The middle value; of an even number the lower one.
    pub median: f64,
    /// The worst: the least of `delivered`, `frames_sent`, the largest of all others.
    pub worst: f64,
}

/// Median and worst of each figure that every outcome has.
pub fn spreads(outcomes: &[Outcome]) -> Vec<Spread> {
    let all: Vec<Vec<(&str, f64)>> = outcomes
        .iter()
        .map(|outcome| outcome.figures.values())
        .collect();
    let Some(first) = outcomes.first() else {
        return Vec::new();
    };
    let spread = |(name, _): (&'static str, f64)| {
        let mut values = Vec::with_capacity(all.len());
        for row in &all {
            values.push(row.iter().find(|(other, _)| *other == name)?.1);
        }
        values.sort_by(f64::total_cmp);
        let least_is_worst = matches!(name, "delivered" | "frames_sent");
        let worst = if least_is_worst {
            values.first()
        } else {
            values.last()
        };
        Some(Spread {
            name,
            median: values[(values.len() - 1) / 2],
            worst: *worst?,
        })
    };
    first
        .figures
        .values()
        .into_iter()
        .filter_map(spread)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_share_delivered_is_the_least_and_the_worst_cost_the_largest() {
        let outcome = |delivered, cost| Outcome {
            figures: Figures {
                delivered: Some(delivered),
                cost_over_last: Some(cost),
                ..Figures::default()
            },
            ..Outcome::default()
        };
        let spreads = spreads(&[outcome(1.0, 1.2), outcome(0.5, 1.0), outcome(0.9, 1.1)]);
        let of = |name| *spreads.iter().find(|spread| spread.name == name).unwrap();
        let delivered = of("delivered");
        assert!((delivered.median - 0.9).abs() < 1e-9 && (delivered.worst - 0.5).abs() < 1e-9);
        assert!((of("cost_over_last").worst - 1.2).abs() < 1e-9);
        assert!(spreads.iter().all(|spread| spread.name != "repair_s"));
    }
}
