//! What the page promises, over an in-process pipe and in virtual time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::desk::{Bare, HELLO, STATUS, server, server_with, status, unhex, until};
use bytes::Bytes;
use opus_ipc::{
    Body,
    message::*,
    serve::{Budget, Config, Notice, Over, Peer},
};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn the_bytes_of_the_page_are_answered() {
    let (_, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.bytes(&unhex(STATUS)).await;
    let Some(FromNode::Res { call: 1, result }) = bare.frame().await else {
        panic!("no RES");
    };
    assert_eq!(result.get::<Status>().unwrap(), status());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_one_by_one_are_the_same() {
    let (_, server) = server();
    let mut bare = Bare::connect(&server, Peer::admin(), 1);
    for byte in unhex(&format!("{HELLO}{STATUS}")) {
        bare.bytes(&[byte]).await;
    }
    assert!(matches!(bare.frame().await, Some(FromNode::Welcome(_))));
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 1, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_are_ignored_and_answers_may_overtake() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "node.drain", json!({"ms": 1, "colour": [1, {"a": 2}]}))
        .await;
    bare.call(5, "node.status", json!({"x": null})).await;
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 5, .. })
    ));
    desk.parked
        .lock()
        .unwrap()
        .pop_front()
        .unwrap()
        .ok(&Empty {});
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 1, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_faulty_call_is_answered_on_its_number_and_the_connection_goes_on() {
    let (_, server) = server();
    let mut bare = Bare::open(&server, Peer::app()).await;
    for (call, method, params, code) in [
        (1, "token.new", json!({}), Code::Unsupported),
        (2, "app.show", json!({}), Code::BadRequest),
        (3, "app.show", json!({"app": "A/../b"}), Code::BadRequest),
        (4, "node.drain", json!({}), Code::Denied),
        (
            5,
            "frames.recv",
            json!({"att": 1, "flow": 16}),
            Code::BadRequest,
        ),
        (
            6,
            "frames.send",
            json!({"att": 1, "data": []}),
            Code::BadRequest,
        ),
        (7, "app.list", json!([]), Code::BadRequest),
        (
            8,
            "node.status",
            json!({"deadline_ms": "soon"}),
            Code::BadRequest,
        ),
    ] {
        bare.call(call, method, params).await;
        assert_eq!(bare.err().await, (call, code), "{method}");
    }
    let payload = json!({"hex": "00".repeat((64 << 10) + 1)});
    bare.call(9, "frames.send", json!({"att": 1, "data": payload}))
        .await;
    assert_eq!(bare.err().await, (9, Code::TooLarge));
    bare.call(10, "node.status", json!({})).await;
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 10, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn keys_of_programs_are_checked_before_the_node_sees_them() {
    let (_, server) = server();
    let mut bare = Bare::open(&server, Peer::app()).await;
    let range = json!([0, 1]);
    let lawful = json!({"name": "a", "function": "sum", "range": range});
    for (call, method, params, code) in [
        (1, "dicast.define", json!({"name": "a"}), Code::BadRequest),
        (
            2,
            "dicast.define",
            json!({"name": "", "function": "sum", "range": range}),
            Code::BadRequest,
        ),
        (
            3,
            "dicast.define",
            json!({"name": "a", "function": "sum", "range": range, "eps": -1}),
            Code::BadRequest,
        ),
        (
            4,
            "dicast.set",
            json!({"key": "a", "value": 1, "weight": 2}),
            Code::BadRequest,
        ),
        (5, "dicast.unset", json!({"key": 40}), Code::BadRequest),
        // This came through; the desk has no answer to it.
        (6, "dicast.define", lawful.clone(), Code::Unsupported),
    ] {
        bare.call(call, method, params).await;
        assert_eq!(bare.err().await, (call, code), "{method}");
    }
    let mut component = Bare::open(&server, Peer::component("ticker.me")).await;
    component.call(1, "dicast.define", lawful).await;
    assert_eq!(component.err().await, (1, Code::Denied));
}

#[tokio::test(start_paused = true)]
async fn a_component_has_its_own_application_only() {
    let (_, server) = server();
    let mut bare = Bare::open(&server, Peer::component("ticker.me")).await;
    bare.call(1, "app.attach", json!({"app": "ticker.me", "as": "sink"}))
        .await;
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 1, .. })
    ));
    for (call, method, params) in [
        (2, "app.attach", json!({"app": "ticker.you", "as": "sink"})),
        (3, "app.list", json!({})),
        (4, "app.deploy", json!({"signed": {"hex": "00"}})),
    ] {
        bare.call(call, method, params).await;
        assert_eq!(bare.err().await, (call, Code::Denied), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_a_call_and_a_stream() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "node.drain", json!({})).await;
    bare.call(2, "node.events", json!({})).await;
    until(|| desk.events.lock().unwrap().len() == 1).await;
    bare.say(FromClient::Cancel { call: 1 }).await;
    assert_eq!(bare.err().await, (1, Code::Cancelled));
    bare.say(FromClient::Cancel { call: 2 }).await;
    let Some(FromNode::End { call: 2, end }) = bare.frame().await else {
        panic!("no END");
    };
    assert_eq!(end.code, Some(Code::Cancelled));
    assert!(desk.parked.lock().unwrap()[0].is_over());
    assert!(desk.events.lock().unwrap()[0].is_over());
    // Both are over: nothing more is said of them, whatever either side does.
    desk.parked
        .lock()
        .unwrap()
        .pop_front()
        .unwrap()
        .ok(&Empty {});
    bare.say(FromClient::Cancel { call: 1 }).await;
    bare.say(FromClient::Credit { call: 2, n: 5 }).await;
    bare.call(3, "node.status", json!({})).await;
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 3, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_call_even_while_the_connection_is_not_read() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    for call in 1..=65 {
        bare.call(call, "node.drain", json!({"deadline_ms": 100 * call}))
            .await;
    }
    until(|| desk.parked.lock().unwrap().len() == 65).await;
    for call in 1..=65 {
        assert_eq!(bare.err().await, (call, Code::Deadline));
    }
}

