//! Inputs to a probe.

use std::time::Duration;

use opus_core::{Input, Seed, testing::Draw};
use opus_probe::{Command, Config, Message, Probe};

use crate::{
    drive::{self, Drive},
    position,
};

/// 64 answers to one command, and a dial for each.
const OUTPUTS_MAX: usize = 200;

/// Any inputs: commands, peers that come, go and talk, time.
pub fn machine(bytes: &[u8]) {
    drive::run(bytes, script);
}

fn script(bytes: &[u8]) -> u64 {
    let mut draw = Draw::new(bytes);
    let mut drive = Drive::new(
        Probe::new(Config::default(), Seed::new(1).rng()),
        OUTPUTS_MAX,
    );
    while !draw.is_empty() {
        match draw.below(8) {
            0..2 => drive.input(Input::Command(command(&mut draw))),
            2..5 => drive.world(&mut draw),
            _ => {
                let from = draw.peer();
                let message = message(&mut draw);
                drive.hear(from, &message);
            }
        }
    }
    drive.said()
}

fn command(draw: &mut Draw<'_>) -> Command {
    match draw.below(4) {
        0 => Command::Watch(draw.peer()),
        1 => Command::Unwatch(draw.peer()),
        _ => {
            let most = if draw.share(1) { 70 } else { 4 };
            Command::Measure {
                id: draw.any(),
                targets: (0..draw.below(most)).map(|_| draw.peer()).collect(),
                age_max: Duration::from_millis(u64::from(draw.any::<u32>())),
            }
        }
    }
}

fn message(draw: &mut Draw<'_>) -> Message {
    let coordinate = position(draw);
    let nonce = draw.any();
    if draw.flag() {
        Message::Ping {
            nonce,
            coordinate,
            rtt_us: draw.any(),
        }
    } else {
        Message::Pong { nonce, coordinate }
    }
}
