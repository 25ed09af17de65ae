//! What must hold: of each machine after each step, and of all once they were left in peace.

use std::collections::{BTreeMap, BTreeSet};

use opus_core::NodeId;

use super::scene::{Broken, Scene, id_of, index_of};
use crate::{
    Dicast, Scope,
    aggregate::{KeyId, Value},
    cluster::{ClusterRef, LEVELS_MAX, Roster, SEATS_MAX, View},
    machine::{ASKED_MAX, CHECKS_MAX, FAR_MAX, FORMERS_MAX},
    state::{Phase, Post},
};

/// Contacts that a search may still ask: all ancestors with their deputies, seeds, far contacts.
const NEXT_MAX: usize = 64;

/// What holds of one machine whatever happened.
pub(super) fn node(machine: &Dicast) -> Result<(), Broken> {
    let me = machine.id();
    bounds(machine).map_err(|what| format!("bounds: {what} of {me:?}"))?;
    seats(machine).map_err(|what| format!("seats: {what} of {me:?}"))
}

fn bounds(machine: &Dicast) -> Result<(), String> {
    let seeking = machine.seeks.values().map(|seek| seek.next.len()).max();
    let limits = [
        ("posts", machine.posts.len(), usize::from(LEVELS_MAX)),
        ("seeks", machine.seeks.len(), usize::from(LEVELS_MAX) + 1),
        ("contacts to ask", seeking.unwrap_or(0), NEXT_MAX),
        ("seeds", machine.seeds.len(), machine.config.seeds_max),
        ("far contacts", machine.far.len(), FAR_MAX),
        ("formers", machine.formers.len(), FORMERS_MAX),
        (
            "handovers",
            machine.handovers.len(),
            usize::from(LEVELS_MAX),
        ),
        ("checks", machine.checks.len(), CHECKS_MAX),
        ("questions", machine.questions.len(), ASKED_MAX),
        ("measures", machine.measures.len(), ASKED_MAX),
        ("outputs left", machine.outputs.len(), 0),
    ];
    if let Some(word) = machine.local.front() {
        return Err(format!(
            "a word to itself that is never the last, {word:?},"
        ));
    }
    match limits.iter().find(|(_, have, most)| have > most) {
        Some((what, have, most)) => Err(format!("{have} {what}, more than {most}")),
        None => Ok(()),
    }
}

fn seats(machine: &Dicast) -> Result<(), String> {
    let me = machine.id();
    if let Some(leaf) = &machine.leaf {
        view(&leaf.view, 1)?;
    }
    for (&level, post) in &machine.posts {
        view(&post.view, level)?;
        if post.view.agent.id != me {
            return Err(format!(
                "a post of {:?} at level {level}",
                post.view.agent.id
            ));
        }
        let seated: Vec<u8> = post.view.roster.iter().map(|(slot, _)| slot).collect();
        let children: Vec<u8> = post.children.keys().copied().collect();
        if seated != children {
            return Err(format!("seats {seated:?} but children {children:?}"));
        }
        if let Some(twice) = twice(&post.view.roster) {
            return Err(format!("{twice:?} sits twice in a post at level {level}"));
        }
        let Some(up) = &post.up else {
            continue;
        };
        view(&up.view, level + 1)?;
    }
    if let Some(post) = machine.posts.get(&1) {
        let leaf = machine.leaf.as_ref().map(|leaf| leaf.view.cluster);
        if leaf != Some(post.view.cluster) {
            return Err(format!(
                "a seat in {leaf:?} but the post of {:?}",
                post.view
            ));
        }
    }
    Ok(())
}

/// *Agents stay, and clusters that are about to change.* The levels at which a machine may take a
/// nearer seat.
pub(super) fn movable(machine: &Dicast) -> Vec<u8> {
    let acting = |post: &Post| matches!(post.phase, Phase::Acting);
    let posts = machine.posts.iter().filter(|(_, post)| acting(post));
    let clusters = posts.map(|(level, _)| level + 1);
    let node = machine.posts.is_empty().then_some(1);
    node.into_iter().chain(clusters).collect()
}

fn view(view: &View, level: u8) -> Result<(), String> {
    let lawful = view.level == level && view.cluster.epoch > 0 && view.roster.len() <= SEATS_MAX;
    if lawful {
        Ok(())
    } else {
        Err(format!("a view that is not of level {level}: {view:?}"))
    }
}

