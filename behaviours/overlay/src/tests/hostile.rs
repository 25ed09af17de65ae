//! The contract of a machine, and peers that do not keep to the protocol.

use std::time::Duration;

use opus_core::{
    Contact, Hint, Input, NodeId, Offence, Output, OverlayId, Rng, Seed, Time, Wire,
    codec::{decode_wire, encode},
    testing::{contract, test_seed},
};
use opus_model::Coordinate;
use opus_model::Position;
use proptest::prelude::*;
use rand::RngExt;

use super::{OVERLAY, World, feed, fire_due, id, machine};
use crate::{
    Command, Config, Event, Message, Refusal, Sums,
    wire::{
        Answer, Beat, Body, COVERED_MAX, Claim, DELAY_US_MAX, Down, ENTRIES_MAX, Entry, Gossip,
        HINTS_MAX, HOPS_MAX, Hop, Leave, Offer, OfferKind, Parting, Pressure, Purpose, RTT_US_MAX,
        Reason, Standing, Up, Verdict,
    },
};

/// Any message, its numbers anywhere, its lists up to `longest` of what is lawful.
fn message(rng: &mut Rng, longest: bool) -> Message {
    let body = match rng.random_range(0..8) {
        0 => Body::Gossip(Box::new(Gossip {
            purpose: [Purpose::Exchange, Purpose::Ask, Purpose::Answer][rng.random_range(0..3)],
            rtt_us: rng.random_bool(0.5).then(|| rng.random()),
            me: standing(rng, longest),
            entries: (0..len(rng, ENTRIES_MAX, longest))
                .map(|_| entry(rng, longest))
                .collect(),
        })),
        1 => Body::Offer(Box::new(Offer {
            serial: rng.random(),
            kind: [OfferKind::Cheaper, OfferKind::Violator, OfferKind::Orphan]
                [rng.random_range(0..3)],
            leaf: rng.random(),
            rtt_us: rng.random_bool(0.5).then(|| rng.random()),
            slack_us: rng.random(),
            seen_us: rng.random(),
            hint: contact(rng, longest).hint,
            position: Some(position(rng)),
        })),
        2 => Body::Claim(Claim {
            of: node(rng),
            serial: rng.random_range(0..4),
            slack_us: rng.random(),
            seen_us: rng.random(),
        }),
        3 => Body::Verdict(Box::new(Verdict {
            of: node(rng),
            serial: rng.random_range(0..4),
            answer: answer(rng, longest),
        })),
        4 => Body::Beat(Box::new(Beat::Down(down(rng, longest)))),
        5 | 6 => Body::Beat(Box::new(Beat::Up(up(rng)))),
        _ => Body::Leave(Leave {
            why: [Parting::Moved, Parting::Goodbye, Parting::NoEdge][rng.random_range(0..3)],
            to: rng.random_bool(0.5).then(|| contact(rng, longest)),
        }),
    };
    Message {
        overlay: if longest || rng.random_bool(0.95) {
            OVERLAY
        } else {
            OverlayId(rng.random())
        },
        epoch: rng.random(),
        body,
    }
}

fn len(rng: &mut Rng, max: usize, longest: bool) -> usize {
    if longest {
        max
    } else {
        rng.random_range(0..=max)
    }
}

fn node(rng: &mut Rng) -> NodeId {
    NodeId::from_index(rng.random_range(0..20))
}

fn contact(rng: &mut Rng, longest: bool) -> Contact {
    let mut hint = Hint(vec![0; len(rng, Hint::BYTES_MAX, longest)].into());
    rng.fill(&mut hint.0[..]);
    Contact {
        id: node(rng),
        hint,
    }
}

fn position(rng: &mut Rng) -> Position {
    Position(rng.random(), rng.random(), rng.random())
}

fn entry(rng: &mut Rng, longest: bool) -> Entry {
    Entry {
        contact: contact(rng, longest),
        rtt_us: Some(rng.random()),
        direct_us: Some(rng.random()),
        position: Some(position(rng)),
    }
}

fn standing(rng: &mut Rng, longest: bool) -> Standing {
    Standing {
        hint: contact(rng, longest).hint,
        position: Some(position(rng)),
        direct_us: Some(rng.random()),
        delay_us: rng.random(),
        rooted: rng.random(),
        slots: rng.random(),
        version: rng.random(),
        path: (0..len(rng, HOPS_MAX, longest))
            .map(|_| node(rng))
            .collect(),
    }
}

fn answer(rng: &mut Rng, longest: bool) -> Answer {
    match rng.random_range(0..3) {
        0 => Answer::Accept(Box::new(down(rng, longest))),
        1 => Answer::Clear,
        _ => Answer::Refuse {
            reason: [
                Reason::Full,
                Reason::Loop,
                Reason::Busy,
                Reason::Stale,
                Reason::NoRoot,
            ][rng.random_range(0..5)],
            hints: (0..len(rng, HINTS_MAX, longest))
                .map(|_| contact(rng, longest))
                .collect(),
            standing: Some(Box::new(standing(rng, longest))),
        },
    }
}

