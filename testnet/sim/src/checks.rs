//! Invariants of the tree, looked at each virtual second.
//!
//! What travels needs time: a path is news until it has arrived. So each sentence has a patience,
//! counted in beats of the overlay, after which its breach counts. A breach counts once, when its
//! patience ends, and again only after it has mended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opus_core::Time;

use crate::tree::{Claims, chain, loops};

/// One beat of the overlay: `opus_overlay::Config::beat`.
pub const BEAT: Duration = Duration::from_secs(2);
/// Beats after which a path that rests is known at its end, and an edge at both of its ends: one
/// to be sent, three missed ones until a lost end is given up, one in reserve.
pub const BEATS_TO_AGREE: u32 = 5;

/// A sentence that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The node that shows it.
    pub node: usize,
    /// The sentence.
    pub sentence: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
}

/// The state of all checks over time.
#[derive(Debug)]
pub struct TreeChecks {
    root: usize,
    cap: usize,
    /// Loops seen, since when, and whether they were told.
    loops: BTreeMap<Vec<usize>, (Time, bool)>,
    /// By node: the chain by claimed parents, since when, and whether a breach was told.
    paths: Vec<Option<(Vec<usize>, Time, bool)>>,
    /// By node: the claimed parent, since when, and whether a breach was told.
    edges: Vec<Option<(usize, Time, bool)>>,
    /// Nodes over their cap at the last look.
    over: BTreeSet<usize>,
}

impl TreeChecks {
    /// Checks of a tree of `nodes` nodes, `cap` children at most.
    pub fn new(nodes: usize, root: usize, cap: usize) -> Self {
        Self {
            root,
            cap,
            loops: BTreeMap::new(),
            paths: vec![None; nodes],
            edges: vec![None; nodes],
            over: BTreeSet::new(),
        }
    }

    /// Looks at all claims. `meets(a, b)`: no fault stands between both.
    pub fn look(
        &mut self,
        now: Time,
        claims: &Claims,
        meets: impl Fn(usize, usize) -> bool,
    ) -> Vec<Broken> {
        let mut broken = Vec::new();
        self.look_at_loops(now, claims, &mut broken);
        self.look_at_caps(claims, &mut broken);
        let root = self.root;
        for node in (0..claims.len()).filter(|&node| node != root) {
            self.look_at_path(now, claims, node, &meets, &mut broken);
            self.look_at_edge(now, claims, node, &meets, &mut broken);
        }
        broken
    }

    fn look_at_loops(&mut self, now: Time, claims: &Claims, broken: &mut Vec<Broken>) {
        let present = loops(claims);
        self.loops.retain(|around, _| present.contains(around));
        for around in present {
            let (since, told) = self.loops.entry(around.clone()).or_insert((now, false));
            if !*told && now.since(*since) > BEAT {
                *told = true;
                broken.push(Broken {
                    node: around[0],
                    sentence: "no loop stands longer than a beat",
                    expected: format!("gone within {BEAT:?}"),
                    got: format!("{around:?} since {since:?}"),
                });
            }
        }
    }

    fn look_at_caps(&mut self, claims: &Claims, broken: &mut Vec<Broken>) {
        for (node, claim) in claims.iter().enumerate() {
            let children = claim.as_ref().map_or(0, |claim| claim.children.len());
            if children <= self.cap {
                self.over.remove(&node);
            } else if self.over.insert(node) {
                broken.push(Broken {
                    node,
                    sentence: "nobody has more children than its cap",
                    expected: format!("at most {}", self.cap),
                    got: format!("{children}"),
                });
            }
        }
    }

    fn look_at_path(
        &mut self,
        now: Time,
        claims: &Claims,
        node: usize,
        meets: &impl Fn(usize, usize) -> bool,
        broken: &mut Vec<Broken>,
    ) {
        let actual = chain(claims, node, self.root).filter(|chain| {
            let below = std::iter::once(&node).chain(chain);
            below.zip(chain).all(|(&below, &above)| meets(below, above))
        });
        let (Some(claim), Some(actual)) = (&claims[node], actual) else {
            self.paths[node] = None;
            return;
        };
        let state = self.paths[node]
            .take()
            .filter(|(before, ..)| *before == actual);
        let (actual, since, mut told) = state.unwrap_or((actual, now, false));
        if claim.path == actual {
            told = false;
        } else if !told && now.since(since) > BEAT * BEATS_TO_AGREE {
            told = true;
            broken.push(Broken {
                node,
                sentence: "a path that rests for five beats is known at its end",
                expected: format!("{actual:?}"),
                got: format!("{:?}", claim.path),
            });
        }
        self.paths[node] = Some((actual, since, told));
    }

