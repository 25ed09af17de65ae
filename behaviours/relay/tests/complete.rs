//! The complete class over a network: each frame once, in order, whatever happens between.

mod net;

use std::time::Duration;

use net::{BOOT, CALM, Faults, KEY, Net, OVERLAY, att, id, payload};
use opus_core::{NodeId, Time};
use opus_relay::{Class, Command, Config, Event, Forward};

fn all(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

/// 0 - 1 - {2, 3}, 3 - 4.
const TREE: [Option<usize>; 5] = [None, Some(0), Some(1), Some(1), Some(3)];

fn net(faults: Faults) -> Net {
    let mut net = Net::new(5, Class::Complete, Config::default(), 1, faults);
    net.tree(&TREE);
    net.source(0, BOOT | 1);
    for node in 1..5 {
        net.sink(node, None);
    }
    net.run_for(Duration::from_millis(500));
    net
}

#[test]
fn calm_links_deliver_each_frame_once_in_order_without_repair() {
    let mut net = net(CALM);
    net.stream(0, 0, 3_000, Duration::from_micros(200));
    net.run_for(Duration::from_secs(2));
    for node in 1..5 {
        assert_eq!(net.numbers(node), all(0..3_000), "sink {node}");
        let stats = net.stats(node, 0);
        assert_eq!((stats.resent, stats.duplicates, stats.repaired), (0, 0, 0));
        assert_eq!(stats.stable, BOOT + 3_000);
        assert!(
            stats.held_bytes <= 64 << 10,
            "only the tail is kept: {}",
            stats.held_bytes
        );
    }
    let stable = Event::Stable {
        overlay: OVERLAY,
        flow: 0,
        seq: BOOT + 3_000,
    };
    assert_eq!(
        net.nodes[0]
            .events
            .iter()
            .rev()
            .find(|e| matches!(e, Event::Stable { .. })),
        Some(&stable)
    );
    let latency = net.stats(4, 0).latency;
    assert_eq!(latency.count(), 3_000);
}

/// Node 4 moves from 3 to 1 in the middle of a stream. Gives what the source knows to be stable
/// 4 s after its last frame.
fn stable_after_a_move(told: bool) -> u64 {
    let mut net = net(CALM);
    net.stream(0, 0, 200, Duration::from_millis(1));
    if told {
        let (overlay, child) = (OVERLAY, id(4));
        net.command(3, Command::ChildMoved { overlay, child });
    }
    net.set_parent(4, 1);
    for node in [1, 4, 3] {
        net.edges(node);
    }
    net.stream(0, 200, 600, Duration::from_millis(1));
    net.run_for(Duration::from_secs(4));
    assert_eq!(net.numbers(4), all(0..800), "nothing is lost by the move");
    net.stats(0, 0).stable
}

#[test]
fn a_child_that_moved_holds_up_the_source_for_a_moment_only() {
    assert_eq!(stable_after_a_move(true), BOOT + 800);
    assert!(
        stable_after_a_move(false) < BOOT + 800,
        "untold, it may come back for 30 s"
    );
}

#[test]
fn an_idle_network_falls_silent() {
    let mut net = net(CALM);
    net.stream(0, 0, 100, Duration::from_millis(1));
    net.run_for(Duration::from_secs(3));
    let before = net.bytes_sent;
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.bytes_sent, before);
}

#[test]
fn ten_percent_loss_with_reordering_and_copies_delivers_all_in_order() {
    let faults = Faults {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        loss: 0.1,
        copies: 0.02,
    };
    let mut net = net(faults);
    net.stream(0, 0, 5_000, Duration::from_millis(1));
    net.run_for(Duration::from_secs(5));
    for node in 1..5 {
        assert_eq!(net.numbers(node), all(0..5_000), "sink {node}");
    }
    let sent: u64 = (0..5).map(|node| net.stats(node, 0).copies).sum();
    // Four links; one frame in ten is lost, resends too: 1 / 0.9 is the least.
    let ratio = sent as f64 / (4.0 * 5_000.0);
    assert!(ratio < 1.0 / 0.9 + 0.06, "{ratio} copies a frame and link");
}

