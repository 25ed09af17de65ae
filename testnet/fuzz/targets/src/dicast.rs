//! Inputs to a dicast machine.

use opus_core::{Contact, Input, NodeId, Seed, testing::Draw};
use opus_dicast::{
    Command, Config, Dicast, Name,
    aggregate::{KeyId, Sample},
    cluster::{LEVELS_MAX, SEATS_MAX},
    testing,
};
use opus_model::Position;

use crate::drive::{self, Drive};

/// Any inputs: commands, peers that come, go and talk, time.
pub fn machine(bytes: &[u8]) {
    drive::run(bytes, script);
}

fn script(bytes: &[u8]) -> u64 {
    let mut draw = Draw::new(bytes);
    let config = if draw.flag() {
        // Small clusters split and merge within a short input.
        Config {
            size_min: 2,
            ..Config::default()
        }
    } else {
        Config::default()
    };
    let me = Contact::bare(NodeId::from_index(0));
    let dicast = Dicast::new(config, me, 1, Seed::new(1).rng());
    let mut drive = Drive::new(dicast, testing::OUTPUTS_MAX);
    if draw.share(14) {
        let seeds = draw.contacts(2);
        drive.input(Input::Command(Command::Start { id: 1, seeds }));
    }
    while !draw.is_empty() {
        match draw.below(16) {
            0..2 => drive.input(Input::Command(command(&mut draw))),
            2..6 => drive.world(&mut draw),
            6 => {
                let from = draw.peer();
                if let Some(message) = draw.decoded(600) {
                    drive.input(Input::Received { from, message });
                }
            }
            _ => {
                let from = draw.peer();
                let known = testing::known(&drive.machine);
                let message = testing::message(&mut draw, &known);
                drive.hear(from, &message);
            }
        }
        bounded(&drive.machine);
    }
    drive.said()
}

/// Nothing that a peer chooses grows, and what the machine shows of itself fits together.
fn bounded(dicast: &Dicast) {
    assert!(dicast.posts().count() <= usize::from(LEVELS_MAX) + 2);
    for view in dicast.posts() {
        assert!(view.roster.len() <= SEATS_MAX);
        assert_eq!(view.agent.id, dicast.id(), "a post of somebody else");
    }
    assert!(dicast.path().len() <= usize::from(LEVELS_MAX));
}

fn command(draw: &mut Draw<'_>) -> Command {
    let id = u64::from(draw.small());
    match draw.below(12) {
        0 => Command::Start {
            id,
            seeds: draw.contacts(3),
        },
        1..3 => Command::Found {
            id,
            name: draw.maybe(|_| Name::Root),
            contacts: draw.contacts(20),
        },
        3..6 => Command::Measured {
            id,
            peer: draw.node(),
            rtt_us: draw.maybe(Draw::any),
        },
        6 => Command::Set {
            id,
            key: KeyId(draw.small16()),
            sample: sample(draw),
        },
        7 => Command::Unset {
            id,
            key: KeyId(draw.small16()),
        },
        8 => match draw.packed(80) {
            Some(spec) => Command::Spec {
                id,
                key: KeyId(draw.small16()),
                spec,
            },
            None => Command::Leave,
        },
        9 => Command::Coordinate(Position(draw.any(), draw.any(), draw.any()).clamped()),
        10 => Command::Hint(draw.contact().hint),
        _ => Command::Reachable(draw.flag()),
    }
}

/// A program's value: any bits.
fn sample(draw: &mut Draw<'_>) -> Sample {
    if draw.flag() {
        Sample::Number(draw.any())
    } else {
        Sample::Weighted(draw.any(), draw.any())
    }
}
