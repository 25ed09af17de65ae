//! Inputs to an overlay machine.

use opus_core::{Input, NodeId, OverlayId, Seed, testing::Draw};
use opus_model::Coordinate;
use opus_overlay::{Command, Config, Overlay};

use crate::drive::{self, Drive};

mod words;

/// Beats, gossip and verdicts to 64 children and a view, and an order to hold or release each.
const OUTPUTS_MAX: usize = 1_000;

/// Any inputs: commands, peers that come, go and talk, time.
pub fn machine(bytes: &[u8]) {
    drive::run(bytes, script);
}

fn script(bytes: &[u8]) -> u64 {
    let mut draw = Draw::new(bytes);
    let me = NodeId::from_index(0);
    let overlay = Overlay::new(me, Config::default(), Seed::new(1).rng());
    let mut drive = Drive::new(overlay, OUTPUTS_MAX).clamped();
    if draw.share(14) {
        let join = join(&mut draw, OverlayId(0));
        drive.input(Input::Command(join));
    }
    while !draw.is_empty() {
        match draw.below(16) {
            0..3 => drive.input(Input::Command(command(&mut draw))),
            3..7 => drive.world(&mut draw),
            7 => {
                let from = draw.peer();
                if let Some(message) = draw.decoded(600) {
                    drive.input(Input::Received { from, message });
                }
            }
            _ => {
                let from = draw.peer();
                let message = words::message(&mut draw);
                drive.hear(from, &message);
            }
        }
        for id in drive.machine.overlays().collect::<Vec<_>>() {
            let status = drive.machine.status(id).expect("it is a member");
            assert!(
                status.children.len() <= 64,
                "{} children",
                status.children.len()
            );
            assert!(
                status.parent != Some(me) && !status.path.contains(&me),
                "a loop"
            );
        }
    }
    drive.said()
}

fn overlay(draw: &mut Draw<'_>) -> OverlayId {
    OverlayId(u64::from(draw.any::<u8>() >> 6))
}

fn join(draw: &mut Draw<'_>, overlay: OverlayId) -> Command {
    Command::Join {
        id: u64::from(draw.small()),
        overlay,
        root: draw.contact(),
        alpha_milli: if draw.share(2) { draw.any() } else { 1_500 },
        cap: if draw.share(2) { draw.any() } else { 4 },
    }
}

fn command(draw: &mut Draw<'_>) -> Command {
    let overlay = overlay(draw);
    match draw.below(14) {
        0 => join(draw, overlay),
        1 => Command::Leave {
            id: draw.any(),
            overlay,
        },
        2 => Command::SetKnob {
            id: draw.any(),
            overlay,
            alpha_milli: draw.any(),
        },
        3..5 => Command::Introduce {
            overlay,
            members: draw.contacts(70),
        },
        5..9 => Command::Measured {
            peer: draw.node(),
            rtt_us: draw.maybe(|draw| {
                if draw.share(2) {
                    draw.any()
                } else {
                    draw.below(99_000)
                }
            }),
            coordinate: draw.flag().then(Coordinate::default),
        },
        9 => Command::Coordinate(Coordinate::default()),
        10 => Command::Hint(draw.contact().hint),
        11 => Command::Suspect(draw.node()),
        12 => Command::Retire(draw.node()),
        _ => Command::Reroot {
            overlay,
            root: draw.contact(),
        },
    }
}
