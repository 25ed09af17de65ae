//! The promise of an answer, against brute force: *for `count` nodes, each at some time within
//! `age`, the aggregate lies in `lo..=hi`*, with the repeats and without them.

use proptest::prelude::*;

use super::{
    super::*,
    tree::{Dice, KEYS, Shadow, World},
};

const FUNCTIONS: [Function; 10] = [
    Function::Count,
    Function::Sum,
    Function::Mean,
    Function::WeightedMean,
    Function::Variance,
    Function::Min,
    Function::Max,
    Function::TopK(3),
    Function::Quantiles,
    Function::Distinct,
];

fn spec(function: Function, dice: &mut Dice) -> KeySpec {
    let ranges = [(0.0, 100.0), (-50.0, 30.0), (900.0, 1_000.0)];
    let range = ranges[usize::try_from(dice.below(3)).unwrap()];
    let spec = KeySpec::new(function, range, 0.5);
    spec.checked().unwrap()
}

/// The whole with its repeats; and, where they matter, 5 choices of one moment for each node.
fn choices(shadow: &Shadow, function: Function, dice: &mut Dice) -> Vec<Vec<(usize, u64)>> {
    let whole = shadow
        .iter()
        .flat_map(|(leaf, ticks)| ticks.iter().map(|tick| (*leaf, *tick)));
    let mut choices = vec![whole.collect()];
    let repeats_matter = !matches!(function, Function::Min | Function::Max);
    for _ in 0..if repeats_matter { 5 } else { 0 } {
        let one = |(leaf, ticks): (&usize, &Vec<u64>)| {
            let which = usize::try_from(dice.below(ticks.len() as u64)).unwrap();
            (*leaf, ticks[which])
        };
        choices.push(shadow.iter().map(one).collect());
    }
    choices
}

fn truth(function: Function, values: &[(f64, f64)]) -> f64 {
    let n = values.len() as f64;
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| values.iter().map(f).sum::<f64>();
    match function {
        Function::Count => n,
        Function::Sum => sum(&|it| it.0),
        Function::WeightedMean => sum(&|it| it.0 * it.1) / sum(&|it| it.1),
        Function::Variance => {
            let mean = sum(&|it| it.0) / n;
            sum(&|it| (it.0 - mean).powi(2)) / n
        }
        Function::Min => values.iter().map(|it| it.0).fold(f64::INFINITY, f64::min),
        Function::Max => values
            .iter()
            .map(|it| it.0)
            .fold(f64::NEG_INFINITY, f64::max),
        Function::Mean | Function::TopK(_) | Function::Quantiles | Function::Distinct => {
            sum(&|it| it.0) / n
        }
    }
}

/// Fails unless the answer keeps its promise for the nodes and moments of the shadow.
fn check(world: &World, which: usize, answer: Option<&Answer>, shadow: &Shadow, what: &str) {
    let entries: usize = shadow.values().map(Vec::len).sum();
    let Some(answer) = answer else {
        assert_eq!(entries, 0, "{what}: nobody is in it");
        return;
    };
    assert_eq!(answer.count, entries as u64, "{what}: the count is exact");
    let repeats = entries - shadow.len();
    assert!(
        answer.double_max >= repeats as u64,
        "{what}: {repeats} are in it twice"
    );
    let oldest = shadow
        .values()
        .flatten()
        .min()
        .copied()
        .unwrap_or(world.tick);
    assert!(
        answer.age >= world.age_of(oldest),
        "{what}: {:?}",
        answer.age
    );
    // Of their own, so that looking changes nothing; others at each tick.
    let mut dice = Dice::new(world.tick);
    for choice in choices(shadow, world.spec.function, &mut dice) {
        let values: Vec<_> = choice
            .iter()
            .map(|(leaf, tick)| world.value(which, *leaf, *tick))
            .collect();
        match &answer.value {
            Value::Number(_) if world.spec.function == Function::Distinct => {}
            Value::Number(value) => {
                let truth = truth(world.spec.function, &values);
                let (lo, hi) = (answer.lo, answer.hi);
                assert!(
                    !(truth < lo || truth > hi),
                    "{what}: {truth} in {lo}..{hi}, {value}"
                );
            }
            Value::Top(top) => {
                let value = |leaf, tick| world.value(which, leaf, tick).0;
                check_top(answer.half, top, value, shadow, what);
            }
            Value::Quantiles(_) => check_ranks(answer, &values, &world.spec, what),
        }
    }
}

fn check_top(half: f64, top: &Top, value: impl Fn(usize, u64) -> f64, shadow: &Shadow, what: &str) {
    for (leaf, ticks) in shadow {
        let moments = ticks.iter().map(|tick| value(*leaf, *tick));
        let most = moments.fold(f64::NEG_INFINITY, f64::max);
        let mut named = top.entries().iter();
        if let Some(entry) = named.find(|entry| entry.node == *leaf as u64) {
            let off = (f64::from(entry.value) - most).abs();
            assert!(off <= half, "{what}: {leaf} is off by {off} > {half}");
        } else {
            let limit = f64::from(top.dropped().expect("somebody was dropped")) + half;
            assert!(most <= limit, "{what}: {leaf} has {most} > {limit}");
        }
    }
}

