//! What is on the wire: how large it may be, and that no bytes harm.

use opus_core::{
    Hint, NodeId,
    codec::{decode_wire, encode},
};
use proptest::prelude::*;

use super::*;
use crate::{
    aggregate::Report,
    cluster::{Ancestor, LEVELS_MAX, Place, Roster, SEATS_MAX, Standing},
    label::{Label, Marks},
};

const MARKS: Marks = Marks {
    label: Some(Label([7; 16])),
    ..Marks::of(true)
};

fn seat(index: u32, hint: usize) -> Seat {
    let mut contact = Contact::bare(NodeId([u8::try_from(index).unwrap(); 32]));
    contact.hint.0 = vec![7; hint].into();
    let child = ClusterRef {
        id: u64::MAX,
        epoch: u32::MAX,
    };
    Seat {
        contact,
        incarnation: u64::MAX,
        place: Place::at(opus_model::Position([-20_000_000; 3], 20_000_000, 1_000)),
        standing: Standing::of(MARKS, Some(child)).after(u32::MAX),
        size: u32::MAX,
    }
}

fn welcome(seats: usize, hint: usize) -> Welcome {
    let seats = (0..seats).map(|index| (u8::try_from(index).unwrap(), index));
    let roster: Roster = seats
        .map(|(slot, index)| (slot, seat(u32::try_from(index).unwrap(), hint)))
        .collect();
    let cluster = ClusterRef { id: 1, epoch: 1 };
    let view = View {
        cluster,
        level: 2,
        agent: seat(0, hint).contact,
        deputies: Few(vec![0, 1, 2]),
        roster,
    };
    let ancestor = view.ancestor();
    let at = |level| Ancestor {
        level,
        ..ancestor.clone()
    };
    Welcome {
        view,
        slot: 0,
        path: Few((3..=LEVELS_MAX).map(at).collect()),
    }
}

fn beat() -> Beat {
    Beat {
        tag: u16::MAX,
        slot: 63,
        seq: 100_000,
        size: 1,
        marks: Marks::of(true),
        place: Place::default(),
        child: None,
        keys: u16::MAX,
        echo: Echo {
            number: 100_000,
            dwell: Duration::from_secs(5),
        },
        pushed: 1_000,
        urgent: false,
        lacks_roll: false,
        report: None,
    }
}

#[test]
fn a_beat_is_small() {
    let bytes = encode(&Message::Beat(beat()));
    assert!(bytes.len() <= 20, "{} bytes", bytes.len());
}

#[test]
fn whatever_a_beat_says_comes_out_again() {
    let cluster = Beat {
        size: 70_000,
        child: Some(ClusterRef { id: 7, epoch: 3 }),
        ..beat()
    };
    let moved = Beat {
        place: Place::at(opus_model::Position([-3, 70_000, 5], 900, 40)),
        urgent: true,
        ..cluster.clone()
    };
    let report = Report {
        beat: beat().seq,
        seq: 2,
        ..Report::default()
    };
    let told = Beat {
        report: Some(report),
        ..beat()
    };
    for beat in [beat(), cluster, moved, told] {
        let message = Message::Beat(beat);
        assert_eq!(decode_wire::<Message>(&encode(&message)).unwrap(), message);
    }
}

