//! Codes, changes and what a member makes of them.

use opus_core::pack;
use proptest::prelude::*;

use super::*;

fn spec() -> KeySpec {
    KeySpec::new(Function::Mean, (-20.0, 100.0), 1.0)
}

const KEY: KeyId = KeyId(1);

fn values(of: &[(u8, f64)]) -> Values {
    let mut values = Values::default();
    for (slot, x) in of {
        values.put(KEY, *slot, *x, &spec());
    }
    values
}

fn take(rolls: &mut Rolls, values: Values) {
    rolls.take(Time::ZERO, values, 7, Duration::ZERO);
}

/// Through the wire.
fn told(roll: &Roll) -> Roll {
    pack::from_bytes(&pack::to_bytes(roll)).unwrap()
}

#[test]
fn codes_follow_the_order_of_the_values_and_are_as_near_as_they_say() {
    let spec = spec();
    let mut last = None;
    for step in 0..=1_200_000 {
        let x = f64::from(step) / 1e4 - 20.0;
        let code = Code::of(x, &spec);
        let (near, half) = code.value(&spec);
        assert!((near - x).abs() <= half, "{x} is {near} to within {half}");
        assert!(half <= x.abs() / 2_000.0 + 1e-7, "{x}: {half}");
        assert!(last.is_none_or(|last| last <= code), "{x}");
        last = Some(code);
    }
    assert_eq!(
        Code::of(0.0, &spec).value(&spec),
        (0.0, Code(0).value(&spec).1)
    );
    let (most, half) = Code::of(1e9, &spec).value(&spec);
    assert!((most - 100.0).abs() <= half);
    assert_eq!(Code::of(-1e9, &spec), Code::of(-20.0, &spec));
}

#[test]
fn whoever_has_the_roll_before_is_told_the_changes_only() {
    let before: Vec<(u8, f64)> = (0..24)
        .map(|slot| (slot, 1.0 + f64::from(slot) / 50.0))
        .collect();
    let after: Vec<_> = before.iter().map(|(slot, x)| (*slot, x + 0.004)).collect();
    let mut rolls = Rolls::default();
    take(&mut rolls, values(&before));
    take(&mut rolls, values(&after));
    let (all, changes) = (rolls.since(Time::ZERO, 0), rolls.since(Time::ZERO, 1));
    assert_eq!((all.base, changes.base), (0, 1));
    let bytes = |roll: &Roll| pack::to_bytes(roll).len();
    assert!(bytes(&all) >= 24 * 2, "{}", bytes(&all));
    assert!(bytes(&changes) <= 24, "{}", bytes(&changes));
    // Nothing else has changed since.
    take(&mut rolls, values(&after));
    assert!(rolls.since(Time::ZERO, 2).columns.0.is_empty());
}

#[test]
fn a_roll_that_builds_on_another_is_not_taken_and_all_is_asked_for() {
    let mut rolls = Rolls::default();
    let mut member = Told::default();
    for roll in 1..=3_u8 {
        take(&mut rolls, values(&[(0, f64::from(roll))]));
        if roll != 2 {
            let has = if roll == 1 { 0 } else { 2 };
            let taken = member.take(
                Time::ZERO,
                &told(&rolls.since(Time::ZERO, has)),
                Duration::ZERO,
            );
            assert_eq!(taken, roll == 1);
        }
    }
    assert_eq!(member.number(), 0);
    // What was told stands, and grows old.
    let later = Time::ZERO + Duration::from_secs(7);
    let answer = member.answer(later, KEY, 0, &spec()).unwrap();
    assert!(answer.lo <= 1.0 && answer.hi >= 1.0 && answer.age == Duration::from_secs(7));
    assert!(member.take(later, &told(&rolls.since(later, 0)), Duration::ZERO));
    let answer = member.answer(later, KEY, 0, &spec()).unwrap();
    assert!(answer.lo <= 3.0 && answer.hi >= 3.0, "{answer:?}");
}

#[test]
fn after_a_restart_everybody_is_told_everything_under_a_number_that_nobody_builds_on() {
    let mut rolls = Rolls::default();
    let mut member = Told::default();
    take(&mut rolls, values(&[(0, 1.0), (1, 2.0)]));
    assert!(member.take(Time::ZERO, &rolls.since(Time::ZERO, 0), Duration::ZERO));
    let has = rolls.number();
    rolls.restart();
    assert!(rolls.is_empty());
    take(&mut rolls, values(&[(0, 5.0)]));
    let roll = rolls.since(Time::ZERO, has);
    assert_eq!(roll.base, 0, "it builds on the roll before the restart");
    // Nor does the next one, for who missed it.
    take(&mut rolls, values(&[(0, 5.5)]));
    assert_eq!(rolls.since(Time::ZERO, has).base, 0);
    let next = rolls.since(Time::ZERO, roll.number);
    assert!(!member.take(Time::ZERO, &next, Duration::ZERO), "{next:?}");
    assert!(member.take(Time::ZERO, &rolls.since(Time::ZERO, 0), Duration::ZERO));
    assert!(member.answer(Time::ZERO, KEY, 1, &spec()).is_none());
}

