//! The probe among others, in virtual time.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use opus_core::{
    Seed,
    testing::{LinkFault, Net, contract, test_seed},
};
use proptest::prelude::*;

use super::*;
use opus_model::Position;

const LONG: Duration = Duration::from_secs(600);

fn id(index: u32) -> NodeId {
    NodeId::from_index(index)
}

fn probe(index: u64, config: Config) -> Probe {
    let seed = Seed::new(test_seed(11)).derive("probe", index);
    Probe::new(config, seed.rng())
}

fn net(nodes: u32) -> Net<Probe> {
    net_of(nodes, &Config::default())
}

fn net_of(nodes: u32, config: &Config) -> Net<Probe> {
    Net::new((0..nodes).map(|index| (id(index), probe(index.into(), config.clone()))))
}

fn measure(net: &mut Net<Probe>, at: u32, id_: u64, targets: &[u32], age_max: Duration) {
    let targets = targets.iter().map(|&target| id(target)).collect();
    let command = Command::Measure {
        id: id_,
        targets,
        age_max,
    };
    net.command(id(at), command);
}

/// Answers to `at` as (id, peer, smallest round trip), in order.
fn answers(net: &Net<Probe>, at: u32) -> Vec<(u64, u32, Option<u32>)> {
    let answers = net
        .events
        .iter()
        .filter_map(|(_, node, event)| match event {
            Event::Measured { id, peer, path, .. } if *node == self::id(at) => {
                Some((*id, peer.index(), path.map(|path| path.rtt_min_us)))
            }
            Event::Measured { .. } | Event::Moved(_) | Event::Refused { .. } => None,
        });
    answers.collect()
}

fn refusals(net: &Net<Probe>, at: u32) -> Vec<(u64, Refusal)> {
    let refusals = net
        .events
        .iter()
        .filter_map(|(_, node, event)| match event {
            Event::Refused { id, reason } if *node == self::id(at) => Some((*id, *reason)),
            Event::Measured { .. } | Event::Moved(_) | Event::Refused { .. } => None,
        });
    refusals.collect()
}

#[test]
fn requests_for_a_pair_under_way_are_measured_once() {
    let mut net = net(2);
    for request in 1..=5 {
        measure(&mut net, 0, request, &[1, 1], LONG);
    }
    net.run_for(Duration::from_secs(2));
    let expected: Vec<_> = (1..=5).map(|request| (request, 1, Some(20_000))).collect();
    assert_eq!(answers(&net, 0), expected);
    // One round trip with set-up in it, three counted ones.
    assert_eq!(net.sent, 8);
}

#[test]
fn a_fresh_answer_is_given_at_once_and_an_old_one_measured_again() {
    let mut net = net(2);
    measure(&mut net, 0, 1, &[1], LONG);
    net.run_for(Duration::from_secs(9));
    let sent = net.sent;
    measure(&mut net, 0, 2, &[1], Duration::from_secs(10));
    assert_eq!(answers(&net, 0).len(), 2);
    assert_eq!(net.sent, sent);
    measure(&mut net, 0, 3, &[1], Duration::from_secs(5));
    assert_eq!(answers(&net, 0).len(), 2);
    net.run_for(Duration::from_secs(1));
    assert_eq!(answers(&net, 0).last(), Some(&(3, 1, Some(20_000))));
    // The connection is warm: no set-up again.
    assert_eq!(net.sent, sent + 6);
}

#[test]
fn measurements_start_within_the_budget() {
    let mut net = net(61);
    let starts: Rc<RefCell<BTreeMap<NodeId, Time>>> = Rc::default();
    let seen = Rc::clone(&starts);
    net.set_fault(move |now, _, to, message| {
        if matches!(message, Message::Ping { .. }) {
            seen.borrow_mut().entry(to).or_insert(now);
        }
        LinkFault::Deliver
    });
    let targets: Vec<u32> = (1..=60).collect();
    measure(&mut net, 0, 1, &targets, LONG);
    net.run_for(Duration::from_secs(30));
    assert_eq!(answers(&net, 0).len(), 60);
    let mut starts: Vec<Time> = starts.borrow().values().copied().collect();
    starts.sort_unstable();
    for (index, &start) in starts.iter().enumerate() {
        let until = starts.partition_point(|&s| s.since(start) <= Duration::from_secs(1));
        assert!(until - index <= 16 + 4 + 1, "{} in a second", until - index);
    }
    let all = starts[59].since(starts[0]);
    assert!(
        all >= Duration::from_secs(10),
        "60 at 4 a second took {all:?}"
    );
}