    fn look_at_edge(
        &mut self,
        now: Time,
        claims: &Claims,
        node: usize,
        meets: &impl Fn(usize, usize) -> bool,
        broken: &mut Vec<Broken>,
    ) {
        let parent = claims[node].as_ref().and_then(|claim| claim.parent);
        let Some(parent) = parent.filter(|&parent| meets(node, parent)) else {
            self.edges[node] = None;
            return;
        };
        let state = self.edges[node]
            .take()
            .filter(|(before, ..)| *before == parent);
        let (_, since, mut told) = state.unwrap_or((parent, now, false));
        let known = claims[parent]
            .as_ref()
            .is_some_and(|claim| claim.children.contains(&node));
        if known {
            told = false;
        } else if !told && now.since(since) > BEAT * BEATS_TO_AGREE {
            told = true;
            broken.push(Broken {
                node,
                sentence: "an edge that rests for five beats is known at both ends",
                expected: format!("n{node} among the children of n{parent}"),
                got: claims[parent].as_ref().map_or_else(
                    || format!("n{parent} is no member"),
                    |claim| format!("{:?}", claim.children),
                ),
            });
        }
        self.edges[node] = Some((parent, since, told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Claim;

    /// Root 0, then 1 below it, then 2 below that; all claims right.
    fn line() -> Vec<Option<Claim>> {
        let claim = |parent, path: &[usize], children: &[usize]| {
            let (path, children) = (path.to_vec(), children.to_vec());
            Some(Claim {
                parent,
                path,
                children,
                ..Claim::default()
            })
        };
        vec![
            claim(None, &[], &[1]),
            claim(Some(0), &[0], &[2]),
            claim(Some(1), &[1, 0], &[]),
        ]
    }

    fn looked(claims: &[Option<Claim>], seconds: u64) -> Vec<&'static str> {
        let mut checks = TreeChecks::new(3, 0, 2);
        let mut broken = Vec::new();
        for second in 0..=seconds {
            broken.extend(checks.look(Time::from_secs(second), claims, |_, _| true));
        }
        broken.into_iter().map(|broken| broken.sentence).collect()
    }

    #[test]
    fn right_claims_break_nothing() {
        assert!(looked(&line(), 60).is_empty());
    }

    #[test]
    fn a_loop_may_stand_for_one_beat_and_is_told_once() {
        let mut claims = line();
        claims[1].as_mut().unwrap().parent = Some(2);
        claims[2].as_mut().unwrap().children = vec![1];
        assert!(looked(&claims, 2).is_empty());
        assert_eq!(looked(&claims, 9), ["no loop stands longer than a beat"]);
    }

    #[test]
    fn a_wrong_path_is_told_after_five_beats() {
        let mut claims = line();
        claims[2].as_mut().unwrap().path = vec![1];
        assert!(looked(&claims, 10).is_empty());
        let told = ["a path that rests for five beats is known at its end"];
        assert_eq!(looked(&claims, 30), told);
    }

    #[test]
    fn an_edge_that_only_the_child_knows_is_told() {
        let mut claims = line();
        claims[1].as_mut().unwrap().children.clear();
        let told = ["an edge that rests for five beats is known at both ends"];
        assert_eq!(looked(&claims, 30), told);
    }

    #[test]
    fn a_node_over_its_cap_is_told_at_once() {
        let mut claims = line();
        claims[0].as_mut().unwrap().children = vec![1, 2, 3];
        assert_eq!(
            looked(&claims, 0),
            ["nobody has more children than its cap"]
        );
    }

    #[test]
    fn what_a_fault_hides_is_not_told() {
        let mut claims = line();
        claims[1].as_mut().unwrap().children.clear();
        claims[2].as_mut().unwrap().path = vec![1];
        let mut checks = TreeChecks::new(3, 0, 2);
        for second in 0..60 {
            let cut = |one, other| (one, other) != (2, 1);
            assert!(
                checks
                    .look(Time::from_secs(second), &claims, cut)
                    .is_empty()
            );
        }
    }
}