#[test]
fn the_largest_rosters_fit() {
    let up = welcome(SEATS_MAX, Hint::BYTES_MAX);
    let mut view = up.view.clone();
    view.level -= 1;
    let slots: Vec<u8> = view.roster.iter().map(|(slot, _)| slot).collect();
    for slot in slots {
        view.roster.get_mut(slot).unwrap().standing = Standing::of(MARKS, None).after(u32::MAX);
    }
    let office = Office {
        old: view.cluster,
        far: Few(vec![view.agent.clone(); OFFICE_FAR_MAX]),
        view,
        up: Some(up.clone()),
        books: Few(Vec::new()),
        missing: u32::MAX,
        double: u32::MAX,
        barred: Few(vec![NodeId([7; 32]); BARRED_MAX]),
    };
    for largest in [Message::Welcome(up), Message::Office(Box::new(office))] {
        let bytes = encode(&largest);
        let (len, most) = (bytes.len(), Message::LIMITS.bytes);
        assert!(len <= most, "{len} bytes");
        assert_eq!(decode_wire::<Message>(&bytes), Ok(largest));
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    for level in [0, LEVELS_MAX + 1, u8::MAX] {
        let mut lawful = welcome(2, 0);
        lawful.view.level = level;
        let bytes = encode(&Message::Welcome(lawful));
        assert!(decode_wire::<Message>(&bytes).is_err(), "level {level}");
    }
}

#[test]
fn a_path_beyond_the_last_number_of_a_level_is_refused() {
    let mut path = welcome(1, 0).path;
    let first = path.0[0].clone();
    path.0 = vec![first; 2];
    for ancestor in &mut path.0 {
        ancestor.level = u8::MAX;
    }
    let bytes = encode(&Message::Path((7, path)));
    assert!(decode_wire::<Message>(&bytes).is_err());
}

#[test]
fn what_no_honest_machine_says_is_refused() {
    type Change = fn(&mut Welcome);
    let changes: [(&str, Change); 4] = [
        ("a seat that nobody has", |it| it.slot = 9),
        ("a node above level 1", |it| {
            it.view.roster.get_mut(1).unwrap().standing = Standing::of(MARKS, None).after(u32::MAX);
        }),
        ("a path that begins too high", |it| {
            it.path.0.remove(0);
        }),
        ("a path that goes down", |it| it.path.0.reverse()),
    ];
    for (what, change) in changes {
        let mut lie = welcome(2, 0);
        change(&mut lie);
        let bytes = encode(&Message::Welcome(lie.clone()));
        assert!(decode_wire::<Message>(&bytes).is_err(), "{what}");
        let office = Office {
            old: lie.view.cluster,
            view: View {
                level: 1,
                roster: Roster::default(),
                ..lie.view.clone()
            },
            up: Some(lie),
            far: Few(Vec::new()),
            books: Few(Vec::new()),
            missing: 0,
            double: 0,
            barred: Few(Vec::new()),
        };
        let bytes = encode(&Message::Office(Box::new(office)));
        assert!(
            decode_wire::<Message>(&bytes).is_err(),
            "an office with {what}"
        );
    }
    let takeover = Takeover {
        old: ClusterRef { id: 1, epoch: 1 },
        cluster: ClusterRef { id: 1, epoch: 2 },
        agent: seat(1, 0).contact,
        slot: u8::MAX,
    };
    let bytes = encode(&Message::Takeover(takeover));
    assert!(decode_wire::<Message>(&bytes).is_err());
}

#[test]
fn seats_out_of_order_or_range_are_refused() {
    let bytes = pack::to_bytes(&Few::<_, 4>(vec![(3_u8, seat(1, 0)), (2, seat(2, 0))]));
    assert!(pack::from_bytes::<Roster>(&bytes).is_err());
    let bytes = pack::to_bytes(&Few::<_, 4>(vec![(64_u8, seat(1, 0))]));
    assert!(pack::from_bytes::<Roster>(&bytes).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(kind in 0_u8..39, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = vec![kind];
        bytes.extend(body);
        let wrapped = encode(&serde_bytes::Bytes::new(&bytes));
        if let Ok(message) = decode_wire::<Message>(&wrapped) {
            let again = decode_wire::<Message>(&encode(&message));
            prop_assert_eq!(again, Ok(message));
        }
    }

    #[test]
    fn a_damaged_roster_never_panics(
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let mut bytes = pack::to_bytes(&welcome(20, 8));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(read) = pack::from_bytes::<Welcome>(&bytes) {
            prop_assert!(read.view.roster.len() <= SEATS_MAX);
        }
    }
}
