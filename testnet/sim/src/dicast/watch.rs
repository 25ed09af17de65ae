//! What is looked at while a scenario runs.

mod cut;
mod judge;
mod liars;
mod seats;
mod sites;

use std::collections::BTreeMap;

use opus_core::{Seed, Time};
use opus_net::Regions;
use opus_site::{
    Status,
    dicast::{Config, Scope, aggregate::Value, label::Label},
};

use self::{cut::Parts, liars::Liars, seats::Seats, sites::Together};
use super::{
    Crashed, DicastOutcome, DicastScenario, MARKS, Moment, Weigh,
    history::percentile,
    nearness::leaf_rtt_ratio,
    oracle::Part,
    workload::{PAST_MAX, Workload},
};
use crate::{
    driver::{Driver, account::Snapshot},
    hierarchy::{Census, Hierarchy},
};

/// From this second on every answer is judged.
const JUDGED_FROM: u64 = 60;
/// From this second on clusters have to be within bounds, ...
const SIZED_FROM: u64 = 30;
/// ... but for so long.
const SIZED_WITHIN: u64 = 20;

#[derive(Default)]
struct Marks {
    set: Vec<Time>,
    /// Of each node, how many it has seen.
    seen: Vec<usize>,
    /// Seconds from set to seen.
    waits: Vec<f64>,
}

pub(super) struct Watch {
    scenario: DicastScenario,
    pub(super) refused: u64,
    liars: Vec<bool>,
    parts: Vec<Part>,
    seats: Seats,
    together: Together,
    cut: Option<Parts>,
    misfits: BTreeMap<u64, u64>,
    marks: [Marks; 2],
    halves: Vec<f64>,
    errors: Vec<f64>,
    before: Option<Snapshot>,
    /// A second ago.
    latest: Option<Snapshot>,
    crash: Option<(u64, String)>,
    /// Shares covered, from when answers are judged.
    coverage: Vec<f64>,
    lying: Liars,
    out: DicastOutcome,
}

impl Watch {
    pub(super) fn new(
        scenario: &DicastScenario,
        liars: Vec<bool>,
        labels: Vec<Option<Label>>,
    ) -> Self {
        let never = |&lies: &bool| Part {
            seated_s: None,
            gone_s: u64::MAX,
            here: true,
            lies,
        };
        Self {
            scenario: scenario.clone(),
            refused: 0,
            parts: liars.iter().map(never).collect(),
            seats: Seats::new(liars.len()),
            together: Together::new(labels),
            liars,
            cut: None,
            misfits: BTreeMap::new(),
            marks: Default::default(),
            halves: Vec::new(),
            errors: Vec::new(),
            before: None,
            latest: None,
            crash: None,
            coverage: Vec::new(),
            lying: Liars::default(),
            out: DicastOutcome::default(),
        }
    }

    pub(super) fn crashed(&mut self, second: u64, share: f64) {
        let name = format!("{:.0}", share * 100.0);
        self.out
            .coverage_after_crash
            .insert(name.clone(), Crashed::default());
        self.crash = Some((second, name));
    }

    pub(super) fn marked(&mut self, which: usize, at: Time) {
        self.marks[which].set.push(at);
    }

    pub(super) fn look_for_marks(&mut self, driver: &Driver<Status>, now: Time) {
        for (marks, key) in self.marks.iter_mut().zip(MARKS) {
            marks.seen.resize(self.parts.len(), 0);
            for (node, host) in driver.hosts() {
                let seen = &mut marks.seen[node];
                if *seen == marks.set.len() {
                    continue;
                }
                let answer = host
                    .dicast()
                    .view(driver.local_time(node), key, Scope::Root);
                let Some(Value::Number(sum)) = answer.map(|answer| answer.value) else {
                    continue;
                };
                while *seen < marks.set.len() && sum + 0.5 >= (*seen + 1) as f64 {
                    marks.waits.push(now.since(marks.set[*seen]).as_secs_f64());
                    *seen += 1;
                }
            }
        }
    }

