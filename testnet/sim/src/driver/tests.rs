//! The driver alone, with a host that does what it is told and notes what it hears.

use bytes::{Bytes, BytesMut};
use opus_core::{Deadline, Input, Lane, Malformed, Output, Seed};
use opus_model::Matrix;
use opus_net::{Conditions, Loss};

use super::*;
use crate::host::Tally;

mod accounts;
mod faults;

/// Sends, dials and waits by command; frames in a queue; hears all.
#[derive(Debug, Default)]
struct Parrot {
    outputs: VecDeque<Output<u64, Heard>>,
    frames: BTreeMap<NodeId, VecDeque<u64>>,
    woken: VecDeque<NodeId>,
    alarm: Option<Time>,
    /// A defective one is due again at once.
    spins: bool,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Dial(usize),
    Release(usize),
    Send(usize, u64),
    Frames(usize, u64),
    Alarm(Time),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Up(usize),
    Down(usize),
    Failed(usize),
    Message(usize, u64),
    Frame(usize, u64),
    Alarm,
}

fn index(id: NodeId) -> usize {
    id.index() as usize
}

impl Host for Parrot {
    type Command = Wish;
    type Message = u64;
    type Event = Heard;

    fn handle(&mut self, _now: Time, input: Input<Wish, u64>) {
        let heard = match input {
            Input::Command(Wish::Dial(peer)) => {
                self.outputs.push_back(Output::Dial(id_of(peer)));
                return;
            }
            Input::Command(Wish::Release(peer)) => {
                self.outputs.push_back(Output::Release(id_of(peer)));
                return;
            }
            Input::Command(Wish::Send(peer, message)) => {
                let to = id_of(peer);
                self.outputs.push_back(Output::Send {
                    to,
                    message,
                    lane: Lane::Control,
                });
                return;
            }
            Input::Command(Wish::Frames(peer, count)) => {
                self.frames.entry(id_of(peer)).or_default().extend(0..count);
                self.woken.push_back(id_of(peer));
                return;
            }
            Input::Command(Wish::Alarm(at)) => {
                self.alarm = Some(at);
                return;
            }
            Input::Connected(peer) => Heard::Up(index(peer)),
            Input::Disconnected(peer) => Heard::Down(index(peer)),
            Input::DialFailed(peer) => Heard::Failed(index(peer)),
            Input::Received { from, message } => Heard::Message(index(from), message),
        };
        self.outputs.push_back(Output::Event(heard));
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = self.spins.then_some(now);
            self.outputs.push_back(Output::Event(Heard::Alarm));
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.alarm.map(|at| Deadline {
            at,
            reason: "alarm",
        })
    }

    fn poll_output(&mut self) -> Option<Output<u64, Heard>> {
        self.outputs.pop_front()
    }

    fn poll_wake(&mut self) -> Option<NodeId> {
        self.woken.pop_front()
    }

    fn fill(&mut self, _now: Time, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool {
        let queue = self.frames.entry(peer).or_default();
        while out.len() < budget {
            let Some(number) = queue.pop_front() else {
                return false;
            };
            let mut frame = vec![0; 1_024];
            frame[..8].copy_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&1_024_u32.to_le_bytes());
            out.extend_from_slice(&frame);
        }
        !queue.is_empty()
    }

    fn received(&mut self, _now: Time, peer: NodeId, frame: Bytes) -> bool {
        let number = u64::from_le_bytes(*frame.first_chunk().unwrap());
        self.outputs
            .push_back(Output::Event(Heard::Frame(index(peer), number)));
        true
    }

    fn encode(message: &u64) -> Vec<u8> {
        opus_core::codec::encode(message)
    }

    fn decode(bytes: &[u8]) -> Result<u64, Malformed> {
        opus_core::codec::decode(bytes, opus_core::Limits::STRICT)
    }

    fn tally(_message: &u64) -> Tally {
        Tally::Ping
    }

    fn note(_event: &Heard) -> Option<String> {
        None
    }
}

/// Three nodes, 20 ms of round trip between any two.
fn driver_with(conditions: Conditions, options: Options) -> Driver<Parrot> {
    let matrix = Matrix::parse("0 20 20\n20 0 20\n20 20 0").unwrap();
    let network = Network::new(matrix.into(), conditions, Seed::new(1)).unwrap();
    let mut driver = Driver::new(network, options);
    for node in 0..3 {
        driver.start(node, Parrot::default());
    }
    driver
}

