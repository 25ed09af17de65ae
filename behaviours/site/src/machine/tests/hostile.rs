//! Messages that no honest peer sends: never a panic, never growth past a bound.

use opus_core::{Hint, Wire, codec};
use opus_model::Position;
use rand::RngExt;
use serde_bytes::ByteBuf;

use super::*;
use crate::CellNews;
use crate::wire::{CARRIED_MAX, EPOCH_MAX, Entry, MATES_MAX, Rank, RootNote, Row, Why};

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn wild_number(rng: &mut Rng) -> u64 {
    pick(
        rng,
        &[
            0,
            1,
            2,
            70_000,
            EPOCH_MAX,
            EPOCH_MAX + 1,
            u64::MAX - 1,
            u64::MAX,
        ],
    )
}

fn wild_contact(rng: &mut Rng) -> Contact {
    Contact {
        id: node(rng.random_range(0..6)),
        hint: Hint(vec![7; rng.random_range(0..160)].into()),
    }
}

fn wild_note(rng: &mut Rng, overlay: OverlayId) -> RootNote {
    RootNote {
        overlay,
        root: wild_contact(rng),
        epoch: wild_number(rng),
        gone: rng.random(),
        revision: pick(rng, &[0, 1, u32::MAX]),
    }
}

fn wild_rows(rng: &mut Rng) -> Vec<Row> {
    let states = [
        MemberState::Joining,
        MemberState::Joined,
        MemberState::Leaving,
        MemberState::Gone,
    ];
    let count = rng.random_range(0..80);
    let row = |rng: &mut Rng| Row {
        member: node(rng.random_range(0..6)),
        role: pick(rng, &[Role::Source, Role::Sink]),
        state: pick(rng, &states),
        generation: wild_number(rng),
    };
    (0..count).map(|_| row(rng)).collect()
}

fn wild_place(rng: &mut Rng) -> Position {
    Position([rng.random(); 3], rng.random(), rng.random())
}

fn wild_digest(rng: &mut Rng, overlay: OverlayId) -> Message {
    let count = rng.random_range(0..20);
    let entry = |rng: &mut Rng, index: u64| Entry {
        overlay: OverlayId(overlay.0.wrapping_add(index)),
        version: wild_number(rng),
        root: rng
            .random::<bool>()
            .then(|| Rank(wild_number(rng), node(1), true, u32::MAX)),
    };
    Message::Digest {
        entries: (0..count).map(|index| entry(rng, index)).collect(),
        more: rng.random(),
    }
}

fn wild_message(rng: &mut Rng, overlay: OverlayId, spec: &[u8]) -> Message {
    match rng.random_range(0..11) {
        0 => wild_digest(rng, overlay),
        1 => Message::Pull {
            items: vec![overlay; rng.random_range(0..20)],
            after: rng.random::<bool>().then_some(OverlayId(wild_number(rng))),
        },
        2 => {
            let mut signed = spec.to_vec();
            let at = rng.random_range(0..signed.len());
            signed[at] ^= pick(rng, &[0, 1, 128]);
            Message::Have {
                signed: Some(ByteBuf::from(signed)),
                root: Some(wild_note(rng, overlay)),
            }
        }
        3 => Message::Ask { overlay },
        4 => Message::Answer {
            overlay,
            held: rng.random(),
        },
        5 => Message::Join {
            overlay,
            role: Role::Source,
            contact: wild_contact(rng),
            generation: wild_number(rng),
        },
        6 => Message::Welcome {
            overlay,
            epoch: wild_number(rng),
            key: [rng.random(); 32].into(),
            members: (0..rng.random_range(0..40))
                .map(|_| wild_contact(rng))
                .collect(),
        },
        7 => Message::Refuse {
            overlay,
            why: pick(rng, &[Why::NotRoot, Why::Full, Why::Taken]),
            root: Some(wild_note(rng, overlay)),
        },
        8 => Message::Carry {
            place: rng.random::<bool>().then(|| wild_place(rng)),
            overlays: (0..rng.random_range(0..80))
                .map(|index| OverlayId(overlay.0.wrapping_add(index)))
                .collect(),
        },
        9 => Message::Mates {
            overlay,
            members: (0..rng.random_range(0..10))
                .map(|_| wild_contact(rng))
                .collect(),
        },
        _ => Message::Report {
            overlay,
            rows: wild_rows(rng),
        },
    }
}