    /// One look a second. `second`: now.
    pub(super) fn look(
        &mut self,
        driver: &Driver<Status>,
        hierarchy: &Hierarchy<'_>,
        second: u64,
        workload: &Workload,
        regions: &Regions,
    ) {
        let size_min = Config::default().size_min;
        let census = hierarchy.census(driver, size_min);
        self.out.fence_violations += hierarchy.doubles.len() as u64;
        let all_started = second as f64 >= self.scenario.start_s;
        let all_covered = census.covered == census.alive && census.alive > 0;
        if all_started && all_covered && self.out.formed_s.is_none() {
            self.out.formed_s = Some(second);
        }
        if second == JUDGED_FROM {
            self.out.height = Some(census.height);
            self.out.clusters = Some(census.clusters);
            self.look_at_nearness(driver, hierarchy, regions);
        }
        self.look_at_sizes(hierarchy, second, size_min);
        self.look_at_sites(driver, hierarchy, second, size_min);
        self.look_at_crash(census.covered, census.alive, census.dead_seats, second);
        let mut moment = Moment {
            at_s: second,
            ..Moment::default()
        };
        self.look_at_seats(driver, hierarchy, &mut moment);
        self.look_at_coverage(&census, hierarchy.roots, &mut moment);
        self.look_at_bytes(driver, second, &mut moment);
        self.look_at_cut(driver, hierarchy, &census, second);
        self.look_at_liars(driver, second);
        if second >= JUDGED_FROM && !self.is_lied_to(second) {
            self.judge(driver, second, workload, &mut moment);
        }
        self.out.history.push(moment);
    }

    fn look_at_nearness(
        &mut self,
        driver: &Driver<Status>,
        hierarchy: &Hierarchy<'_>,
        regions: &Regions,
    ) {
        let agents = driver
            .hosts()
            .filter_map(|(node, _)| Some((node, hierarchy.agent_of(driver, node)?)));
        let agents: BTreeMap<usize, usize> = agents.collect();
        let mut rng = Seed::new(0).derive("yardstick", 0).rng();
        self.out.leaf_rtt_ratio = leaf_rtt_ratio(regions, &agents, &mut rng);
    }

    fn look_at_coverage(&mut self, census: &Census, roots: usize, moment: &mut Moment) {
        let share = census.covered as f64 / census.alive.max(1) as f64;
        self.out.coverage_end = Some(share);
        if moment.at_s >= JUDGED_FROM {
            self.coverage.push(share);
        }
        moment.alive = census.alive;
        moment.covered = census.covered;
        moment.roots = roots;
        moment.dead_seats = census.dead_seats;
    }

    fn look_at_bytes(&mut self, driver: &Driver<Status>, second: u64, moment: &mut Moment) {
        let now = driver.traffic();
        let running = || (0..self.parts.len()).filter(|&node| driver.is_running(node));
        if let Some(latest) = &self.latest {
            let usage = now.usage(latest, running());
            moment.sent_mean = usage.sent_mean;
            moment.traffic_max = usage.worst_node.map_or(0, |node| {
                let passed = now.nodes[node].since(&latest.nodes[node]);
                passed.sent.max(passed.received)
            });
        }
        if second == self.scenario.steady_s.1
            && let Some(before) = &self.before
        {
            let usage = now.usage(before, 0..self.parts.len());
            self.out.bytes_per_node_per_s_mean = Some(usage.sent_mean);
            self.out.bytes_per_node_per_s_max = Some(usage.worst);
        }
        if second == self.scenario.steady_s.0 {
            self.before = Some(now.clone());
        }
        self.latest = Some(now);
    }

    fn look_at_sizes(&mut self, hierarchy: &Hierarchy<'_>, second: u64, size_min: usize) {
        let now = hierarchy.misfits(size_min);
        self.misfits.retain(|id, _| now.contains(id));
        for id in now {
            let since = *self.misfits.entry(id).or_insert(second);
            if second > SIZED_FROM && second - since.max(SIZED_FROM) == SIZED_WITHIN + 1 {
                self.out.size_violations += 1;
            }
        }
    }