fn twice(roster: &Roster) -> Option<NodeId> {
    let mut ids = BTreeSet::new();
    let mut seats = roster.iter().map(|(_, seat)| seat.id());
    seats.find(|id| !ids.insert(*id))
}

/// What is wrong with the tree, in sentences: none if each live node has its one place in it.
pub(super) fn tree(scene: &Scene) -> Vec<String> {
    let mut faults = Vec::new();
    let mut posts: BTreeMap<ClusterRef, (u8, &View)> = BTreeMap::new();
    let mut roots = Vec::new();
    for (node, it) in scene.alive() {
        for view in it.machine.posts() {
            posts.insert(view.cluster, (node, view));
        }
    }
    for (node, it) in scene.alive() {
        if let Some(level) = it.machine.seeks.keys().next() {
            faults.push(format!("node {node} seeks a seat at level {level}"));
        }
        let Some((leaf, slot)) = it.machine.leaf() else {
            faults.push(format!("node {node} sits nowhere"));
            continue;
        };
        let seat = posts
            .get(&leaf.cluster)
            .and_then(|(_, post)| post.roster.get(slot));
        if seat.is_none_or(|seat| seat.id() != id_of(node)) {
            faults.push(format!("node {node} has no seat in {:?}", leaf.cluster));
        }
        for view in it.machine.posts() {
            let Some((above, slot)) = it.machine.seat_above(view.level) else {
                roots.push((node, view.level));
                continue;
            };
            let parent = posts.get(&above.cluster);
            let seat = parent.and_then(|(_, parent)| parent.roster.get(slot));
            let seated = seat
                .is_some_and(|seat| seat.child() == Some(view.cluster) && seat.id() == id_of(node));
            if !seated {
                let level = view.level;
                faults.push(format!("post of node {node} at level {level} has no seat"));
            }
        }
    }
    for (agent, view) in posts.values() {
        for (slot, seat) in view.roster.iter() {
            let taken = match seat.child() {
                None => scene.alive().any(|(node, it)| {
                    let sits = |(leaf, at): (&View, u8)| leaf.cluster == view.cluster && at == slot;
                    id_of(node) == seat.id() && it.machine.leaf().is_some_and(sits)
                }),
                Some(child) => posts
                    .get(&child)
                    .is_some_and(|(below, _)| id_of(*below) == seat.id()),
            };
            if !taken {
                let level = view.level;
                faults.push(format!(
                    "seat {slot} of node {agent} at level {level} is empty"
                ));
            }
        }
    }
    if roots.len() != 1 {
        faults.push(format!("{} roots: {roots:?}", roots.len()));
    }
    faults
}

/// Agents of clusters that have no parent and seek none.
pub(super) fn roots(scene: &Scene) -> Vec<u8> {
    let holds = |it: &Dicast| it.posts.keys().any(|&level| it.is_root(level));
    let roots = scene.alive().filter(|(_, it)| holds(&it.machine));
    roots.map(|(node, _)| node).collect()
}

/// Whether there are trees whose agents know nobody in the others: only a directory can help.
pub(super) fn strangers(scene: &Scene) -> bool {
    let root = |it: &Dicast| it.root().map(|root| root.cluster.id);
    let agents = || scene.alive().filter(|(_, it)| !it.machine.posts.is_empty());
    let lonely = agents().all(|(_, it)| {
        let known = it.machine.seeds.iter().chain(&it.machine.far);
        let mut others = known.filter_map(|contact| scene.node(index_of(contact.id)));
        others.all(|other| !other.machine.running || root(&other.machine) == root(&it.machine))
    });
    lonely && roots(scene).len() > 1
}

/// Who does not know how many there are, and what it thinks.
pub(super) fn count(scene: &Scene) -> Vec<String> {
    let truth = scene.alive().count() as f64;
    let wrong = scene.alive().filter_map(|(node, it)| {
        let answer = it.machine.view(it.clock, KeyId::MEMBERS, Scope::Root);
        let value = answer.map(|answer| answer.value);
        let right = matches!(value, Some(Value::Number(number)) if (number - truth).abs() < 0.5);
        (!right).then(|| format!("node {node} counts {value:?} of {truth}"))
    });
    wrong.collect()
}