fn check_ranks(answer: &Answer, values: &[(f64, f64)], spec: &KeySpec, what: &str) {
    let mut sorted: Vec<f64> = values.iter().map(|it| it.0).collect();
    sorted.sort_by(f64::total_cmp);
    for tenth in 0..=10 {
        let share = f64::from(tenth) / 10.0;
        let rank = libm::ceil(share * sorted.len() as f64).max(1.0);
        let exact = (1..)
            .zip(&sorted)
            .find(|it| f64::from(it.0) >= rank)
            .unwrap()
            .1;
        let (_, lo, hi) = answer.quantile(share, spec).unwrap();
        assert!(
            lo <= *exact && *exact <= hi,
            "{what}: {share}: {exact} in {lo}..{hi}"
        );
    }
}

fn check_all(world: &World) {
    for agent in 0..world.nodes.len() {
        if world.nodes[agent].leaf {
            continue;
        }
        for which in [0, 1] {
            let (record, shadow) = (world.record(which, agent), world.shadow(which, agent));
            let answer = Answer::of(&record, 0.0, &world.spec);
            check(world, which, answer.as_ref(), &shadow, "an agent's answer");
            if which == 0 {
                let lost = world.nodes[agent].lost.len() as u64;
                assert!(
                    record.missing >= lost,
                    "{} missing of {lost}",
                    record.missing
                );
            }
        }
    }
    if let Some((_, down, shadow, since)) = &world.read {
        let held = world.age_of(*since);
        let answer = down.answer(held, world.down_width, &world.spec);
        check(world, 0, answer.as_ref(), shadow, "what came down");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_truth_lies_within_the_bounds_whatever_is_lost_repeated_and_reordered(
        seed in any::<u64>(), function in prop::sample::select(&FUNCTIONS[..]),
    ) {
        let mut dice = Dice::new(seed);
        let (depth, fan) = (1 + dice.below(4), [12, 5, 3, 2]);
        let fan = fan[usize::try_from(depth - 1).unwrap()];
        let spec = spec(function, &mut dice);
        let mut world = World::new(spec, u32::try_from(depth).unwrap(), fan, dice);
        let scale = spec.span() * [0.0, 0.01, 0.1][usize::try_from(world.dice.below(3)).unwrap()];
        world.down_width = scale * world.dice.share();
        for _ in 0..80 {
            let step = 0.02 * world.dice.share();
            world.step(step, 60);
            for agent in (0..world.nodes.len()).filter(|it| it % 3 != 1) {
                if world.nodes[agent].leaf {
                    continue;
                }
                if world.dice.chance(10) {
                    let width = |dice: &mut Dice| float::round32(scale * dice.share());
                    let slots = world.slots_of(agent);
                    let targets: Vec<_> =
                        slots.into_iter().map(|slot| (slot, width(&mut world.dice))).collect();
                    let which = usize::try_from(world.dice.below(2)).unwrap();
                    world.plan(which, agent, scale * 5.0, &targets);
                }
                world.tell(agent);
            }
            if world.dice.chance(8) {
                world.churn();
            }
            check_all(&world);
        }
    }
}

/// Splits the tolerance as the design says, over levels and then inside each cluster.
fn plan_by_budget(world: &mut World, levels: &[Vec<usize>], senders: &[u64]) {
    let count = senders[0] as f64;
    let split = budget::split(&world.spec, count, senders);
    world.down_width = f64::from(split.down);
    for (level, agents) in levels.iter().enumerate() {
        for agent in agents {
            let slots = world.slots_of(*agent);
            let share = f64::from(split.widths[level]) * slots.len() as f64;
            let steps: BTreeSteps = world.nodes[*agent]
                .slots
                .steps(KEYS[0], 10)
                .into_iter()
                .collect();
            let steps: Vec<f32> = slots
                .iter()
                .map(|slot| steps.get(slot).copied().unwrap_or(0.0))
                .collect();
            let (widths, budget) = match world.spec.adds() {
                Adds::AlongPath => (vec![split.widths[level]; slots.len()], f64::MAX),
                Adds::OverSenders | Adds::Nowhere => (budget::within_cluster(share, &steps), share),
            };
            let targets: Vec<_> = slots.into_iter().zip(widths).collect();
            world.plan(0, *agent, budget, &targets);
        }
    }
}

type BTreeSteps = std::collections::BTreeMap<u8, f32>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_tree_whose_widths_follow_the_budget_answers_within_the_tolerance(
        seed in any::<u64>(), which in 0..4_usize,
    ) {
        let function = [Function::Sum, Function::Mean, Function::Max, Function::Variance][which];
        let mut dice = Dice::new(seed);
        let spec = spec(function, &mut dice);
        let mut world = World::new(spec, 2, 6, dice);
        let leaves = world.nodes.iter().filter(|node| node.leaf).count() as u64;
        let all = 1..world.nodes.len();
        let middle: Vec<usize> = all.filter(|it| !world.nodes[*it].leaf).collect();
        let senders = [leaves, middle.len() as u64];
        let levels = [middle, vec![0]];
        for tick in 0..120 {
            if tick % 10 == 9 {
                plan_by_budget(&mut world, &levels, &senders);
            }
            for agent in levels.iter().flatten() {
                world.tell(*agent);
            }
            // Values rest at the end, and everything arrives.
            let (step, loss) = if tick < 90 { (2e-4, 10) } else { (0.0, 0) };
            world.loss = loss;
            world.step(step, 100);
            check_all(&world);
        }
        // Unless nobody has a value at the end.
        let Some((_, down, ..)) = world.read.clone() else {
            return Ok(());
        };
        let held = std::time::Duration::ZERO;
        let answer = down.answer(held, world.down_width, &spec).unwrap();
        let half = (answer.hi - answer.lo) / 2.0;
        prop_assert!(half <= 0.5 * 1.01, "{half}");
    }
}
