//! Forms a hierarchy of many nodes, crashes some of them, and says what it took.
//!
//! `cargo run --release -p opus-sim --example hierarchy -- NODES VIRTUAL_SECONDS [SEED]`
//!
//! Nodes start within 20 s, each with up to three that started before as its seeds, on regions
//! with jitter 10 % and loss 1 %; a tenth crashes at 120 s, three tenths of the rest at 160 s,
//! without a word.

use std::{fs, time::Duration};

use opus_core::{Contact, Rng, Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_sim::{Driver, Hierarchy, Options, Transport, driver::id_of};
use opus_site::{Status, dicast, probe};
use rand::RngExt;

/// Nodes start within this.
const START_US: u64 = 20_000_000;
/// Bytes are counted between these seconds.
const STEADY_S: (u64, u64) = (70, 120);
/// Second and share of the crashes.
const CRASHES: [(u64, f64); 2] = [(120, 0.1), (160, 0.3)];

#[expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]
fn main() {
    let arguments = std::env::args().skip(1);
    let numbers: Vec<u64> = arguments.filter_map(|text| text.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let nodes = usize::try_from(number(0, 1_000)).expect("nodes fit memory");
    let seconds = number(1, 200);
    let seed = Seed::new(number(2, 1));
    let wall = std::time::Instant::now();
    let mut driver = Driver::new(network(nodes, seed), options());
    let mut rng = seed.derive("example", 0).rng();
    start_all(&mut driver, seed, &mut rng);
    let mut before = driver.traffic();
    for second in START_US / 1_000_000..=seconds {
        driver.run_until(Time::from_secs(second));
        if second == STEADY_S.0 {
            before = driver.traffic();
        }
        if second == STEADY_S.1 {
            let usage = driver.traffic().usage(&before, 0..nodes);
            let (sent, worst) = (usage.sent_mean, usage.worst);
            println!("steady: {sent:.1} B sent a node and second, the worst node {worst:.0}");
        }
        if let Some((_, share)) = CRASHES.iter().find(|(at, _)| *at == second) {
            for node in 0..nodes {
                if driver.is_running(node) && rng.random_bool(*share) {
                    driver.crash(node, true);
                }
            }
        }
        while driver.poll_event().is_some() {}
        // The seconds after a crash are looked at one by one.
        let crashed = |(at, _): &(u64, f64)| (*at..at + 20).contains(&second);
        if second % 10 == 0 || CRASHES.iter().any(crashed) {
            println!("{second:4} s  {}", look(&driver));
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let (events, wall_s) = (driver.trace.events(), wall.elapsed().as_secs_f64());
    println!(
        "{events} events, {wall_s:.1} s, {}",
        peak.unwrap_or_default()
    );
}

fn network(nodes: usize, seed: Seed) -> Network {
    let regions = RegionParameters::default();
    let regions = Regions::new(&regions, nodes, seed.derive("regions", 0));
    let topology = Topology::from(regions.expect("the default fits"));
    let conditions = Conditions {
        jitter: 0.1,
        loss: Loss::Bernoulli { rate: 0.01 },
        ..Conditions::default()
    };
    Network::new(topology, conditions, seed).expect("conditions are lawful")
}

fn options() -> Options {
    Options {
        transport: Transport::Datagrams,
        recent: 0,
        idle: Duration::from_secs(10),
        ..Options::default()
    }
}

/// Runs until all nodes have started: the first alone, the others with seeds.
fn start_all(driver: &mut Driver<Status>, seed: Seed, rng: &mut Rng) {
    let at = |node: usize, rng: &mut Rng| match node {
        0 => Time::ZERO,
        _ => Time(rng.random_range(1..START_US)),
    };
    let mut starts: Vec<(Time, usize)> = (0..driver.len()).map(|n| (at(n, rng), n)).collect();
    starts.sort_unstable();
    for (rank, &(at, node)) in starts.iter().enumerate() {
        driver.run_until(at);
        let host = Status::new(
            probe::Config::default(),
            dicast::Config::default(),
            Contact::bare(id_of(node)),
            &seed.derive("node", node as u64),
            1,
        );
        driver.start(node, host);
        let seeds = (0..rank.min(3)).map(|_| starts[rng.random_range(0..rank)].1);
        let seeds = seeds.map(|seed| Contact::bare(id_of(seed))).collect();
        driver.command(node, dicast::Command::Start { id: 1, seeds });
    }
}

fn look(driver: &Driver<Status>) -> String {
    let hierarchy = Hierarchy::of(driver);
    let census = hierarchy.census(driver, dicast::Config::default().size_min);
    format!(
        "{:.4} covered of {}, roots {}, height {}, clusters {}, out of bounds {}, dead seats {}, \
         doubles {}",
        census.covered as f64 / census.alive.max(1) as f64,
        census.alive,
        hierarchy.roots,
        census.height,
        census.clusters,
        census.misfits,
        census.dead_seats,
        hierarchy.doubles.len(),
    )
}
