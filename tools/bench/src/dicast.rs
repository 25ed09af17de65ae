//! Our side: probe and dicast of every node in the simulator, set up as in dicast's scenarios.
//!
//! A node's list is that of its region: the roster of its cluster of level 1, which is right if it
//! is the agent's. Of all others it knows how many live, and the mean. Who holds a post is judged
//! by the rosters of its posts too.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, Time};
use opus_sim::{Driver, Hierarchy, Options, Transport, driver::id_of};
use opus_site::{
    Status,
    dicast::{
        Command, Config, Scope,
        aggregate::{Function, KeyId, KeySpec, Sample, Value},
        cluster::View,
    },
    probe,
};

use crate::{
    figures::Lags,
    side::{Look, Side},
    walk::{RANGE, TOLERANCE},
    world::World,
};

/// The mean.
const LOAD: KeyId = KeyId(1);

/// See the module.
#[derive(Debug)]
pub struct Dicast {
    driver: Driver<Status>,
    world: World,
    /// Whether the nodes have numbers.
    values: bool,
}

impl Dicast {
    /// `values`: whether there is a mean to track.
    pub fn new(world: &World, values: bool) -> Self {
        let options = Options {
            transport: Transport::Datagrams,
            recent: 0,
            idle: Duration::from_secs(10),
            ..Options::default()
        };
        Self {
            driver: Driver::new(world.network(), options),
            world: world.clone(),
            values,
        }
    }

    /// The lists of a node: the roster of its region, and those of its posts.
    fn lists(&self, node: usize) -> impl Iterator<Item = &View> {
        let host = self.driver.host(node).into_iter();
        host.flat_map(|host| {
            let leaf = host.dicast().leaf().map(|(view, _)| view);
            leaf.into_iter().chain(host.dicast().posts())
        })
    }

    /// How many living members of the node's region its list lacks; the agent's list is the truth.
    fn missing(&self, node: usize, alive: &[bool]) -> usize {
        let host = self.driver.host(node);
        let Some((view, _)) = host.and_then(|host| host.dicast().leaf()) else {
            return 1;
        };
        let agents = view.roster.iter().map(|(_, seat)| index(seat.id()));
        let posts = agents.filter_map(|agent| self.driver.host(agent));
        let mut posts = posts.flat_map(|host| host.dicast().posts());
        let Some(post) = posts.find(|post| post.cluster == view.cluster) else {
            return self.missing_elsewhere(view, alive);
        };
        lacking(view, post, alive)
    }

    /// The same if no member holds the post: an agent of an upper cluster need not sit in it.
    fn missing_elsewhere(&self, view: &View, alive: &[bool]) -> usize {
        let hosts = self.driver.hosts();
        let mut posts = hosts.flat_map(|(_, host)| host.dicast().posts());
        let post = posts.find(|post| post.cluster == view.cluster);
        post.map_or(1, |post| lacking(view, post, alive))
    }

    fn number(&self, node: usize, key: KeyId) -> Option<f64> {
        let host = self.driver.host(node)?;
        let now = self.driver.local_time(node);
        match host.dicast().view(now, key, Scope::Root)?.value {
            Value::Number(number) => Some(number),
            Value::Top(_) | Value::Quantiles(_) => None,
        }
    }
}

/// Living nodes in the agent's list that are not in a member's.
fn lacking(view: &View, post: &View, alive: &[bool]) -> usize {
    let seats = post.roster.iter().map(|(_, seat)| seat.id());
    let lacks = |id: &_| alive[index(*id)] && view.roster.find(*id).is_none();
    seats.filter(lacks).count()
}

fn index(id: opus_core::NodeId) -> usize {
    id.index() as usize
}

impl Side for Dicast {
    fn name(&self) -> &'static str {
        "dicast"
    }

    fn promise(&self) -> &'static str {
        "the list of its own region (16 to 47 nodes), the number of all, and their mean within \
         hard bounds; not the members of other regions, and nobody's number; default settings"
    }

    fn start(&mut self, node: usize, seeds: &[usize]) {
        let host = Status::new(
            probe::Config::default(),
            Config::default(),
            Contact::bare(id_of(node)),
            &self.world.seed.derive("node", node as u64),
            1,
        );
        self.driver.start(node, host);
        let seeds = seeds.iter().map(|&seed| Contact::bare(id_of(seed)));
        let seeds = seeds.collect();
        self.driver.command(node, Command::Start { id: 1, seeds });
        if node == 0 && self.values {
            let spec = load();
            let key = LOAD;
            self.driver
                .command(node, Command::Spec { id: 2, key, spec });
        }
    }

    fn set(&mut self, node: usize, value: f64) {
        let set = Command::Set {
            id: 3,
            key: LOAD,
            sample: Sample::Number(value),
        };
        self.driver.command(node, set);
    }

    fn run_until(&mut self, at: Time) {
        self.driver.run_until(at);
        // There is no directory: nothing that a node tells is answered.
        while self.driver.poll_event().is_some() {}
    }

    fn crash(&mut self, node: usize) {
        self.driver.crash(node, true);
    }

    fn sent(&self, node: usize) -> u64 {
        self.driver.traffic_of(node).sent
    }

    fn look(&mut self, node: usize, alive: &[bool]) -> Look {
        let listed: BTreeSet<usize> = self
            .lists(node)
            .flat_map(|view| view.roster.iter().map(|(_, seat)| index(seat.id())))
            .collect();
        let living = alive.iter().filter(|alive| **alive).count();
        let count = self.number(node, KeyId::MEMBERS);
        Look {
            missing: self.missing(node, alive),
            dead: listed.into_iter().filter(|&node| !alive[node]).count(),
            counts: count.is_some_and(|count| (count - living as f64).abs() < 0.5),
            mean: self.number(node, LOAD).filter(|_| self.values),
        }
    }

    fn lags(&mut self, _node: usize, _alive: &[bool], _lags: &mut Lags) {}

    fn wronged(&mut self, alive: &[bool]) -> Vec<usize> {
        let hierarchy = Hierarchy::of(&self.driver);
        let put_out = |&node: &usize| alive[node] && hierarchy.is_put_out(&self.driver, node);
        (0..self.world.nodes).filter(put_out).collect()
    }

    fn suspected(&mut self, _alive: &[bool]) -> Option<Vec<usize>> {
        None
    }
}

/// The load of dicast-10k.
fn load() -> KeySpec {
    #[expect(clippy::cast_possible_truncation, reason = "a tolerance of two digits")]
    let eps = TOLERANCE as f32;
    KeySpec::new(Function::Mean, RANGE, eps)
}