#[test]
fn figures_are_those_of_the_path() {
    let mut net =
        net(2).with_delay(|from, _| Duration::from_millis(if from == id(0) { 7 } else { 33 }));
    let lost = Rc::new(RefCell::new(0));
    let count = Rc::clone(&lost);
    net.set_fault(move |_, from, _, message| {
        let ping = from == id(0) && matches!(message, Message::Ping { .. });
        *count.borrow_mut() += u32::from(ping);
        match *count.borrow() {
            1 if ping => LinkFault::Late(Duration::from_millis(300)),
            2 if ping => LinkFault::Lose,
            3 if ping => LinkFault::Late(Duration::from_millis(10)),
            _ => LinkFault::Deliver,
        }
    });
    measure(&mut net, 0, 1, &[1], LONG);
    net.run_for(Duration::from_secs(10));
    let path = net.machine(id(0)).path(net.now(), id(1)).unwrap();
    assert_eq!((path.rtt_min_us, path.rtt_p95_us), (40_000, 50_000));
    assert_eq!((path.sent, path.lost), (5, 1));
    assert!(path.rtt_smoothed_us > 40_000 && path.rtt_smoothed_us < 50_000);
    assert!(path.age > Duration::from_secs(5));
    assert_eq!(net.machine(id(0)).paths(net.now()).count(), 1);
}

#[test]
fn a_peer_that_cannot_be_dialled_is_told_and_not_dialled_again_soon() {
    let mut net = net(1);
    measure(&mut net, 0, 1, &[9], LONG);
    net.run_for(Duration::from_secs(1));
    assert_eq!(answers(&net, 0), [(1, 9, None)]);
    measure(&mut net, 0, 2, &[9], LONG);
    assert_eq!(answers(&net, 0).len(), 2);
    net.run_for(Duration::from_secs(20));
    measure(&mut net, 0, 3, &[9], LONG);
    assert_eq!(
        answers(&net, 0).len(),
        2,
        "after a while it is dialled again"
    );
}

#[test]
fn a_peer_that_never_answers_is_told_after_one_retry() {
    let mut net = net(2);
    net.set_fault(|_, from, _, _| {
        if from == id(1) {
            LinkFault::Lose
        } else {
            LinkFault::Deliver
        }
    });
    measure(&mut net, 0, 1, &[1], LONG);
    net.run_for(Duration::from_secs(3));
    assert_eq!(answers(&net, 0), []);
    net.run_for(Duration::from_secs(2));
    assert_eq!(answers(&net, 0), [(1, 1, None)]);
    assert_eq!(net.sent, 4);
}

#[test]
fn a_connection_lost_on_the_way_is_dialled_again() {
    let mut net = net(2);
    measure(&mut net, 0, 1, &[1], LONG);
    net.run_for(Duration::from_millis(45));
    net.disconnect(id(0), id(1));
    net.run_for(Duration::from_secs(2));
    assert_eq!(answers(&net, 0), [(1, 1, Some(20_000))]);
}

#[test]
fn commands_beyond_the_limits_are_refused_whole() {
    let config = Config {
        jobs_max: 2,
        waiters_max: 1,
        watched_max: 1,
        ..Config::default()
    };
    let mut net = net_of(4, &config);
    let many: Vec<u32> = (1..=65).collect();
    measure(&mut net, 0, 1, &many, LONG);
    measure(&mut net, 0, 2, &[1, 2, 3], LONG);
    measure(&mut net, 0, 3, &[1], LONG);
    measure(&mut net, 0, 4, &[1, 2], LONG);
    net.command(id(0), Command::Watch(id(1)));
    net.command(id(0), Command::Watch(id(2)));
    let busy = Refusal::Busy;
    let expected = [
        (1, Refusal::TooManyTargets),
        (2, busy),
        (4, busy),
        (0, busy),
    ];
    assert_eq!(refusals(&net, 0), expected);
    net.run_for(Duration::from_secs(1));
    let asked: Vec<u64> = answers(&net, 0).iter().map(|answer| answer.0).collect();
    assert!(asked.iter().all(|&request| request == 3 || request == 0));
}

