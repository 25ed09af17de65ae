//! Frames over real connections.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::AsyncWriteExt;

use super::{
    hostile::{Accepts, FRAMES, Hostile, NEITHER},
    lab::{IDLE, Node, Over},
    plane::TestPlane,
    toy::{Command, Event},
};
use crate::frames::{self, Behaviour, FRAME_BYTES_MAX, put_frame};

/// Frame `index` of a series: its number, and bytes and a length that follow from it.
fn frame(index: u64) -> Bytes {
    let length = usize::try_from(index * 2_654_435_761 % 1_200).unwrap();
    let mut bytes = index.to_le_bytes().to_vec();
    bytes.resize(8 + length, u8::try_from(index % 251).unwrap());
    bytes.into()
}

async fn until_received(node: &Node, count: usize) {
    let what = format!("{count} frames arrived");
    node.swarm
        .until(&what, async || node.plane.state().received.len() >= count)
        .await;
}

/// Both send `count` frames, from threads of their own or not, and get the other's in order.
async fn both_ways(over: Over, count: u64, threads: bool) {
    let (a, b) = Node::connected_pair(over).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (plane, to) = (Arc::clone(&from.plane), to.id());
        let send = move || (0..count).for_each(|index| plane.send(to, [frame(index)]));
        if threads {
            std::thread::spawn(send);
        } else {
            send();
        }
    }
    for (node, other) in [(&a, &b), (&b, &a)] {
        until_received(node, usize::try_from(count).unwrap()).await;
        let state = node.plane.state();
        for (index, (from, bytes)) in (0..).zip(&state.received) {
            assert_eq!(*from, other.id());
            assert_eq!(*bytes, frame(index), "frame {index}");
        }
        assert_eq!(state.channels.last(), Some(&(other.id(), true)));
    }
    let (sent, got) = (a.frame_stats().await, b.frame_stats().await);
    assert_eq!((sent.frames_out, got.frames_in), (count, count));
    assert_eq!(sent.bytes_out, got.bytes_in);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_frames_arrive_whole_and_in_order() {
    both_ways(Over::Memory, 100_000, false).await;
}

// In real time: a paused clock would leap while it waits for another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_from_other_threads_wake_the_channel() {
    both_ways(Over::Memory, 20_000, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_whole_and_in_order_over_tcp() {
    both_ways(Over::Tcp, 20_000, true).await;
}

#[tokio::test(start_paused = true)]
async fn the_largest_frame_passes() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    let large = Bytes::from(vec![7; FRAME_BYTES_MAX]);
    a.plane.send(
        b.id(),
        [large.clone(), Bytes::from_static(b"x"), large.clone()],
    );
    until_received(&b, 3).await;
    assert_eq!(b.plane.state().received[2].1, large);
}

