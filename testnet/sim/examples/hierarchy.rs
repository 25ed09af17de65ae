//! Forms a hierarchy of many nodes, crashes some of them, and says what it took.
//!
//! `cargo run --release -p opus-sim --example hierarchy -- NODES VIRTUAL_SECONDS [SEED]`
//!
//! Nodes start within 20 s, each with up to three that started before as its seeds, on regions
//! with jitter 10 % and loss 1 %; a tenth crashes at 120 s, three tenths of the rest at 160 s.

use std::{fs, time::Duration};

use opus_core::{Contact, Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_sim::{Driver, Hierarchy, Options, Transport, driver::id_of};
use opus_site::{Status, dicast, probe};
use rand::RngExt;

#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]
fn main() {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let nodes = usize::try_from(number(0, 1_000)).expect("nodes fit memory");
    let seconds = number(1, 200);
    let seed = Seed::new(number(2, 1));
    let started = std::time::Instant::now();
    let regions = Regions::new(
        &RegionParameters::default(),
        nodes,
        seed.derive("regions", 0),
    );
    let topology = Topology::from(regions.expect("the default fits"));
    let conditions = Conditions {
        jitter: 0.1,
        loss: Loss::Bernoulli { rate: 0.01 },
        ..Conditions::default()
    };
    let network = Network::new(topology, conditions, seed).expect("conditions are lawful");
    let options = Options {
        transport: Transport::Datagrams,
        recent: 0,
        idle: Duration::from_secs(10),
        ..Options::default()
    };
    let mut driver: Driver<Status> = Driver::new(network, options);
    let mut rng = seed.derive("starts", 0).rng();
    let mut starts: Vec<(Time, usize)> = (0..nodes)
        .map(|node| {
            (
                Time(if node == 0 {
                    0
                } else {
                    rng.random_range(1..20_000_000)
                }),
                node,
            )
        })
        .collect();
    starts.sort();
    for (rank, &(at, node)) in starts.iter().enumerate() {
        driver.run_until(at);
        let me = Contact::bare(id_of(node));
        let own = seed.derive("node", node as u64);
        let (p, d) = (probe::Config::default(), dicast::Config::default());
        driver.start(node, Status::new(p, d, me, &own, 1));
        let seeds = (0..rank.min(3)).map(|_| starts[rng.random_range(0..rank)].1);
        let seeds = seeds.map(|seed| Contact::bare(id_of(seed))).collect();
        driver.command(node, dicast::Command::Start { id: 1, seeds });
    }
    let mut before = driver.traffic();
    for second in 20..=seconds {
        driver.run_until(Time::from_secs(second));
        let crash = match second {
            120 => 0.1,
            160 => 0.3,
            _ => 0.0,
        };
        if second == 70 {
            before = driver.traffic();
        }
        if second == 120 {
            let usage = driver.traffic().usage(&before, 0..nodes);
            println!("{usage:?}");
        }
        for node in 0..nodes {
            if crash > 0.0 && driver.is_running(node) && rng.random_bool(crash) {
                driver.crash(node, true);
            }
        }
        while driver.poll_event().is_some() {}
        let hierarchy = Hierarchy::of(&driver);
        let census = hierarchy.census(&driver, 16);
        let (roots, doubles) = (hierarchy.roots, hierarchy.doubles.len());
        let at = second;
        println!(
            "{at:4} s  {:.4} covered of {}, roots {roots}, height {}, clusters {}, misfits {}, \
             dead seats {}, doubles {doubles}",
            census.covered as f64 / census.alive as f64,
            census.alive,
            census.height,
            census.clusters,
            census.misfits,
            census.dead_seats,
        );
    }
    let events = driver.trace.events();
    let rss = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = rss.lines().find(|line| line.starts_with("VmHWM:"));
    println!(
        "events {events}, wall {:.1} s, {peak:?}",
        started.elapsed().as_secs_f64()
    );
}