#[tokio::test(start_paused = true)]
async fn over_64_calls_the_connection_is_not_read_until_one_ends() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    for call in 1..=65 {
        bare.call(call, "node.drain", json!({})).await;
    }
    bare.call(66, "node.status", json!({})).await;
    until(|| desk.parked.lock().unwrap().len() == 65).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    desk.parked
        .lock()
        .unwrap()
        .pop_front()
        .unwrap()
        .ok(&Empty {});
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 1, .. })
    ));
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 66, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_keeps_its_place_until_the_node_let_it_go() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    for call in 1..=65 {
        bare.call(call, "node.drain", json!({})).await;
        if call <= 10 {
            bare.say(FromClient::Cancel { call }).await;
            assert_eq!(bare.err().await, (call, Code::Cancelled));
        }
    }
    until(|| desk.parked.lock().unwrap().len() == 65).await;
    bare.call(66, "node.status", json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(desk.parked.lock().unwrap().pop_front());
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::Res { call: 66, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_node_forgets_is_internal() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "node.drain", json!({})).await;
    until(|| desk.parked.lock().unwrap().len() == 1).await;
    desk.parked.lock().unwrap().clear();
    assert_eq!(bare.err().await, (1, Code::Internal));
}

#[tokio::test(start_paused = true)]
async fn a_stream_gives_as_many_items_as_it_has_credit_for() {
    let (_, server) = server();
    for (asked, first) in [(None, 64), (Some(3), 3), (Some(1_000_000), 4_096)] {
        let mut bare = Bare::open(&server, Peer::admin()).await;
        let mut params = json!({"att": 1});
        if let Some(credit) = asked {
            params["credit"] = json!(credit);
        }
        bare.call(1, "frames.recv", params).await;
        // A credit for another call, and the fence behind it: no more items than credit come.
        bare.call(2, "node.status", json!({})).await;
        let mut items = 0;
        let mut fenced = false;
        while items < first || !fenced {
            match bare.frame().await {
                Some(FromNode::Item { call: 1, .. }) => items += 1,
                Some(FromNode::Res { call: 2, .. }) => fenced = true,
                other => panic!("{other:?}"),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        bare.say(FromClient::Credit { call: 1, n: 2 }).await;
        bare.call(3, "node.status", json!({})).await;
        let mut more = 0;
        let mut fenced = false;
        while more < 2 || !fenced {
            match bare.frame().await {
                Some(FromNode::Item { call: 1, .. }) => more += 1,
                Some(FromNode::Res { call: 3, .. }) => fenced = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((items, more), (first, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn one_stream_too_many_is_over_quota() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    for call in 1..=64 {
        bare.call(call, "node.events", json!({})).await;
    }
    bare.call(65, "node.events", json!({})).await;
    assert_eq!(bare.err().await, (65, Code::Quota));
    desk.events.lock().unwrap().pop();
    assert!(matches!(
        bare.frame().await,
        Some(FromNode::End { call: 64, .. })
    ));
    bare.call(66, "node.events", json!({})).await;
    until(|| desk.events.lock().unwrap().len() == 64).await;
}

#[tokio::test(start_paused = true)]
async fn a_lossy_stream_keeps_the_newest_of_each_key_and_counts_the_rest() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "node.events", json!({"credit": 1})).await;
    until(|| desk.events.lock().unwrap().len() == 1).await;
    let line = |kind: &str, age_ms| {
        EventItem::Event(EventLine {
            age_ms,
            level: "info".to_owned(),
            kind: kind.to_owned(),
            msg: String::new(),
        })
    };
    {
        let events = desk.events.lock().unwrap();
        for age in 0..10 {
            events[0].publish("a", &line("a", age)).unwrap();
        }
        events[0].publish("b", &line("b", 0)).unwrap();
    }
    bare.say(FromClient::Credit { call: 1, n: 9 }).await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let Some(FromNode::Item { call: 1, item }) = bare.frame().await else {
            panic!("no ITEM");
        };
        got.push(EventItem::read(&item.0).unwrap());
    }
    let want = [line("a", 0), EventItem::Lost(8), line("a", 9), line("b", 0)];
    assert_eq!(got, want);
}

#[tokio::test(start_paused = true)]
async fn goaway_reaches_those_who_are_there_and_those_to_come() {
    let (desk, server) = server();
    let mut old = Bare::open(&server, Peer::admin()).await;
    old.call(1, "node.drain", json!({})).await;
    until(|| desk.parked.lock().unwrap().len() == 1).await;
    server.goaway("drain", 30_000);
    let mut new = Bare::open(&server, Peer::admin()).await;
    for bare in [&mut old, &mut new] {
        let Some(FromNode::Goaway(goaway)) = bare.frame().await else {
            panic!("no GOAWAY");
        };
        assert_eq!(goaway.drain_ms, 30_000);
    }
    // What is under way is finished, then the node closes.
    desk.parked
        .lock()
        .unwrap()
        .pop_front()
        .unwrap()
        .ok(&Empty {});
    assert!(matches!(
        old.frame().await,
        Some(FromNode::Res { call: 1, .. })
    ));
    server.close();
    assert!(old.frame().await.is_none() && new.frame().await.is_none());
    until(|| desk.closed.load(Ordering::Relaxed) == 2).await;
    assert!(server.connections().is_empty());
    assert_eq!(server.budget().bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_connection_too_many_is_busy() {
    let config = Config {
        connections_max: 3,
        connections_per_user_max: 2,
        ..Config::default()
    };
    let (_, server) = server_with(config, Budget::default());
    let user = Peer {
        uid: Some(1001),
        ..Peer::app()
    };
    let first = Bare::open(&server, user.clone()).await;
    let _second = Bare::open(&server, user.clone()).await;
    let mut third = Bare::connect(&server, user.clone(), 1 << 10);
    assert_eq!(third.err().await, (0, Code::Busy));
    let _admin = Bare::open(&server, Peer::admin()).await;
    let mut fourth = Bare::connect(&server, Peer::admin(), 1 << 10);
    assert_eq!(fourth.err().await, (0, Code::Busy));
    drop(first);
    until(|| server.connections().len() == 2).await;
    Bare::open(&server, user).await;
}

#[tokio::test(start_paused = true)]
async fn hello_and_started_frames_are_due() {
    let (_, server) = server();
    let mut silent = Bare::connect(&server, Peer::admin(), 1 << 10);
    let start = tokio::time::Instant::now();
    assert_eq!(silent.err().await, (0, Code::Deadline));
    assert_eq!(start.elapsed().as_secs(), 5);
    let mut slow = Bare::open(&server, Peer::admin()).await;
    // Idle between frames is fine; within one it is not.
    tokio::time::sleep(Duration::from_secs(100)).await;
    slow.bytes(&[0, 0]).await;
    let start = tokio::time::Instant::now();
    assert_eq!(slow.err().await, (0, Code::Deadline));
    assert_eq!(start.elapsed().as_secs(), 30);
    assert!(slow.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_client_is_cut_and_named_with_its_stream() {
    let (desk, server) = server();
    *desk.payload.lock().unwrap() = Bytes::from(vec![0; 16 << 10]);
    let peer = Peer {
        pid: Some(4242),
        ..Peer::admin()
    };
    let mut bare = Bare::open(&server, peer).await;
    bare.call(1, "membership.watch", json!({"att": 1})).await;
    bare.call(2, "frames.recv", json!({"att": 1, "credit": 4096}))
        .await;
    until(|| desk.notices.lock().unwrap().is_empty()).await;
    // It never reads: the sink fills 4 MiB and waits, then the writer gives up.
    tokio::time::sleep(Duration::from_secs(31)).await;
    until(|| desk.closed.load(Ordering::Relaxed) == 1).await;
    let notices = desk.notices.lock().unwrap();
    let [Notice::SlowConsumer(slow)] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert_eq!((slow.app.as_str(), slow.pid), ("x", Some(4242)));
    assert_eq!(slow.stream, Some((2, opus_ipc::Method::FramesRecv)));
    assert!((3 << 20..5 << 20).contains(&slow.bytes), "{}", slow.bytes);
    assert_eq!(server.budget().bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_item_is_flushed_when_the_pipe_has_all_of_it_and_never_when_the_client_is_gone() {
    let (desk, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "node.events", json!({})).await;
    until(|| !desk.events.lock().unwrap().is_empty()).await;
    let sink = Arc::new(desk.events.lock().unwrap().pop().unwrap());
    sink.flushed().await.expect("nothing was sent");
    let item = EventItem::Event(EventLine {
        age_ms: 0,
        level: "info".to_owned(),
        kind: "test".to_owned(),
        // More than the pipe holds.
        msg: "x".repeat(100_000),
    });
    let flush = || {
        sink.try_send(&item).unwrap();
        let sink = Arc::clone(&sink);
        tokio::spawn(async move { sink.flushed().await })
    };
    let flushed = flush();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!flushed.is_finished());
    assert!(matches!(bare.frame().await, Some(FromNode::Item { .. })));
    assert_eq!(flushed.await.unwrap(), Ok(()));
    let flushed = flush();
    drop(bare);
    assert_eq!(flushed.await.unwrap(), Err(Over));
    assert!(sink.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_but_reads_is_not_cut() {
    let (desk, server) = server();
    *desk.payload.lock().unwrap() = Bytes::from(vec![0; 16 << 10]);
    let mut bare = Bare::open(&server, Peer::admin()).await;
    bare.call(1, "frames.recv", json!({"att": 1, "credit": 4096}))
        .await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        for _ in 0..8 {
            assert!(matches!(
                bare.frame().await,
                Some(FromNode::Item { call: 1, .. })
            ));
        }
    }
    assert!(desk.notices.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_all_hold_too_much_the_worst_is_closed_and_the_others_live() {
    let (desk, server) = server_with(Config::default(), Budget::new(6 << 20));
    *desk.payload.lock().unwrap() = Bytes::from(vec![0; 16 << 10]);
    let mut small = Bare::open(&server, Peer::admin()).await;
    small
        .call(1, "frames.recv", json!({"att": 1, "credit": 64}))
        .await;
    let mut bad = Vec::new();
    for credit in [4_096, 300] {
        let mut bare = Bare::open(&server, Peer::admin()).await;
        bare.call(1, "frames.recv", json!({"att": 1, "credit": credit}))
            .await;
        bad.push(bare);
    }
    until(|| desk.closed.load(Ordering::Relaxed) == 1).await;
    let notices = desk.notices.lock().unwrap().clone();
    assert!(
        matches!(notices.as_slice(), [Notice::Evicted(_)]),
        "{notices:?}"
    );
    assert!(server.budget().bytes() <= 6 << 20);
    for _ in 0..64 {
        assert!(matches!(small.frame().await, Some(FromNode::Item { .. })));
    }
    small.call(2, "node.status", json!({})).await;
    assert!(matches!(
        small.frame().await,
        Some(FromNode::Res { call: 2, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_calls_that_are_not_read_stops_being_taken() {
    let (_, server) = server();
    let mut bare = Bare::open(&server, Peer::admin()).await;
    let mut taken = 0_u32;
    let flood = async {
        for call in 1.. {
            bare.call(call, "ipc.schema", json!({})).await;
            taken = call;
        }
    };
    // Not one answer is read: the pipe, then 4 MiB, then nothing more is taken.
    let timeout = tokio::time::timeout(Duration::from_secs(20), flood).await;
    assert!(timeout.is_err());
    let bytes = server.budget().bytes();
    assert!((3 << 20..5 << 20).contains(&bytes), "{bytes}");
    let schema = u32::try_from(opus_ipc::method::SCHEMA.len()).unwrap();
    assert!(taken < (5 << 20) / schema + 4_000, "{taken}");
}