fn down(rng: &mut Rng, longest: bool) -> Down {
    let hops = len(rng, HOPS_MAX, longest);
    let hop = |index: usize| Hop {
        contact: if index < crate::wire::HINTED_HOPS {
            contact(rng, longest)
        } else {
            Contact::bare(node(rng))
        },
        delay_us: rng.random(),
        version: rng.random(),
    };
    let path = Some((0..hops).map(hop).collect());
    Down {
        alpha_milli: rng.random(),
        delay_us: rng.random(),
        version: rng.random(),
        rooted: rng.random(),
        pressure: [Pressure::None, Pressure::Move, Pressure::Yield][rng.random_range(0..3)],
        members: rng.random(),
        path_serial: rng.random(),
        path,
    }
}

fn up(rng: &mut Rng) -> Up {
    Up {
        slack_us: rng.random(),
        sums: Sums {
            covered: rng.random(),
            cost_us: rng.random(),
            rdp_max_milli: rng.random(),
            rdp_sum_milli: rng.random(),
            attached: rng.random(),
            violators: rng.random(),
            age_ms: rng.random(),
        },
        path_serial: rng.random(),
        slots: rng.random(),
        rtt_us: rng.random(),
        direct_us: Some(rng.random()),
        position: Some(position(rng)),
        version: rng.random(),
    }
}

