//! What is looked at while a scenario runs.

use std::{collections::BTreeMap, time::Duration};

use opus_core::Time;
use opus_site::{
    Status,
    dicast::{
        Config, Scope,
        aggregate::{KeyId, Value},
    },
};

use super::{
    Crashed, DicastOutcome, DicastScenario, LOAD, MARKS,
    oracle::{Oracle, Part},
    workload::{EPS, PAST_MAX, Workload},
};
use crate::{
    driver::{Driver, account::Snapshot},
    hierarchy::Hierarchy,
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
    parts: Vec<Part>,
    misfits: BTreeMap<u64, u64>,
    marks: [Marks; 2],
    halves: Vec<f64>,
    errors: Vec<f64>,
    before: Option<Snapshot>,
    crash: Option<(u64, String)>,
    out: DicastOutcome,
}

impl Watch {
    pub(super) fn new(scenario: &DicastScenario) -> Self {
        let never = Part {
            seated_s: None,
            gone_s: u64::MAX,
        };
        Self {
            scenario: scenario.clone(),
            refused: 0,
            parts: vec![never; scenario.nodes],
            misfits: BTreeMap::new(),
            marks: Default::default(),
            halves: Vec::new(),
            errors: Vec::new(),
            before: None,
            crash: None,
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
                let answer = host.dicast().view(now, key, Scope::Root);
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
        }
        self.look_at_sizes(hierarchy, second, size_min);
        self.look_at_crash(census.covered, census.alive, census.dead_seats, second);
        self.seat(driver, hierarchy);
        self.out.coverage_end = Some(census.covered as f64 / census.alive.max(1) as f64);
        if second == self.scenario.steady_s.0 {
            self.before = Some(driver.traffic());
        }
        if second == self.scenario.steady_s.1
            && let Some(before) = &self.before
        {
            let usage = driver.traffic().usage(before, 0..self.parts.len());
            self.out.bytes_per_node_per_s_mean = Some(usage.sent_mean);
            self.out.bytes_per_node_per_s_max = Some(usage.worst);
        }
        if second >= JUDGED_FROM {
            self.judge(driver, second, workload);
        }
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

    /// Who has a slot, and since when; who was put out though it lives.
    fn seat(&mut self, driver: &Driver<Status>, hierarchy: &Hierarchy<'_>) {
        for (node, part) in self.parts.iter_mut().enumerate() {
            if !driver.is_running(node) {
                part.gone_s = match part.seated_s.take() {
                    Some(_) => 0,
                    None => part.gone_s.saturating_add(1),
                };
                continue;
            }
            part.gone_s = 0;
            let seated = hierarchy.is_seated(driver, node);
            if part.seated_s.is_some_and(|since| since > 0) && hierarchy.is_put_out(driver, node) {
                self.out.live_expelled += 1;
            }
            part.seated_s = Some(match part.seated_s {
                Some(since) if seated => since + 1,
                Some(_) | None => 0,
            });
        }
    }

    fn judge(&mut self, driver: &Driver<Status>, second: u64, workload: &Workload) {
        let now = Time::from_secs(second);
        let steady = self.scenario.is_steady(second);
        let loads: Vec<f64> = driver
            .hosts()
            .map(|(node, _)| workload.load(node))
            .collect();
        let truth = loads.iter().sum::<f64>() / loads.len().max(1) as f64;
        let mut oracle = Oracle::new(&workload.past, self.parts.clone());
        for (_, host) in driver.hosts() {
            let dicast = host.dicast();
            if let Some(answer) = dicast.view(now, LOAD, Scope::Root) {
                self.out.answer_samples += 1;
                let seconds = whole(answer.age);
                let (least, most) = oracle.mean(seconds, answer.missing_max, answer.double_max);
                if answer.lo > most + 1e-9 || answer.hi < least - 1e-9 {
                    self.out.bound_violations += 1;
                }
                if steady {
                    let half = (answer.hi - answer.lo) / 2.0;
                    self.halves.push(half / f64::from(EPS));
                    if let Value::Number(value) = answer.value {
                        self.errors.push((value - truth).abs() / f64::from(EPS));
                    }
                }
            }
            if let Some(answer) = dicast.view(now, KeyId::MEMBERS, Scope::Root) {
                self.out.answer_samples += 1;
                let seconds = whole(answer.age);
                let (least, most) = oracle.count(seconds, answer.missing_max, answer.double_max);
                if answer.lo > most || answer.hi < least {
                    self.out.count_violations += 1;
                }
            }
        }
    }

    pub(super) fn outcome(
        mut self,
        scenario: &DicastScenario,
        seed: u64,
        driver: &Driver<Status>,
    ) -> DicastOutcome {
        let [eager, lazy] = self.marks;
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
        out.staleness_eager_s_p99 = p99(&mut unseen(eager));
        out.staleness_lazy_s_p99 = p99(&mut unseen(lazy));
        out.half_width_over_eps_p99 = p99(&mut self.halves);
        out.error_over_eps_p99 = p99(&mut self.errors);
        out.schema = 1;
        out.scenario.clone_from(&scenario.name);
        out.seed = seed;
        out.nodes = scenario.nodes;
        out.virtual_s = scenario.duration_s;
        out.loss = scenario.loss;
        out.events = driver.trace.events();
        out.trace_hash = driver.trace.hash();
        out.commands_refused = self.refused;
        out.expect_failed = scenario.expect.failed(&out);
        out
    }
}

/// The values that were in force within an age, at the end of a second: one for each begun second.
fn whole(age: Duration) -> u64 {
    let micros = age.as_micros();
    let seconds = u64::try_from(micros.div_ceil(1_000_000)).unwrap_or(u64::MAX);
    seconds.clamp(1, PAST_MAX as u64)
}

fn p99(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let at = (values.len() * 99 / 100).min(values.len() - 1);
    let (_, value, _) = values.select_nth_unstable_by(at, f64::total_cmp);
    Some(*value)
}
