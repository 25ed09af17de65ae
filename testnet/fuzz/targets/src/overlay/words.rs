//! Messages of the overlay: lawful and unlawful numbers, lists a little longer than allowed.

use opus_core::{OverlayId, testing::Draw};
use opus_overlay::{
    Message, Sums,
    wire::{
        Answer, Beat, Body, Claim, Down, ENTRIES_MAX, Entry, Gossip, HINTS_MAX, HOPS_MAX, Hop,
        Leave, Offer, OfferKind, Parting, Pressure, Purpose, Reason, Standing, Up, Verdict,
    },
};

use crate::position;

/// A message of a peer; not all are lawful.
pub(super) fn message(draw: &mut Draw<'_>) -> Message {
    Message {
        overlay: OverlayId(u64::from(draw.any::<u8>() >> 6)),
        epoch: draw.small(),
        body: match draw.below(8) {
            0 => Body::Gossip(Box::new(gossip(draw))),
            1 => Body::Offer(Box::new(offer(draw))),
            2 => Body::Claim(Claim {
                of: draw.node(),
                serial: draw.small(),
                slack_us: slack(draw),
                seen_us: delay(draw),
            }),
            3..5 => Body::Verdict(Box::new(Verdict {
                of: draw.node(),
                serial: draw.small(),
                answer: answer(draw),
            })),
            5 => Body::Beat(Box::new(Beat::Down(down(draw)))),
            6 => Body::Beat(Box::new(Beat::Up(up(draw)))),
            _ => Body::Leave(Leave {
                why: one(draw, &[Parting::Moved, Parting::Goodbye, Parting::NoEdge]),
                to: draw.maybe(Draw::contact),
            }),
        },
    }
}

fn one<T: Copy>(draw: &mut Draw<'_>, of: &[T]) -> T {
    of[usize::from(draw.any::<u8>()) % of.len()]
}

/// Few as a rule, now and then as many as allowed and one more.
fn count(draw: &mut Draw<'_>, most: usize) -> usize {
    let most = if draw.share(1) { most + 1 } else { 4 };
    usize::from(draw.any::<u8>()) % (most + 1)
}

fn delay(draw: &mut Draw<'_>) -> u32 {
    if draw.share(2) {
        draw.any()
    } else {
        u32::from(draw.any::<u16>())
    }
}

fn slack(draw: &mut Draw<'_>) -> i64 {
    if draw.share(2) {
        draw.any()
    } else {
        i64::from(draw.any::<i16>())
    }
}

fn gossip(draw: &mut Draw<'_>) -> Gossip {
    let purpose = one(draw, &[Purpose::Exchange, Purpose::Ask, Purpose::Answer]);
    let me = standing(draw);
    let entry = |draw: &mut Draw<'_>| Entry {
        contact: draw.contact(),
        rtt_us: draw.maybe(delay),
        direct_us: draw.maybe(delay),
        position: draw.maybe(position),
    };
    Gossip {
        purpose,
        rtt_us: draw.maybe(delay),
        me,
        entries: (0..count(draw, ENTRIES_MAX)).map(|_| entry(draw)).collect(),
    }
}

fn offer(draw: &mut Draw<'_>) -> Offer {
    let kinds = [OfferKind::Cheaper, OfferKind::Violator, OfferKind::Orphan];
    Offer {
        serial: draw.small(),
        kind: one(draw, &kinds),
        leaf: draw.flag(),
        rtt_us: draw.maybe(delay),
        slack_us: slack(draw),
        seen_us: delay(draw),
        hint: draw.contact().hint,
        position: draw.maybe(position),
    }
}

fn standing(draw: &mut Draw<'_>) -> Standing {
    Standing {
        hint: draw.contact().hint,
        position: draw.maybe(position),
        direct_us: draw.maybe(delay),
        delay_us: delay(draw),
        rooted: draw.flag(),
        slots: draw.any(),
        version: draw.small(),
        path: (0..count(draw, HOPS_MAX)).map(|_| draw.node()).collect(),
    }
}

fn answer(draw: &mut Draw<'_>) -> Answer {
    match draw.below(3) {
        0 => Answer::Accept(Box::new(down(draw))),
        1 => Answer::Clear,
        _ => {
            let reasons = [
                Reason::Full,
                Reason::Loop,
                Reason::Busy,
                Reason::Stale,
                Reason::Depth,
                Reason::NoRoot,
                Reason::NotMember,
            ];
            Answer::Refuse {
                reason: one(draw, &reasons),
                hints: (0..count(draw, HINTS_MAX))
                    .map(|_| draw.contact())
                    .collect(),
                standing: draw.maybe(|draw| Box::new(standing(draw))),
            }
        }
    }
}

fn down(draw: &mut Draw<'_>) -> Down {
    let hop = |draw: &mut Draw<'_>| Hop {
        contact: draw.contact(),
        delay_us: delay(draw),
        version: draw.small(),
    };
    Down {
        alpha_milli: if draw.share(2) { draw.any() } else { 1_500 },
        delay_us: delay(draw),
        version: draw.small(),
        rooted: draw.flag(),
        pressure: one(draw, &[Pressure::None, Pressure::Move, Pressure::Yield]),
        members: draw.any(),
        path_serial: draw.small(),
        path: draw.maybe(|draw| (0..count(draw, HOPS_MAX)).map(|_| hop(draw)).collect()),
    }
}

fn up(draw: &mut Draw<'_>) -> Up {
    Up {
        slack_us: slack(draw),
        sums: Sums {
            covered: draw.any(),
            cost_us: draw.any(),
            rdp_max_milli: draw.any(),
            rdp_sum_milli: draw.any(),
            attached: draw.any(),
            violators: draw.any(),
            age_ms: draw.any(),
        },
        path_serial: draw.small(),
        slots: draw.any(),
        rtt_us: delay(draw),
        direct_us: draw.maybe(delay),
        position: draw.maybe(position),
        version: draw.small(),
    }
}