proptest! {
    #[test]
    fn a_lawful_message_arrives_unchanged_within_eight_kibibytes(seed: u64, longest: bool) {
        let mut sent = message(&mut Seed::new(seed).rng(), longest);
        sent.check().unwrap();
        let bytes = encode(&sent);
        prop_assert_eq!(decode_wire::<Message>(&bytes), Ok(sent), "{} bytes", bytes.len());
    }

    #[test]
    fn no_bytes_panic(
        seed: u64,
        flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encode(&message(&mut Seed::new(seed).rng(), false));
        for (at, value) in flips {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        if let Ok(message) = decode_wire::<Message>(&bytes) {
            let mut again = message.clone();
            again.check().unwrap();
            prop_assert_eq!(again, message);
        }
    }

    #[test]
    fn any_inputs_keep_the_contract(seed: u64) {
        let seed = Seed::new(test_seed(seed));
        let log = contract::check(|| machine(seed, 1, 0), &inputs(seed, 400));
        prop_assert!(!log.is_empty());
    }
}

#[test]
fn hostile_numbers_are_clamped_and_long_lists_refused() {
    let mut rng = Seed::new(1).rng();
    let mut hostile = down(&mut rng, false);
    hostile.alpha_milli = 0;
    hostile.delay_us = u32::MAX;
    let mut message = Message {
        overlay: OVERLAY,
        epoch: 0,
        body: Body::Beat(Box::new(Beat::Down(hostile.clone()))),
    };
    message.check().unwrap();
    let Body::Beat(beat) = &message.body else {
        panic!("a beat stays one");
    };
    let Beat::Down(clamped) = &**beat else {
        panic!("it stays one down");
    };
    assert_eq!(
        (clamped.alpha_milli, clamped.delay_us),
        (1_000, DELAY_US_MAX)
    );
    hostile.path = Some(vec![
        Hop {
            contact: Contact::bare(id(1)),
            delay_us: 0,
            version: 0,
        };
        HOPS_MAX + 1
    ]);
    message.body = Body::Beat(Box::new(Beat::Down(hostile)));
    assert!(message.check().is_err());
}

/// Commands and hostile messages at rising times, to node 1, whose root is node 0.
fn inputs(seed: Seed, count: u64) -> Vec<(Time, Input<Command, Message>)> {
    let mut rng = seed.derive("inputs", 0).rng();
    let join = Command::Join {
        id: 1,
        overlay: OVERLAY,
        root: super::contact(0),
        alpha_milli: 1_500,
        cap: 4,
    };
    let mut at = Time::ZERO;
    let mut inputs = vec![(at, Input::Command(join))];
    for _ in 0..count {
        at = at + Duration::from_millis(rng.random_range(0..300));
        let peer = NodeId::from_index(rng.random_range(0..20));
        let input = match rng.random_range(0..14) {
            0 => Input::Connected(peer),
            1 if rng.random_bool(0.3) => Input::Disconnected(peer),
            2 => Input::DialFailed(peer),
            3..=5 => Input::Command(Command::Measured {
                peer: NodeId::from_index(rng.random_range(0..2_000)),
                rtt_us: rng.random_bool(0.9).then(|| rng.random_range(0..90_000)),
                coordinate: Some(Coordinate::default()),
            }),
            6 if rng.random_bool(0.2) => Input::Command(Command::Reroot {
                overlay: OVERLAY,
                root: Contact::bare(NodeId::from_index(rng.random_range(0..3))),
            }),
            8 => Input::Command(Command::Suspect(peer)),
            9 if rng.random_bool(0.3) => Input::Command(Command::Retire(peer)),
            7 => accept(rng.random_range(0..30)),
            _ => {
                let mut message = message(&mut rng, false);
                message.check().unwrap();
                Input::Received {
                    from: peer,
                    message,
                }
            }
        };
        inputs.push((at, input));
    }
    inputs
}

/// The root's acceptance of the offer with this serial, if it was the next.
fn accept(serial: u32) -> Input<Command, Message> {
    let down = Down {
        alpha_milli: 1_500,
        delay_us: 0,
        version: 0,
        rooted: true,
        pressure: Pressure::None,
        members: 100,
        path_serial: 1,
        path: Some(Vec::new()),
    };
    let verdict = Verdict {
        of: id(1),
        serial,
        answer: Answer::Accept(Box::new(down)),
    };
    Input::Received {
        from: id(0),
        message: Message {
            overlay: OVERLAY,
            epoch: 1,
            body: Body::Verdict(Box::new(verdict)),
        },
    }
}

#[test]
fn no_peer_makes_the_state_grow() {
    let seed = Seed::new(test_seed(11));
    let mut machine = machine(seed, 1, 0);
    let mut largest = 0;
    for (at, input) in inputs(seed, 20_000) {
        while fire_due(&mut machine, at) {}
        feed(&mut machine, at, input);
        largest = largest.max(machine.state_len());
    }
    println!("largest state: {largest} entries");
    assert!(largest < 2_000, "{largest} entries");
}

#[test]
fn a_flood_is_ignored_and_told_once() {
    let mut world = World::new(test_seed(12), 2);
    world.join(0);
    world.net.connect(id(0), id(1));
    let ask = Message {
        overlay: OVERLAY,
        epoch: 0,
        body: Body::Gossip(Box::new(Gossip {
            purpose: Purpose::Ask,
            rtt_us: Some(RTT_US_MAX),
            me: standing(&mut Seed::new(1).rng(), false),
            entries: Vec::new(),
        })),
    };
    let most = u64::from(Config::default().messages_per_tick_max);
    for _ in 0..2 * most {
        let input = Input::Received {
            from: id(1),
            message: ask.clone(),
        };
        world.net.input(id(0), input);
    }
    assert_eq!(world.net.sent, most);
    let offences: Vec<_> = world.net.penalties.iter().map(|p| (p.2, p.3)).collect();
    assert_eq!(offences, [(id(1), Offence::Flood)]);
}

#[test]
fn refused_commands_say_why() {
    let seed = Seed::new(1);
    let join = |id, alpha_milli| Command::Join {
        id,
        overlay: OVERLAY,
        root: super::contact(0),
        alpha_milli,
        cap: 4,
    };
    let knob = |id| Command::SetKnob {
        id,
        overlay: OVERLAY,
        alpha_milli: 1_200,
    };
    let leave = Command::Leave {
        id: 1,
        overlay: OVERLAY,
    };
    let mut machine = machine(seed, 1, 0);
    let mut refusals = Vec::new();
    for command in [leave, join(2, 900), join(3, 1_500), join(4, 1_500), knob(5)] {
        for output in feed(&mut machine, Time::ZERO, Input::Command(command)) {
            if let Output::Event(Event::Refused { id, reason }) = output {
                refusals.push((id, reason));
            }
        }
    }
    let expected = [
        (1, Refusal::NotMember),
        (2, Refusal::Knob),
        (4, Refusal::Member),
        (5, Refusal::NotRoot),
    ];
    assert_eq!(refusals, expected);
}

#[test]
fn a_child_that_counts_a_million_members_lifts_no_sum_over_its_limit() {
    let mut root = machine(Seed::new(1), 0, 0);
    let join = Command::Join {
        id: 1,
        overlay: OVERLAY,
        root: super::contact(0),
        alpha_milli: 1_500,
        cap: 4,
    };
    feed(&mut root, Time::ZERO, Input::Command(join));
    feed(&mut root, Time::ZERO, Input::Connected(id(1)));
    let mut say = |body| {
        let mut message = Message {
            overlay: OVERLAY,
            epoch: 1,
            body,
        };
        message.check().unwrap();
        let from = id(1);
        feed(&mut root, Time::ZERO, Input::Received { from, message });
        root.status(OVERLAY).unwrap()
    };
    let offer = Offer {
        serial: 1,
        kind: OfferKind::Orphan,
        leaf: true,
        rtt_us: Some(1_000),
        slack_us: 0,
        seen_us: 0,
        hint: Hint::default(),
        position: None,
    };
    let attached = say(Body::Offer(Box::new(offer)));
    assert_eq!(attached.children.len(), 1);
    let mut beat = up(&mut Seed::new(1).rng());
    beat.sums.covered = u32::MAX;
    let told = say(Body::Beat(Box::new(Beat::Up(beat))));
    assert_eq!(told.sums.covered, COVERED_MAX);
}
