//! Which nodes are of which site: some sites stand around one place, others are scattered.

use opus_core::Seed;
use opus_net::Regions;
use opus_site::dicast::label::Label;
use rand::{RngExt, seq::SliceRandom};

use super::scenario::Sites;

/// Of so many hundredths of all nodes a site is drawn at most: the others have none.
const LABELLED_PERCENT: usize = 60;

/// Of each node its label, if it has one.
pub(super) fn draw(
    sites: &Sites,
    regions: &Regions,
    nodes: usize,
    seed: Seed,
) -> Vec<Option<Label>> {
    let mut rng = seed.derive("sites", 0).rng();
    let mut labels = vec![None; nodes];
    let mut left = nodes * LABELLED_PERCENT / 100;
    for site in 0..sites.count {
        // As many small sites as large ones.
        let exponent: f64 = rng.random_range(0.0..=1.0);
        let (least, most) = (sites.least as f64, sites.most as f64);
        let size = least * (most / least).powf(exponent);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two numbers of nodes"
        )]
        let size = (size.round() as usize).min(left);
        left -= size;
        let scattered = rng.random_bool(sites.scattered);
        let centre = rng.random_range(0..regions.centres().len());
        let mut free = regions.by_distance(centre);
        free.retain(|&node| labels[node].is_none());
        if scattered {
            free.shuffle(&mut rng);
        }
        for node in free.into_iter().take(size) {
            labels[node] = Some(of(site));
        }
    }
    labels
}

/// The label of a site.
fn of(site: usize) -> Label {
    let mut label = [0; 16];
    label[8..].copy_from_slice(&(site as u64 + 1).to_be_bytes());
    Label(label)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use opus_net::RegionParameters;

    use super::*;

    #[test]
    fn sites_are_as_many_and_as_large_as_said() {
        let seed = Seed::new(3);
        let regions = Regions::new(&RegionParameters::default(), 2_000, seed).unwrap();
        let sites = Sites {
            count: 30,
            least: 1,
            most: 200,
            scattered: 0.5,
        };
        let mut members: BTreeMap<Label, usize> = BTreeMap::new();
        let labels = draw(&sites, &regions, 2_000, seed);
        for label in labels.iter().flatten() {
            *members.entry(*label).or_default() += 1;
        }
        assert_eq!(members.len(), 30);
        assert!(members.values().all(|size| (1..=200).contains(size)));
        assert!(labels.iter().filter(|label| label.is_none()).count() >= 800);
        assert_eq!(draw(&sites, &regions, 2_000, seed), labels);
    }
}
