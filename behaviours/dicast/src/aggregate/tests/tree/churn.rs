//! Who leaves, moves and takes over in the made-up tree.

use super::{KEYS, Shadows, World};
use crate::aggregate::*;

impl World {
    /// A leaf is lost to its agent, or moves to another one, where it may count twice for a while.
    pub(in crate::aggregate::tests) fn churn(&mut self) {
        let pick = |it: &mut Self, leaf: bool| {
            let all: Vec<usize> = (0..it.nodes.len())
                .filter(|node| it.nodes[*node].leaf == leaf)
                .collect();
            all[usize::try_from(it.dice.below(all.len() as u64)).unwrap()]
        };
        let leaf = pick(self, true);
        let (agent, slot) = self.nodes[leaf].parent.unwrap();
        let (now, tick) = (self.now(), self.tick);
        match self.dice.below(3) {
            0 => {
                let at = &mut self.nodes[agent];
                at.slots.vacate(slot, now, Vacated::Lost);
                at.grants.on_new_term(slot);
                let gone = at.children.remove(&slot);
                if gone.is_some_and(|it| !it.1[0].is_empty()) {
                    at.lost.push(tick);
                }
                self.join(leaf, agent);
            }
            1 => {
                let to = pick(self, false);
                if self.nodes[to]
                    .children
                    .values()
                    .any(|it| !self.nodes[it.0].leaf)
                {
                    return;
                }
                self.leave_ghosts(leaf, to);
                self.nodes[leaf].moved = true;
                self.join(leaf, to);
            }
            _ => {
                let agent = pick(self, false);
                self.take_over(agent);
            }
        }
    }

    /// At most one old slot of a leaf stays; one in the agent that it joins goes at once.
    fn leave_ghosts(&mut self, leaf: usize, to: usize) {
        let now = self.now();
        let last = self.nodes[leaf].parent.unwrap().0;
        for (agent, node) in self.nodes.iter_mut().enumerate() {
            let held: Vec<u8> = node
                .children
                .iter()
                .filter(|it| it.1.0 == leaf)
                .map(|it| *it.0)
                .collect();
            for slot in held {
                if agent != last || agent == to {
                    node.slots.vacate(slot, now, Vacated::Left);
                    node.grants.on_new_term(slot);
                    node.children.remove(&slot);
                }
            }
        }
    }

    /// Another node becomes agent of a cluster and knows only who is in it.
    fn take_over(&mut self, agent: usize) {
        let now = self.now();
        let children = std::mem::take(&mut self.nodes[agent].children);
        let mut slots = Slots::new();
        for key in KEYS {
            assert!(slots.learn(key));
        }
        self.nodes[agent].grants = Grants::default();
        for (slot, (child, _)) in children {
            let occupant = match self.nodes[child].parent {
                Some(parent) if parent != (agent, slot) => continue,
                _ if self.nodes[child].leaf => Occupant::Leaf,
                _ => Occupant::Cluster(1),
            };
            self.begin_term(child, true);
            slots.occupy(slot, now, child as u64, occupant, self.nodes[child].term);
            slots.suspect_double(slot, u64::from(self.nodes[child].leaf));
            self.nodes[agent]
                .children
                .insert(slot, (child, Shadows::default()));
        }
        self.nodes[agent].slots = slots;
        self.nodes[agent].lost.clear();
        self.begin_term(agent, true);
    }
}
