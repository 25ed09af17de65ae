//! Every live node's answers, judged by the oracle.

use std::time::Duration;

use opus_site::{
    Status,
    dicast::{
        Scope,
        aggregate::{Answer, KeyId, Value},
    },
};

use super::{PAST_MAX, Watch, Workload};
use crate::{
    dicast::{
        LOAD, Moment,
        history::middle_and_most,
        oracle::{Oracle, Part},
        workload::RANGE,
    },
    driver::Driver,
};

/// What the answers for the load were like in one second.
#[derive(Default)]
struct Seen {
    ages: Vec<f64>,
    halves: Vec<f64>,
    errors: Vec<f64>,
    /// The farthest that one was beyond what honest nodes alone could give.
    shift: f64,
}

impl Watch {
    pub(super) fn judge(
        &mut self,
        driver: &Driver<Status>,
        second: u64,
        workload: &Workload,
        moment: &mut Moment,
    ) {
        let steady = self.scenario.is_steady(second);
        let alive = driver.hosts().count();
        let sum: f64 = driver.hosts().map(|(node, _)| workload.load(node)).sum();
        let truth = sum / alive.max(1) as f64;
        let eps = f64::from(self.scenario.eps);
        let mut seen = Seen::default();
        let mut honest = steady.then(|| self.honest(workload)).flatten();
        for side in self.sides() {
            let mut oracle = Oracle::new(&workload.past, self.parts_of(side));
            for (node, host) in driver.hosts() {
                // What a liar's own machine says is nobody's concern.
                if self.liars[node] || !self.is_on(side, node) {
                    continue;
                }
                let now = driver.local_time(node);
                if let Some(answer) = host.dicast().view(now, LOAD, Scope::Root) {
                    self.out.answer_samples += 1;
                    self.out.bound_violations += u64::from(!is_lawful_mean(&mut oracle, &answer));
                    seen.ages.push(answer.age.as_secs_f64());
                    seen.halves.push((answer.hi - answer.lo) / 2.0 / eps);
                    if let Value::Number(value) = answer.value {
                        seen.errors.push((value - truth).abs() / eps);
                        if let Some(honest) = &mut honest {
                            seen.shift = seen.shift.max(shift(honest, value, &answer));
                        }
                    }
                }
                if let Some(answer) = host.dicast().view(now, KeyId::MEMBERS, Scope::Root) {
                    self.out.answer_samples += 1;
                    self.out.count_violations += u64::from(!is_lawful_count(&mut oracle, &answer));
                }
            }
        }
        if steady {
            self.halves.extend_from_slice(&seen.halves);
            self.errors.extend_from_slice(&seen.errors);
            self.look_at_shift(seen.shift, alive);
        }
        moment.age_s = middle_and_most(&mut seen.ages);
        moment.half_width_over_eps = middle_and_most(&mut seen.halves);
        moment.error_over_eps = middle_and_most(&mut seen.errors);
    }

    /// How far liars move the mean, over what they could by their range.
    fn look_at_shift(&mut self, most: f64, alive: usize) {
        let liars = self.liars.iter().filter(|&&lies| lies).count();
        if liars == 0 {
            return;
        }
        let could = liars as f64 * (RANGE.1 - RANGE.0) / alive.max(1) as f64;
        let shift = (most - f64::from(self.scenario.eps)).max(0.0) / could;
        let before = self.out.shift_over_ranges.unwrap_or(0.0);
        self.out.shift_over_ranges = Some(before.max(shift));
    }

    /// The oracle of a network without its liars; none if there are none.
    fn honest<'a>(&self, workload: &'a Workload) -> Option<Oracle<'a>> {
        if !self.liars.contains(&true) {
            return None;
        }
        let absent = |part: &Part| Part {
            seated_s: part.seated_s.filter(|_| !part.lies),
            gone_s: if part.lies { u64::MAX } else { part.gone_s },
            ..*part
        };
        let parts = self.parts.iter().map(absent).collect();
        Some(Oracle::new(&workload.past, parts))
    }

    /// The sides to be judged apart: none but the whole if no cut parts the network.
    fn sides(&self) -> Vec<Option<bool>> {
        match &self.cut {
            Some(cut) if !cut.over => vec![Some(false), Some(true)],
            Some(_) | None => vec![None],
        }
    }

    fn is_on(&self, side: Option<bool>, node: usize) -> bool {
        let cut = self.cut.as_ref();
        side.is_none_or(|side| cut.is_none_or(|cut| cut.sides[node] == side))
    }

    fn parts_of(&self, side: Option<bool>) -> Vec<Part> {
        let parts = self.parts.iter().enumerate();
        let of = |(node, part): (usize, &Part)| Part {
            here: self.is_on(side, node),
            ..*part
        };
        parts.map(of).collect()
    }
}

/// How far a value is beyond the means that honest nodes had within its age.
fn shift(honest: &mut Oracle<'_>, value: f64, answer: &Answer) -> f64 {
    let (least, most) = honest.mean(whole(answer.age), 0, 0);
    (value - most).max(least - value)
}

fn is_lawful_mean(oracle: &mut Oracle<'_>, answer: &Answer) -> bool {
    let seconds = whole(answer.age);
    let (least, most) = oracle.mean(seconds, answer.missing_max, answer.double_max);
    answer.lo <= most + 1e-9 && answer.hi >= least - 1e-9
}

fn is_lawful_count(oracle: &mut Oracle<'_>, answer: &Answer) -> bool {
    let seconds = whole(answer.age);
    let (least, most) = oracle.count(seconds, answer.missing_max, answer.double_max);
    answer.lo <= most && answer.hi >= least
}

/// The values that were in force within an age, at the end of a second: one for each begun second.
fn whole(age: Duration) -> u64 {
    let micros = age.as_micros();
    let seconds = u64::try_from(micros.div_ceil(1_000_000)).unwrap_or(u64::MAX);
    seconds.clamp(1, PAST_MAX as u64)
}
