//! Decisions over plain data: who follows an agent, where a cluster is cut in two, who is near.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use opus_core::Contact;
use opus_model::Position;

use crate::{
    cluster::{Place, Roster, Seat},
    label::{self, Label},
};

/// Rounds of 2-means. 8: with two centres over 48 points hardly anything moves after five.
const ROUNDS: usize = 8;

/// The seats that may hold a post, the best first: those up long enough go first, then those that
/// need not follow others of their label elsewhere, then the least mean distance to all, then the
/// smaller identity. Opus 3.3.
pub(crate) fn rank(roster: &Roster, proven: Duration) -> Vec<u8> {
    let own = label::common(roster).is_some();
    let mut fit: Vec<_> = roster
        .iter()
        .filter(|(_, seat)| seat.marks().fit)
        .map(|(slot, seat)| {
            let proven = u64::from(seat.standing.up_s) >= proven.as_secs();
            let goes = !own && seat.marks().label.is_some();
            let key = (Reverse(proven), goes, mean_us(roster, seat), seat.id());
            (key, slot)
        })
        .collect();
    fit.sort_unstable();
    fit.into_iter().map(|(_, slot)| slot).collect()
}

/// The deputies, the first successor first. Those `before` stay in their order as long as they are
/// fit: each change is told to all below. Others follow by rank, and the best goes first if it is
/// clearly better than the first of those before.
pub(crate) fn deputies(before: &[u8], roster: &Roster, proven: Duration) -> Vec<u8> {
    let ranked = rank(roster, proven);
    let mut deputies: Vec<u8> = before.to_vec();
    deputies.retain(|slot| ranked.contains(slot));
    let (Some(&best), Some(&first)) = (ranked.first(), deputies.first()) else {
        return ranked;
    };
    let is_proven = |slot: u8| {
        let seat = roster.get(slot);
        seat.is_some_and(|seat| u64::from(seat.standing.up_s) >= proven.as_secs())
    };
    let better = is_more_central(roster, best, first) || is_proven(best) && !is_proven(first);
    if better {
        deputies.retain(|&slot| slot != best);
        deputies.insert(0, best);
    }
    let others = ranked.into_iter().filter(|slot| !deputies.contains(slot));
    let others: Vec<u8> = others.collect();
    deputies.extend(others);
    deputies
}

fn mean_us(roster: &Roster, seat: &Seat) -> u64 {
    let us = |(_, other): (u8, &Seat)| u64::from(seat.place.estimate_us(other.place));
    roster.iter().map(us).sum::<u64>() / roster.len().max(1) as u64
}

/// A seat is more central if its mean distance to all is so many hundredths of the other's at
/// most, ...
const MORE_CENTRAL_PERCENT: u64 = 80;

/// ... and less by so many microseconds: on a local net all are alike.
const MORE_CENTRAL_US: u64 = 1_000;

/// Whether `one` is clearly nearer to all than `other`: by so much that errors of coordinates do
/// not pass a post to and fro.
pub(crate) fn is_more_central(roster: &Roster, one: u8, other: u8) -> bool {
    let (Some(one), Some(other)) = (roster.get(one), roster.get(other)) else {
        return false;
    };
    let known = one.place.is_known() && other.place.is_known();
    let (one_us, other_us) = (mean_us(roster, one), mean_us(roster, other));
    let by_share = one_us * 100 <= other_us * MORE_CENTRAL_PERCENT;
    known && by_share && one_us + MORE_CENTRAL_US <= other_us
}

/// The middle of all places that are known.
pub(crate) fn centre(places: impl Iterator<Item = Place>) -> Place {
    let known: Vec<_> = places.filter_map(Place::position).collect();
    if known.is_empty() {
        return Place::default();
    }
    let count = i64::try_from(known.len()).unwrap_or(i64::MAX);
    let mean = |us: i64| i32::try_from(us / count).unwrap_or_default();
    let axis = |axis: usize| mean(known.iter().map(|p| i64::from(p.0[axis])).sum());
    let height: u64 = known.iter().map(|p| u64::from(p.1)).sum();
    let error = known.iter().map(|p| p.2).max().unwrap_or(u16::MAX);
    let point = std::array::from_fn(axis);
    let height = u32::try_from(height / known.len() as u64).unwrap_or(u32::MAX);
    Place::at(Position(point, height, error).clamped())
}