#[test]
fn an_inner_node_is_killed_mid_stream_and_nobody_misses_a_frame() {
    let mut net = net(CALM);
    // It has no sink of its own, or the source would wait for it when its window is full.
    net.command(
        1,
        Command::SinkGone {
            overlay: OVERLAY,
            att: att(1),
        },
    );
    net.stream(0, 0, 500, Duration::from_millis(1));
    net.kill(1);
    net.edges(0);
    net.stream(0, 500, 300, Duration::from_millis(1));
    net.tree(&[None, None, Some(0), Some(0), Some(3)]);
    net.stream(0, 800, 1_200, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    for node in 2..5 {
        assert_eq!(net.numbers(node), all(0..2_000), "sink {node}");
    }
    let got = &net.nodes[4].got[&att(4)];
    let stall = got.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap();
    // 300 ms without a parent, one round trip to fetch; the sender goes on meanwhile.
    assert!(stall < Duration::from_millis(400), "{stall:?}");
}

#[test]
fn a_lost_child_with_a_sink_is_held_for_30_s_and_then_the_source_goes_on() {
    let config = Config {
        window_frames: 64,
        ..Config::default()
    };
    let mut net = Net::new(2, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.stream(0, 0, 10, Duration::from_millis(1));
    net.run_for(Duration::from_secs(1));
    net.kill(1);
    net.edges(0);
    for n in 10..74 {
        assert!(net.send(0, &[payload(n)]).is_ok());
    }
    assert!(net.send(0, &[payload(74)]).is_err(), "a whole window ahead");
    net.run_for(Duration::from_secs(29));
    assert!(net.send(0, &[payload(74)]).is_err());
    net.run_for(Duration::from_millis(1_500));
    assert!(
        net.nodes[0]
            .events
            .contains(&Event::Room { overlay: OVERLAY })
    );
    assert!(net.send(0, &[payload(74)]).is_ok());
}

#[test]
fn a_node_killed_and_restarted_resumes_its_sink_without_gap_or_copy() {
    let mut net = net(CALM);
    net.stream(0, 0, 400, Duration::from_millis(1));
    net.kill(3);
    net.edges(1);
    net.stream(0, 400, 400, Duration::from_millis(1));
    let resume = net.nodes[3].got[&att(3)]
        .last()
        .map(|(_, delivery)| delivery.seq);
    net.restart(3);
    net.tree(&TREE);
    net.command(
        3,
        Command::Root {
            overlay: OVERLAY,
            source: id(0),
        },
    );
    net.run_for(Duration::from_millis(300));
    net.sink(3, resume);
    net.stream(0, 800, 400, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    for node in [1, 2, 3, 4] {
        assert_eq!(net.numbers(node), all(0..1_200), "sink {node}");
    }
    assert!(
        net.nodes[3]
            .events
            .iter()
            .all(|event| !matches!(event, Event::Lost { .. }))
    );
}

/// Node 2 is, or is about to become, a child of 1 when that one is killed. 1 is back at once with
/// its sink; 2 notices 8 s later only, and turns to 0.
fn late_orphan(moving: bool) -> Net {
    let config = Config {
        ring_tail_bytes: 0,
        ..Config::default()
    };
    let mut net = Net::new(3, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0), Some(usize::from(!moving))]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.sink(2, None);
    net.run_for(Duration::from_millis(500));
    net.stream(0, 0, 300, Duration::from_millis(1));
    if moving {
        let (overlay, child) = (OVERLAY, id(2));
        net.command(0, Command::ChildMoved { overlay, child });
        net.set_parent(2, 1);
        for node in [1, 2, 0] {
            net.edges(node);
        }
    }
    net.kill(1);
    let seq = net.nodes[1].got[&att(1)].last().map(|(_, got)| got.seq);
    net.parents[1] = None;
    net.edges(0);
    net.restart(1);
    net.parents[2] = None;
    net.set_parent(1, 0);
    net.edges(0);
    net.edges(1);
    let (overlay, source) = (OVERLAY, id(0));
    net.command(1, Command::Root { overlay, source });
    net.sink(1, seq);
    net.stream(0, 300, 500, Duration::from_millis(1));
    net.run_for(Duration::from_secs(8));
    net.set_parent(2, 0);
    net.edges(0);
    net.edges(2);
    net.stream(0, 800, 100, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    net
}

#[test]
fn a_branch_of_a_node_that_restarted_at_once_is_waited_for() {
    let net = late_orphan(false);
    assert_eq!(net.numbers(1), all(0..900));
    assert_eq!(net.numbers(2), all(0..900));
}

#[test]
fn a_child_that_moved_below_a_node_that_died_is_waited_for() {
    let net = late_orphan(true);
    assert_eq!(net.numbers(1), all(0..900));
    assert_eq!(net.numbers(2), all(0..900));
}

#[test]
fn an_orphan_under_a_newcomer_gets_the_frames_from_before_its_time() {
    // 2 is new and has only the latest frames; 4, the orphan of 3, needs older ones through it.
    let mut net = Net::new(5, Class::Complete, Config::default(), 1, CALM);
    net.tree(&[None, None, None, Some(0), Some(3)]);
    net.source(0, BOOT | 1);
    net.sink(4, None);
    net.stream(0, 0, 200, Duration::from_millis(1));
    net.kill(3);
    net.edges(0);
    net.edges(4);
    net.stream(0, 200, 200, Duration::from_millis(1));
    net.tree(&[None, None, Some(0), None, None]);
    net.sink(2, None);
    net.stream(0, 400, 200, Duration::from_millis(1));
    net.tree(&[None, None, Some(0), None, Some(2)]);
    net.stream(0, 600, 200, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.numbers(4), all(0..800));
    let newcomer = net.numbers(2);
    assert_eq!(newcomer, all(400..800), "from its attachment on");
}

#[test]
fn a_sink_gets_every_frame_from_the_moment_its_node_has_a_parent() {
    let mut net = Net::new(3, Class::Complete, Config::default(), 1, CALM);
    net.tree(&[None, Some(0), None]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.stream(0, 0, 100, Duration::from_millis(1));
    net.sink(2, None);
    net.tree(&[None, Some(0), Some(1)]);
    net.stream(0, 100, 100, Duration::from_millis(1));
    net.run_for(Duration::from_secs(1));
    let got = net.numbers(2);
    assert_eq!(got, all(got[0]..200));
    assert!(
        got[0] <= 100,
        "the first frame after the attachment is due: {}",
        got[0]
    );
}

#[test]
fn a_restarted_source_goes_on_as_a_new_epoch_after_what_was_held_of_the_old_one() {
    let mut net = net(CALM);
    net.stream(0, 0, 300, Duration::from_millis(1));
    net.run_for(Duration::from_millis(100));
    net.kill(0);
    net.edges(1);
    net.run_for(Duration::from_secs(1));
    net.restart(0);
    net.tree(&TREE);
    net.source(0, 2 << 40 | 1);
    net.stream(0, 300, 300, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    for node in 1..5 {
        assert_eq!(net.numbers(node), all(0..600), "sink {node}");
        let seqs: Vec<u64> = net.nodes[node].got[&att(node)]
            .iter()
            .map(|(_, d)| d.seq)
            .collect();
        assert_eq!((seqs[299], seqs[300]), (BOOT + 300, 2 * BOOT + 1));
    }
    assert!(net.send(0, &[payload(600)]).is_ok());
}

#[test]
fn a_source_that_comes_back_to_a_closed_overlay_goes_on_above_what_it_sent() {
    let mut forward = Forward::new(Config::default(), NodeId::from_index(0));
    let begin = |forward: &mut Forward| {
        let (overlay, class, key) = (OVERLAY, Class::Complete, KEY);
        forward.command(
            Time::ZERO,
            Command::Open {
                overlay,
                class,
                key,
            },
        );
        forward.command(
            Time::ZERO,
            Command::Source {
                overlay,
                seq_first: BOOT + 1,
            },
        );
        forward
            .send(
                Time::ZERO,
                OVERLAY,
                0,
                &[payload(0), payload(1)],
                false,
                false,
            )
            .unwrap()
            .seq
    };
    assert_eq!(begin(&mut forward), BOOT + 1);
    forward.command(Time::ZERO, Command::Close { overlay: OVERLAY });
    assert_eq!(begin(&mut forward), BOOT + 3);
}

#[test]
fn the_source_moves_and_the_former_ones_frames_still_arrive() {
    let mut net = net(CALM);
    net.sink(0, None);
    // The former source's last frames have gone nowhere yet: its channel is down.
    net.disconnect(0, 1);
    net.stream(0, 0, 50, Duration::from_millis(1));
    net.reconnect(0, 1);
    net.command(0, Command::SourceGone { overlay: OVERLAY });
    // Node 3 is the new root, and 0 a leaf below 1.
    net.tree(&[Some(1), Some(3), Some(1), None, Some(3)]);
    net.source(3, 7 << 40 | 1);
    net.stream(3, 1_000, 50, Duration::from_millis(1));
    net.run_for(Duration::from_secs(3));
    for node in [0, 1, 2, 3, 4] {
        let mut got = net.numbers(node);
        let of_new: Vec<u64> = got.iter().copied().filter(|&n| n >= 1_000).collect();
        got.retain(|&n| n < 1_000);
        assert_eq!(got, all(0..50), "the former source's, at {node}");
        assert_eq!(of_new, all(1_000..1_050), "the new source's, at {node}");
    }
}

#[test]
fn a_stuck_sink_is_cut_after_30_s_and_the_others_go_on() {
    let config = Config {
        window_frames: 64,
        hand_frames: 16,
        ..Config::default()
    };
    let mut net = Net::new(3, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0), Some(1)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.sink(2, None);
    net.nodes[2].stuck.push(att(2));
    net.run_for(Duration::from_secs(1));
    net.stream(0, 0, 200, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.numbers(1), all(0..200));
    assert!(net.nodes[2].events.contains(&Event::SlowSink {
        overlay: OVERLAY,
        att: att(2)
    }));
    let cut = |event: &Event| matches!(event, Event::SlowBranch { .. });
    assert!(
        !net.nodes.iter().any(|node| node.events.iter().any(cut)),
        "the branch itself is fine"
    );
    assert_eq!(net.numbers(2).len(), 16, "no more than it may hold");
}

#[test]
fn a_silent_branch_is_cut_after_30_s() {
    let config = Config {
        window_frames: 64,
        ..Config::default()
    };
    let mut net = Net::new(3, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0), Some(0)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.sink(2, None);
    net.run_for(Duration::from_secs(1));
    // Its channel is gone, and the overlay has not noticed.
    net.disconnect(0, 2);
    net.stream(0, 0, 200, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.numbers(1), all(0..200));
    let cut = Event::SlowBranch {
        overlay: OVERLAY,
        child: id(2),
    };
    assert!(net.nodes[0].events.contains(&cut));
    // It comes back: what is gone is told, the rest comes in order.
    net.reconnect(0, 2);
    net.stream(0, 200, 100, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    let got = net.numbers(2);
    assert_eq!(got, all(got[0]..300));
}

#[test]
fn back_pressure_keeps_the_source_within_its_window() {
    let config = Config {
        window_frames: 32,
        ..Config::default()
    };
    let mut net = Net::new(2, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.run_for(Duration::from_secs(1));
    let batch: Vec<_> = (0..32).map(payload).collect();
    assert_eq!(net.send(0, &batch).unwrap().n, 32);
    assert!(net.send(0, &batch).is_err());
    assert_eq!(net.stats(0, 0).refused, 32);
    net.run_for(Duration::from_secs(1));
    assert!(
        net.nodes[0]
            .events
            .contains(&Event::Room { overlay: OVERLAY })
    );
    assert_eq!(net.send(0, &batch).unwrap().seq, BOOT + 33);
}

#[test]
fn a_five_second_partition_is_mended_within_two_digests_and_a_round_trip() {
    let mut net = net(CALM);
    net.stream(0, 0, 200, Duration::from_millis(1));
    net.disconnect(1, 3);
    net.stream(0, 200, 500, Duration::from_millis(10));
    net.reconnect(1, 3);
    net.run_for(Duration::from_millis(420));
    for node in [3, 4] {
        assert_eq!(net.numbers(node), all(0..700), "sink {node}");
    }
}

#[test]
fn what_is_gone_for_good_is_not_waited_for() {
    let config = Config {
        window_frames: 16,
        ring_tail_bytes: 0,
        ..Config::default()
    };
    let mut net = Net::new(3, Class::Complete, config, 1, CALM);
    net.tree(&[None, Some(0), Some(0)]);
    net.source(0, BOOT | 1);
    net.sink(1, None);
    net.sink(2, None);
    net.run_for(Duration::from_secs(1));
    net.stream(0, 0, 10, Duration::from_millis(1));
    net.disconnect(0, 2);
    net.stream(0, 10, 100, Duration::from_millis(1));
    net.run_for(Duration::from_secs(2));
    // Node 2 was cut and is back: its frames are gone, and there is no new one to show that.
    net.reconnect(0, 2);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.stats(0, 0).acked, BOOT + 110);
    let batch: Vec<_> = (110..126).map(payload).collect();
    assert_eq!(
        net.send(0, &batch).map(|sent| sent.n),
        Ok(16),
        "the whole window is free"
    );
    net.run_for(Duration::from_secs(2));
    let got = net.numbers(2);
    assert_eq!(got.last(), Some(&125));
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert_eq!(
        net.nodes[2]
            .events
            .iter()
            .filter(|event| lost(event))
            .count(),
        1
    );
    let flagged = net.nodes[2].got[&att(2)]
        .iter()
        .filter(|(_, d)| d.flags & 2 != 0);
    assert_eq!(flagged.count(), 1, "and the client sees it");
}
