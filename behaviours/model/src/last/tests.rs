//! LAST against reference figures, brute force and its own promises.

use std::{env, fs, path::PathBuf};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

use super::*;
use crate::{
    graph::{Graph, shortest_paths},
    span::star_cost,
};

#[test]
fn the_example_of_four_nodes_comes_out_to_the_digit() {
    let matrix = Matrix::parse("0 10 20 22\n10 0 11 14\n20 11 0 5\n22 14 5 0").unwrap();
    let tree = last(&matrix, 0, Stretch::new(1.1).unwrap());
    assert_eq!(tree.parents(), [None, Some(0), Some(1), Some(0)]);
    assert_eq!(tree.delays_ms(&matrix), [0.0, 10.0, 21.0, 22.0]);
    assert_eq!(tree.rdps(&matrix), [None, Some(1.0), Some(1.05), Some(1.0)]);
    assert_eq!(tree.cost(&matrix), 43.0);
    assert_eq!(mst(&matrix, 0).cost(&matrix), 26.0);
    assert_eq!(spt(&matrix, 0).cost(&matrix), 52.0);
    assert_eq!(star_cost(&matrix, 0), 52.0);
    let rdp = tree.rdp(&matrix);
    assert_eq!(rdp.max, 1.05);
    assert!((rdp.mean - 1.016_666_666_7).abs() < 1e-9);
}

#[test]
fn planetlab_figures_are_exact() {
    let Some(text) = data("planetlab/rtt-ms-490.txt") else {
        return;
    };
    let matrix = Matrix::parse(&text).unwrap();
    assert_eq!(matrix.len(), 490);
    let thousandths = |cost: f64| format!("{cost:.3}");
    let of = |alpha| last(&matrix, 0, Stretch::new(alpha).unwrap());
    assert_eq!(thousandths(mst(&matrix, 0).cost(&matrix)), "3344.603");
    assert_eq!(thousandths(spt(&matrix, 0).cost(&matrix)), "19651.717");
    assert_eq!(thousandths(of(1.25).cost(&matrix)), "4426.897");
    assert_eq!(thousandths(of(1.5).cost(&matrix)), "3908.753");
    assert!(of(1.25).rdp(&matrix).max <= 1.25);
}

/// A file beside the project: `OPUS_DATA` says where. Prints SKIP where it is missing, fails then
/// under `OPUS_REQUIRE_DATA=1`.
fn data(name: &str) -> Option<String> {
    let root = env::var_os("OPUS_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            let required = env::var_os("OPUS_REQUIRE_DATA").is_some_and(|value| value == "1");
            assert!(!required, "{} is required: {error}", path.display());
            println!("SKIP: {}: {error}", path.display());
            None
        }
    }
}

#[test]
fn without_a_bound_the_last_costs_what_the_minimum_spanning_tree_costs() {
    let matrix = plane(80, 3);
    let tree = last(&matrix, 5, Stretch::UNBOUNDED);
    assert!((tree.cost(&matrix) - mst(&matrix, 5).cost(&matrix)).abs() < 1e-9);
}

#[test]
fn a_thousand_nodes_keep_both_promises() {
    let matrix = plane(1_000, 1);
    let light = mst(&matrix, 0).cost(&matrix);
    for alpha in [1.1, 1.5, 2.0] {
        let tree = last(&matrix, 0, Stretch::new(alpha).unwrap());
        assert!(tree.rdp(&matrix).max <= alpha + 1e-6);
        assert!(tree.cost(&matrix) <= (1.0 + 2.0 / (alpha - 1.0)) * light);
        assert!(tree.cost(&matrix) < spt(&matrix, 0).cost(&matrix));
    }
}

/// Nodes drawn in a square of 100 ms.
fn plane(nodes: usize, seed: u64) -> Matrix {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let at: Vec<(f64, f64)> = (0..nodes)
        .map(|_| (rng.random_range(0.0..100.0), rng.random_range(0.0..100.0)))
        .collect();
    let between = |u: usize, v: usize| {
        let (x, y) = (at[u].0 - at[v].0, at[u].1 - at[v].1);
        (x * x + y * y).sqrt()
    };
    Matrix::from_fn(nodes, between).unwrap()
}

