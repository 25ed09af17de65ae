//! What a protocol offers to be measured, whatever it is.

use opus_core::Time;

use crate::figures::Lags;

/// All nodes of one protocol in virtual time, with their network.
pub trait Side {
    /// As it stands in tables, with the settings.
    fn name(&self) -> &'static str;
    /// What a node knows and with which settings it runs, in a sentence.
    fn promise(&self) -> &'static str;

    /// Starts a node now; it knows of `seeds`, which run.
    fn start(&mut self, node: usize, seeds: &[usize]);
    /// All nodes have started: whoever can be handed a list of all is.
    fn acquaint(&mut self) {}
    /// The node's number from now on.
    fn set(&mut self, node: usize, value: f64);
    /// Lets everything happen up to `at`.
    fn run_until(&mut self, at: Time);
    /// The node is gone without a word.
    fn crash(&mut self, node: usize);

    /// Bytes that the node has sent so far, headers and dials included.
    fn sent(&self, node: usize) -> u64;
    /// What a living node knows. `alive`: the truth.
    fn look(&mut self, node: usize, alive: &[bool]) -> Look;
    /// Adds how far behind the exact values are that a living node holds of the others, where it
    /// holds them.
    fn lags(&mut self, node: usize, alive: &[bool], lags: &mut Lags);
    /// Living nodes that some living node has taken for dead since the last call.
    fn wronged(&mut self, alive: &[bool]) -> Vec<usize>;
    /// Living nodes that some living node holds for suspect at the moment, where suspicion shows.
    fn suspected(&mut self, alive: &[bool]) -> Option<Vec<usize>>;
}

/// What one node knows at a moment, compared with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Living nodes that its lists should hold and do not.
    pub missing: usize,
    /// Dead nodes in its lists.
    pub dead: usize,
    /// Whether it knows how many live, where that is told apart from the lists; true elsewhere.
    pub counts: bool,
    /// The mean that it holds.
    pub mean: Option<f64>,
}

impl Look {
    /// Whether its lists are right.
    pub const fn lists(&self) -> bool {
        self.missing == 0 && self.dead == 0
    }

    /// Whether it knows of all deaths: none of the dead is in its lists, and it counts the living.
    pub const fn mourns(&self) -> bool {
        self.dead == 0 && self.counts
    }
}