/// Two seats far apart around which the others gather, by 2-means over places; any two if fewer
/// have a place.
pub(crate) fn poles(roster: &Roster) -> Option<(u8, u8)> {
    let placed: Roster = roster
        .iter()
        .filter(|(_, seat)| seat.place.is_known())
        .map(|(slot, seat)| (slot, seat.clone()))
        .collect();
    let among = if placed.len() < 2 { roster } else { &placed };
    let first = among.iter().next()?.0;
    let mut other = farthest(among, first)?;
    let mut one = farthest(among, other)?;
    for _ in 0..ROUNDS {
        let (near_one, near_other): (Vec<_>, Vec<_>) = among
            .iter()
            .partition(|(_, seat)| is_nearer(among, seat, one, other));
        let (Some(next_one), Some(next_other)) = (medoid(&near_one), medoid(&near_other)) else {
            break;
        };
        if (next_one, next_other) == (one, other) {
            break;
        }
        (one, other) = (next_one, next_other);
    }
    Some((one, other))
}

fn farthest(roster: &Roster, from: u8) -> Option<u8> {
    let place = roster.get(from)?.place;
    let others = roster.iter().filter(|&(slot, _)| slot != from);
    let far = others.max_by_key(|(slot, seat)| (seat.place.estimate_us(place), *slot));
    far.map(|(slot, _)| slot)
}

fn is_nearer(roster: &Roster, seat: &Seat, one: u8, other: u8) -> bool {
    let us = |pole| {
        roster
            .get(pole)
            .map(|pole: &Seat| seat.place.estimate_us(pole.place))
    };
    us(one) <= us(other)
}

/// The seat nearest to the middle of these.
fn medoid(seats: &[(u8, &Seat)]) -> Option<u8> {
    let middle = centre(seats.iter().map(|(_, seat)| seat.place));
    let nearest = seats
        .iter()
        .min_by_key(|(slot, seat)| (seat.place.estimate_us(middle), *slot));
    nearest.map(|&(slot, _)| slot)
}

/// Who goes to the second pole: those that are nearer to it, but so that both sides keep
/// `size_min`, if that can be without parting those of one label. `sides`: seat, round trips to
/// both poles in microseconds.
pub(crate) fn cut(
    sides: Vec<(u8, u32, u32)>,
    label: impl Fn(u8) -> Option<Label>,
    size_min: usize,
) -> Vec<u8> {
    let seats = sides.len();
    let mut groups = together(sides, label);
    groups.sort_unstable_by_key(|group| (group.lean, group.slots.first().copied()));
    let least = size_min.min(seats / 2);
    let natural: usize = groups
        .iter()
        .filter(|group| group.lean <= 0)
        .map(|group| group.slots.len())
        .sum();
    let wanted = natural.clamp(least, seats - least);
    let mut before = 0;
    let ends = groups.iter().zip(1..).map(|(group, end)| {
        before += group.slots.len();
        (before, end)
    });
    // Both sides need somebody.
    let ends = ends.filter(|(before, _)| *before < seats);
    let best = ends.min_by_key(|(before, _)| {
        let outside = before.abs_diff(*before.clamp(&least, &(seats - least)));
        (outside, before.abs_diff(wanted))
    });
    let at = best.map_or(groups.len(), |(_, end)| end);
    let away = groups[at..].iter();
    away.flat_map(|group| group.slots.iter().copied()).collect()
}

/// Seats that go to the same side.
struct Together {
    /// By how much they are nearer to the second pole, microseconds.
    lean: i64,
    slots: Vec<u8>,
}

/// Those of one label stay together, unless there are no others.
fn together(sides: Vec<(u8, u32, u32)>, label: impl Fn(u8) -> Option<Label>) -> Vec<Together> {
    let mut labels = sides.iter().map(|&(slot, ..)| label(slot));
    let first = labels.next().flatten();
    let one_label = first.is_some() && labels.all(|it| it == first);
    let mut alone = Vec::new();
    let mut of_label: BTreeMap<Label, Together> = BTreeMap::new();
    for (slot, one, other) in sides {
        let lean = i64::from(one) - i64::from(other);
        match label(slot).filter(|_| !one_label) {
            Some(label) => {
                let slots = Vec::new();
                let group = of_label.entry(label).or_insert(Together { lean: 0, slots });
                group.lean += lean;
                group.slots.push(slot);
            }
            None => alone.push(Together {
                lean,
                slots: vec![slot],
            }),
        }
    }
    for group in of_label.values_mut() {
        group.lean /= i64::try_from(group.slots.len()).unwrap_or(1);
    }
    alone.extend(of_label.into_values());
    alone
}

