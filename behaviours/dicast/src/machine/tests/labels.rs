//! Nodes of one site sit together, wherever they stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opus_core::{Input, NodeId};

use super::{directory::Directory, world::World};
use crate::{
    Command, Event, Message, Name, Refusal,
    cluster::{ClusterRef, View},
    label::{Label, Marks},
};

const D: usize = 4;

fn label(site: u8) -> Option<Label> {
    (site > 0).then_some(Label([site; 16]))
}

/// A world in which node `i` is of the site `sites[i]`, 0 for none, and its directory, after so
/// many seconds.
fn grow(sites: &[u8], seed: u64, seconds: u64) -> (World, Directory) {
    let nodes = u32::try_from(sites.len()).unwrap();
    let mut world = World::new(nodes, D, seed);
    for (index, &site) in (0..).zip(sites) {
        let label = label(site);
        let command = Command::Label { id: 1, label };
        world.net.command(World::id(index), command);
    }
    world.start_all(Duration::from_millis(100));
    let mut directory = Directory::default();
    directory.run(&mut world, seconds);
    world.assert_one_tree();
    (world, directory)
}

/// Of a site: how many of its nodes sit in which cluster, below which, and how many others do.
fn homes(world: &World, sites: &[u8], site: u8) -> BTreeMap<ClusterRef, (usize, usize, u64)> {
    let posts = world.posts();
    let mut homes = BTreeMap::new();
    for (cluster, (agent, view)) in posts.iter().filter(|(_, (_, view))| view.level == 1) {
        let seats = view.roster.iter().map(|(_, seat)| seat.id());
        let of = |id: NodeId| sites[id.index() as usize] == site;
        let (ours, others): (Vec<_>, Vec<_>) = seats.partition(|id| of(*id));
        let above = world.net.machine(*agent).seat_above(1);
        let above = above.map_or(0, |(view, _)| view.cluster.id);
        if !ours.is_empty() {
            homes.insert(*cluster, (ours.len(), others.len(), above));
        }
    }
    homes
}

#[test]
fn few_of_a_site_share_one_cluster_and_many_have_clusters_of_their_own_below_one_parent() {
    for seed in 0..4 {
        // Three, and thirty; they start among sixty others, and stand anywhere.
        let sites: Vec<u8> = (0..93)
            .map(|index| match index {
                10 | 40 | 70 => 1,
                _ if index % 3 == 1 => 2,
                _ => 0,
            })
            .collect();
        let (mut world, mut directory) = grow(&sites, 300 + seed, 120);
        let few = homes(&world, &sites, 1);
        assert_eq!(few.len(), 1, "{seed}: {few:?}");
        let many = homes(&world, &sites, 2);
        let parents: BTreeSet<u64> = many.values().map(|it| it.2).collect();
        assert!(many.values().all(|it| it.1 == 0), "{seed}: {many:?}");
        assert_eq!(parents.len(), 1, "{seed}: {many:?}");
        // Most of the many die: what is left shares one cluster.
        for index in (0..93).filter(|index| sites[*index as usize] == 2).skip(2) {
            world.crash(index);
        }
        directory.run(&mut world, 60);
        world.assert_one_tree_within(60);
        let left = homes(&world, &sites, 2);
        assert_eq!(left.len(), 1, "{seed}: {left:?}");
    }
}

#[test]
fn a_cluster_that_is_a_sites_own_takes_in_no_stranger_to_it() {
    let sites: Vec<u8> = (0..60).map(|index| u8::from(index >= 30)).collect();
    let sites = [sites, vec![0]].concat();
    let (mut world, _) = grow(&sites, 310, 120);
    let own = homes(&world, &sites, 1);
    let cluster = own.iter().find(|(_, it)| it.1 == 0).unwrap().0;
    let agent = world.posts()[cluster].0;
    let before = world.posts()[cluster].1.roster.len();
    let stranger = World::id(60);
    let seat = world.net.machine(stranger).seat(world.net.now(), None, 1);
    world.crash(60);
    let join = |label| {
        let mut seat = seat.clone();
        seat.mark(Marks {
            label,
            ..seat.marks()
        });
        Message::Join(crate::wire::Join {
            target: 1,
            at: 1,
            moves: false,
            counted: false,
            seat,
        })
    };
    let from = stranger;
    for (site, takes) in [(0, 0), (2, 0), (1, 1)] {
        let message = join(label(site));
        world.net.input(agent, Input::Received { from, message });
        let after = world.net.machine(agent).posts.get(&1).unwrap();
        assert_eq!(after.view.roster.len(), before + takes, "site {site}");
    }
}

#[test]
fn who_has_a_label_asks_for_its_site_before_it_goes_where_the_way_is_shortest() {
    let mut world = World::new(2, D, 320);
    world.start(0, &[]);
    world.run(2);
    let label = label(1);
    world
        .net
        .command(World::id(1), Command::Label { id: 1, label });
    world.start(1, &[0]);
    world.run(1);
    let wanted = Event::Want(Name::Label(label.unwrap()));
    let asks = |it: &(_, NodeId, Event)| it.1 == World::id(1) && it.2 == wanted;
    assert!(world.net.events.iter().any(asks));
    assert!(world.net.machine(World::id(1)).leaf().is_none(), "it waits");
    world.run(3);
    assert!(world.net.machine(World::id(1)).leaf().is_some());
    // A label is for life.
    let other = Command::Label { id: 9, label: None };
    world.net.command(World::id(1), other);
    let reason = Refusal::Started;
    let refused = Event::Refused { id: 9, reason };
    assert!(world.net.events.iter().any(|it| it.2 == refused));
}

#[test]
fn an_answer_of_one_who_was_not_asked_moves_nobody() {
    let sites: Vec<u8> = (0..40).map(|index| u8::from(index % 13 == 1)).collect();
    let (mut world, _) = grow(&sites, 330, 120);
    let home = homes(&world, &sites, 1);
    let cluster = home.keys().next().unwrap();
    let agent = world.posts()[cluster].0;
    // One that could take them in.
    let posts = world.posts();
    let other = |(at, view): &&(NodeId, View)| view.level == 1 && *at != agent;
    let liar = posts.values().find(other).unwrap().0;
    let kin = crate::label::Kin {
        label: label(1).unwrap(),
        nodes: 1_000_000,
        cluster: ClusterRef { id: 1, epoch: 1 },
        agent: world.net.machine(liar).me.contact.clone(),
        parent: None,
        asks: false,
    };
    let message = Message::Kin(kin);
    world.net.input(
        agent,
        Input::Received {
            from: liar,
            message,
        },
    );
    world.run(5);
    assert_eq!(homes(&world, &sites, 1), home);
}
