//! How near the agents of level 1 are, beside what one could do who knew all places.
//!
//! The yardstick: as many clusters, by k-means over the true places of the same nodes, each with
//! the member as agent whose mean round trip to the others is least. It knows no bounds on sizes,
//! which make every lawful tree a little worse.

use std::collections::BTreeMap;

use opus_core::Rng;
use opus_net::{Place, Regions};
use rand::RngExt;

/// Rounds of k-means: later ones move the mean by less than a hundredth.
const ROUNDS: usize = 12;

/// The mean delay of the nodes to their agents over that of the yardstick. `agents`: of each seated
/// node its agent. None if there are no two nodes in any cluster.
pub(super) fn leaf_rtt_ratio(
    regions: &Regions,
    agents: &BTreeMap<usize, usize>,
    rng: &mut Rng,
) -> Option<f64> {
    let mut clusters: BTreeMap<usize, usize> = BTreeMap::new();
    for agent in agents.values() {
        *clusters.entry(*agent).or_default() += 1;
    }
    let ours = mean(
        agents
            .iter()
            .filter(|(node, agent)| node != agent)
            .map(|(node, agent)| f64::from(regions.one_way_us(*node, *agent))),
    )?;
    let nodes: Vec<usize> = agents.keys().copied().collect();
    let best = mean(yardstick(regions, &nodes, clusters.len(), rng).into_iter())?;
    (best > 0.0).then(|| ours / best)
}

/// Of all nodes but the agents, the delay to the agent in microseconds, one way.
fn yardstick(regions: &Regions, nodes: &[usize], count: usize, rng: &mut Rng) -> Vec<f64> {
    let places: Vec<Place> = nodes.iter().map(|&node| regions.place(node)).collect();
    let mut members = vec![Vec::new(); count];
    for (node, cluster) in nodes.iter().zip(k_means(&places, count, rng)) {
        members[cluster].push(*node);
    }
    let mut delays = Vec::with_capacity(nodes.len());
    for members in members {
        let us = |agent: usize, node: usize| u64::from(regions.one_way_us(node, agent));
        let sum = |agent: &usize| {
            let all = members.iter().map(|&node| us(*agent, node));
            (all.sum::<u64>(), *agent)
        };
        if let Some(agent) = members.iter().copied().min_by_key(sum) {
            let others = members.iter().filter(|&&node| node != agent);
            delays.extend(others.map(|&node| us(agent, node) as f64));
        }
    }
    delays
}

/// The cluster of each place. `count`: at least one if there are places.
fn k_means(places: &[Place], count: usize, rng: &mut Rng) -> Vec<usize> {
    let points: Vec<[f64; 2]> = places
        .iter()
        .map(|place| [f64::from(place.x_us), f64::from(place.y_us)])
        .collect();
    let mut centres = far_apart(&points, count, rng);
    let mut of = vec![0; points.len()];
    for _ in 0..ROUNDS {
        for (point, cluster) in points.iter().zip(&mut of) {
            *cluster = nearest(&centres, *point);
        }
        let mut sums = vec![[0.0; 3]; centres.len()];
        for (point, &cluster) in points.iter().zip(&of) {
            let sum = &mut sums[cluster];
            *sum = [sum[0] + point[0], sum[1] + point[1], sum[2] + 1.0];
        }
        for (centre, [x, y, members]) in centres.iter_mut().zip(sums) {
            if members > 0.0 {
                *centre = [x / members, y / members];
            }
        }
    }
    of
}

/// First centres, each drawn by its squared distance from those before: k-means++.
fn far_apart(points: &[[f64; 2]], count: usize, rng: &mut Rng) -> Vec<[f64; 2]> {
    let mut centres = Vec::with_capacity(count);
    let mut left = vec![f64::MAX; points.len()];
    let mut next = rng.random_range(0..points.len().max(1));
    while centres.len() < count.min(points.len()) {
        let centre = points[next];
        centres.push(centre);
        for (left, point) in left.iter_mut().zip(points) {
            *left = left.min(square(*point, centre));
        }
        let mut draw = rng.random::<f64>() * left.iter().sum::<f64>();
        let found = left.iter().position(|weight| {
            draw -= weight;
            draw < 0.0
        });
        next = found.unwrap_or(0);
    }
    centres
}

fn nearest(centres: &[[f64; 2]], point: [f64; 2]) -> usize {
    let mut best = (f64::MAX, 0);
    for (index, centre) in centres.iter().enumerate() {
        let far = square(point, *centre);
        if far < best.0 {
            best = (far, index);
        }
    }
    best.1
}

fn square(a: [f64; 2], b: [f64; 2]) -> f64 {
    let (x, y) = (a[0] - b[0], a[1] - b[1]);
    x * x + y * y
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use opus_core::Seed;
    use opus_net::RegionParameters;

    use super::*;

    fn regions() -> Regions {
        Regions::new(&RegionParameters::default(), 400, Seed::new(3)).unwrap()
    }

    /// The agents that the yardstick itself would choose.
    fn of_yardstick(regions: &Regions, count: usize) -> BTreeMap<usize, usize> {
        let nodes: Vec<usize> = (0..regions.len()).collect();
        let places: Vec<Place> = nodes.iter().map(|&node| regions.place(node)).collect();
        let of = k_means(&places, count, &mut Seed::new(1).rng());
        let mut agents = BTreeMap::new();
        for &node in &nodes {
            let members = nodes.iter().copied().filter(|&other| of[other] == of[node]);
            let members: Vec<usize> = members.collect();
            let sum = |agent: &usize| {
                let us = members.iter().map(|&node| regions.one_way_us(node, *agent));
                (us.map(u64::from).sum::<u64>(), *agent)
            };
            agents.insert(node, members.iter().copied().min_by_key(sum).unwrap());
        }
        agents
    }

    #[test]
    fn the_yardstick_beside_itself_is_1_and_agents_drawn_at_random_are_far() {
        let regions = regions();
        let ratio = |agents: &BTreeMap<usize, usize>| {
            leaf_rtt_ratio(&regions, agents, &mut Seed::new(1).rng()).unwrap()
        };
        let best = of_yardstick(&regions, 16);
        assert!((ratio(&best) - 1.0).abs() < 1e-9, "{}", ratio(&best));
        let anywhere: BTreeMap<usize, usize> = (0..400).map(|node| (node, node % 16)).collect();
        assert!(ratio(&anywhere) > 2.0, "{}", ratio(&anywhere));
    }

    #[test]
    fn nodes_that_are_all_agents_have_no_ratio() {
        let alone: BTreeMap<usize, usize> = (0..5).map(|node| (node, node)).collect();
        assert_eq!(
            leaf_rtt_ratio(&regions(), &alone, &mut Seed::new(1).rng()),
            None
        );
    }
}
