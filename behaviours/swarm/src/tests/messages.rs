//! Machines over real connections.

use std::time::Duration;

use opus_core::{Lane, Offence, codec};

use super::{
    hostile::{Accepts, FRAMES, Hostile, NEITHER, TOY},
    lab::{IDLE, Node, Over},
    toy::{Command, Event, UNLAWFUL, message},
};
use crate::Event as Told;

async fn say(from: &Node, to: &Node, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let command = Command::Say(to.id(), message(number), Lane::Control);
        from.command(command).await;
    }
}

async fn exchange(over: Over) {
    let (a, b) = Node::connected_pair(over).await;
    say(&a, &b, 0..50).await;
    say(&b, &a, 100..150).await;
    a.until_event(Event::Heard(b.id(), 149)).await;
    b.until_event(Event::Heard(a.id(), 49)).await;
    assert_eq!(a.heard(), (100..150).collect::<Vec<_>>());
    assert_eq!(b.heard(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn two_nodes_exchange_messages_in_order() {
    exchange(Over::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_exchange_messages_over_tcp() {
    exchange(Over::Tcp).await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_when_it_is_due() {
    let (a, _b) = Node::pair(Over::Memory).await;
    let before = tokio::time::Instant::now();
    a.command(Command::AlarmIn(Duration::from_secs(3_600)))
        .await;
    a.swarm
        .until("the alarm", async || !a.events().is_empty())
        .await;
    let passed = before.elapsed();
    assert!((3_600..3_601).contains(&passed.as_secs()), "{passed:?}");
    assert!(matches!(a.events()[..], [Told::Machine(Event::Alarm(_))]));
}

#[tokio::test(start_paused = true)]
async fn a_dial_without_an_address_fails_and_may_be_repeated() {
    let (a, _b) = Node::pair(Over::Memory).await;
    let stranger = opus_core::NodeId([77; 32]);
    a.command(Command::Dial(stranger)).await;
    a.until_event(Event::DialFailed(stranger)).await;
    a.command(Command::Dial(stranger)).await;
    a.until_events(Event::DialFailed(stranger), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_to_a_connected_peer_is_answered_at_once() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    b.command(Command::Dial(a.id())).await;
    b.until_events(Event::Connected(a.id()), 2).await;
    assert_eq!(b.swarm.connections().await, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_connection_both_are_told_and_a_new_dial_works() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    say(&a, &b, 0..1).await;
    b.until_event(Event::Heard(a.id(), 0)).await;
    b.swarm.disconnect(a.id()).await;
    a.until_event(Event::Disconnected(b.id())).await;
    b.until_event(Event::Disconnected(a.id())).await;
    a.command(Command::Say(b.id(), message(1), Lane::Bulk))
        .await;
    assert_eq!(a.stats().await.unsendable, 1, "not connected: dropped");
    a.command(Command::Dial(b.id())).await;
    b.until_events(Event::Connected(a.id()), 2).await;
    say(&a, &b, 2..3).await;
    b.until_event(Event::Heard(a.id(), 2)).await;
    assert_eq!(b.heard(), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_wish_at_one_end_keeps_the_connection_and_its_release_closes_it() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    tokio::time::sleep(IDLE * 20).await;
    assert_eq!(b.count(&Event::Disconnected(a.id())), 0);
    assert_eq!(a.swarm.connections().await, 1, "idle, but wanted");
    a.command(Command::Release(b.id())).await;
    a.until_event(Event::Disconnected(b.id())).await;
    b.until_event(Event::Disconnected(a.id())).await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_only_answered_each_other_part() {
    let (a, b) = Node::pair(Over::Memory).await;
    a.swarm.dial(b.swarm.address.clone()).await;
    a.until_event(Event::Connected(b.id())).await;
    b.until_event(Event::Connected(a.id())).await;
    say(&a, &b, 0..1).await;
    say(&b, &a, 1..2).await;
    a.until_event(Event::Disconnected(b.id())).await;
    b.until_event(Event::Disconnected(a.id())).await;
    assert_eq!((a.heard(), b.heard()), (vec![1], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn of_two_connections_dialled_at_once_one_is_used_by_both_and_the_other_closes() {
    let (a, b) = Node::pair(Over::Memory).await;
    a.swarm.dial(b.swarm.address.clone()).await;
    b.swarm.dial(a.swarm.address.clone()).await;
    a.swarm
        .until("there are two", async || a.swarm.connections().await == 2)
        .await;
    a.command(Command::Dial(b.id())).await;
    b.command(Command::Dial(a.id())).await;
    say(&a, &b, 0..20).await;
    say(&b, &a, 20..40).await;
    a.swarm
        .until("the spare one closed", async || {
            a.swarm.connections().await == 1
        })
        .await;
    say(&a, &b, 40..60).await;
    b.until_event(Event::Heard(a.id(), 59)).await;
    assert_eq!(b.heard(), (0..20).chain(40..60).collect::<Vec<_>>());
    assert_eq!(a.heard(), (20..40).collect::<Vec<_>>());
    for (node, other) in [(&a, &b), (&b, &a)] {
        assert_eq!(node.count(&Event::Disconnected(other.id())), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_used_connection_closes_the_other_takes_over_unnoticed() {
    let (a, b) = Node::pair(Over::Memory).await;
    a.swarm.dial(b.swarm.address.clone()).await;
    b.swarm.dial(a.swarm.address.clone()).await;
    a.swarm
        .until("there are two", async || a.swarm.connections().await == 2)
        .await;
    a.command(Command::Dial(b.id())).await;
    say(&a, &b, 0..1).await;
    b.until_event(Event::Heard(a.id(), 0)).await;
    let used = a.used_connection(b.id()).await;
    assert!(
        a.swarm
            .with(move |swarm| swarm.close_connection(used))
            .await
    );
    a.swarm
        .until("one is left", async || a.swarm.connections().await == 1)
        .await;
    say(&a, &b, 1..2).await;
    b.until_event(Event::Heard(a.id(), 1)).await;
    assert_eq!(a.count(&Event::Disconnected(b.id())), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_the_protocol_is_gone_for_the_machine() {
    let (node, hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    node.command(Command::Say(peer, message(1), Lane::Control))
        .await;
    node.until_event(Event::Disconnected(peer)).await;
    node.command(Command::Dial(peer)).await;
    node.until_event(Event::DialFailed(peer)).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_drops_every_substream_is_gone_after_five_reopenings() {
    let (node, hostile) = Hostile::and_node(TOY, Accepts::AndDrops).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    for number in 0..1_000 {
        node.command(Command::Say(peer, message(number), Lane::Control))
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(node.count(&Event::Disconnected(peer)), 1);
    assert_eq!(node.stats().await.broken, 6);
}

/// What no honest peer writes to a substream of the toy's protocol.
fn malformed() -> Vec<Vec<u8>> {
    let framed = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes(), body].concat()
    };
    let mut trailing = codec::encode(&message(1));
    trailing.push(0);
    vec![
        vec![0xff; 10_000],
        u32::MAX.to_be_bytes().to_vec(),
        framed(&trailing),
        framed(&codec::encode(&message(UNLAWFUL))),
        framed(&[]),
        framed(&[0x9f; 8_000]),
    ]
}

#[tokio::test(start_paused = true)]
async fn malformed_bytes_close_the_substream_and_four_times_the_connection() {
    for (index, bytes) in malformed().into_iter().enumerate() {
        let (node, mut hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
        let peer = hostile.swarm.id;
        let mut streams = Vec::new();
        for count in 1..=4_usize {
            streams.push(hostile.write(&node, TOY, &bytes).await);
            let what = format!("penalty {count} for bytes {index}");
            node.swarm
                .until(&what, async || penalties(&node).len() >= count)
                .await;
        }
        node.until_event(Event::Disconnected(peer)).await;
        let scores = penalties(&node);
        let expected = [25, 50, 75, 100].map(|score| (Offence::Malformed, score, score == 100));
        assert_eq!(scores, expected);
        assert_eq!(node.stats().await.malformed, 4);
        assert_eq!(node.heard(), [0; 0]);
        hostile
            .swarm
            .until("it is disconnected", async || {
                hostile.swarm.connections().await == 0
            })
            .await;
        hostile.swarm.dial(node.swarm.address.clone()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(hostile.swarm.connections().await, 0, "it is refused");
        assert_eq!(node.count(&Event::Connected(peer)), 1);
    }
}

/// Offence, score, whether it cost the connection.
fn penalties(node: &Node) -> Vec<(Offence, u32, bool)> {
    let penalty = |event| match event {
        Told::Penalised {
            offence,
            score,
            ban,
            ..
        } => Some((offence, score, ban)),
        Told::Machine(_) => None,
    };
    node.events().into_iter().filter_map(penalty).collect()
}

#[tokio::test(start_paused = true)]
async fn a_ban_fades() {
    let (node, hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    for _ in 0..2 {
        node.command(Command::Penalise(peer, Offence::Forged)).await;
    }
    node.until_event(Event::Disconnected(peer)).await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    hostile.connect(&node).await;
    node.until_events(Event::Connected(peer), 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_substreams_are_a_flood() {
    let (node, hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
    hostile.request(&node, TOY, 1_000).await;
    node.until_event(Event::Disconnected(hostile.swarm.id))
        .await;
    assert!(node.stats().await.refused > 0);
    let last = penalties(&node).pop().unwrap();
    assert_eq!(last, (Offence::Flood, 100, true));
}

#[tokio::test(start_paused = true)]
async fn a_second_substream_replaces_the_first() {
    let (node, mut hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
    let body = codec::encode(&message(5));
    let bytes = [&u32::try_from(body.len()).unwrap().to_be_bytes(), &body[..]].concat();
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    let _first = hostile.write(&node, TOY, half).await;
    let _second = hostile.write(&node, TOY, &bytes).await;
    node.until_event(Event::Heard(hostile.swarm.id, 5)).await;
    let mut third = hostile.write(&node, TOY, half).await;
    futures::AsyncWriteExt::write_all(&mut third, rest)
        .await
        .unwrap();
    node.until_events(Event::Heard(hostile.swarm.id, 5), 2)
        .await;
}

#[tokio::test(start_paused = true)]
async fn for_a_peer_that_never_reads_the_oldest_messages_are_dropped() {
    let (node, hostile) = Hostile::and_node(TOY, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    let large = super::toy::Message {
        number: 1,
        text: "x".repeat(8_000),
    };
    for _ in 0..2_000 {
        let command = Command::Say(peer, large.clone(), Lane::Bulk);
        node.command(command).await;
    }
    let stats = node.stats().await;
    let waiting = 2_000 - stats.sent - stats.dropped;
    assert!(
        waiting <= 256 * 1_024 / 8_000,
        "{waiting} wait in a lane of 256 KiB"
    );
    // The muxer's window is 256 KiB; a batch and a message more were taken.
    assert!(stats.sent < 60, "{} were taken", stats.sent);
    assert_eq!(node.count(&Event::Disconnected(peer)), 0);
}

#[tokio::test(start_paused = true)]
async fn an_own_message_beyond_the_limit_is_not_sent() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    let large = super::toy::Message {
        number: 1,
        text: "x".repeat(9_000),
    };
    a.command(Command::Say(b.id(), large, Lane::Bulk)).await;
    say(&a, &b, 2..3).await;
    b.until_event(Event::Heard(a.id(), 2)).await;
    assert_eq!(a.stats().await.unsendable, 1);
    assert_eq!(b.heard(), [2]);
}

#[tokio::test(start_paused = true)]
async fn frames_of_a_hostile_peer_do_not_touch_its_messages() {
    let (node, mut hostile) = Hostile::and_node(FRAMES, Accepts::AndHolds).await;
    let _bad = hostile.write(&node, FRAMES, &[0xff; 100]).await;
    let body = codec::encode(&message(5));
    let bytes = [&u32::try_from(body.len()).unwrap().to_be_bytes(), &body[..]].concat();
    let _good = hostile.write(&node, TOY, &bytes).await;
    node.until_event(Event::Heard(hostile.swarm.id, 5)).await;
}