/// The nearest of some to `place`, the nearest first, at most `max`.
pub(crate) fn nearest<'a>(
    seats: impl Iterator<Item = (u8, &'a Seat)>,
    place: Place,
    max: usize,
) -> Vec<(Contact, Place)> {
    let mut seats: Vec<_> = seats.collect();
    seats.sort_by_key(|(slot, seat)| (seat.place.estimate_us(place), *slot));
    let named = seats.into_iter().take(max);
    named
        .map(|(_, seat)| (seat.contact.clone(), seat.place))
        .collect()
}

/// Some that are far from each other, as whose delays tell best where one stands: at most `max`,
/// beginning with one chosen by `from`. Those before are the farthest apart.
pub(crate) fn spread<'a>(
    seats: impl Iterator<Item = (u8, &'a Seat)>,
    from: usize,
    max: usize,
) -> Vec<(Contact, Place)> {
    let mut left: Vec<&Seat> = seats.map(|(_, seat)| seat).collect();
    let mut chosen: Vec<&Seat> = Vec::new();
    let mut next = (!left.is_empty()).then(|| from % left.len());
    while let Some(at) = next.filter(|_| chosen.len() < max) {
        chosen.push(left.swap_remove(at));
        let apart = |seat: &Seat| {
            let us = chosen.iter().map(|it| seat.place.estimate_us(it.place));
            us.min()
        };
        next = (0..left.len()).max_by_key(|&at| apart(left[at]));
    }
    let named = chosen.into_iter();
    named
        .map(|seat| (seat.contact.clone(), seat.place))
        .collect()
}

#[cfg(test)]
mod tests {
    use opus_core::NodeId;

    use super::*;
    use crate::{cluster::Standing, label::Marks};

    fn seat(index: u32, x_ms: i32, up_s: u32, fit: bool) -> Seat {
        Seat {
            contact: Contact::bare(NodeId::from_index(index)),
            incarnation: 1,
            place: Place::at(Position([x_ms * 1_000, 0, 0], 1_000, 10)),
            standing: Standing::of(Marks::of(fit), None).after(up_s),
            size: 1,
        }
    }

    fn roster(seats: Vec<Seat>) -> Roster {
        (0..).zip(seats).collect()
    }

    #[test]
    fn deputies_are_fit_proven_and_central_in_this_order() {
        let roster = roster(vec![
            seat(0, 0, 60, false),
            seat(1, 50, 60, true),
            seat(2, 10, 5, true),
            seat(3, 11, 60, true),
            seat(4, 9, 60, true),
        ]);
        let ranked = rank(&roster, Duration::from_secs(30));
        assert_eq!(ranked, [3, 4, 1, 2]);
    }

    #[test]
    fn deputies_keep_their_order_unless_another_is_clearly_better() {
        let at = |x_ms: &[i32]| {
            let seats = x_ms.iter().zip(0..);
            roster(seats.map(|(&x, index)| seat(index, x, 60, true)).collect())
        };
        let proven = Duration::from_secs(30);
        // Seat 2 is the most central, by a little.
        let even = at(&[0, 12, 10, 20, 9]);
        assert_eq!(deputies(&[], &even, proven), [2, 4, 1, 3, 0]);
        assert_eq!(deputies(&[1, 3, 0], &even, proven), [1, 3, 0, 2, 4]);
        // Seat 0 stands apart from all others.
        let uneven = at(&[90, 12, 10, 11]);
        assert_eq!(deputies(&[0, 2, 3], &uneven, proven), [1, 0, 2, 3]);
        assert_eq!(deputies(&[7, 1], &uneven, proven)[0], 1);
    }

