//! The decisions of the drift tree, on plain data: where a member should move next.
//!
//! Each member drifts to the cheapest parent it knows that keeps everyone within the bound; that
//! is a LAST built from partial knowledge. Source: Opus 3.1; Khuller, Raghavachari, Young 1995.

use opus_core::NodeId;

use crate::wire::OfferKind;

/// Where a member sits. Delays are round trips in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Direct to the root.
    pub(crate) direct_us: u32,
    /// Over the tree to the root.
    pub(crate) delay_us: u32,
    /// Of the edge to the parent.
    pub(crate) edge_us: u32,
    /// How much later the branch may hear.
    pub(crate) slack_us: i64,
    /// The knob.
    pub(crate) alpha_milli: u32,
    /// A new edge must cost less than this share of the present one.
    pub(crate) gain_milli: u32,
}

/// A member that might become the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: NodeId,
    /// Measured.
    pub(crate) rtt_us: u32,
    /// Its delay over the tree; if that is not known, the least it can be.
    pub(crate) delay_us: u32,
    /// Whether its standing was told lately enough to offer.
    pub(crate) fresh: bool,
    /// Whether it takes a child that only wants a cheaper edge.
    pub(crate) roomy: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Nothing is better.
    Stay,
    /// Over the bound, and nobody known is better.
    Stuck,
    /// This one looks best; its standing must be asked for first.
    Ask(NodeId),
    /// Offer to this one.
    Offer(NodeId, OfferKind),
}

/// The delay that `alpha` allows a node `direct_us` away from the root.
pub(crate) fn bound_us(alpha_milli: u32, direct_us: u32) -> u32 {
    let bound = u64::from(alpha_milli) * u64::from(direct_us) / 1_000;
    u32::try_from(bound).unwrap_or(u32::MAX)
}

/// Rule 4 of the drift tree: the cheapest candidate (b) within the bound, (c) cheaper than the
/// present edge and (d) without breaking anyone below. A violator skips (c), and without such a
/// candidate takes the least delay below its own. Rule (a), no loop, is the caller's.
pub(crate) fn choose(seat: &Seat, candidates: &[Candidate]) -> Choice {
    let violates = seat.delay_us > bound_us(seat.alpha_milli, seat.direct_us);
    let delay = |c: &Candidate| c.delay_us.saturating_add(c.rtt_us);
    let best = candidates
        .iter()
        .filter(|c| fits(seat, c, violates))
        .min_by_key(|c| (c.rtt_us, delay(c), c.id));
    let resort = || {
        candidates
            .iter()
            .filter(|c| violates && delay(c) < seat.delay_us)
            .min_by_key(|c| (delay(c), c.id))
    };
    let kind = if violates {
        OfferKind::Violator
    } else {
        OfferKind::Cheaper
    };
    match best.or_else(resort) {
        Some(candidate) if candidate.fresh => Choice::Offer(candidate.id, kind),
        Some(candidate) => Choice::Ask(candidate.id),
        None if violates => Choice::Stuck,
        None => Choice::Stay,
    }
}

fn fits(seat: &Seat, candidate: &Candidate, violates: bool) -> bool {
    let delay_us = candidate.delay_us.saturating_add(candidate.rtt_us);
    let rise_us = i64::from(delay_us) - i64::from(seat.delay_us);
    let within = delay_us <= bound_us(seat.alpha_milli, seat.direct_us);
    let harmless = rise_us <= 0 || rise_us <= seat.slack_us;
    let dearest_us = u64::from(seat.edge_us) * u64::from(seat.gain_milli) / 1_000;
    let cheaper = candidate.roomy && u64::from(candidate.rtt_us) < dearest_us;
    within && harmless && (violates || cheaper)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat = Seat {
        direct_us: 100,
        delay_us: 120,
        edge_us: 60,
        slack_us: 30,
        alpha_milli: 1_500,
        gain_milli: 995,
    };

    fn candidate(index: u32, rtt_us: u32, delay_us: u32) -> Candidate {
        Candidate {
            id: NodeId::from_index(index),
            rtt_us,
            delay_us,
            fresh: true,
            roomy: true,
        }
    }

    fn offer(index: u32, kind: OfferKind) -> Choice {
        Choice::Offer(NodeId::from_index(index), kind)
    }

    #[test]
    fn the_cheapest_within_the_bound_is_taken() {
        let candidates = [
            candidate(1, 20, 140),
            candidate(2, 40, 100),
            candidate(3, 50, 50),
        ];
        assert_eq!(choose(&SEAT, &candidates), offer(2, OfferKind::Cheaper));
    }

    #[test]
    fn a_rise_beyond_the_slack_of_the_branch_is_refused() {
        let rising = [candidate(1, 20, 129)];
        assert_eq!(choose(&SEAT, &rising), offer(1, OfferKind::Cheaper));
        let tight = Seat {
            slack_us: 28,
            ..SEAT
        };
        assert_eq!(choose(&tight, &rising), Choice::Stay);
        let falling = [candidate(1, 20, 99)];
        let broken = Seat {
            slack_us: -5,
            ..SEAT
        };
        assert_eq!(choose(&broken, &falling), offer(1, OfferKind::Cheaper));
    }

    #[test]
    fn noise_moves_nobody() {
        let seat = Seat {
            edge_us: 1_000,
            ..SEAT
        };
        assert_eq!(choose(&seat, &[candidate(1, 995, 0)]), Choice::Stay);
    }

    #[test]
    fn a_violator_takes_a_dearer_edge_and_at_last_any_shorter_way() {
        let seat = Seat {
            delay_us: 200,
            slack_us: -50,
            ..SEAT
        };
        let dear = [candidate(1, 90, 50)];
        assert_eq!(choose(&seat, &dear), offer(1, OfferKind::Violator));
        let long = [candidate(1, 90, 100), candidate(2, 90, 90)];
        assert_eq!(choose(&seat, &long), offer(2, OfferKind::Violator));
        assert_eq!(choose(&seat, &[candidate(1, 90, 110)]), Choice::Stuck);
    }

    #[test]
    fn a_candidate_of_unknown_standing_is_asked_first() {
        let unknown = Candidate {
            fresh: false,
            ..candidate(1, 20, 80)
        };
        let known = candidate(2, 30, 80);
        let asked = Choice::Ask(NodeId::from_index(1));
        assert_eq!(choose(&SEAT, &[unknown, known]), asked);
    }

    #[test]
    fn a_full_candidate_is_only_for_violators() {
        let full = Candidate {
            roomy: false,
            ..candidate(1, 20, 80)
        };
        assert_eq!(choose(&SEAT, &[full]), Choice::Stay);
        let seat = Seat {
            delay_us: 200,
            ..SEAT
        };
        assert_eq!(choose(&seat, &[full]), offer(1, OfferKind::Violator));
    }
}