#[tokio::test(start_paused = true)]
async fn frames_keep_no_connection_alive() {
    let (a, b) = Node::pair(Over::Memory).await;
    a.swarm.dial(b.swarm.address.clone()).await;
    a.until_event(Event::Connected(b.id())).await;
    a.plane.send(b.id(), [frame(1)]);
    until_received(&b, 1).await;
    a.until_event(Event::Disconnected(b.id())).await;
    a.swarm.until("down", async || !a.plane.is_up(b.id())).await;
    assert_eq!(a.plane.state().channels, [(b.id(), true), (b.id(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_wanted_connection_carries_frames_after_a_long_silence() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    a.plane.send(b.id(), [frame(1)]);
    until_received(&b, 1).await;
    tokio::time::sleep(IDLE * 10).await;
    a.plane.send(b.id(), [frame(2)]);
    until_received(&b, 2).await;
    assert_eq!(a.plane.state().channels, [(b.id(), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_brings_a_new_channel() {
    let (a, b) = Node::connected_pair(Over::Memory).await;
    a.swarm.disconnect(b.id()).await;
    b.until_event(Event::Disconnected(a.id())).await;
    a.plane.send(b.id(), [frame(1)]);
    a.command(Command::Dial(b.id())).await;
    until_received(&b, 1).await;
    let up_down_up = [true, false, true].map(|up| (b.id(), up));
    assert_eq!(a.plane.state().channels, up_down_up);
}

#[tokio::test(start_paused = true)]
async fn two_connections_are_one_channel_and_the_second_takes_over() {
    let (a, b) = Node::pair(Over::Memory).await;
    a.swarm.dial(b.swarm.address.clone()).await;
    b.swarm.dial(a.swarm.address.clone()).await;
    a.swarm
        .until("there are two", async || a.swarm.connections().await == 2)
        .await;
    b.swarm
        .until("there are two", async || b.swarm.connections().await == 2)
        .await;
    a.command(Command::Dial(b.id())).await;
    a.plane.send(b.id(), [frame(0)]);
    b.plane.send(a.id(), [frame(0)]);
    until_received(&b, 1).await;
    until_received(&a, 1).await;
    let downs = |node: &Node| {
        let state = node.plane.state();
        state.channels.iter().filter(|(_, up)| !up).count()
    };
    let (a_downs, b_downs) = (downs(&a), downs(&b));
    let used = a.used_connection(b.id()).await;
    let close = move |swarm: &mut libp2p::Swarm<_>| swarm.close_connection(used);
    assert!(a.swarm.with(close).await);
    a.swarm
        .until("a is told", async || downs(&a) > a_downs)
        .await;
    b.swarm
        .until("b is told", async || downs(&b) > b_downs)
        .await;
    a.plane.send(b.id(), [frame(1)]);
    b.plane.send(a.id(), [frame(1)]);
    until_received(&b, 2).await;
    until_received(&a, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_stops_the_fill_and_nothing_else() {
    let (node, hostile) = Hostile::and_node(FRAMES, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    let frames = (0..10_000).map(|_| Bytes::from(vec![1; 1_000]));
    node.plane.send(peer, frames);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let filled = node.plane.state().filled;
    // The muxer's window is 256 KiB, and two batches may be on their way.
    assert!((200_000..450_000).contains(&filled), "{filled}");
    assert!(node.plane.is_up(peer));
}

#[tokio::test(start_paused = true)]
async fn a_bad_length_or_a_refused_frame_breaks_the_channel() {
    let mut refused = BytesMut::new();
    put_frame(&mut refused, b"whatever");
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    for bytes in [&refused[..], &too_long, &[0; 4], &[0xff; 5_000]] {
        let (node, mut hostile) = Hostile::and_node(FRAMES, Accepts::AndHolds).await;
        let peer = hostile.swarm.id;
        node.plane.strict.store(true, Relaxed);
        let mut stream = hostile.write(&node, FRAMES, bytes).await;
        node.swarm
            .until("it is told", async || !node.violations().is_empty())
            .await;
        let up_down_up = [true, false, true].map(|up| (peer, up));
        assert_eq!(node.plane.state().channels, up_down_up);
        node.plane.strict.store(false, Relaxed);
        let mut rest = 0;
        while rest < 10_000_000 && stream.write_all(&[1; 10_000]).await.is_ok() {
            rest += 10_000;
        }
        assert!(rest < 10_000_000, "the substream is closed");
        assert!(node.plane.state().received.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_substream_is_a_new_channel() {
    let (node, mut hostile) = Hostile::and_node(FRAMES, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, b"whole");
    bytes.extend_from_slice(&[9, 0, 0, 0, 1, 2]);
    let _first = hostile.write(&node, FRAMES, &bytes).await;
    until_received(&node, 1).await;
    let _second = hostile.write(&node, FRAMES, &bytes).await;
    until_received(&node, 2).await;
    let up_down_up = [true, false, true].map(|up| (peer, up));
    assert_eq!(node.plane.state().channels, up_down_up);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_frame_substreams_are_refused_and_told() {
    let (node, hostile) = Hostile::and_node(FRAMES, Accepts::AndHolds).await;
    hostile.request(&node, FRAMES, 1_000).await;
    node.swarm
        .until("it is told", async || !node.violations().is_empty())
        .await;
    let flood = frames::Event::Violated {
        peer: hostile.swarm.id,
        what: "too many substreams",
    };
    assert!(node.violations().contains(&flood));
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_frames_goes_down_once_there_is_something_to_send() {
    let (node, hostile) = Hostile::and_node(NEITHER, Accepts::AndHolds).await;
    let peer = hostile.swarm.id;
    node.until_event(Event::Connected(peer)).await;
    node.plane.send(peer, [frame(1)]);
    node.swarm
        .until("down", async || !node.plane.is_up(peer))
        .await;
    assert_eq!(node.plane.state().channels, [(peer, true), (peer, false)]);
}

#[test]
fn an_idle_connection_costs_less_than_two_kib() {
    type Handler = <Behaviour<TestPlane> as libp2p::swarm::NetworkBehaviour>::ConnectionHandler;
    let handlers = size_of::<Handler>() + size_of::<crate::Handler<super::toy::Message>>();
    assert!(handlers < 1_280, "{handlers} bytes");
}