/// Every parent array over the nodes that is a tree with this root.
fn all_trees(nodes: usize, root: usize) -> Vec<Tree> {
    let choices = (nodes - 1).pow(u32::try_from(nodes - 1).unwrap());
    let mut trees = Vec::new();
    for mut choice in 0..choices {
        let parents = (0..nodes).map(|v| {
            (v != root).then(|| {
                let other = choice % (nodes - 1);
                choice /= nodes - 1;
                other + usize::from(other >= v)
            })
        });
        trees.extend(Tree::new(parents.collect()));
    }
    trees
}

#[test]
fn enumeration_finds_as_many_trees_as_cayley_says() {
    assert_eq!(all_trees(4, 1).len(), 16);
    assert_eq!(all_trees(6, 0).len(), 1_296);
}

/// Any symmetric delays: the triangle inequality may fail.
fn any_matrix(nodes: std::ops::Range<usize>) -> impl Strategy<Value = Matrix> {
    nodes.prop_flat_map(|nodes| {
        let values = prop::collection::vec(1..1_000_u32, nodes * nodes);
        values.prop_map(move |values| {
            Matrix::from_fn(nodes, |u, v| f64::from(values[u * nodes + v])).unwrap()
        })
    })
}

/// The shortest paths of any matrix: a metric.
fn metric(nodes: std::ops::Range<usize>) -> impl Strategy<Value = Matrix> {
    any_matrix(nodes).prop_map(|matrix| {
        let pairs = (0..matrix.len()).flat_map(|v| (0..v).map(move |u| (u, v)));
        let links: Vec<_> = pairs.map(|(u, v)| (u, v, matrix.rtt_ms(u, v))).collect();
        let graph = Graph::new(matrix.len(), &links).unwrap();
        Matrix::from_fn(matrix.len(), |u, v| shortest_paths(&graph, u)[v]).unwrap()
    })
}

fn any_alpha() -> impl Strategy<Value = Stretch> {
    prop_oneof![Just(1.0), 1.0..1.2_f64, 1.0..4.0_f64, Just(f64::INFINITY)]
        .prop_map(|factor| Stretch::new(factor).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_tree_of_all_is_cheaper_than_the_minimum_spanning_tree(
        matrix in any_matrix(2..7), root in 0..2_usize,
    ) {
        let cheapest = all_trees(matrix.len(), root)
            .iter()
            .map(|tree| tree.cost(&matrix))
            .fold(f64::INFINITY, f64::min);
        prop_assert_eq!(mst(&matrix, root).cost(&matrix), cheapest);
    }

    #[test]
    fn no_shortest_path_tree_of_all_is_cheaper_than_the_lightest_in_a_metric(
        matrix in metric(2..7), root in 0..2_usize,
    ) {
        let cheapest = all_trees(matrix.len(), root)
            .iter()
            .filter(|tree| tree.rdp(&matrix).max <= 1.0 + 1e-9)
            .map(|tree| tree.cost(&matrix))
            .fold(f64::INFINITY, f64::min);
        prop_assert_eq!(spt(&matrix, root).cost(&matrix), cheapest);
    }
}

proptest! {
    #[test]
    fn nobody_is_later_than_alpha_allows(
        matrix in any_matrix(2..40), root in 0..2_usize, alpha in any_alpha(),
    ) {
        let tree = last(&matrix, root, alpha);
        prop_assert_eq!(tree.root(), root);
        prop_assert!(tree.rdp(&matrix).max <= alpha.factor() * (1.0 + 1e-6));
        prop_assert!(tree.cost(&matrix) <= spt(&matrix, root).cost(&matrix));
        prop_assert!(spt(&matrix, root).rdp(&matrix).max <= 1.0 + 1e-6);
    }

    #[test]
    fn in_a_metric_the_cost_keeps_the_bound_of_khuller_raghavachari_and_young(
        matrix in metric(2..24), root in 0..2_usize, alpha in any_alpha(),
    ) {
        let bound = 1.0 + 2.0 / (alpha.factor() - 1.0);
        let light = mst(&matrix, root).cost(&matrix);
        prop_assert!(last(&matrix, root, alpha).cost(&matrix) <= bound * light * (1.0 + 1e-9));
    }
}
