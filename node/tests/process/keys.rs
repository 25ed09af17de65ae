//! Programs define keys of their own, set values, and see at another node what is made of them.

use opus_ipc::{
    Code,
    client::{CallError, Client},
    message::{
        Defined, DicastDefine, DicastSet, DicastShow, DicastUnset, DicastView, KeyName, Scope, View,
    },
};
use rustix::process::{Pid, Signal, kill_process};

use super::bench::{Bench, Node, TCP, ask, code, errors, eventually};

/// Keys that a node's programs may have, as the defaults say.
const KEYS_OF_A_NODE: u16 = 16;
/// Keys in the table of all nodes beside the count of members.
const KEYS_OF_ALL: usize = 63;
/// Of these, those that every node has.
const KEYS_OF_EVERY_NODE: usize = 4;

fn definition(name: &str, function: &str) -> DicastDefine {
    DicastDefine {
        name: name.to_owned(),
        function: function.to_owned(),
        range: (0.0, 100.0),
        eps: None,
        eager: None,
        exact: None,
        statistical: None,
        age_ms: None,
    }
}

fn value(key: &str, value: f64) -> DicastSet {
    DicastSet {
        key: key.to_owned(),
        value,
        weight: None,
    }
}

async fn program(node: &Node, app: &str) -> Client {
    let sockets = [node.socket.clone()];
    Client::connect(&sockets, app).await.unwrap()
}

/// What `node` knows of the whole by the key's name.
async fn view(node: &Node, key: &str) -> Result<View, CallError> {
    let params = DicastView {
        key: Some(KeyName::Name(key.to_owned())),
        ..DicastView::default()
    };
    ask(&node.socket, &params).await
}

/// Waits until `node` says by name that so many nodes make this of a key, exactly.
async fn makes(node: &Node, key: &str, nodes: u64, value: f64) -> View {
    let what = format!(
        "{key} is {value} of {nodes} nodes in {}",
        node.dir.display()
    );
    eventually(&what, async || {
        let view = view(node, key).await.ok()?;
        let said = [view.answer.lo, view.answer.v, view.answer.hi];
        let exact = said.iter().all(|it| (it - value).abs() < 1e-6);
        (exact && view.answer.count == nodes).then_some(view)
    })
    .await
}

/// Waits until `node` has heard how a key is defined.
async fn knows(node: &Node, key: &str) {
    eventually(
        &format!("{key} is known in {}", node.dir.display()),
        async || match view(node, key).await {
            Err(error) if error.fault().map(|it| it.code) == Some(Code::NotFound) => None,
            Ok(_) | Err(_) => Some(()),
        },
    )
    .await;
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>, code: Code, said: &str) {
    let error = answer.unwrap_err();
    let fault = error.fault().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(fault.code, code, "{fault}");
    assert!(fault.msg.contains(said), "{fault}");
}

