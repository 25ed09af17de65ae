//! The closed forms to the digit, and that no budget is exceeded.

use proptest::prelude::*;

use super::*;

fn spec(function: Function, eps: f32) -> KeySpec {
    KeySpec {
        exact_in_cluster: false,
        ..KeySpec::new(function, (0.0, 100.0), eps)
    }
}

const SENDERS: [u64; 3] = [10_000, 429, 18];

fn near(a: f32, b: f64) -> bool {
    (f64::from(a) - b).abs() < b.abs() * 1e-6 + 1e-9
}

#[test]
fn a_hard_budget_goes_to_the_levels_as_88_11_and_1_percent() {
    let split = split(&spec(Function::Mean, 0.01), 10_000.0, &SENDERS);
    // 50 of the error of 100: sum of n^(2/3) = 464.159 + 56.882 + 6.868 = 527.909.
    for (level, share) in [(0, 0.879_240_775), (1, 0.107_748_860), (2, 0.013_010_365)] {
        let n = SENDERS[level] as f64;
        assert!(near(split.widths[level], 50.0 * share / n), "{split:?}");
    }
    assert!(near(split.down, 0.005));
    assert_eq!(split.widths[3..], [0.0; 3]);
}

#[test]
fn a_statistical_budget_keeps_three_deviations_within_the_error() {
    let spec = KeySpec {
        mode: Mode::Statistical,
        ..spec(Function::Sum, 100.0)
    };
    let split = split(&spec, 0.0, &SENDERS);
    let variances =
        (0..3).map(|level| SENDERS[level] as f64 * f64::from(split.widths[level]).powi(2) / 3.0);
    let total: f64 = variances.sum();
    assert!((total - (50.0_f64 / 3.0).powi(2)).abs() < 1e-3, "{total}");
    // w^2 ~ n^(-1/2)
    let ratio = f64::from(split.widths[1] / split.widths[0]);
    assert!((ratio - (10_000.0_f64 / 429.0).sqrt().sqrt()).abs() < 1e-6);
}

#[test]
fn extremes_split_the_error_along_the_path() {
    let split = split(&spec(Function::Max, 1.0), 0.0, &[1_000, 27, 1]);
    // 0.5 in the ratio 10 : 3 : 1
    assert!(near(split.widths[0], 0.5 * 10.0 / 14.0));
    assert!(near(split.widths[1], 0.5 * 3.0 / 14.0));
    assert!(near(split.widths[2], 0.5 / 14.0));
}

#[test]
fn an_exact_cluster_leaves_the_budget_to_the_levels_above() {
    let spec = KeySpec {
        exact_in_cluster: true,
        ..spec(Function::Sum, 1.0)
    };
    let split = split(&spec, 0.0, &[100, 8]);
    assert!(split.widths[0].to_bits() == 0 && near(split.widths[1], 0.5 / 8.0));
}

#[test]
fn a_tolerance_per_level_is_kept_at_each() {
    let spec = KeySpec {
        tolerance: Tolerance::PerLevel([0.1, 0.2, 0.0, 0.0, 0.0, 0.0]),
        ..spec(Function::Mean, 0.0)
    };
    let split = split(&spec, 50.0, &[50, 5]);
    assert!(near(split.widths[0], 0.05) && near(split.widths[1], 1.0));
    assert!(near(split.down, 0.15));
}

#[test]
fn a_child_that_would_report_at_every_beat_gets_nothing() {
    // Roots 1, 1, 100: at a budget of 10 the restless child would have 9.8 of its 1,000.
    let widths = within_cluster(10.0, &[1.0, 1.0, 1_000.0]);
    assert_eq!(widths, [5.0, 5.0, 0.0]);
    assert_eq!(within_cluster(0.1, &[1.0, 1.0]), [0.0, 0.0]);
}

#[test]
fn widths_in_a_cluster_grow_by_the_two_third_power_of_the_steps() {
    let widths = within_cluster(100.0, &[1.0, 8.0]);
    assert_eq!(widths, [20.0, 80.0]);
    assert_eq!(within_cluster(8.0, &[0.0, 0.0]), [4.0, 4.0]);
}

#[test]
fn waits_grow_by_the_root_of_the_senders() {
    assert_eq!(waits(11.0, &[100, 1])[..3], [10.0, 1.0, 0.0]);
    assert_eq!(waits(11.0, &[])[..], [0.0; LEVELS_MAX]);
}

proptest! {
    #[test]
    fn widths_never_exceed_the_budget(
        eps in 0.0..1e6_f32,
        senders in proptest::collection::vec(0..100_000_u64, 0..8),
        steps in proptest::collection::vec(0.0..1e6_f32, 0..47),
        budget in 0.0..1e6_f64,
    ) {
        let split = split(&spec(Function::Sum, eps), 0.0, &senders);
        let widths = split.widths.iter().zip(&senders);
        let used: f64 = widths.map(|(width, n)| f64::from(*width) * *n as f64).sum();
        let all = used + f64::from(split.down);
        prop_assert!(all <= f64::from(eps) * (1.0 + 1e-12), "{all} of {eps}");
        let inside: f64 = within_cluster(budget, &steps).iter().map(|w| f64::from(*w)).sum();
        prop_assert!(inside <= budget * (1.0 + 1e-12), "{inside} of {budget}");
        let path = self::split(&spec(Function::Min, eps), 0.0, &senders);
        let used: f64 = path.widths.iter().map(|w| f64::from(*w)).sum();
        prop_assert!(used + f64::from(path.down) <= f64::from(eps) * (1.0 + 1e-12));
        let waits: f64 = waits(budget, &senders).iter().map(|t| f64::from(*t)).sum();
        prop_assert!(waits <= budget * (1.0 + 1e-12));
    }
}
