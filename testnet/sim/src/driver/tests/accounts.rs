//! What is counted, byte by byte, and looks at all hosts.

use opus_net::Shape;

use super::*;
use crate::driver::account::{DIAL_BYTES, wire_bytes};

#[test]
fn a_dial_costs_both_sides_and_a_message_its_body_and_headers() {
    let mut driver = driver();
    driver.command(0, Wish::Dial(1));
    heard(&mut driver, 100);
    let dialled = Traffic {
        sent: DIAL_BYTES,
        received: DIAL_BYTES,
        dials: 1,
        ..Traffic::default()
    };
    assert_eq!([driver.traffic_of(0), driver.traffic_of(1)], [dialled; 2]);
    assert_eq!(driver.traffic_of(2), Traffic::default());
    let before = driver.traffic();
    // The number 7 is one byte of CBOR.
    driver.command(0, Wish::Send(1, 7));
    driver.command(0, Wish::Send(2, 7));
    driver.command(0, Wish::Frames(1, 1));
    heard(&mut driver, 1_100);
    let after = driver.traffic();
    let sent = after.nodes[0].since(&before.nodes[0]);
    assert_eq!(
        (sent.sent, sent.messages_sent),
        (29, 1),
        "2 is not connected"
    );
    assert_eq!(sent.frames_sent, wire_bytes(1_028));
    let received = after.nodes[1].since(&before.nodes[1]);
    assert_eq!((received.received, received.messages_received), (29, 1));
    assert_eq!(received.frames_received, wire_bytes(1_028));
    let usage = after.usage(&before, 0..3);
    assert_eq!((usage.worst_node, usage.worst), (Some(0), 29.0));
    assert!((usage.sent_mean - 29.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_failed_dial_costs_what_the_dialler_sent() {
    let mut driver = driver();
    driver.crash(1, false);
    driver.command(0, Wish::Dial(1));
    heard(&mut driver, 1_000);
    let dialler = driver.traffic_of(0);
    assert_eq!(
        (dialler.sent, dialler.received, dialler.dials),
        (DIAL_BYTES, 0, 1)
    );
    assert_eq!(driver.traffic_of(1), Traffic::default());
}

#[test]
fn a_lost_message_was_sent_and_a_doubled_one_is_received_twice() {
    let options = Options {
        transport: Transport::Datagrams,
        ..Options::default()
    };
    let mut driver = driver_with(Conditions::default(), options);
    driver.command(0, Wish::Dial(1));
    driver.command(0, Wish::Dial(2));
    heard(&mut driver, 100);
    for (to, loss, duplicate) in [(1, 1.0, 0.0), (2, 0.0, 1.0)] {
        let conditions = Conditions {
            loss: Loss::Bernoulli { rate: loss },
            duplicate,
            ..Conditions::default()
        };
        let shape = Shape {
            conditions,
            ..Shape::default()
        };
        driver.shape(&[0], &[to], shape).unwrap();
    }
    let before = driver.traffic();
    driver.command(0, Wish::Send(1, 7));
    driver.command(0, Wish::Send(2, 7));
    heard(&mut driver, 1_000);
    let after = driver.traffic();
    let passed = |node: usize| after.nodes[node].since(&before.nodes[node]);
    assert_eq!(passed(0).sent, 58);
    assert_eq!((passed(1).received, passed(2).received), (0, 58));
}

#[test]
fn all_running_hosts_are_looked_at_in_order() {
    let mut driver = driver();
    driver.crash(1, false);
    driver.command(2, Wish::Alarm(Time::from_secs(9)));
    let hosts: Vec<(usize, Option<Time>)> = driver
        .hosts()
        .map(|(node, host)| (node, host.alarm))
        .collect();
    assert_eq!(hosts, [(0, None), (2, Some(Time::from_secs(9)))]);
}

#[test]
fn without_a_history_the_trace_is_the_same() {
    let run = |recent| {
        let options = Options {
            recent,
            ..Options::default()
        };
        let mut driver = driver_with(Conditions::default(), options);
        driver.command(0, Wish::Dial(1));
        heard(&mut driver, 100);
        driver.command(0, Wish::Send(1, 7));
        heard(&mut driver, 200);
        let recent = driver.trace.recent(1, |bytes| format!("{bytes:?}"));
        (driver.trace.hash(), recent)
    };
    let (hash, recent) = run(50);
    assert_eq!(
        recent,
        [
            "0.000000s started ",
            "0.020000s connected n0 ",
            "0.110000s received n0 [7]"
        ]
    );
    assert_eq!(run(0), (hash, Vec::new()));
}
