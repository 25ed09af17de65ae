//! A row a second, for pictures.

/// What was seen at the end of one virtual second. What was not looked at is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Virtual seconds.
    pub at_s: u64,
    /// Nodes that run.
    pub alive: usize,
    /// Of these, covered.
    pub covered: usize,
    /// Trees.
    pub roots: usize,
    /// Seats of the dead.
    pub dead_seats: usize,
    /// Live nodes without a seat.
    pub unseated: usize,
    /// Live nodes in the rosters of two agents of level 1.
    pub seated_twice: usize,
    /// Bytes that the mean node sent in this second.
    pub sent_mean: f64,
    /// Bytes that the worst node sent or received in it.
    pub traffic_max: u64,
    /// Age of the answers for the load at the root, seconds: median and 99th percentile.
    pub age_s: Option<(f64, f64)>,
    /// Half their width over the tolerance.
    pub half_width_over_eps: Option<(f64, f64)>,
    /// Their distance from the truth of the moment over the tolerance.
    pub error_over_eps: Option<(f64, f64)>,
}

/// Median and 99th percentile; none of nothing.
pub(super) fn middle_and_most(values: &mut [f64]) -> Option<(f64, f64)> {
    Some((percentile(values, 50)?, percentile(values, 99)?))
}

/// The value that so many in a hundred do not exceed; none of nothing.
pub(super) fn percentile<T: PartialOrd + Copy>(values: &mut [T], percent: usize) -> Option<T> {
    if values.is_empty() {
        return None;
    }
    let at = (values.len() * percent / 100).min(values.len() - 1);
    let order = |a: &T, b: &T| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    let (_, value, _) = values.select_nth_unstable_by(at, order);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_99th_of_a_hundred() {
        let mut values: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(middle_and_most(&mut values), Some((50.0, 99.0)));
        assert_eq!(middle_and_most(&mut []), None);
    }
}