    fn look_at_crash(&mut self, covered: usize, alive: usize, dead: usize, second: u64) {
        let Some((at, name)) = &self.crash else {
            return;
        };
        let Some(crashed) = self.out.coverage_after_crash.get_mut(name) else {
            return;
        };
        let after = second - at;
        crashed.dead = crashed.dead.max(dead);
        let set = |slot: &mut Option<u64>, holds: bool| {
            if holds && slot.is_none() {
                *slot = Some(after);
            }
        };
        // From the first second in which the loss shows.
        if after >= 1 {
            set(&mut crashed.t99_s, covered * 100 >= alive * 99);
            set(&mut crashed.t100_s, covered == alive);
            set(&mut crashed.dead_out_99_s, dead * 100 <= crashed.dead);
            set(&mut crashed.dead_out_all_s, dead == 0);
        }
    }

    pub(super) fn outcome(
        mut self,
        scenario: &DicastScenario,
        seed: u64,
        driver: Driver<Status>,
        weigh: Option<Weigh<'_>>,
    ) -> DicastOutcome {
        self.told_of_liars();
        let [eager, lazy] = std::mem::take(&mut self.marks);
        let mut out = self.out;
        // A mark that a node has not seen at the end counts as seen after the rest of the time.
        let unseen = |marks: Marks| {
            let mut waits = marks.waits;
            let end = scenario
                .marks_s
                .map_or(Time::ZERO, |(_, to)| Time::from_secs(to));
            for (node, _) in driver.hosts() {
                let known = marks.seen.get(node).copied().unwrap_or(0);
                waits.extend(
                    marks.set[known..]
                        .iter()
                        .map(|at| end.since(*at).as_secs_f64()),
                );
            }
            waits
        };
        out.staleness_eager_s_p99 = percentile(&mut unseen(eager), 99);
        out.staleness_lazy_s_p99 = percentile(&mut unseen(lazy), 99);
        out.half_width_over_eps_p99 = percentile(&mut self.halves, 99);
        out.error_over_eps_p99 = percentile(&mut self.errors, 99);
        out.coverage_min = self.coverage.iter().copied().reduce(f64::min);
        let sum: f64 = self.coverage.iter().sum();
        out.coverage_mean = (!self.coverage.is_empty()).then(|| sum / self.coverage.len() as f64);
        out.after_cut = self.cut.map(|cut| cut.told);
        if scenario.liars > 0.0 {
            out.malformed = Some(driver.counts().malformed);
        }
        if scenario.unreachable > 0.0 {
            out.posts_unreachable = Some(self.seats.posts_hidden);
        }
        out.label_violations = self.together.told();
        out.double_seat_violations = self.seats.twice_violations;
        out.orphan_s_max = self.seats.orphan_s_max;
        out.schema = 1;
        out.scenario.clone_from(&scenario.name);
        out.seed = seed;
        out.nodes = scenario.nodes;
        out.virtual_s = scenario.duration_s;
        out.loss = scenario.loss;
        out.events = driver.trace.events();
        out.trace_hash = driver.trace.hash();
        out.commands_refused = self.refused;
        out.defects = driver.defects().len();
        out.penalties = driver.counts().penalties;
        out.state_bytes_leaf_p99 = weigh.and_then(|weigh| state_bytes(driver, weigh));
        out.expect_failed = scenario.expect.failed(&out);
        out
    }
}

/// What the machines of a node without a post take, the 99th percentile: their own size, and what
/// is given back when they go.
fn state_bytes(driver: Driver<Status>, weigh: Weigh<'_>) -> Option<u64> {
    let leaves = driver
        .into_hosts()
        .filter(|(_, host)| host.dicast().posts().next().is_none());
    let mut bytes: Vec<u64> = leaves
        .map(|(_, host)| {
            let mut host = Some(host);
            size_of::<Status>() as u64 + weigh(&mut || drop(host.take()))
        })
        .collect();
    percentile(&mut bytes, 99)
}
