//! Statistics of links over many seeded frames, queues to the microsecond, order in streams.

use proptest::prelude::*;

use super::*;

const DELAY: Duration = Duration::from_millis(40);

fn link(conditions: Conditions) -> Link {
    Link::new(DELAY, conditions, Seed::new(opus_seed()).derive("link", 0)).unwrap()
}

/// Statistics hold for any seed but one in some thousands; this one is fixed.
const fn opus_seed() -> u64 {
    11
}

/// Fates of `frames` frames, one every 10 ms.
fn fates(conditions: Conditions, frames: u64) -> Vec<(Time, Fate)> {
    let mut link = link(conditions);
    let at = |frame| Time::from_millis(10 * frame);
    (0..frames)
        .map(|frame| (at(frame), link.send(at(frame), 100)))
        .collect()
}

fn share(fates: &[(Time, Fate)], is: impl Fn(&Fate) -> bool) -> f64 {
    fates.iter().filter(|(_, fate)| is(fate)).count() as f64 / fates.len() as f64
}

#[test]
fn a_perfect_link_delays_and_nothing_else() {
    for (sent, fate) in fates(Conditions::default(), 100) {
        assert_eq!(fate, Fate::Deliver(sent + DELAY));
    }
}

#[test]
fn a_tenth_is_lost_alone_or_in_bursts() {
    let lost = |loss| {
        let fates = fates(
            Conditions {
                loss,
                ..Conditions::default()
            },
            40_000,
        );
        let lost: Vec<bool> = fates.iter().map(|(_, fate)| *fate == Fate::Lost).collect();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let losses = lost.iter().filter(|&&lost| lost).count();
        (
            losses as f64 / lost.len() as f64,
            losses as f64 / bursts as f64,
        )
    };
    // Four standard deviations of a share of 0.1 over 40,000 frames are 0.006.
    let (rate, burst) = lost(Loss::Bernoulli { rate: 0.1 });
    assert!((rate - 0.1).abs() < 0.006, "{rate}");
    assert!((burst - 1.0 / 0.9).abs() < 0.05, "{burst}");
    // Bursts of 5 make the share about three times as uncertain.
    let (rate, burst) = lost(Loss::Gilbert {
        rate: 0.1,
        burst_frames: 5.0,
    });
    assert!((rate - 0.1).abs() < 0.018, "{rate}");
    assert!((burst - 5.0).abs() < 0.7, "{burst}");
}

#[test]
fn a_tenth_is_doubled() {
    let fates = fates(
        Conditions {
            duplicate: 0.1,
            jitter: 0.5,
            ..Conditions::default()
        },
        40_000,
    );
    let doubled = share(&fates, |fate| matches!(fate, Fate::Twice(..)));
    assert!((doubled - 0.1).abs() < 0.006, "{doubled}");
    for (sent, fate) in fates {
        let (first, last) = match fate {
            Fate::Deliver(at) => (at, at),
            Fate::Twice(first, last) => (first, last),
            Fate::Lost | Fate::Held => panic!("nothing is lost here"),
        };
        assert!(first <= last && first >= sent + DELAY && last <= sent + DELAY * 3 / 2);
    }
}

#[test]
fn jitter_spreads_evenly_above_the_delay() {
    let fates = fates(
        Conditions {
            jitter: 0.2,
            ..Conditions::default()
        },
        20_000,
    );
    let mut mean_ms = 0.0;
    for (sent, fate) in &fates {
        let Fate::Deliver(at) = *fate else {
            panic!("{fate:?}")
        };
        let took = at - *sent;
        assert!(took >= DELAY && took <= DELAY * 6 / 5, "{took:?}");
        mean_ms += took.as_secs_f64() * 1e3 / fates.len() as f64;
    }
    // Deviation of the mean: 8 / sqrt(12 * 20,000) = 0.016 ms.
    assert!((mean_ms - 44.0).abs() < 0.07, "{mean_ms}");
}

#[test]
fn a_frame_held_up_is_overtaken() {
    let overtaken = |reorder| {
        let fates = fates(
            Conditions {
                reorder,
                ..Conditions::default()
            },
            10_000,
        );
        let arrival = |fate: &Fate| match fate {
            Fate::Deliver(at) => *at,
            Fate::Lost | Fate::Twice(..) | Fate::Held => panic!("{fate:?}"),
        };
        let pairs = fates.windows(2);
        pairs
            .filter(|pair| arrival(&pair[0].1) > arrival(&pair[1].1))
            .count()
    };
    assert_eq!(overtaken(0.0), 0);
    // Held up by more than the 10 ms between frames: three quarters of a tenth, less those whose
    // successor is held up as well.
    assert!((620..800).contains(&overtaken(0.1)), "{}", overtaken(0.1));
}