fn driver() -> Driver<Parrot> {
    driver_with(Conditions::default(), Options::default())
}

/// Everything that is heard until `ms`, with the milliseconds and the hearer.
fn heard(driver: &mut Driver<Parrot>, ms: u64) -> Vec<(u64, usize, Heard)> {
    let mut heard = Vec::new();
    while driver.step(Time::from_millis(ms)) {
        while let Some((node, what)) = driver.poll_event() {
            heard.push((driver.now().as_micros() / 1_000, node, what));
        }
    }
    heard
}

fn connected(conditions: Conditions) -> Driver<Parrot> {
    let mut driver = driver_with(conditions, Options::default());
    driver.command(0, Wish::Dial(1));
    heard(&mut driver, 100);
    assert!(driver.is_connected(0, 1) && driver.is_connected(1, 0));
    driver
}

#[test]
fn a_dial_connects_both_after_a_round_trip_and_a_message_takes_half_of_one() {
    let mut driver = driver();
    driver.command(0, Wish::Dial(1));
    driver.command(1, Wish::Dial(0));
    assert_eq!(
        heard(&mut driver, 50),
        [(20, 0, Heard::Up(1)), (20, 1, Heard::Up(0))]
    );
    driver.command(0, Wish::Send(1, 7));
    driver.command(0, Wish::Send(2, 7));
    let to_connected_only = [(60, 1, Heard::Message(0, 7))];
    assert_eq!(heard(&mut driver, 99), to_connected_only);
    assert_eq!(driver.counts().connections, 1);
}

#[test]
fn a_killed_process_is_noticed_by_a_message_and_a_silent_one_by_a_timeout() {
    for (silent, at) in [(false, 110), (true, 10_100)] {
        let mut driver = connected(Conditions::default());
        driver.crash(1, silent);
        assert_eq!(heard(&mut driver, 20_000), [(at, 0, Heard::Down(1))]);
    }
}

#[test]
fn a_dial_to_the_dead_fails_after_a_round_trip_or_a_timeout() {
    for (silent, at) in [(false, 20), (true, 10_000)] {
        let mut driver = driver();
        driver.crash(1, silent);
        driver.command(0, Wish::Dial(1));
        assert_eq!(heard(&mut driver, 20_000), [(at, 0, Heard::Failed(1))]);
    }
}

#[test]
fn what_was_under_way_to_a_dead_node_does_not_reach_its_next_life() {
    let mut driver = connected(Conditions::default());
    driver.command(0, Wish::Send(1, 7));
    driver.crash(1, false);
    driver.restart(1, Parrot::default());
    driver.command(1, Wish::Dial(0));
    let heard = heard(&mut driver, 1_000);
    assert!(
        !heard
            .iter()
            .any(|(_, _, what)| matches!(what, Heard::Message(..))),
        "{heard:?}"
    );
    assert_eq!(heard.last(), Some(&(120, 0, Heard::Up(1))), "{heard:?}");
}

#[test]
fn a_short_cut_delays_and_keeps_order_and_a_long_one_breaks_the_connection() {
    let mut driver = connected(Conditions::default());
    let cut = driver.partition(&[1]).unwrap();
    for number in 0..3 {
        driver.command(0, Wish::Send(1, number));
    }
    driver.command(0, Wish::Frames(1, 2));
    assert!(heard(&mut driver, 5_000).is_empty());
    driver.repair(cut);
    let late: Vec<Heard> = heard(&mut driver, 6_000)
        .into_iter()
        .map(|(.., what)| what)
        .collect();
    let order = [
        Heard::Message(0, 0),
        Heard::Message(0, 1),
        Heard::Message(0, 2),
        Heard::Frame(0, 0),
        Heard::Frame(0, 1),
    ];
    assert_eq!(late, order);
    driver.partition(&[1]).unwrap();
    driver.command(0, Wish::Send(1, 9));
    let broken = [(16_000, 0, Heard::Down(1)), (16_000, 1, Heard::Down(0))];
    assert_eq!(heard(&mut driver, 60_000), broken);
    driver.repair_all();
    assert!(
        heard(&mut driver, 90_000).is_empty(),
        "what was held is lost with the connection"
    );
}