    #[test]
    fn two_groups_are_cut_between_them() {
        let places = [0, 1, 2, 3, 80, 81, 82, 83];
        let seats = places
            .iter()
            .zip(0..)
            .map(|(&x, index)| seat(index, x, 0, true));
        let roster = roster(seats.collect());
        let (one, other) = poles(&roster).unwrap();
        assert_ne!(one < 4, other < 4, "{one} and {other} stand in one group");
        let us = |slot: u8, pole: u8| {
            let place = |slot| roster.get(slot).unwrap().place;
            place(slot).estimate_us(place(pole))
        };
        let sides = (0..8).map(|slot| (slot, us(slot, one), us(slot, other)));
        let mut away = cut(sides.collect(), |_| None, 2);
        away.sort_unstable();
        let far: Vec<u8> = if other < 4 {
            (0..4).collect()
        } else {
            (4..8).collect()
        };
        assert_eq!(away, far);
    }

    #[test]
    fn a_cut_leaves_enough_on_both_sides() {
        let lean: Vec<_> = (0..10)
            .map(|slot| (slot, 1, 100 + u32::from(slot)))
            .collect();
        assert_eq!(cut(lean, |_| None, 4).len(), 4);
        let few = vec![(0, 1, 2), (1, 1, 2), (2, 1, 2)];
        assert_eq!(cut(few, |_| None, 4).len(), 1);
    }

    #[test]
    fn a_cut_parts_no_label_unless_all_are_of_it() {
        let of = |labels: &'static [u8]| {
            move |slot: u8| {
                let label = labels[usize::from(slot)];
                (label > 0).then_some(Label([label; 16]))
            }
        };
        // Seats 0 to 4 lean to the first pole, the others to the second; label 1 is on both sides.
        let sides = || {
            (0..10)
                .map(|slot| (slot, if slot < 5 { 1 } else { 9 }, 5))
                .collect()
        };
        let mut away = cut(sides(), of(&[0, 0, 0, 1, 1, 1, 0, 0, 0, 0]), 4);
        away.sort_unstable();
        assert_eq!(away, [6, 7, 8, 9]);
        // A label that leaves too few to the others goes alone all the same.
        assert_eq!(
            cut(sides(), of(&[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]), 4).len(),
            2
        );
        assert_eq!(cut(sides(), of(&[1; 10]), 4).len(), 5);
    }

    #[test]
    fn a_seat_without_a_place_is_no_pole() {
        let mut seats: Vec<Seat> = (0..6).map(|index| seat(index, 0, 0, true)).collect();
        seats[3].place = Place::default();
        let (one, other) = poles(&roster(seats)).unwrap();
        assert!(one != other && one != 3 && other != 3, "{one} and {other}");
    }

    #[test]
    fn seats_without_a_place_have_two_poles_all_the_same() {
        let blind = |index| Seat {
            place: Place::default(),
            ..seat(index, 0, 0, true)
        };
        let (one, other) = poles(&roster((0..5).map(blind).collect())).unwrap();
        assert_ne!(one, other);
        assert_eq!(poles(&roster(vec![blind(0)])), None);
    }

    #[test]
    fn those_that_are_spread_begin_anywhere_and_are_far_apart() {
        let at = [0, 1, 2, 50, 51, 90, 91];
        let seats = at
            .iter()
            .zip(0..)
            .map(|(&x, index)| seat(index, x, 0, true));
        let roster = roster(seats.collect());
        let firsts: Vec<u32> = (0..7)
            .map(|from| {
                let named = spread(roster.iter(), from, 3);
                let mut groups: Vec<i32> = named
                    .iter()
                    .map(|(_, place)| place.position().unwrap().0[0] / 40_000)
                    .collect();
                groups.sort_unstable();
                assert_eq!(groups, [0, 1, 2], "from {from}");
                named[0].0.id.index()
            })
            .collect();
        assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(spread(roster.iter(), 9, 12).len(), 7);
        assert!(spread(std::iter::empty(), 9, 12).is_empty());
    }

    #[test]
    fn the_nearest_come_first() {
        let seats = [40, 10, 30, 20]
            .iter()
            .zip(0..)
            .map(|(&x, index)| seat(index, x, 0, true));
        let roster = roster(seats.collect());
        let here = Place::at(Position([0, 0, 0], 1_000, 10));
        let named = nearest(roster.iter(), here, 2);
        let ids: Vec<u32> = named
            .iter()
            .map(|(contact, _)| contact.id.index())
            .collect();
        assert_eq!(ids, [1, 3]);
    }
}