#[test]
fn a_flood_is_not_answered_and_has_its_price() {
    let mut net = net(2);
    net.connect(id(0), id(1));
    for nonce in 0..100 {
        let message = Message::Ping {
            nonce,
            coordinate: Coordinate::default().into(),
            rtt_us: 0,
        };
        net.input(
            id(0),
            Input::Received {
                from: id(1),
                message,
            },
        );
    }
    let burst = u64::from(Config::default().answers_burst);
    assert_eq!(net.sent, burst);
    assert_eq!(net.penalties.len() as u64, 100 - burst);
    assert!(
        net.penalties
            .iter()
            .all(|p| p.3 == Offence::Flood && p.2 == id(1))
    );
}

#[test]
fn an_answer_to_no_question_teaches_nothing() {
    let mut net = net(2);
    net.connect(id(0), id(1));
    let before = net.machine(id(0)).coordinate();
    for nonce in 0..50 {
        let coordinate = Position([i32::MAX; 3], u32::MAX, 0);
        let message = Message::Pong { nonce, coordinate };
        net.input(
            id(0),
            Input::Received {
                from: id(1),
                message,
            },
        );
    }
    assert_eq!(net.machine(id(0)).coordinate(), before);
    assert_eq!(net.machine(id(0)).paths(net.now()).count(), 0);
    assert!(!net.penalties.is_empty());
}

#[test]
fn a_watched_peer_is_told_when_it_moves_falls_silent_and_returns() {
    let late = Rc::new(RefCell::new(LinkFault::Deliver));
    let fault = Rc::clone(&late);
    let mut net = net(2);
    net.set_fault(move |_, from, _, _| {
        if from == id(1) {
            *fault.borrow()
        } else {
            LinkFault::Deliver
        }
    });
    net.command(id(0), Command::Watch(id(1)));
    net.run_for(Duration::from_secs(60));
    assert_eq!(
        answers(&net, 0),
        [(0, 1, Some(20_000))],
        "nothing new, nothing told"
    );
    *late.borrow_mut() = LinkFault::Late(Duration::from_millis(30));
    net.run_for(Duration::from_secs(60));
    let moved = answers(&net, 0).len();
    assert!(moved > 2, "the smoothed value climbs by steps over 5 %");
    *late.borrow_mut() = LinkFault::Lose;
    net.run_for(Duration::from_secs(60));
    assert_eq!(answers(&net, 0)[moved..], [(0, 1, None)]);
    *late.borrow_mut() = LinkFault::Deliver;
    net.run_for(Duration::from_secs(6));
    assert_eq!(answers(&net, 0)[moved + 1..], [(0, 1, Some(20_000))]);
    net.command(id(0), Command::Unwatch(id(1)));
    let sent = net.sent;
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.sent, sent);
}

#[test]
fn a_watched_peer_that_crashed_is_told_once() {
    let mut net = net(2);
    net.command(id(0), Command::Watch(id(1)));
    net.run_for(Duration::from_secs(12));
    net.crash(id(1));
    net.run_for(Duration::from_secs(120));
    assert_eq!(answers(&net, 0), [(0, 1, Some(20_000)), (0, 1, None)]);
}

#[test]
fn an_interest_is_lost_with_the_last_user() {
    let mut probe = probe(0, Config::default());
    let command = |probe: &mut Probe, ms, command| {
        probe.handle(Time::from_millis(ms), Input::Command(command));
        let drained: Vec<_> = std::iter::from_fn(|| probe.poll_output()).collect();
        let interest = drained.into_iter().filter_map(|output| match output {
            Output::Dial(peer) => Some((true, peer)),
            Output::Release(peer) => Some((false, peer)),
            Output::Send { .. } | Output::Penalise(..) | Output::Event(_) => None,
        });
        interest.collect::<Vec<_>>()
    };
    let peer = id(1);
    let ask = Command::Measure {
        id: 1,
        targets: vec![peer],
        age_max: LONG,
    };
    assert_eq!(command(&mut probe, 1, ask), [(true, peer)]);
    assert_eq!(command(&mut probe, 2, Command::Watch(peer)), []);
    assert_eq!(command(&mut probe, 3, Command::Unwatch(peer)), []);
    probe.handle(Time::from_millis(4), Input::DialFailed(peer));
    let outputs: Vec<_> = std::iter::from_fn(|| probe.poll_output()).collect();
    assert_eq!(outputs[0], Output::Release(peer));
}