#[test]
fn a_bootstrap_contact_is_dialled_until_it_is_there() {
    let mut driver = driver();
    driver.crash(1, false);
    driver.keep(0, 1);
    heard(&mut driver, 7_000);
    driver.restart(1, Parrot::default());
    let up = heard(&mut driver, 20_000);
    assert_eq!(up, [(10_060, 0, Heard::Up(1)), (10_060, 1, Heard::Up(0))]);
}

#[test]
fn a_connection_that_nobody_wants_closes_after_a_minute() {
    let mut driver = connected(Conditions::default());
    assert!(heard(&mut driver, 120_000).is_empty(), "it is wanted");
    driver.command(0, Wish::Release(1));
    let closed = [(180_000, 0, Heard::Down(1)), (180_010, 1, Heard::Down(0))];
    assert_eq!(heard(&mut driver, 300_000), closed);
}

#[test]
fn loss_on_streams_is_delay_and_on_datagrams_it_is_loss() {
    let conditions = Conditions {
        loss: Loss::Bernoulli { rate: 0.3 },
        ..Conditions::default()
    };
    let arrived = |transport| {
        let options = Options {
            transport,
            ..Options::default()
        };
        let mut driver = driver_with(conditions, options);
        driver.command(0, Wish::Dial(1));
        heard(&mut driver, 100);
        for number in 0..200 {
            driver.command(0, Wish::Send(1, number));
        }
        let all = heard(&mut driver, 60_000);
        all.into_iter()
            .filter(|(.., what)| matches!(what, Heard::Message(..)))
            .collect::<Vec<_>>()
    };
    let streamed = arrived(Transport::Streams);
    let numbers: Vec<u64> = streamed
        .iter()
        .filter_map(|(.., what)| match what {
            Heard::Message(_, number) => Some(*number),
            Heard::Up(_) | Heard::Down(_) | Heard::Failed(_) | Heard::Frame(..) | Heard::Alarm => {
                None
            }
        })
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let lost = 200 - arrived(Transport::Datagrams).len();
    assert!((30..=90).contains(&lost), "{lost} of 200 lost at 30 %");
}

#[test]
fn a_narrow_link_presses_back_on_frames() {
    let conditions = Conditions {
        bytes_per_s: Some(100_000),
        ..Conditions::default()
    };
    let mut driver = connected(conditions);
    driver.command(0, Wish::Frames(1, 1_000));
    heard(&mut driver, 1_100);
    let waiting = driver.host(0).unwrap().frames[&id_of(1)].len();
    assert!(
        (700..=900).contains(&waiting),
        "{waiting} of 1000 frames of 1 KiB after 1 s"
    );
    let all = heard(&mut driver, 30_000);
    assert_eq!(
        all.last().map(|(.., what)| *what),
        Some(Heard::Frame(0, 999))
    );
}

#[test]
fn a_timer_fires_once_at_its_time_and_a_spinning_host_is_a_defect() {
    let mut driver = driver();
    driver.command(2, Wish::Alarm(Time::from_millis(30)));
    driver.command(2, Wish::Alarm(Time::from_millis(40)));
    assert_eq!(heard(&mut driver, 100), [(40, 2, Heard::Alarm)]);
    assert!(driver.defects().is_empty());
    driver.mutate(2, |host, _| host.spins = true);
    driver.command(2, Wish::Alarm(Time::from_millis(150)));
    for _ in 0..100 {
        driver.step(Time::from_millis(200));
    }
    let defect = &driver.defects()[0];
    assert_eq!((defect.node, defect.at), (2, Time::from_millis(150)));
}

#[test]
fn pings_close_together_are_one_measurement() {
    let mut driver = connected(Conditions::default());
    for _ in 0..4 {
        driver.command(0, Wish::Send(1, 0));
    }
    assert_eq!(driver.tallies_of(0).probes, 1);
    heard(&mut driver, 20_000);
    driver.command(0, Wish::Send(1, 0));
    assert_eq!(driver.tallies_of(0).probes, 2);
    assert_eq!(driver.tallies_of(1).probes, 0);
}
