//! What goes wrong at large: nodes that are down, and cuts between sets of nodes.

use rustc_hash::FxHashSet;
use thiserror::Error;

/// Cuts at a time; each frame looks at all of them.
pub const CUTS_MAX: usize = 64;

/// Names a cut until it is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutId(u64);

/// What a cut does to frames that want to cross it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A partition: datagrams are lost, streams wait.
    Drop,
    /// A clog: both wait until the release, none is lost.
    Hold,
}

/// Why a fault cannot begin. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FaultError {
    /// A node is beyond the network.
    #[error("node {node} of {nodes}")]
    NoSuchNode {
        /// The node named.
        node: usize,
        /// Nodes of the network.
        nodes: usize,
    },
    /// [`CUTS_MAX`] cuts are in force.
    #[error("{CUTS_MAX} cuts are in force")]
    TooManyCuts,
}

/// The faults of a network in force.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    up: Vec<bool>,
    incarnation: Vec<u32>,
    /// At most [`CUTS_MAX`]; more are refused.
    cuts: Vec<Cut>,
    next_cut: u64,
}

#[derive(Clone, Debug)]
struct Cut {
    id: CutId,
    effect: Effect,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// By node: frames from a node marked in `from` to one marked in `to` are affected.
    Sets {
        from: Vec<bool>,
        to: Vec<bool>,
        both_ways: bool,
    },
    /// Single ways, from and to; never walked.
    Ways(FxHashSet<(usize, usize)>),
}

impl Cut {
    fn affects(&self, one: usize, other: usize) -> bool {
        match &self.place {
            Place::Sets {
                from,
                to,
                both_ways,
            } => (from[one] && to[other]) || (*both_ways && from[other] && to[one]),
            Place::Ways(ways) => ways.contains(&(one, other)),
        }
    }
}

impl Faults {
    pub(crate) fn none(nodes: usize) -> Self {
        Self {
            up: vec![true; nodes],
            incarnation: vec![0; nodes],
            cuts: Vec::new(),
            next_cut: 0,
        }
    }

    pub(crate) fn cut(
        &mut self,
        from: &[usize],
        to: &[usize],
        both_ways: bool,
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        let all = self.up.len();
        let (from, to) = (marked(all, from)?, marked(all, to)?);
        let sets = Place::Sets {
            from,
            to,
            both_ways,
        };
        self.insert(effect, sets)
    }

    pub(crate) fn cut_ways(
        &mut self,
        ways: &[(usize, usize)],
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        let nodes = self.up.len();
        let ends = ways.iter().flat_map(|&(from, to)| [from, to]);
        if let Some(node) = ends.max().filter(|&node| node >= nodes) {
            return Err(FaultError::NoSuchNode { node, nodes });
        }
        self.insert(effect, Place::Ways(ways.iter().copied().collect()))
    }

    pub(crate) fn partition(
        &mut self,
        side: &[usize],
        effect: Effect,
    ) -> Result<CutId, FaultError> {
        let from = marked(self.up.len(), side)?;
        let to = from.iter().map(|inside| !inside).collect();
        let sets = Place::Sets {
            from,
            to,
            both_ways: true,
        };
        self.insert(effect, sets)
    }

    pub(crate) fn repair(&mut self, id: CutId) -> bool {
        let before = self.cuts.len();
        self.cuts.retain(|cut| cut.id != id);
        self.cuts.len() < before
    }

    pub(crate) fn repair_all(&mut self) {
        self.cuts.clear();
    }

    /// The effect on a frame; a drop outweighs a hold.
    pub(crate) fn between(&self, from: usize, to: usize) -> Option<Effect> {
        let mut found = None;
        for cut in self.cuts.iter().filter(|cut| cut.affects(from, to)) {
            match cut.effect {
                Effect::Drop => return Some(Effect::Drop),
                Effect::Hold => found = Some(Effect::Hold),
            }
        }
        found
    }

    pub(crate) fn crash(&mut self, node: usize) -> bool {
        std::mem::replace(&mut self.up[node], false)
    }

    pub(crate) fn restart(&mut self, node: usize) -> bool {
        let was_down = !std::mem::replace(&mut self.up[node], true);
        self.incarnation[node] += u32::from(was_down);
        was_down
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.up[node]
    }

    pub(crate) fn incarnation(&self, node: usize) -> u32 {
        self.incarnation[node]
    }

    fn insert(&mut self, effect: Effect, place: Place) -> Result<CutId, FaultError> {
        if self.cuts.len() >= CUTS_MAX {
            return Err(FaultError::TooManyCuts);
        }
        let id = CutId(self.next_cut);
        self.next_cut += 1;
        self.cuts.push(Cut { id, effect, place });
        Ok(id)
    }
}

/// By node of `all`, whether it is among `nodes`.
pub(crate) fn marked(all: usize, nodes: &[usize]) -> Result<Vec<bool>, FaultError> {
    let mut marked = vec![false; all];
    for &node in nodes {
        *marked
            .get_mut(node)
            .ok_or(FaultError::NoSuchNode { node, nodes: all })? = true;
    }
    Ok(marked)
}