/// Three nodes in a tree; node 9 is connected to all and says whatever it likes.
fn run(seed: u64) -> Net<Site> {
    let mut rng = Seed::new(seed).derive("hostile", 0).rng();
    let (mut net, overlay) = net_with_app(10);
    attach(&mut net, 0, 1, Role::Source);
    for at in 1..6 {
        attach(&mut net, at, 2, Role::Sink);
    }
    net.run_for(Duration::from_secs(1));
    edges(&mut net, overlay, 0, None, &[1, 9]);
    edges(&mut net, overlay, 1, Some(0), &[2, 9]);
    for at in 0..6 {
        let news = [
            CellNews::Up(Contact::bare(node(9))),
            CellNews::Agent(Contact::bare(node([9, at][usize::from(at % 2 == 0)]))),
        ];
        for news in news {
            net.command(node(at), Command::Cell(news));
        }
    }
    let spec = signed(&spec("a", 2));
    for _ in 0..2_000 {
        let mut message = wild_message(&mut rng, overlay, &spec);
        let to = node(rng.random_range(0..6));
        if message.check().is_ok() {
            net.input(
                to,
                Input::Received {
                    from: node(9),
                    message,
                },
            );
        }
        net.run_for(Duration::from_millis(rng.random_range(0..200)));
    }
    net
}

#[test]
fn nothing_a_peer_says_makes_a_site_panic_or_grow() {
    for seed in 0..4 {
        let net = run(opus_core::testing::test_seed(seed));
        for id in net.ids() {
            let site = net.machine(id);
            assert!(site.apps().count() <= 1);
            assert!(site.memberships.len() <= 1);
            assert!(site.watches.len() <= 12, "{:?}", site.watches);
            assert!(site.cell.len() <= 1 + 64 + 2, "{:?}", site.cell);
            for membership in site.memberships.values() {
                assert!(membership.roster.len() <= 10);
            }
        }
    }
}

#[test]
fn lists_and_numbers_beyond_their_limits_are_refused_at_the_edge() {
    let overlay = OverlayId(1);
    let row = Row {
        member: node(1),
        role: Role::Sink,
        state: MemberState::Joined,
        generation: 1,
    };
    let mut note = RootNote {
        overlay,
        root: Contact::bare(node(1)),
        epoch: EPOCH_MAX,
        gone: false,
        revision: 0,
    };
    let have = |note: &RootNote| Message::Have {
        signed: None,
        root: Some(note.clone()),
    };
    assert!(have(&note).check().is_ok());
    note.epoch += 1;
    assert!(have(&note).check().is_err());
    let report = |count| Message::Report {
        overlay,
        rows: vec![row; count],
    };
    assert!(report(64).check().is_ok());
    assert!(report(65).check().is_err());
    let carry = |overlays: Vec<u64>| Message::Carry {
        place: Some(Position([i32::MAX; 3], u32::MAX, 0)),
        overlays: overlays.into_iter().map(OverlayId).collect(),
    };
    let mut lawful = carry((1..=64).collect());
    lawful.check().unwrap();
    assert_ne!(lawful, carry((1..=64).collect()), "the place is clamped");
    assert!(carry((0..=64).collect()).check().is_err());
    assert!(carry(vec![2, 1]).check().is_err());
    assert!(carry(vec![1, 1]).check().is_err());
    let mates = |count| Message::Mates {
        overlay,
        members: vec![Contact::bare(node(1)); count],
    };
    assert!(mates(MATES_MAX).check().is_ok());
    assert!(mates(MATES_MAX + 1).check().is_err());
    let entry = Entry {
        overlay,
        version: 1,
        root: None,
    };
    let mut twice = Message::Digest {
        entries: vec![entry; 2],
        more: false,
    };
    assert!(twice.check().is_err());
}

#[test]
fn the_largest_lawful_messages_fit_their_limits() {
    let overlay = OverlayId(u64::MAX);
    let contact = Contact {
        id: NodeId([255; 32]),
        hint: Hint(vec![255; Hint::BYTES_MAX].into()),
    };
    let row = Row {
        member: contact.id,
        role: Role::Source,
        state: MemberState::Joining,
        generation: u64::MAX,
    };
    let note = RootNote {
        overlay,
        root: contact.clone(),
        epoch: EPOCH_MAX,
        gone: false,
        revision: u32::MAX,
    };
    let largest = [
        Message::Have {
            signed: Some(ByteBuf::from(vec![0; SignedApp::LIMITS.bytes])),
            root: Some(note),
        },
        Message::Welcome {
            overlay,
            epoch: EPOCH_MAX,
            key: [0; 32].into(),
            members: vec![contact; crate::wire::SAMPLE_MAX],
        },
        Message::Carry {
            place: Some(Position([i32::MIN; 3], u32::MAX, u16::MAX).clamped()),
            overlays: (0..CARRIED_MAX as u64)
                .map(|index| OverlayId(u64::MAX - CARRIED_MAX as u64 + index))
                .collect(),
        },
        Message::Report {
            overlay,
            rows: vec![row; crate::wire::ROWS_MAX],
        },
    ];
    for message in largest {
        let bytes = codec::encode(&message);
        assert_eq!(
            codec::decode_wire::<Message>(&bytes),
            Ok(message),
            "{}",
            bytes.len()
        );
    }
}
