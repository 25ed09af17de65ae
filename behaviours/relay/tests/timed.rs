//! The timed classes over a network: at most once, in order, nothing after its deadline.

mod net;

use std::time::Duration;

use net::{BOOT, CALM, Faults, Net, OVERLAY, att, number, payload};
use opus_core::Time;
use opus_relay::{Class, Command, Config};

const DEADLINE: Duration = Duration::from_millis(200);
const PERIOD: Duration = Duration::from_millis(1);

/// 0 - 1 - {2, 3}, 3 - 4: sinks at 2 and 4, with three and two links to the source.
fn net(faults: Faults) -> Net {
    let class = Class::Timed { deadline: DEADLINE };
    let mut net = Net::new(5, class, Config::default(), 1, faults);
    net.tree(&[None, Some(0), Some(1), Some(1), Some(3)]);
    net.source(0, BOOT | 1);
    net.sink(2, None);
    net.sink(4, None);
    net
}

/// Streams and checks at each sink: rising numbers, none after its deadline. Returns the counts.
/// `untold`: what the links take beyond the delay that the nodes were told, at least.
fn stream_and_check(net: &mut Net, count: u64, untold: Duration) -> [u64; 2] {
    let first = net.now;
    net.stream(0, 0, count, PERIOD);
    net.run_for(Duration::from_secs(5));
    [2, 4].map(|node| {
        let got = &net.nodes[node].got[&att(node)];
        for two in got.windows(2) {
            assert!(
                number(&two[0].1.data) < number(&two[1].1.data),
                "order at {node}"
            );
        }
        for (at, delivery) in got {
            let millis = number(&delivery.data);
            let sent = first + Duration::from_millis(millis);
            assert!(
                *at - sent <= DEADLINE + untold,
                "frame {millis} took {:?}",
                *at - sent
            );
            assert_eq!(delivery.seq, BOOT + 1 + millis, "a gap stays visible");
        }
        got.len() as u64
    })
}

#[test]
fn calm_links_deliver_ten_thousand_frames_in_time() {
    let mut net = net(CALM);
    assert_eq!(
        stream_and_check(&mut net, 10_000, Duration::ZERO),
        [10_000, 10_000]
    );
    let stats = net.stats(4, 0);
    assert_eq!((stats.on_time, stats.late, stats.lost), (10_000, 0, 0));
    // Three links of 10 ms: no clock is compared, and yet the latency is known.
    assert_eq!(stats.latency.max(), Some(Duration::from_millis(30)));
}

#[test]
fn loss_and_reordering_lose_their_share_and_make_nothing_late() {
    let faults = Faults {
        jitter: Duration::from_millis(8),
        loss: 0.01,
        copies: 0.02,
        ..CALM
    };
    let mut net = net(faults);
    let got = stream_and_check(&mut net, 10_000, Duration::ZERO);
    for (node, links, got) in [(2, 2, got[0]), (4, 3, got[1])] {
        let stats = net.stats(node, 0);
        assert_eq!(stats.on_time, got);
        assert_eq!(stats.late, 0, "ordering makes nothing late");
        let due = stats.on_time + stats.lost;
        assert!(
            (9_990..=10_000).contains(&due),
            "{due} accounted for at {node}"
        );
        let share = got as f64 / 10_000.0;
        let expected = 0.99_f64.powi(links);
        assert!(
            (share - expected).abs() < 0.004,
            "{share} of {expected} at {node}"
        );
    }
}

#[test]
fn a_missing_frame_holds_up_the_next_ones_until_its_deadline_only() {
    let mut net = net(CALM);
    net.stream(0, 0, 100, PERIOD);
    net.run_for(Duration::from_millis(100));
    let before = net.numbers(2).len();
    assert_eq!(before, 100);
    net.faults.loss = 1.0;
    let lost_at = net.now;
    net.stream(0, 100, 1, PERIOD);
    net.faults.loss = 0.0;
    net.stream(0, 101, 20, PERIOD);
    net.run_for(Duration::from_secs(1));
    let got = &net.nodes[2].got[&att(2)];
    assert_eq!(got.len(), 120);
    let after = got[100].0 - lost_at;
    assert!(
        after > Duration::from_millis(100) && after <= DEADLINE,
        "{after:?}"
    );
    assert_eq!(net.stats(2, 0).lost, 1);
}