#[test]
fn a_member_forgets_the_key_that_changed_and_lacks_a_roll_whichever_it_was() {
    let mut rolls = Rolls::default();
    let mut member = Told::default();
    take(&mut rolls, values(&[(0, 1.0)]));
    assert!(member.take(Time::ZERO, &rolls.since(Time::ZERO, 0), Duration::ZERO));
    member.forget(&[KeyId(9)]);
    assert_eq!(member.number(), 0);
    assert!(member.answer(Time::ZERO, KEY, 0, &spec()).is_some());
    member.forget(&[KEY]);
    assert!(member.answer(Time::ZERO, KEY, 0, &spec()).is_none());
}

#[test]
fn what_is_said_of_a_seat_that_changed_hands_waits_for_the_second_roll() {
    let mut rolls = Rolls::default();
    let mut member = Told::default();
    let mut answers = Vec::new();
    for round in 0..4_u8 {
        take(&mut rolls, values(&[(0, 1.0), (1, 2.0)]));
        let roll = rolls.since(Time::ZERO, round);
        assert!(member.take(Time::ZERO, &roll, Duration::ZERO));
        if round == 1 {
            member.on_changed(1);
        }
        // The same roll again says nothing new.
        assert!(member.take(Time::ZERO, &rolls.since(Time::ZERO, 0), Duration::ZERO));
        answers.push(member.answer(Time::ZERO, KEY, 1, &spec()).is_some());
        assert!(member.answer(Time::ZERO, KEY, 0, &spec()).is_some());
    }
    assert_eq!(answers, [true, false, false, true]);
}

#[test]
fn bits_of_no_column_are_refused_and_nothing_is_lost() {
    let mut member = Told::default();
    let roll = |bytes: &[u8]| Roll {
        number: 1,
        keys: 7,
        base: 0,
        age: Duration::ZERO,
        columns: Few(vec![(KEY, Few(bytes.to_vec()))]),
    };
    // No seats and a parameter: five bits, in one byte. Then: too short; bits left over; a whole
    // byte left over; a value beyond the greatest; more seats than there are.
    assert!(member.take(Time::ZERO, &roll(&[0b1]), Duration::ZERO));
    for bytes in [
        &[][..],
        &[0b1110_0001],
        &[0b1, 0],
        &[0b10, 0b11, 0xff, 0xff, 0xff],
        &[0xfe, 0],
    ] {
        assert!(
            !member.take(Time::ZERO, &roll(bytes), Duration::ZERO),
            "{bytes:?}"
        );
    }
}

fn present() -> impl Strategy<Value = Vec<Option<f64>>> {
    prop::collection::vec(prop::option::weighted(0.8, -30.0..110.0_f64), 0..64)
}

proptest! {
    /// However members come, go and change, and whatever is lost: what a member holds is what
    /// someone had at the moment of that roll.
    #[test]
    fn a_member_holds_what_was_so_at_the_roll_that_it_has(
        rounds in prop::collection::vec(
            (present(), any::<bool>(), -0.1..0.1_f64, prop::bool::weighted(0.2)),
            1..12,
        ),
    ) {
        let mut rolls = Rolls::default();
        let mut member = Told::default();
        let (mut sent, mut lacks) = (0, true);
        for (fresh, lost, step, anew) in rounds {
            if anew {
                rolls.restart();
            }
            let fresh: Vec<_> = fresh.iter().map(|x| x.map(|x| x + step)).collect();
            let numbered = (0_u8..).zip(&fresh);
            let now = numbered.filter_map(|(slot, x)| Some((slot, (*x)?)));
            let now: Vec<(u8, f64)> = now.collect();
            take(&mut rolls, values(&now));
            let roll = rolls.since(Time::ZERO, if lacks { 0 } else { sent });
            sent = rolls.number();
            if lost {
                continue;
            }
            let taken = member.take(Time::ZERO, &told(&roll), Duration::ZERO);
            lacks = member.number() == 0;
            prop_assert_eq!(taken, !lacks);
            if !taken {
                continue;
            }
            prop_assert_eq!(member.slots(KEY).count(), now.len());
            for (slot, x) in now {
                let answer = member.answer(Time::ZERO, KEY, slot, &spec()).unwrap();
                let x = x.clamp(-20.0, 100.0);
                prop_assert!(answer.lo <= x && x <= answer.hi, "{} {:?}", x, answer);
            }
        }
    }

    /// Whatever bits a peer sends.
    #[test]
    fn bits_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        before in present(),
    ) {
        let numbered = (0_u8..).zip(&before);
        let before: Vec<(u8, f64)> = numbered.filter_map(|(slot, x)| Some((slot, (*x)?))).collect();
        let base = values(&before).columns.remove(&KEY).unwrap_or_default();
        if let Some(column) = Column::unpack(&bytes, &base) {
            prop_assert_eq!(Column::unpack(&column.pack(&base), &base), Some(column));
        }
    }
}
