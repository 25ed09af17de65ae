//! The object that a run writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Moment;

/// The result of one run. Keys are a contract; what did not occur or is not measured is null.
/// `wall_s` and `peak_rss_bytes` are filled in by who has a clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DicastOutcome {
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
    /// Share of datagrams that were lost.
    pub loss: f64,
    /// Inputs and timeouts handled.
    pub events: u64,
    /// Seconds of real time.
    pub wall_s: Option<f64>,
    /// Largest resident memory.
    pub peak_rss_bytes: Option<u64>,
    /// Over all events.
    pub trace_hash: String,
    /// Levels at 60 s.
    pub height: Option<u8>,
    /// Clusters of level 1 at 60 s.
    pub clusters: Option<usize>,
    /// When all nodes were first covered.
    pub formed_s: Option<u64>,
    /// At 60 s: the mean round trip of the seated nodes to their agents of level 1, over that of as
    /// many clusters by k-means on the true places, with the best member of each as agent.
    pub leaf_rtt_ratio: Option<f64>,
    /// Clusters out of bounds for more than 20 s, from 30 s on.
    pub size_violations: u64,
    /// Null: there are no labels yet.
    pub label_violations: Option<u64>,
    /// Posts seen with two agents under one cluster and epoch.
    pub fence_violations: u64,
    /// Sent by a node and second while all was steady.
    pub bytes_per_node_per_s_mean: Option<f64>,
    /// The worst node, sent or received.
    pub bytes_per_node_per_s_max: Option<f64>,
    /// At the end, of the nodes without a post: the size of both machines and all that they have
    /// allocated. Null where allocations are not counted.
    pub state_bytes_leaf_p99: Option<u64>,
    /// Answers that were judged.
    pub answer_samples: u64,
    /// Answers for the load whose bounds no lawful set of nodes reaches.
    pub bound_violations: u64,
    /// The same for the count of members.
    pub count_violations: u64,
    /// Half the width of an answer over the tolerance.
    pub half_width_over_eps_p99: Option<f64>,
    /// Distance from the truth of the moment over the tolerance.
    pub error_over_eps_p99: Option<f64>,
    /// From set to seen, to 100 ms.
    pub staleness_eager_s_p99: Option<f64>,
    /// The same for lazy marks.
    pub staleness_lazy_s_p99: Option<f64>,
    /// By the share that crashed, in percent.
    pub coverage_after_crash: BTreeMap<String, Crashed>,
    /// Share of live nodes covered at the end.
    pub coverage_end: Option<f64>,
    /// Live nodes that were put out of their cluster.
    pub live_expelled: u64,
    /// Seconds, summed over nodes, in which one that strangers cannot dial held a post. Null if all
    /// can be dialled.
    pub posts_unreachable: Option<u64>,
    /// Live nodes that sat in the rosters of two agents of level 1 for longer than such nodes are
    /// told as possible doubles, 15 s.
    pub double_seat_violations: u64,
    /// The longest that a live node had no seat, in seconds.
    pub orphan_s_max: u64,
    /// The least share of live nodes covered at any second, from 60 s on.
    pub coverage_min: Option<f64>,
    /// The mean of that share over these seconds.
    pub coverage_mean: Option<f64>,
    /// What became of a cut that parts the network.
    pub after_cut: Option<Parted>,
    /// With liars, while all is steady: how far an answer for the load was at most beyond the means
    /// that honest nodes had within its age, less the tolerance, over what the liars could move it
    /// within the key's range.
    pub shift_over_ranges: Option<f64>,
    /// Of the messages that liars sent, those that no codec admitted.
    pub malformed: Option<u64>,
    /// Agents that did not lie and were deposed as liars.
    pub honest_deposed: u64,
    /// Agents that lied until they were deposed, or to the end. Null if none was to lie.
    pub liar_agents: Option<usize>,
    /// Seconds from their first lie until they were deposed, or to the end.
    pub liar_agents_found_s_p99: Option<f64>,
    /// Contracts that a machine or its codec broke.
    pub defects: usize,
    /// How often a peer was penalised. Without liars nobody has a reason to.
    pub penalties: u64,
    /// Commands that a machine refused.
    pub commands_refused: u64,
    /// Names of what was expected and does not hold.
    pub expect_failed: Vec<&'static str>,
    /// A row a second.
    #[serde(skip)]
    pub history: Vec<Moment>,
}

/// Whole seconds after a cut, or after its end, until ...
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parted {
    /// ... every live node was told the number of nodes of its side, exactly.
    pub counts_right_s: Option<u64>,
    /// ... 99 % of them were told that number to 1 %.
    pub counts_near_s: Option<u64>,
    /// ... after the end, all live nodes were covered by one tree, without a second root.
    pub one_tree_s: Option<u64>,
    /// ... after the end, 99 % were covered by one tree.
    pub near_tree_s: Option<u64>,
}

/// Whole seconds after a crash until ...
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Crashed {
    /// ... 99 % of the living were covered.
    pub t99_s: Option<u64>,
    /// ... all were.
    pub t100_s: Option<u64>,
    /// ... 99 % of the dead had left all rosters.
    pub dead_out_99_s: Option<u64>,
    /// ... all had.
    pub dead_out_all_s: Option<u64>,
    /// Most seats of dead nodes at once.
    #[serde(skip)]
    pub dead: usize,
}
