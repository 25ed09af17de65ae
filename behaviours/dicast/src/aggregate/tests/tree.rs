//! A made-up tree of reporters and slots over a network that loses, repeats and reorders, with a
//! shadow beside each record: at which moment each node in it had the value that counts.
//!
//! The shadow is moved by what the algebra promises, not by what it computes: a fresh report
//! stands for the moment at which it was composed, and so does the newest change in any report.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Rng, Seed, Time, pack};
use rand::RngExt;

use super::super::*;

mod churn;

/// Two keys of one spec, so that a report may tell of one and vouch for the other.
pub(super) const KEYS: [KeyId; 2] = [KeyId(1), KeyId(2)];
const TICK: Duration = Duration::from_millis(100);
/// Longest time under way, in ticks; the slots are told so.
const DELAY_MAX: u64 = 3;

/// The moments at which each leaf counts: two if it is counted twice.
pub(super) type Shadow = BTreeMap<usize, Vec<u64>>;
/// For both keys.
type Shadows = [Shadow; 2];
/// A leaf's value and weight, if it has one.
type Sampled = Option<(f32, f32)>;

/// What falls as it may, so that a case is one number.
#[derive(Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Seed::new(seed).rng())
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0.random_range(0..n.max(1))
    }

    /// 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug)]
pub(super) struct Node {
    /// Agent and slot.
    parent: Option<(usize, u8)>,
    term: Term,
    reporter: Reporter,
    pub(super) leaf: bool,
    /// Of a leaf: value and weight at each tick; `None` while it has none.
    values: Vec<[Sampled; 2]>,
    pub(super) slots: Slots,
    pub(super) grants: Grants,
    /// Who is in each slot, and of which moments its record is.
    children: BTreeMap<u8, (usize, Shadows)>,
    /// Whether the leaf was in another cluster before, which an ancestor may not know yet.
    moved: bool,
    /// Lost leaves, and when.
    pub(super) lost: Vec<u64>,
}

enum Mail {
    Report {
        bytes: Vec<u8>,
        now: Shadows,
    },
    Ask,
    Grant(u32, Vec<(KeyId, f32)>),
    Down(Box<(u64, Down, Shadow)>),
    /// The push that still stands, the age, and the moments.
    Pulse(u64, Duration, Shadow),
}

struct Flight {
    at: u64,
    from: usize,
    to: usize,
    term: Term,
    mail: Mail,
}

/// The whole, and the root's reader below it.
pub(super) struct World {
    pub(super) spec: KeySpec,
    pub(super) tick: u64,
    pub(super) dice: Dice,
    pub(super) nodes: Vec<Node>,
    flights: Vec<Flight>,
    /// Chance in percent that a message is lost.
    pub(super) loss: u64,
    pub(super) down_width: f64,
    pushed: Option<(u64, Down)>,
    pub(super) read: Option<(u64, Down, Shadow, u64)>,
}

impl World {
    /// `depth` levels of agents above the leaves, 1 to `fan` children each.
    pub(super) fn new(spec: KeySpec, depth: u32, fan: u64, mut dice: Dice) -> Self {
        let mut world = Self {
            spec,
            tick: 0,
            nodes: Vec::new(),
            flights: Vec::new(),
            loss: dice.below(40),
            down_width: 0.0,
            dice,
            pushed: None,
            read: None,
        };
        world.add(None, false);
        let mut level = vec![0];
        for below in (0..depth).rev() {
            let mut next = Vec::new();
            for agent in level {
                for _ in 0..=world.dice.below(fan) {
                    let child = world.add(None, below == 0);
                    world.join(child, agent);
                    next.push(child);
                }
            }
            level = next;
        }
        world
    }

