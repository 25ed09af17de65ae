//! Draws the domains and links of a transit-stub network.

use opus_core::Rng;
use rand::RngExt;

use super::{LINK_MS_MIN, Parameters};

/// Drawings of one domain before its parts are joined by force: at the default probabilities
/// each drawing is connected with 1/2 or more.
const DRAWINGS_MAX: usize = 100;

/// Links between routers: both ends and the length, whole microseconds of round trip.
pub(super) type Links = Vec<(usize, usize, f64)>;

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

/// What was drawn, before any path is computed.
pub(super) struct Draft {
    pub(super) transit_routers: usize,
    pub(super) backbone: Links,
    pub(super) stubs: Vec<StubDraft>,
}

/// A stub domain: routers `0..routers`; the link to the gateway ends at node `routers`.
pub(super) struct StubDraft {
    pub(super) gateway: usize,
    pub(super) routers: usize,
    pub(super) links: Links,
}

pub(super) fn draw(parameters: &Parameters, mut rng: Rng) -> Draft {
    let rng = &mut rng;
    let mut draft = Draft {
        transit_routers: 0,
        backbone: Vec::new(),
        stubs: Vec::new(),
    };
    let mut domains = Vec::new();
    for size in sizes(rng, parameters.transit_domains, parameters.transit_nodes) {
        let corner = corner_near(rng, None, parameters.transit_ms, parameters.world_ms);
        let places = places(rng, size, corner, parameters.transit_ms);
        let first = draft.transit_routers;
        draft.transit_routers += size;
        for (a, b) in connected(rng, size, parameters.transit_links) {
            draft
                .backbone
                .push((first + a, first + b, length_us(places[a], places[b])));
        }
        let stubs = sizes(rng, size, parameters.stubs);
        for ((gateway, &place), stubs) in (first..).zip(&places).zip(stubs) {
            for routers in sizes(rng, stubs, parameters.stub_nodes) {
                draft
                    .stubs
                    .push(stub(rng, parameters, (gateway, place), routers));
            }
        }
        domains.push((first, places));
    }
    for (a, b) in connected(rng, domains.len(), parameters.domain_links) {
        // GT-ITM walks both arcs of a pair of domains, and links two routers for each.
        for _ in 0..2 {
            let mut pick = |domain: usize| {
                let (first, places): &(usize, Vec<Point>) = &domains[domain];
                let router = rng.random_range(0..places.len());
                (first + router, places[router])
            };
            let ((u, from), (v, to)) = (pick(a), pick(b));
            draft.backbone.push((u, v, length_us(from, to)));
        }
    }
    draft
}

fn stub(
    rng: &mut Rng,
    parameters: &Parameters,
    (gateway, place): (usize, Point),
    routers: usize,
) -> StubDraft {
    let corner = corner_near(rng, Some(place), parameters.stub_ms, parameters.world_ms);
    let places = places(rng, routers, corner, parameters.stub_ms);
    let mut links: Links = connected(rng, routers, parameters.stub_links)
        .into_iter()
        .map(|(a, b)| (a, b, length_us(places[a], places[b])))
        .collect();
    let border = rng.random_range(0..routers);
    links.push((border, routers, length_us(places[border], place)));
    StubDraft {
        gateway,
        routers,
        links,
    }
}

/// `count` sizes of at least 1 whose sum is `count * mean`: single units move between them.
fn sizes(rng: &mut Rng, count: usize, mean: usize) -> Vec<usize> {
    let mut sizes = vec![mean; count];
    for _ in 0..3 * count {
        let (from, to) = (rng.random_range(0..count), rng.random_range(0..count));
        if from != to && sizes[from] > 1 {
            sizes[from] -= 1;
            sizes[to] += 1;
        }
    }
    sizes
}

/// Corner of a square of `side` in the world: one that reaches `near`, or any.
fn corner_near(rng: &mut Rng, near: Option<Point>, side: f64, world: f64) -> Point {
    let mut axis = |near: Option<f64>| {
        let (low, high) = near.map_or((0.0, world - side), |at| {
            ((at - side).max(0.0), at.min(world - side))
        });
        low + (high - low).max(0.0) * rng.random::<f64>()
    };
    Point {
        x: axis(near.map(|at| at.x)),
        y: axis(near.map(|at| at.y)),
    }
}

fn places(rng: &mut Rng, count: usize, corner: Point, side: f64) -> Vec<Point> {
    let mut place = || Point {
        x: corner.x + side * rng.random::<f64>(),
        y: corner.y + side * rng.random::<f64>(),
    };
    (0..count).map(|_| place()).collect()
}

/// Pairs of `0..count` that make a connected graph, each drawn with this probability.
fn connected(rng: &mut Rng, count: usize, probability: f64) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for _ in 0..DRAWINGS_MAX {
        pairs = (0..count)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .collect();
        pairs.retain(|_| rng.random_bool(probability));
        if pieces(count, &pairs).iter().all(|&piece| piece == 0) {
            return pairs;
        }
    }
    // Too sparse to hope for: join each piece to the first one by a random link.
    let piece_of = pieces(count, &pairs);
    let reached: Vec<usize> = (0..count).filter(|&node| piece_of[node] == 0).collect();
    for node in (0..count).filter(|&node| piece_of[node] == node && node != 0) {
        pairs.push((node, reached[rng.random_range(0..reached.len())]));
    }
    pairs
}

/// The lowest node of the piece of each node.
fn pieces(count: usize, pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut piece: Vec<usize> = (0..count).collect();
    for &(a, b) in pairs {
        let (keep, give_up) = (piece[a].min(piece[b]), piece[a].max(piece[b]));
        if keep != give_up {
            for of_node in &mut piece {
                if *of_node == give_up {
                    *of_node = keep;
                }
            }
        }
    }
    piece
}

/// Distance of two points in whole microseconds, at least that of the shortest link.
fn length_us(a: Point, b: Point) -> f64 {
    let (x, y) = (a.x - b.x, a.y - b.y);
    ((x * x + y * y).sqrt().max(LINK_MS_MIN) * 1e3).round()
}

#[cfg(test)]
mod tests {
    use opus_core::Seed;

    use super::*;

    #[test]
    fn sizes_vary_but_their_sum_does_not() {
        let mut rng = Seed::new(1).rng();
        let drawn = sizes(&mut rng, 24, 3);
        assert_eq!(drawn.iter().sum::<usize>(), 72);
        assert!(drawn.iter().all(|&size| size >= 1));
        assert!(drawn.iter().any(|&size| size != 3));
        assert_eq!(sizes(&mut rng, 1, 9), [9]);
    }

    #[test]
    fn a_domain_too_sparse_to_be_connected_is_joined_by_force() {
        let mut rng = Seed::new(2).rng();
        let pairs = connected(&mut rng, 60, 0.001);
        assert!(pieces(60, &pairs).iter().all(|&piece| piece == 0));
        assert!(pairs.len() < 70, "{}", pairs.len());
        assert!(connected(&mut rng, 1, 0.5).is_empty());
    }

    #[test]
    fn a_square_near_a_point_reaches_it() {
        let mut rng = Seed::new(3).rng();
        for near in [Point { x: 0.0, y: 219.0 }, Point { x: 100.0, y: 20.0 }] {
            for _ in 0..100 {
                let corner = corner_near(&mut rng, Some(near), 52.0, 219.0);
                for (low, at) in [(corner.x, near.x), (corner.y, near.y)] {
                    assert!((0.0..=167.0).contains(&low));
                    assert!(low <= at && at <= low + 52.0, "{low} {at}");
                }
            }
        }
    }
}