#[test]
fn coordinates_estimate_what_was_never_measured() {
    // Nodes on a line, 8 ms one way between neighbours.
    let delay =
        |a: NodeId, b: NodeId| Duration::from_millis(u64::from(a.index().abs_diff(b.index())) * 8);
    let mut net = net(12).with_delay(delay);
    for round in 0..12 {
        for at in 0..12 {
            let target = (at + 1 + round % 8) % 12;
            if (at, target) != (0, 9) && (at, target) != (9, 0) {
                measure(&mut net, at, round.into(), &[target], Duration::ZERO);
            }
        }
        net.run_for(Duration::from_secs(10));
    }
    let estimate = |a, b| {
        let peer = net.machine(id(b)).coordinate();
        net.machine(id(a)).coordinate().estimate_ms(&peer)
    };
    let far = estimate(0, 9);
    assert!((far - 144.0).abs() < 40.0, "144 ms were estimated as {far}");
    assert!(estimate(0, 2) < far / 2.0);
    assert!(
        net.events
            .iter()
            .any(|(_, _, event)| matches!(event, Event::Moved(_)))
    );
}

/// What a driver and hostile peers may do, at any time.
fn inputs() -> impl Strategy<Value = Vec<contract::Timed<Probe>>> {
    let peer = (1_u32..6).prop_map(id);
    let targets = proptest::collection::vec(peer.clone(), 0..5);
    let position = (any::<[i32; 3]>(), any::<u32>(), any::<u16>());
    let position = position.prop_map(|(point, height, error)| Position(point, height, error));
    let message = (any::<bool>(), 0_u64..4, position).prop_map(|(ping, nonce, coordinate)| {
        if ping {
            Message::Ping {
                nonce,
                coordinate,
                rtt_us: 0,
            }
        } else {
            Message::Pong { nonce, coordinate }
        }
    });
    let input = prop_oneof![
        targets.prop_map(|targets| Input::Command(Command::Measure {
            id: 0,
            targets,
            age_max: Duration::from_secs(5),
        })),
        peer.clone()
            .prop_map(|peer| Input::Command(Command::Watch(peer))),
        peer.clone()
            .prop_map(|peer| Input::Command(Command::Unwatch(peer))),
        peer.clone().prop_map(Input::Connected),
        peer.clone().prop_map(Input::Disconnected),
        peer.clone().prop_map(Input::DialFailed),
        (peer, message).prop_map(|(from, message)| Input::Received { from, message }),
    ];
    proptest::collection::vec((0_u64..3_000, input), 1..60).prop_map(|steps| {
        let mut now = Time::ZERO;
        let timed = (1..).zip(steps).map(|(index, (ms, mut input))| {
            now = now + Duration::from_millis(ms);
            if let Input::Command(Command::Measure { id, .. }) = &mut input {
                *id = index;
            }
            (now, input)
        });
        timed.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_contract_holds_and_every_question_is_answered_once(mut inputs in inputs()) {
        let end = inputs.last().unwrap().0 + Duration::from_secs(300);
        inputs.push((end, Input::Command(Command::Unwatch(id(1)))));
        let config = Config { jobs_max: 4, paths_max: 3, links_max: 3, ..Config::default() };
        let log = contract::check(|| probe(0, config.clone()), &inputs);
        for (_, input) in &inputs {
            let Input::Command(Command::Measure { id, targets, .. }) = input else {
                continue;
            };
            let distinct: std::collections::BTreeSet<_> = targets.iter().collect();
            let mark = format!("Measured {{ id: {id},");
            let told = log.iter().filter(|line| line.contains(&mark)).count();
            let mark = format!("Refused {{ id: {id},");
            let refused = log.iter().filter(|line| line.contains(&mark)).count();
            let right = (told == distinct.len() && refused == 0) || (told == 0 && refused == 1);
            prop_assert!(right, "{id}: {told} of {} told, {refused} refused", distinct.len());
        }
    }
}