    fn add(&mut self, parent: Option<(usize, u8)>, leaf: bool) -> usize {
        let mut slots = Slots::new();
        for key in KEYS {
            assert!(slots.learn(key));
        }
        self.nodes.push(Node {
            parent,
            term: Term::default(),
            reporter: Reporter::new(self.nodes.len() as u64),
            leaf,
            values: Vec::new(),
            slots,
            grants: Grants::default(),
            children: BTreeMap::new(),
            moved: false,
            lost: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// A node takes the first free slot of an agent, under a new term.
    fn join(&mut self, child: usize, agent: usize) -> Option<u8> {
        let free = (0_u8..64).find(|slot| !self.nodes[agent].children.contains_key(slot));
        let slot = free?;
        let now = self.now();
        let occupant = if self.nodes[child].leaf {
            Occupant::Leaf
        } else {
            Occupant::Cluster(1)
        };
        self.nodes[child].parent = Some((agent, slot));
        self.begin_term(child, false);
        let twice = self.nodes[child].moved;
        let term = self.nodes[child].term;
        let at = &mut self.nodes[agent];
        at.slots.occupy(slot, now, child as u64, occupant, term);
        at.slots.suspect_double(slot, u64::from(twice));
        at.grants.on_new_term(slot);
        at.children.insert(slot, (child, Shadows::default()));
        Some(slot)
    }

    fn begin_term(&mut self, child: usize, epoch: bool) {
        let node = &mut self.nodes[child];
        if epoch {
            node.term.epoch += 1;
        } else {
            node.term.incarnation += 1;
        }
        node.reporter.begin_term();
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + TICK * u32::try_from(self.tick).unwrap()
    }

    pub(super) fn age_of(&self, tick: u64) -> Duration {
        TICK * u32::try_from(self.tick - tick).unwrap()
    }

    /// A leaf's value and weight at a tick.
    pub(super) fn value(&self, which: usize, leaf: usize, tick: u64) -> (f64, f64) {
        let values = self.nodes[leaf].values[usize::try_from(tick).unwrap()];
        let (x, weight) = values[which].unwrap();
        (f64::from(x), f64::from(weight))
    }

    fn sample(&self, which: usize, leaf: usize) -> Option<Sample> {
        let (x, weight) = self.nodes[leaf].values.last()?[which]?;
        Some(match self.spec.function {
            Function::WeightedMean => Sample::Weighted(f64::from(x), f64::from(weight)),
            Function::Distinct => {
                let mut set = Distinct::default();
                set.insert(Dice::new(u64::from(x.to_bits())).0.random());
                Sample::Items(Box::new(set))
            }
            Function::Count
            | Function::Sum
            | Function::Mean
            | Function::Variance
            | Function::Min
            | Function::Max
            | Function::TopK(_)
            | Function::Quantiles => Sample::Number(f64::from(x)),
        })
    }

    /// Of a leaf: now, if it has a value. Of an agent: what its slots say.
    pub(super) fn shadow(&self, which: usize, node: usize) -> Shadow {
        let mut shadow = Shadow::new();
        if self.nodes[node].leaf {
            if self.sample(which, node).is_some() {
                shadow.insert(node, vec![self.tick]);
            }
            return shadow;
        }
        for (_, of_child) in self.nodes[node].children.values() {
            for (leaf, ticks) in &of_child[which] {
                shadow.entry(*leaf).or_default().extend(ticks);
            }
        }
        shadow
    }

    pub(super) fn record(&self, which: usize, agent: usize) -> Record {
        let node = &self.nodes[agent];
        let widths = node.grants.all_assumed(KEYS[which]);
        node.slots
            .record(KEYS[which], self.now(), &self.spec, widths)
            .unwrap()
    }

    /// One step of time: values move by `step` of the span, messages arrive, nodes report with the
    /// chance `beat` (percent).
    pub(super) fn step(&mut self, step: f64, beat: u64) {
        self.tick = self
            .nodes
            .iter()
            .map(|node| node.values.len())
            .max()
            .unwrap_or(0) as u64;
        for leaf in 0..self.nodes.len() {
            self.move_value(leaf, step);
        }
        let due: Vec<Flight> = self
            .flights
            .extract_if(.., |it| it.at <= self.tick)
            .collect();
        for flight in due {
            self.deliver(flight);
        }
        for node in 0..self.nodes.len() {
            if self.dice.chance(beat) {
                self.report(node);
            }
        }
        self.push();
    }

    fn move_value(&mut self, leaf: usize, step: f64) {
        let last = self.nodes[leaf].values.last().copied();
        let next = if self.nodes[leaf].leaf {
            [0, 1].map(|which| self.next_value(last.map(|last| last[which]), step))
        } else {
            [None; 2]
        };
        self.nodes[leaf].values.push(next);
    }

    fn next_value(&mut self, last: Option<Sampled>, step: f64) -> Sampled {
        let (lo, hi) = self.spec.range;
        // The ends of the range are where repeats do most.
        let place = match self.dice.below(4) {
            0 => 0.0,
            1 => 1.0,
            _ => self.dice.share(),
        };
        let start = (lo + place * (hi - lo), self.dice.share());
        let jump = step > 1e-3 && self.dice.chance(2);
        let (x, weight) = match last {
            Some(last) if !jump && self.dice.chance(50) => return last,
            Some(_) if jump && self.dice.chance(20) => return None,
            Some(None) if !jump => return None,
            Some(Some((x, weight))) if !jump => {
                let by = |dice: &mut Dice| (dice.share() - 0.5) * 2.0 * step;
                let x = f64::from(x) + by(&mut self.dice) * (hi - lo);
                (x, f64::from(weight) + by(&mut self.dice))
            }
            Some(_) | None => start,
        };
        let weight = float::round32(weight.clamp(0.0, 1.0));
        Some((self.spec.admit(x)?, weight))
    }

    fn send(&mut self, from: usize, to: usize, term: Term, mail: impl Fn() -> Mail) {
        for _ in 0..=u64::from(self.dice.chance(10)) {
            if !self.dice.chance(self.loss) {
                let at = self.tick + self.dice.below(DELAY_MAX + 1);
                let mail = mail();
                self.flights.push(Flight {
                    at,
                    from,
                    to,
                    term,
                    mail,
                });
            }
        }
    }

    pub(super) fn report(&mut self, child: usize) {
        let Some((agent, _)) = self.nodes[child].parent else {
            return;
        };
        let samples = [0, 1].map(|which| self.sample(which, child));
        let records = [0, 1].map(|which| self.record(which, child));
        let (spec, leaf) = (self.spec, self.nodes[child].leaf);
        let wait = TICK * u32::try_from(self.dice.below(2) * 5).unwrap();
        let item = |which: usize| {
            let source = if leaf {
                Source::Own(samples[which].as_ref()?)
            } else {
                Source::Cluster(&records[which])
            };
            let (key, spec) = (KEYS[which], &spec);
            Some(Item {
                key,
                spec,
                source,
                wait,
            })
        };
        let items: Vec<Item<'_>> = [0, 1].into_iter().filter_map(item).collect();
        let (time, now) = (self.now(), [0, 1].map(|which| self.shadow(which, child)));
        let node = &mut self.nodes[child];
        let report = node.reporter.compose(time, &items);
        let (bytes, term) = (pack::to_bytes(&report), node.term);
        self.send(child, agent, term, || Mail::Report {
            bytes: bytes.clone(),
            now: now.clone(),
        });
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight {
            from,
            to,
            term,
            mail,
            ..
        } = flight;
        match mail {
            Mail::Report { bytes, now } => self.on_report(from, to, term, &bytes, now),
            Mail::Ask if self.nodes[to].term == term => self.nodes[to].reporter.on_asked(),
            Mail::Grant(round, widths) if self.nodes[to].term == term => {
                self.nodes[to].reporter.on_granted(round, &widths);
            }
            Mail::Down(push) if self.read.as_ref().is_none_or(|it| it.0 < push.0) => {
                let (id, mut down, shadow) = *push;
                let age = Duration::from_secs(86_400).min(down_age(&down, &self.spec));
                down.freshen(age + TICK * u32::try_from(DELAY_MAX).unwrap());
                self.read = Some((id, down, shadow, self.tick));
            }
            Mail::Ask | Mail::Grant(..) | Mail::Down(_) => {}
            Mail::Pulse(id, age, shadow) => {
                let tick = self.tick;
                if let Some(read) = self.read.as_mut().filter(|read| read.0 == id) {
                    read.1
                        .freshen(age + TICK * u32::try_from(DELAY_MAX).unwrap());
                    (read.2, read.3) = (shadow, tick);
                }
            }
        }
    }

    fn on_report(&mut self, from: usize, to: usize, term: Term, bytes: &[u8], now: Shadows) {
        let report: Report = pack::from_bytes(bytes).unwrap();
        let time = self.now();
        let agent = &mut self.nodes[to];
        // The machine knows a sender by its id, so whoever left a slot is not heard in it.
        let Some((slot, (_, shadows))) = agent.children.iter_mut().find(|it| it.1.0 == from) else {
            return;
        };
        let (slot, spec, most) = (*slot, self.spec, TICK * u32::try_from(DELAY_MAX).unwrap());
        let outcome = agent
            .slots
            .apply(slot, time, term, &report, most, |_| Some(&spec));
        if outcome.new_term {
            agent.grants.on_new_term(slot);
        }
        let fresh = outcome.verdict == Verdict::Fresh;
        // The newest change of a key is vouched for, whatever else was lost.
        for ((shadow, now), key) in shadows.iter_mut().zip(now).zip(KEYS) {
            if fresh || outcome.changed.contains(&key) {
                *shadow = now;
            }
        }
        if fresh {
            agent.grants.on_confirmed(slot, report.round);
        }
        assert_ne!(outcome.verdict, Verdict::Refused);
        assert_ne!(outcome.verdict, Verdict::Partial);
        if outcome.verdict == Verdict::Gap {
            self.send(to, from, term, || Mail::Ask);
        }
    }

    /// Each agent sets out for widths and tells what is not confirmed.
    pub(super) fn plan(&mut self, which: usize, agent: usize, budget: f64, targets: &[(u8, f32)]) {
        self.nodes[agent].grants.plan(KEYS[which], targets, budget);
    }

    pub(super) fn tell(&mut self, agent: usize) {
        let children = self.nodes[agent].children.clone();
        for (slot, (child, _)) in children {
            let term = self.nodes[agent].slots.term(slot).unwrap();
            if let Some((round, widths)) = self.nodes[agent].grants.to_tell(slot) {
                self.send(agent, child, term, || Mail::Grant(round, widths.clone()));
            }
        }
    }

    pub(super) fn slots_of(&self, agent: usize) -> Vec<u8> {
        self.nodes[agent].children.keys().copied().collect()
    }

    fn push(&mut self) {
        let (record, shadow) = (self.record(0, 0), self.shadow(0, 0));
        let strays = self
            .pushed
            .as_ref()
            .map(|it| it.1.strays(&record, &self.spec));
        if strays.is_none_or(|strays| strays > self.down_width) {
            let id = self.pushed.as_ref().map_or(1, |it| it.0 + 1);
            let origin = Origin {
                level: 4,
                slot: 0,
                beside: false,
            };
            let Some(down) = Down::of(KEYS[0], origin, &record, &self.spec) else {
                self.read = None;
                return;
            };
            let down = pack::from_bytes::<Down>(&pack::to_bytes(&down)).unwrap();
            self.pushed = Some((id, down));
        }
        let Some((id, down)) = self.pushed.clone() else {
            return;
        };
        let mut fresh = down;
        fresh.freshen(record.age);
        self.send(0, 0, Term::default(), || {
            Mail::Down(Box::new((id, fresh.clone(), shadow.clone())))
        });
        self.send(0, 0, Term::default(), || {
            Mail::Pulse(id, record.age, shadow.clone())
        });
    }
}

fn down_age(down: &Down, spec: &KeySpec) -> Duration {
    down.answer(Duration::ZERO, 0.0, spec)
        .map_or(Duration::ZERO, |answer| answer.age)
}
