//! Generated networks: connected, within their range, equal for equal seeds, exact delays.

use opus_model::{Stretch, last, mst};
use proptest::prelude::*;

use super::*;
use crate::topology::Topology;

fn network(seed: u64) -> TransitStub {
    TransitStub::new(&Parameters::default(), Seed::new(seed)).unwrap()
}

#[test]
fn a_hundred_seeds_give_connected_networks_of_600_routers_within_range() {
    let mut longest = Vec::new();
    for seed in 0..100 {
        let network = network(seed);
        assert_eq!((network.routers(), network.transit_routers()), (600, 24));
        let graph = network.graph();
        assert!(graph.is_connected());
        let mut max = 0;
        for v in 1..600 {
            let rtt_us = network.rtt_us(0, v);
            assert!(rtt_us >= 1_000);
            max = max.max(rtt_us);
        }
        longest.push(max);
    }
    longest.sort_unstable();
    // A world is 219 ms wide; detours over the backbone make the longest way longer.
    assert!(longest[0] >= 100_000, "{}", longest[0]);
    assert!(longest[99] <= 750_000, "{}", longest[99]);
}

#[test]
fn delays_are_the_shortest_paths_over_all_links() {
    for seed in 0..3 {
        let network = network(seed);
        let graph = network.graph();
        for from in (0..600).step_by(7) {
            for (to, distance) in shortest_paths(&graph, from).into_iter().enumerate() {
                let expected = f64::from(network.rtt_us(from, to)) / 1e3;
                assert!(
                    (distance - expected).abs() < 1e-6,
                    "{from} to {to}: {distance}"
                );
            }
        }
    }
}

#[test]
fn equal_seeds_give_equal_networks_and_others_do_not() {
    assert_eq!(network(5), network(5));
    assert_ne!(network(5), network(6));
    let matrix = |seed| {
        let topology = Topology::of_transit_stub(network(seed), 40, Seed::new(seed)).unwrap();
        topology.to_matrix().unwrap()
    };
    assert_eq!(matrix(5), matrix(5));
    assert_ne!(matrix(5), matrix(6));
}

#[test]
fn parameters_grow_with_the_members() {
    assert_eq!(Parameters::for_members(500), Parameters::default());
    for members in [501, 1_000, 10_000, 50_000] {
        let network = TransitStub::new(&Parameters::for_members(members), Seed::new(1)).unwrap();
        let routers = network.routers();
        assert!(
            (members..2 * members).contains(&routers),
            "{routers} for {members}"
        );
    }
    let beyond = TransitStub::new(&Parameters::for_members(usize::MAX), Seed::new(1));
    assert!(matches!(beyond, Err(BadParameters::TooMany { .. })));
}

#[test]
fn ten_thousand_members_need_no_matrix() {
    let network = TransitStub::new(&Parameters::for_members(10_000), Seed::new(9)).unwrap();
    let topology = Topology::of_transit_stub(network, 10_000, Seed::new(9)).unwrap();
    assert_eq!(topology.len(), 10_000);
    let mut far = 0;
    for v in 1..10_000 {
        let rtt_us = topology.rtt_us(0, v);
        assert_eq!(rtt_us, topology.rtt_us(v, 0));
        assert!((1_000..750_000).contains(&rtt_us));
        far += u32::from(rtt_us > 50_000);
    }
    assert!(far > 5_000, "{far}");
}

#[test]
fn bad_parameters_are_refused() {
    let of = |parameters: Parameters| TransitStub::new(&parameters, Seed::new(0));
    let good = Parameters::default;
    for value in [0, COUNT_MAX + 1, usize::MAX] {
        let refused = of(Parameters {
            stubs: value,
            ..good()
        });
        assert_eq!(
            refused,
            Err(BadParameters::Count {
                name: "stubs",
                value
            })
        );
    }
    let backbone = Parameters {
        transit_domains: 200,
        transit_nodes: 11,
        stubs: 1,
        ..good()
    };
    let refused = BadParameters::TooMany {
        routers: 19_800,
        transit: 2_200,
    };
    assert_eq!(of(backbone), Err(refused));
    for value in [0.0, 1.1, f64::NAN] {
        let refused = of(Parameters {
            stub_links: value,
            ..good()
        });
        assert!(matches!(
            refused,
            Err(BadParameters::Probability {
                name: "stub_links",
                ..
            })
        ));
    }
    for value in [0.0, 220.0, f64::NAN] {
        let refused = of(Parameters {
            stub_ms: value,
            ..good()
        });
        assert!(matches!(
            refused,
            Err(BadParameters::Side {
                name: "stub_ms",
                ..
            })
        ));
    }
}

#[test]
fn generated_networks_cost_what_those_of_the_literature_cost() {
    let mut ratios = Vec::new();
    for seed in 0..12 {
        let topology = Topology::of_transit_stub(network(seed), 200, Seed::new(seed)).unwrap();
        let matrix = topology.to_matrix().unwrap();
        let tree = last(&matrix, 0, Stretch::new(1.5).unwrap());
        ratios.push(tree.cost(&matrix) / mst(&matrix, 0).cost(&matrix));
    }
    // What the original graphs give; ours are others, and fewer draws.
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!((mean - 1.088).abs() < 0.04, "{mean}");
}

prop_compose! {
    fn any_parameters()(
        numbers in prop::array::uniform4(1..5_usize),
        links in prop::array::uniform3(0.01..=1.0),
        sides in prop::array::uniform3(1.0..300.0),
    ) -> Parameters {
        let [transit_domains, transit_nodes, stubs, stub_nodes] = numbers;
        let [domain_links, transit_links, stub_links] = links;
        let world_ms = sides.into_iter().fold(0.0, f64::max);
        let [transit_ms, stub_ms, _] = sides;
        Parameters {
            transit_domains, transit_nodes, stubs, stub_nodes,
            domain_links, transit_links, stub_links, world_ms, transit_ms, stub_ms,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_network_is_connected_and_its_delays_exact(
        parameters in any_parameters(), seed in any::<u64>(),
    ) {
        let network = TransitStub::new(&parameters, Seed::new(seed)).unwrap();
        prop_assert_eq!(network.routers(), parameters.routers());
        let from = network.routers() - 1;
        for (to, distance) in shortest_paths(&network.graph(), from).into_iter().enumerate() {
            let expected = f64::from(network.rtt_us(from, to)) / 1e3;
            prop_assert!((distance - expected).abs() < 1e-6, "to {}: {}", to, distance);
        }
    }
}