#[test]
fn a_link_that_is_too_slow_drops_what_cannot_arrive_and_delivers_the_rest_in_time() {
    let mut net = net(CALM);
    // Half of what is sent: 1,000 frames/s of 72 bytes. Writing one takes 2 ms, on three links.
    net.rate = Some(36_000);
    net.run_for(Duration::from_secs(1));
    let got = stream_and_check(&mut net, 3_000, Duration::from_millis(6));
    assert!(got[0] > 1_300, "half of 3,000, and a queue: {got:?}");
    assert_eq!(net.stats(2, 0).on_time, got[0]);
    let dropped = net.stats(0, 0).dropped;
    assert!(
        dropped > 1_000,
        "the queue of the slow link drops them: {dropped}"
    );
}

#[test]
fn a_lost_tail_is_counted_when_the_source_tells_its_top() {
    let mut net = net(CALM);
    net.stream(0, 0, 100, PERIOD);
    net.run_for(Duration::from_millis(100));
    net.faults.loss = 1.0;
    net.stream(0, 100, 50, PERIOD);
    net.faults.loss = 0.0;
    net.run_for(Duration::from_secs(4));
    let stats = net.stats(4, 0);
    assert_eq!((stats.offered, stats.on_time, stats.lost), (150, 100, 50));
    let before = net.bytes_sent;
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.bytes_sent, before, "and then it is silent");
}

#[test]
fn a_client_that_takes_nothing_keeps_the_latest_and_harms_nobody() {
    let config = Config {
        hand_frames: 8,
        sink_bytes: 160,
        ..Config::default()
    };
    let class = Class::Timed { deadline: DEADLINE };
    let mut net = Net::new(2, class, config, 1, CALM);
    net.tree(&[None, Some(0)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.nodes[1].stuck.push(att(1));
    net.stream(0, 0, 100, PERIOD);
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.numbers(1).len(), 8);
    net.nodes[1].stuck.clear();
    net.command(
        1,
        Command::Taken {
            att: att(1),
            frames: 8,
            bytes: 64,
        },
    );
    net.run_for(Duration::from_secs(1));
    let got = &net.nodes[1].got[&att(1)];
    assert_eq!(net.numbers(1)[8..], (88..100).collect::<Vec<_>>());
    assert_eq!((got[8].1.flags, got[9].1.flags), (2, 0));
    assert_eq!(net.stats(1, 0).dropped, 80);
}

#[test]
fn a_new_parent_brings_no_frame_twice() {
    let mut net = net(CALM);
    net.stream(0, 0, 100, PERIOD);
    net.tree(&[None, Some(0), Some(0), Some(1), Some(2)]);
    net.stream(0, 100, 200, PERIOD);
    net.run_for(Duration::from_secs(1));
    for node in [2, 4] {
        let got = net.numbers(node);
        assert!(got.windows(2).all(|two| two[0] < two[1]));
        assert!(
            got.len() >= 280,
            "frames on the way are the most that is lost: {}",
            got.len()
        );
    }
    assert!(
        net.nodes.iter().all(|node| node.events.is_empty()),
        "no honest peer is blamed"
    );
}

#[test]
fn a_restarted_source_is_followed_at_once_and_nothing_counts_as_lost() {
    let mut net = net(CALM);
    net.stream(0, 0, 100, PERIOD);
    net.run_for(Duration::from_millis(100));
    net.kill(0);
    net.restart(0);
    net.tree(&[None, Some(0), Some(1), Some(1), Some(3)]);
    net.source(0, 2 << 40 | 1);
    let at: Time = net.now;
    net.stream(0, 100, 100, PERIOD);
    net.run_for(Duration::from_secs(1));
    let got = &net.nodes[4].got[&att(4)];
    assert_eq!(net.numbers(4), (0..200).collect::<Vec<_>>());
    assert_eq!(got[100].0 - at, Duration::from_millis(30));
    assert_eq!(net.stats(4, 0).lost, 0);
}

#[test]
fn the_last_frame_of_a_stream_is_marked() {
    let mut net = net(CALM);
    let frames: Vec<_> = (0..3).map(payload).collect();
    let now = net.now;
    net.nodes[0]
        .forward
        .send(now, OVERLAY, 0, &frames, true, true)
        .unwrap();
    net.drain(0);
    net.run_for(Duration::from_secs(1));
    let flags: Vec<u8> = net.nodes[4].got[&att(4)]
        .iter()
        .map(|(_, d)| d.flags)
        .collect();
    assert_eq!(flags, [0, 0, 4]);
}
