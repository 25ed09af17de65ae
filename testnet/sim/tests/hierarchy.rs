//! The hierarchy of 600 nodes on a lossy wide-area network: it forms, survives crashes and cuts,
//! and no cluster and epoch ever has two agents.

use std::time::Duration;

use opus_core::{Contact, Rng, Seed, Time, testing::test_seed};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_sim::{Census, Driver, Hierarchy, Options, Transport, driver::id_of};
use opus_site::{Status, dicast, probe};
use rand::{RngExt, seq::IndexedRandom};

/// d: a third of the default, so that 600 nodes make three levels.
const SIZE_MIN: usize = 5;
const NODES: usize = 600;

struct World {
    driver: Driver<Status>,
    rng: Rng,
    seed: u64,
}

impl World {
    /// All nodes started within 10 s, each with the first as its seed.
    fn start(default_seed: u64) -> Self {
        let seed = test_seed(default_seed);
        let seeds = Seed::new(seed);
        let regions = RegionParameters::default();
        let regions = Regions::new(&regions, NODES, seeds.derive("regions", 0));
        let topology = Topology::from(regions.expect("the default fits"));
        let conditions = Conditions {
            jitter: 0.1,
            loss: Loss::Bernoulli { rate: 0.01 },
            ..Conditions::default()
        };
        let network = Network::new(topology, conditions, seeds).expect("they are lawful");
        let options = Options {
            transport: Transport::Datagrams,
            encode: true,
            ..Options::default()
        };
        let mut driver = Driver::new(network, options);
        for node in 0..NODES {
            driver.run_until(Time::from_millis(node as u64 * 16));
            let dicast = dicast::Config {
                size_min: SIZE_MIN,
                ..dicast::Config::default()
            };
            let me = Contact::bare(id_of(node));
            let own = seeds.derive("node", node as u64);
            let host = Status::new(probe::Config::default(), dicast, me, &own, 1);
            driver.start(node, host);
            let seeds = if node == 0 {
                vec![]
            } else {
                vec![Contact::bare(id_of(0))]
            };
            driver.command(node, dicast::Command::Start { id: 1, seeds });
        }
        let rng = seeds.derive("directory", 0).rng();
        Self { driver, rng, seed }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let next = self.driver.now() + Duration::from_secs(1);
            self.driver.run_until(next);
            self.answer();
            let doubles = Hierarchy::of(&self.driver).doubles;
            assert!(
                doubles.is_empty(),
                "OPUS_SEED={} at {next:?}: two agents for {doubles:?}",
                self.seed
            );
            assert!(
                self.driver.defects().is_empty(),
                "{:?}",
                self.driver.defects()
            );
        }
    }

    /// The directory: whoever wants to know others is told of two that run.
    fn answer(&mut self) {
        while let Some((node, event)) = self.driver.poll_event() {
            if event != dicast::Event::WantSeeds {
                continue;
            }
            let running: Vec<usize> = self.driver.hosts().map(|(node, _)| node).collect();
            let named = running.sample(&mut self.rng, 2);
            let contacts = named.map(|&node| Contact::bare(id_of(node))).collect();
            let found = dicast::Command::Found {
                id: 2,
                name: None,
                contacts,
            };
            self.driver.command(node, found);
        }
    }

    fn census(&self) -> Census {
        Hierarchy::of(&self.driver).census(&self.driver, SIZE_MIN)
    }

    /// Runs until all live nodes are in one tree and no dead one is.
    fn settles_within(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.run(1);
            let hierarchy = Hierarchy::of(&self.driver);
            let census = hierarchy.census(&self.driver, SIZE_MIN);
            let whole = census.covered == census.alive && census.dead_seats == 0;
            if whole && hierarchy.roots == 1 {
                return;
            }
        }
        let (seed, census) = (self.seed, self.census());
        let roots = Hierarchy::of(&self.driver).roots;
        panic!("OPUS_SEED={seed}: not one tree after {seconds} s: {roots} roots, {census:?}");
    }
}

#[test]
fn six_hundred_nodes_form_one_tree_within_bounds() {
    let mut world = World::start(1);
    world.settles_within(60);
    // The last joiners make the last splits.
    for _ in 0..60 {
        world.run(1);
        let census = world.census();
        if census.misfits == 0 && census.covered == NODES {
            assert_eq!(census.height, 3, "{census:?}");
            return;
        }
    }
    panic!("OPUS_SEED={}: {:?}", world.seed, world.census());
}

#[test]
fn three_tenths_may_crash_at_once() {
    let mut world = World::start(2);
    world.settles_within(60);
    let mut rng = Seed::new(world.seed).derive("crash", 0).rng();
    for node in 0..NODES {
        if rng.random_bool(0.3) {
            world.driver.crash(node, true);
        }
    }
    world.settles_within(60);
}

#[test]
fn a_cut_of_a_minute_heals_into_one_tree() {
    let mut world = World::start(3);
    world.settles_within(60);
    let side: Vec<usize> = (0..NODES).filter(|node| node % 5 < 2).collect();
    let cut = world.driver.partition(&side).unwrap();
    world.run(60);
    assert!(world.driver.repair(cut));
    world.settles_within(90);
}

#[test]
fn equal_seeds_give_equal_traces() {
    let hash = |seed| {
        let mut world = World::start(seed);
        world.run(20);
        world.driver.trace.hash()
    };
    assert_eq!(hash(4), hash(4));
}