/// Nodes in one tree, each as in the directory of its name.
async fn together(bench: &Bench, names: &[&str]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let mut flags = format!("--listen {TCP} --no-mdns");
        if let Some(first) = nodes.first() {
            let address = first.address("tcp").await;
            flags = format!("{flags} --bootstrap {address}");
        }
        nodes.push(bench.node(name, &flags).await);
    }
    for node in &nodes {
        eventually("all are in one tree", async || {
            let count = node.status().await.nodes?.count;
            (count == names.len() as u64).then_some(())
        })
        .await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_program_defines_is_viewed_by_name_at_another_node() {
    let bench = Bench::new();
    let nodes = together(&bench, &["a", "b"]).await;
    let [a, b] = &nodes[..] else {
        panic!("two were started");
    };
    let gauge = program(a, "gauge").await;
    refused(
        gauge.call(&value("demo.queue", 10.0)).await,
        Code::NotFound,
        "define it first",
    );
    let defined = gauge.call(&definition("demo.queue", "sum")).await.unwrap();
    assert!(defined.new && defined.key >= 1_024, "{defined:?}");
    gauge.call(&definition("demo.load", "mean")).await.unwrap();
    gauge
        .call(&definition("demo.worst", "top-2"))
        .await
        .unwrap();
    for key in ["demo.queue", "demo.load", "demo.worst"] {
        gauge.call(&value(key, 10.0)).await.unwrap();
    }
    let view = makes(b, "demo.queue", 1, 10.0).await;
    assert_eq!(
        (view.key, view.name.as_deref()),
        (defined.key, Some("demo.queue"))
    );
    makes(b, "demo.load", 1, 10.0).await;

    let other = program(b, "other").await;
    let alike = other.call(&definition("demo.queue", "sum")).await.unwrap();
    let known = Defined {
        new: false,
        ..defined
    };
    assert_eq!(alike, known);
    let different = other.call(&definition("demo.queue", "max")).await;
    refused(different, Code::Exists, "another key has this number");
    for key in ["demo.queue", "demo.load", "demo.worst"] {
        other.call(&value(key, 30.0)).await.unwrap();
    }
    for node in &nodes {
        makes(node, "demo.queue", 2, 40.0).await;
        makes(node, "demo.load", 2, 20.0).await;
    }
    worst_are_named(a, b).await;

    // The value is the connection's, and ends with it.
    drop(gauge);
    makes(b, "demo.queue", 1, 30.0).await;
    let unset = DicastUnset {
        key: "demo.load".to_owned(),
    };
    other.call(&unset).await.unwrap();
    refused(
        other.call(&unset).await,
        Code::NotFound,
        "has no value of demo.load",
    );
    eventually("nobody has a value", async || {
        view_is_gone(a, "demo.load").await
    })
    .await;
}

async fn view_is_gone(node: &Node, key: &str) -> Option<()> {
    let error = view(node, key).await.err()?;
    (error.fault()?.code == Code::Unavailable).then_some(())
}

/// The list of the greatest names the nodes by the first bytes of their ids.
async fn worst_are_named(a: &Node, b: &Node) {
    let list = eventually("both are in the list", async || {
        let list = view(a, "demo.worst").await.ok()?.top?;
        (list.len() == 2).then_some(list)
    })
    .await;
    for (node, line) in [b, a].into_iter().zip(list) {
        let peer: libp2p::PeerId = node.status().await.peer_id.parse().unwrap();
        let id = opus_swarm::node_id(&peer).unwrap();
        let first = data_encoding::HEXLOWER.encode(&id.0[..8]);
        assert_eq!(line.node, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_one_value_of_a_key_and_whose_it_is_may_change_it() {
    let bench = Bench::new();
    let node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    let (first, second) = (
        program(&node, "first").await,
        program(&node, "second").await,
    );
    first.call(&definition("t", "mean")).await.unwrap();
    first.call(&value("t", 1.0)).await.unwrap();
    refused(second.call(&value("t", 2.0)).await, Code::Busy, "\"first\"");
    let beyond = first.call(&value("t", 100.5)).await;
    refused(
        beyond,
        Code::BadRequest,
        "100.5 is no value of t, which is the mean of 0 to 100",
    );
    // In the order of the calls, though none is waited for.
    let values = [5.0, 6.0, 7.0, 8.0].map(|it| value("t", it));
    let [a, b, c, d] = &values;
    let all = tokio::join!(first.call(a), first.call(b), first.call(c), first.call(d));
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
    let own = DicastView {
        key: Some(KeyName::Name("t".to_owned())),
        scope: Some(Scope::Own),
        ..DicastView::default()
    };
    assert_eq!(
        first.call(&own).await.unwrap().answer.v.to_bits(),
        8_f64.to_bits()
    );
    let anew = first.call(&definition("t", "sum")).await;
    refused(anew, Code::Busy, "once that is withdrawn");
    drop(first);
    eventually("the value is free", async || {
        second.call(&value("t", 2.0)).await.ok()
    })
    .await;
    let named = second.call(&definition("load", "sum")).await;
    refused(named, Code::BadRequest, "load is a key that every node has");
    let odd = second.call(&definition("t", "average")).await;
    refused(odd, Code::BadRequest, "no function \"average\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_defines_so_many_keys_and_all_nodes_so_many_together() {
    let bench = Bench::new();
    let nodes = together(&bench, &["a", "b", "c", "d"]).await;
    let per_node = usize::from(KEYS_OF_A_NODE);
    // Those of every node come with the tree.
    eventually("the keys of every node are defined", async || {
        let known = ask(&nodes[3].socket, &DicastShow {}).await.ok()?.keys.len();
        (known == 1 + KEYS_OF_EVERY_NODE).then_some(())
    })
    .await;
    for (number, node) in nodes[..3].iter().enumerate() {
        let program = program(node, "greedy").await;
        for key in 0..per_node {
            let name = format!("key-{number}-{key}");
            program.call(&definition(&name, "sum")).await.unwrap();
        }
        let more = program.call(&definition("more", "sum")).await;
        refused(more, Code::Quota, "this node has 16 keys of programs");
    }
    for number in 0..3 {
        for key in 0..per_node {
            knows(&nodes[3], &format!("key-{number}-{key}")).await;
        }
    }
    let program = program(&nodes[3], "late").await;
    for key in 0..KEYS_OF_ALL - KEYS_OF_EVERY_NODE - 3 * per_node {
        let name = format!("key-3-{key}");
        program.call(&definition(&name, "sum")).await.unwrap();
    }
    // dicast's own word, which comes as an event.
    let more = program.call(&definition("more", "sum")).await;
    refused(more, Code::Quota, "the network has 63 keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verbs_define_a_key_and_hold_a_value_until_interrupted() {
    let bench = Bench::new();
    let node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    let define = "--socket n/s dicast define demo.t --function weighted-mean --min -40 --max 60";
    let defined = bench.run(define).await;
    assert_eq!(code(&defined), 0, "{}", errors(&defined));
    let again = bench.json(define).await;
    assert_eq!(
        (&again["new"], &again["name"]),
        (&false.into(), &"demo.t".into())
    );
    let brief = bench.run("--socket n/s dicast set demo.t -3.5").await;
    let text = String::from_utf8(brief.stdout).unwrap();
    assert_eq!(
        text,
        "demo.t: -3.5 was taken, and ends with this; --hold keeps it\n"
    );
    eventually("it has ended", async || view_is_gone(&node, "demo.t").await).await;
    let line = "--socket n/s dicast set demo.t -3.5 --weight 0.5 --hold";
    let mut held = bench.command(line).spawn().unwrap();
    makes(&node, "demo.t", 1, -3.5).await;
    let text = bench.run("--socket n/s dicast demo.t").await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("demo.t of the whole: -3.5\n"), "{text}");
    let second = bench.run("--socket n/s dicast set demo.t 1").await;
    assert_eq!(code(&second), 1);
    assert!(
        errors(&second).contains("held by another connection"),
        "{}",
        errors(&second)
    );
    let pid = Pid::from_raw(i32::try_from(held.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    held.wait().await.unwrap();
    eventually("it has ended", async || view_is_gone(&node, "demo.t").await).await;
    let shown = bench.json("--socket n/s dicast").await;
    let lines = shown["keys"].as_array().unwrap();
    let line = lines.iter().find(|line| line["name"] == "demo.t").unwrap();
    assert_eq!(line["function"], "weighted mean");
    for (line, said) in [
        (
            "dicast define 7up --function sum --min 0 --max 1",
            "cannot name a key",
        ),
        (
            "dicast define t --function sum --min 1 --max 1",
            "the range is empty",
        ),
        (
            "dicast define t --function distinct --min 0 --max 1",
            "sets of items",
        ),
        (
            "dicast set demo.t 61",
            "61 is no value of demo.t, which is the weighted mean of -40 to 60",
        ),
        ("dicast set nobody.knows 1", "define it first"),
        ("dicast Weather", "cannot name a key"),
    ] {
        let refused = bench.run(&format!("--socket n/s {line}")).await;
        assert_eq!(code(&refused), 1, "{line}: {}", errors(&refused));
        assert!(
            errors(&refused).contains(said),
            "{line}: {}",
            errors(&refused)
        );
    }
}

/// Two programs, each at a node that knows nothing of the other's, define one name otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_definitions_one_prevails_and_values_of_the_other_are_withdrawn() {
    let bench = Bench::new();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let listen = format!("--listen /ip4/127.0.0.1/tcp/{port} --no-mdns");
    let mut a = bench.node("a", &listen).await;
    let address = a.address("tcp").await;
    a.kill().await;
    let flags = format!("--listen {TCP} --no-mdns --bootstrap {address}");
    let b = bench.node("b", &flags).await;
    let at_b = program(&b, "at b").await;
    at_b.call(&definition("t", "sum")).await.unwrap();
    at_b.call(&value("t", 20.0)).await.unwrap();
    // It dials again and again; until the other has said what it has to say it shall not.
    b.signal(Signal::STOP);
    a.start().await;
    let at_a = program(&a, "at a").await;
    at_a.call(&definition("t", "mean")).await.unwrap();
    at_a.call(&value("t", 20.0)).await.unwrap();
    b.signal(Signal::CONT);
    let own = DicastView {
        key: Some(KeyName::Name("t".to_owned())),
        scope: Some(Scope::Own),
        ..DicastView::default()
    };
    let lost = eventually("one of the values is withdrawn", async || {
        for program in [&at_a, &at_b] {
            let error = program.call(&own).await.err();
            let code = error.and_then(|error| Some(error.fault()?.code));
            if code == Some(Code::Unavailable) {
                return Some(program);
            }
        }
        None
    })
    .await;
    refused(
        lost.call(&value("t", 20.0)).await,
        Code::Exists,
        "define it alike",
    );
    for node in [&a, &b] {
        makes(node, "t", 1, 20.0).await;
    }
}
