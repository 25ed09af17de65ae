//! Decisions over plain data: who follows an agent, where a cluster is cut in two, who is near.

use std::{cmp::Reverse, time::Duration};

use opus_core::Contact;
use opus_model::Position;

use crate::cluster::{Place, Roster, Seat};

/// Rounds of 2-means. 8: with two centres over 48 points hardly anything moves after five.
const ROUNDS: usize = 8;

/// The seats that may hold a post, the best first: those up long enough go first, then the least
/// mean distance to all, then the smaller identity. Opus 3.3.
pub(crate) fn rank(roster: &Roster, proven: Duration) -> Vec<u8> {
    let mut fit: Vec<_> = roster
        .iter()
        .filter(|(_, seat)| seat.fit)
        .map(|(slot, seat)| {
            let proven = u64::from(seat.up_s) >= proven.as_secs();
            let key = (Reverse(proven), mean_us(roster, seat), seat.id());
            (key, slot)
        })
        .collect();
    fit.sort_unstable();
    fit.into_iter().map(|(_, slot)| slot).collect()
}

fn mean_us(roster: &Roster, seat: &Seat) -> u64 {
    let us = |(_, other): (u8, &Seat)| u64::from(seat.place.estimate_us(other.place));
    roster.iter().map(us).sum::<u64>() / roster.len().max(1) as u64
}

/// The middle of all places that are known.
pub(crate) fn centre(places: impl Iterator<Item = Place>) -> Place {
    let known: Vec<_> = places.filter_map(|place| place.0).collect();
    let count = known.len() as i64;
    if count == 0 {
        return Place(None);
    }
    let mean = |us: i64| i32::try_from(us / count).unwrap_or_default();
    let axis = |axis: usize| mean(known.iter().map(|p| i64::from(p.0[axis])).sum());
    let height: u64 = known.iter().map(|p| u64::from(p.1)).sum();
    let error = known.iter().map(|p| p.2).max().unwrap_or(u16::MAX);
    let point = std::array::from_fn(axis);
    let height = u32::try_from(height / known.len() as u64).unwrap_or(u32::MAX);
    Place(Some(Position(point, height, error).clamped()))
}

/// Two seats far apart around which the others gather, by 2-means over places.
pub(crate) fn poles(roster: &Roster) -> Option<(u8, u8)> {
    let mut one = roster.iter().next()?.0;
    let mut other = farthest(roster, one)?;
    one = farthest(roster, other)?;
    for _ in 0..ROUNDS {
        let (near_one, near_other): (Vec<_>, Vec<_>) =
            roster.iter().partition(|(_, seat)| is_nearer(roster, seat, one, other));
        let next = (medoid(&near_one)?, medoid(&near_other).unwrap_or(other));
        if next == (one, other) {
            break;
        }
        (one, other) = next;
    }
    (one != other).then_some((one, other))
}

fn farthest(roster: &Roster, from: u8) -> Option<u8> {
    let place = roster.get(from)?.place;
    let others = roster.iter().filter(|&(slot, _)| slot != from);
    let far = others.max_by_key(|(slot, seat)| (seat.place.estimate_us(place), *slot));
    far.map(|(slot, _)| slot)
}

fn is_nearer(roster: &Roster, seat: &Seat, one: u8, other: u8) -> bool {
    let us = |pole| roster.get(pole).map(|pole: &Seat| seat.place.estimate_us(pole.place));
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
/// `size_min`. `sides`: seat, round trips to both poles in microseconds.
pub(crate) fn cut(mut sides: Vec<(u8, u32, u32)>, size_min: usize) -> Vec<u8> {
    let lean = |&(slot, one, other): &(u8, u32, u32)| (i64::from(one) - i64::from(other), slot);
    sides.sort_unstable_by_key(lean);
    let natural = sides.partition_point(|&(_, one, other)| one <= other);
    let least = size_min.min(sides.len() / 2);
    let at = natural.clamp(least, sides.len() - least);
    sides[at..].iter().map(|&(slot, _, _)| slot).collect()
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
    named.map(|(_, seat)| (seat.contact.clone(), seat.place)).collect()
}