#[test]
fn frames_leave_one_after_the_other_at_the_capacity() {
    let capacity = Conditions {
        bytes_per_s: Some(1_000_000),
        ..Conditions::default()
    };
    let mut link = link(capacity);
    let now = Time::from_secs(1);
    for frame in 1..=100 {
        let left = now + Duration::from_millis(frame);
        assert_eq!(link.send(now, 1_000), Fate::Deliver(left + DELAY));
    }
    assert_eq!(link.backlog_bytes(now), 100_000);
    assert_eq!(link.backlog_bytes(now + Duration::from_millis(40)), 60_000);
    assert_eq!(link.backlog_bytes(Time::from_secs(2)), 0);
    let later = Time::from_secs(3);
    assert_eq!(
        link.send(later, 1),
        Fate::Deliver(later + Duration::from_micros(1) + DELAY)
    );
}

#[test]
fn small_frames_on_a_fast_link_are_not_rounded_up_each() {
    let fast = Conditions {
        bytes_per_s: Some(125_000_000),
        ..Conditions::default()
    };
    let mut link = link(fast);
    let mut last = Fate::Lost;
    for _ in 0..1_000 {
        last = link.send(Time::ZERO, 125);
    }
    assert_eq!(last, Fate::Deliver(Time::from_millis(1) + DELAY));
}

#[test]
fn a_full_queue_drops_but_an_idle_link_takes_any_frame() {
    let narrow = Conditions {
        bytes_per_s: Some(10_000),
        queue_bytes: 2_500,
        ..Conditions::default()
    };
    let mut link = link(narrow);
    assert!(matches!(link.send(Time::ZERO, 5_000), Fate::Deliver(_)));
    assert_eq!(link.send(Time::ZERO, 1), Fate::Lost);
    // After 0.4 s 1,000 of the 5,000 bytes are left.
    let later = Time::from_millis(400);
    assert!(matches!(link.send(later, 1_000), Fate::Deliver(_)));
    assert_eq!(link.send(later, 1_000), Fate::Lost);
    assert!(matches!(link.send(later, 500), Fate::Deliver(_)));
}

#[test]
fn a_loss_in_a_stream_is_one_timeout_and_holds_up_what_follows() {
    let mut stream = link(Conditions {
        loss: Loss::Bernoulli { rate: 1.0 },
        ..Conditions::default()
    });
    let timeout = DELAY * 2 + RTO_MIN;
    assert_eq!(
        stream.send_in_order(Time::ZERO, 10),
        Time::ZERO + timeout + DELAY
    );

    let mut stream = link(Conditions {
        loss: Loss::Bernoulli { rate: 0.1 },
        ..Conditions::default()
    });
    let mut last = Time::ZERO;
    let mut late = 0;
    for frame in 0..20_000 {
        let sent = Time::from_secs(frame);
        let arrives = stream.send_in_order(sent, 10);
        let behind = stream.send_in_order(sent, 10);
        assert!(last <= arrives && arrives <= behind);
        late += u32::from(arrives > sent + DELAY);
        last = behind;
    }
    assert!((1_830..2_170).contains(&late), "{late}");
}

#[test]
fn equal_seeds_give_equal_fates_and_others_do_not() {
    let rough = Conditions {
        jitter: 0.3,
        loss: Loss::Bernoulli { rate: 0.2 },
        duplicate: 0.1,
        reorder: 0.1,
        ..Conditions::default()
    };
    let of = |seed| {
        let mut link = Link::new(DELAY, rough, Seed::new(seed)).unwrap();
        (0..500)
            .map(|frame| link.send(Time::from_millis(frame), 9))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let loss = prop_oneof![
        Just(Loss::None),
        (0.0..=1.0).prop_map(|rate| Loss::Bernoulli { rate }),
        (0.0..0.5, 1.0..9.0).prop_map(|(rate, burst_frames)| Loss::Gilbert { rate, burst_frames }),
    ];
    let capacity = prop::option::of(1..10_000_000_u64);
    (
        0.0..=3.0,
        loss,
        0.0..=1.0,
        0.0..=1.0,
        capacity,
        0..100_000_u64,
    )
        .prop_map(
            |(jitter, loss, duplicate, reorder, bytes_per_s, queue_bytes)| Conditions {
                jitter,
                loss,
                duplicate,
                reorder,
                bytes_per_s,
                queue_bytes,
            },
        )
}

proptest! {
    #[test]
    fn no_frame_is_faster_than_the_delay_and_streams_keep_their_order(
        conditions in any_conditions(),
        frames in prop::collection::vec((0..100_000_u64, 1..70_000_usize), 1..50),
    ) {
        let mut datagrams = link(conditions);
        let mut stream = link(conditions);
        let (mut now, mut last) = (Time::ZERO, Time::ZERO);
        for (gap, bytes) in frames {
            now = Time(now.0 + gap);
            let arrives = stream.send_in_order(now, bytes);
            prop_assert!(arrives >= now + DELAY && arrives >= last);
            last = arrives;
            match datagrams.send(now, bytes) {
                Fate::Lost => {}
                Fate::Deliver(at) => prop_assert!(at >= now + DELAY),
                Fate::Twice(a, b) => prop_assert!(now + DELAY <= a && a <= b),
                Fate::Held => prop_assert!(false, "a link holds nothing"),
            }
            let room = conditions.queue_bytes + 70_000;
            prop_assert!(datagrams.backlog_bytes(now) <= room);
        }
    }
}
