//! At least three lawful frames for each method, and some for each frame without one.

mod dicast;

use bytes::Bytes;
use opus_core::NodeId;
use serde::Serialize;

use super::Vector;
use crate::{
    body::Raw,
    message::{
        Answer, AppAttach, AppDeploy, AppDetach, AppLine, AppList, AppRetire, AppShow, AppUpdate,
        AppView, As, Attached, Check, Code, Deployed, Edge, Empty, End, EventItem, EventLine,
        Fault, FlowLine, Frame, FramesFlush, FramesRecv, FramesSend, FromClient, FromNode, Goaway,
        Hello, IpcSchema, Kind, Lease, LeaseKind, LimitsSaid, MemberItem, MemberState,
        MembershipWatch, NodeDoctor, NodeDrain, NodeEvents, NodeLogSet, NodePeers, NodeStatus,
        PeerLine, Port, Proto, Quote, Resume, Role, Sent, Status, Value, Verdict, Via, Welcome,
        frame::{Named, params},
    },
    method::{FEATURES, Method},
};

const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
const APP: &str = "ticker.yqzr2wxpcbnnfcmsxy5jjugt6sjulnwa3phstnxqybi3wlvlr3ea";
const NODE: NodeId = NodeId([7; 32]);

/// By file name, without its ending.
pub(super) fn all() -> Vec<(&'static str, Vec<Vector>)> {
    let mut all = vec![("frames", frames())];
    for &method in Method::ALL {
        let mut of = Of {
            method,
            vectors: Vec::new(),
        };
        match method {
            Method::NodeStatus => node_status(&mut of),
            Method::NodePeers => node_peers(&mut of),
            Method::NodeEvents => node_events(&mut of),
            Method::NodeDoctor => node_doctor(&mut of),
            Method::NodeDrain => node_drain(&mut of),
            Method::NodeLogSet => node_log_set(&mut of),
            Method::AppDeploy => app_deploy(&mut of),
            Method::AppUpdate => app_update(&mut of),
            Method::AppRetire => app_retire(&mut of),
            Method::AppList => app_list(&mut of),
            Method::AppShow => app_show(&mut of),
            Method::AppAttach => app_attach(&mut of),
            Method::AppDetach => app_detach(&mut of),
            Method::FramesSend => frames_send(&mut of),
            Method::FramesFlush => frames_flush(&mut of),
            Method::FramesRecv => frames_recv(&mut of),
            Method::MembershipWatch => membership_watch(&mut of),
            Method::DicastShow => dicast::show(&mut of),
            Method::DicastView => dicast::view(&mut of),
            Method::DicastDefine => dicast::define(&mut of),
            Method::DicastSet => dicast::set(&mut of),
            Method::DicastUnset => dicast::unset(&mut of),
            Method::IpcSchema => ipc_schema(&mut of),
        }
        all.push((method.name(), of.vectors));
    }
    all
}

/// Collects the vectors of one method.
struct Of {
    method: Method,
    vectors: Vec<Vector>,
}

impl Of {
    fn req<P: Serialize>(&mut self, name: &str, call: u32, p: &P) {
        self.req_raw(name, call, params(p, None));
    }

    fn req_raw(&mut self, name: &str, call: u32, params: Raw) {
        let method = Named::Known(self.method);
        let frame = FromClient::Req {
            call,
            method,
            params,
        };
        let vector = Vector::client(name, Some(self.rule("p")), &frame);
        self.vectors.push(vector);
    }

    fn res<T: Serialize>(&mut self, name: &str, call: u32, result: &T) {
        let result = Raw::of(result);
        let vector = Vector::node(name, Some(self.rule("r")), &FromNode::Res { call, result });
        self.vectors.push(vector);
    }

    fn item<T: Serialize>(&mut self, name: &str, call: u32, item: &T) {
        let item = Raw::of(item);
        let vector = Vector::node(name, Some(self.rule("i")), &FromNode::Item { call, item });
        self.vectors.push(vector);
    }

    fn err(&mut self, name: &str, call: u32, fault: Fault) {
        let vector = Vector::node(name, None, &FromNode::Err { call, fault });
        self.vectors.push(vector);
    }

    fn rule(&self, part: &str) -> String {
        format!("{}.{part}", self.method.name())
    }
}

fn welcome() -> Welcome {
    Welcome {
        v: 1,
        node: PEER.to_owned(),
        id: NODE,
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
        role: Role::Admin,
        limits: LimitsSaid {
            frame: 1 << 20,
            payload: 64 << 10,
            inflight: 64,
            streams: 64,
            credit: 4_096,
        },
        features: FEATURES.map(str::to_owned).to_vec(),
    }
}

fn frames() -> Vec<Vector> {
    let mut token = Hello::new("narrow");
    token.v = vec![1, 2];
    token.token = Some([9; 32]);
    let version = Fault::new(Code::Version, "this node speaks version 1");
    let early = End {
        code: Some(Code::SlowConsumer),
        msg: Some("stuck for 30 s".to_owned()),
    };
    let goaway = Goaway {
        reason: "drain".to_owned(),
        drain_ms: 30_000,
    };
    vec![
        Vector::client(
            "HELLO of the page",
            None,
            &FromClient::Hello(Hello::new("x")),
        ),
        Vector::client("HELLO with a token", None, &FromClient::Hello(token)),
        Vector::node("WELCOME", None, &FromNode::Welcome(welcome())),
        Vector::node(
            "ERR of the connection",
            None,
            &FromNode::Err {
                call: 0,
                fault: version,
            },
        ),
        Vector::node(
            "END",
            None,
            &FromNode::End {
                call: 1,
                end: End::default(),
            },
        ),
        Vector::node(
            "END before its time",
            None,
            &FromNode::End {
                call: u32::MAX,
                end: early,
            },
        ),
        Vector::client("CREDIT", None, &FromClient::Credit { call: 24, n: 64 }),
        Vector::client(
            "CREDIT of 2^32",
            None,
            &FromClient::Credit {
                call: 256,
                n: 1 << 32,
            },
        ),
        Vector::client("CANCEL", None, &FromClient::Cancel { call: 65_536 }),
        Vector::node("GOAWAY", None, &FromNode::Goaway(goaway)),
    ]
}

fn node_status(of: &mut Of) {
    let mut status = Status {
        peer_id: PEER.to_owned(),
        listen: vec![format!("/ip4/127.0.0.1/udp/4801/quic-v1/p2p/{PEER}")],
        peers: 14,
        verdict: Verdict::Ok,
        cause: None,
        fix: None,
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
        profile: "home".to_owned(),
        socket: "/run/user/1000/opus/main.sock".to_owned(),
        pid: 4_242,
        uptime_ms: 86_400_000,
        reach: "yes".to_owned(),
        draining: false,
        nodes: None,
    };
    of.req("the request of the page", 1, &NodeStatus {});
    of.req_raw("with a deadline", 2, params(&NodeStatus {}, Some(500)));
    of.res("all is well", 1, &status);
    status.listen.clear();
    status.verdict = Verdict::Degraded;
    status.cause = Some("no peer answers".to_owned());
    status.fix = Some("opus-node doctor".to_owned());
    status.draining = true;
    of.res("with cause and fix", 2, &status);
    status.nodes = Some(Answer {
        v: 10_000.0,
        lo: 9_998.0,
        hi: 10_000.0,
        hard: true,
        count: 10_000,
        missing: 3,
        double: 2,
        age_ms: 1_250,
    });
    of.res("with the nodes of the network", 2, &status);
}

fn node_peers(of: &mut Of) {
    let near = PeerLine {
        peer: PEER.to_owned(),
        addr: "/ip4/192.0.2.1/tcp/4801".to_owned(),
        via: Via::Direct,
        rtt_ms: Some(12.5),
        loss: Some(0.0),
        version: "0.1.0".to_owned(),
    };
    let unknown = PeerLine {
        via: Via::Relay,
        rtt_ms: None,
        loss: None,
        ..near.clone()
    };
    of.req("request", 1, &NodePeers {});
    of.res("nobody", 1, &Vec::<PeerLine>::new());
    of.res("two, one not measured", 2, &vec![near, unknown]);
}

fn node_events(of: &mut Of) {
    let filtered = NodeEvents {
        level: Some("warn".to_owned()),
        kind: Some("overlay.parent".to_owned()),
    };
    let line = EventLine {
        age_ms: 3,
        level: "warn".to_owned(),
        kind: "overlay.parent".to_owned(),
        msg: "parent lost".to_owned(),
    };
    of.req("all of them", 1, &NodeEvents::default());
    of.req("filtered", 2, &filtered);
    of.item("an event", 2, &EventItem::Event(line));
    of.item("some were left out", 2, &EventItem::Lost(1_000));
}

fn node_doctor(of: &mut Of) {
    let well = Check {
        name: "clock".to_owned(),
        ok: true,
        cause: None,
        fix: None,
    };
    let ill = Check {
        name: "ports".to_owned(),
        ok: false,
        cause: Some("udp/4801 is taken".to_owned()),
        fix: Some("opus-node run --listen /ip4/0.0.0.0/udp/0/quic-v1".to_owned()),
    };
    of.req("request", 1, &NodeDoctor {});
    of.res("all is well", 1, &vec![well.clone()]);
    of.res("one is not", 2, &vec![well, ill]);
}

fn node_drain(of: &mut Of) {
    of.req("with the usual time", 1, &NodeDrain { ms: None });
    of.req("with a time", 2, &NodeDrain { ms: Some(30_000) });
    of.res("begun", 2, &Empty {});
    of.err("not for apps", 1, Fault::new(Code::Denied, "for admins"));
}

fn node_log_set(of: &mut Of) {
    let filter = |for_ms| NodeLogSet {
        filter: "info,opus_overlay=debug".to_owned(),
        for_ms,
    };
    of.req("for good", 1, &filter(None));
    of.req("for ten minutes", 2, &filter(Some(600_000)));
    of.res("done", 2, &Empty {});
}

fn ipc_schema(of: &mut Of) {
    of.req("request", 1, &IpcSchema {});
    of.req_raw("with a deadline", 2, params(&IpcSchema {}, Some(1_000)));
    of.res("a text", 1, &"frame = hello / welcome");
}

fn app_deploy(of: &mut Of) {
    let params = |dry_run| AppDeploy {
        signed: vec![0x85, 0x00, 0xff],
        dry_run,
    };
    of.req("for real", 1, &params(None));
    of.req("dry", 2, &params(Some(true)));
    of.res("admitted", 1, &deployed(1, None));
    of.res("not admitted", 2, &deployed(1, Some("no slots in eu")));
    let known = Fault::new(Code::Exists, "version 1 has other bytes");
    of.err("other bytes", 1, known.help("raise the version"));
}

fn app_update(of: &mut Of) {
    let params = |dry_run| AppUpdate {
        signed: vec![0x85, 0x00, 0xff],
        dry_run,
    };
    of.req("for real", 1, &params(None));
    of.req("not dry", 2, &params(Some(false)));
    of.res("admitted", 1, &deployed(2, None));
}

fn app_retire(of: &mut Of) {
    let params = |dry_run| AppRetire {
        signed: vec![0x85, 0x00, 0xff],
        dry_run,
    };
    of.req("for real", 1, &params(None));
    of.req("dry", 2, &params(Some(true)));
    of.res("retired", 1, &deployed(u64::from(u32::MAX) + 1, None));
}

fn deployed(version: u64, why: Option<&str>) -> Deployed {
    Deployed {
        app: APP.to_owned(),
        version,
        quote: Quote {
            admitted: why.is_none(),
            slots: 4.0,
            price: 0.42,
            served: if why.is_none() { 1.0 } else { 0.25 },
            why: why.map(str::to_owned),
        },
    }
}

fn app_list(of: &mut Of) {
    let page = AppList {
        after: Some(APP.to_owned()),
        max: Some(100),
    };
    let line = |kind| AppLine {
        app: APP.to_owned(),
        kind,
        version: 1,
        slots: 2.0,
        state: "running".to_owned(),
    };
    let kinds = [
        Kind::Multicast,
        Kind::MultiSender,
        Kind::Unicast,
        Kind::Service,
    ];
    of.req("from the beginning", 1, &AppList::default());
    of.req("the next page", 2, &page);
    of.res("none", 2, &Vec::<AppLine>::new());
    of.res("one of each kind", 1, &kinds.map(line).to_vec());
}

fn app_show(of: &mut Of) {
    let by = |app: &str| AppShow {
        app: app.to_owned(),
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let sla = Value::Map(vec![(text("reliability"), Value::Float(1.0))]);
    let spec = Value::Map(vec![
        (text("name"), text("ticker")),
        (text("kind"), text("multicast")),
        (text("version"), Value::Integer(1)),
        (text("sla"), sla),
    ]);
    let edge = Edge {
        a: PEER.to_owned(),
        b: PEER.to_owned(),
        delay_ms: 20.5,
        cost: 3.0,
    };
    let view = AppView {
        app: APP.to_owned(),
        spec,
        members: 2,
        edges: vec![edge],
        rdp: 1.25,
        cost: 3.0,
        knob: 1.5,
        flows: Vec::new(),
    };
    let flow = FlowLine {
        src: PEER.to_owned(),
        flow: 0,
        offered: 1_000,
        on_time: 990,
        late: 6,
        lost: 4,
        refused: 0,
        duplicates: 2,
        repaired: 1,
        copies: 2_000,
        p99_ms: Some(41.5),
    };
    let busy = AppView {
        flows: vec![flow],
        ..view.clone()
    };
    of.req("by name", 1, &by("ticker"));
    of.req("by name and owner", 2, &by(APP));
    of.res("a tree of one edge", 2, &view);
    of.res("with what passed through the node", 3, &busy);
    of.err(
        "nobody knows it",
        1,
        Fault::new(Code::NotFound, "no app ticker"),
    );
}

fn app_attach(of: &mut Of) {
    let plain = AppAttach {
        app: "ticker".to_owned(),
        role: As::Source,
        lease: None,
        ports: None,
        resume: None,
    };
    let resumed = AppAttach {
        role: As::Sink,
        resume: Some(Resume {
            src: NODE,
            seq: (3 << 40) + 17,
        }),
        ..plain.clone()
    };
    let port = |proto, port| Port { proto, port };
    let service = AppAttach {
        role: As::Replica,
        lease: Some(vec![1, 2, 3]),
        ports: Some(vec![port(Proto::Tcp, 80), port(Proto::Udp, 65_535)]),
        ..plain.clone()
    };
    let mut attached = Attached {
        att: 1,
        app: APP.to_owned(),
        node: PEER.to_owned(),
        id: NODE,
        lease: Lease::edge(vec![5; 8]),
    };
    of.req("as source", 1, &plain);
    of.req("as a sink that goes on", 2, &resumed);
    of.req("as replica with lease and ports", 3, &service);
    of.req(
        "as peer",
        4,
        &AppAttach {
            role: As::Peer,
            ..plain
        },
    );
    of.res("at the edge", 1, &attached);
    attached.lease = Lease {
        id: vec![1, 2, 3],
        kind: LeaseKind::Market,
        slots: 1.0,
        price: 0.5,
        left_ms: Some(60_000),
    };
    of.res("with a market lease", 3, &attached);
    let soon = Fault::new(Code::NotFound, "no spec of ticker yet").retry_ms(500);
    of.err("spec not seen yet", 2, soon);
}

fn app_detach(of: &mut Of) {
    of.req("request", 1, &AppDetach { att: 1 });
    of.req("a large number", 2, &AppDetach { att: u64::MAX });
    of.res("done", 1, &Empty {});
}

fn frames_send(of: &mut Of) {
    let one = FramesSend {
        att: 1,
        data: vec![Bytes::from_static(b"hello")],
        flow: None,
        to: None,
        now: None,
        last: None,
    };
    let batch = FramesSend {
        data: vec![
            Bytes::from_static(b"a"),
            Bytes::new(),
            Bytes::from(vec![0; 300]),
        ],
        flow: Some(15),
        to: Some(NODE),
        now: Some(true),
        last: Some(true),
        ..one.clone()
    };
    let sent = |attainable| Sent {
        seq: (1 << 40) + 1,
        n: 3,
        attainable,
    };
    of.req("one frame", 1, &one);
    of.req("a batch with everything", 2, &batch);
    of.res("held", 2, &sent(None));
    of.res("less can be kept than promised", 2, &sent(Some(0.97)));
}

fn frames_flush(of: &mut Of) {
    of.req("all flows", 1, &FramesFlush { att: 1, flow: None });
    of.req(
        "one flow",
        2,
        &FramesFlush {
            att: 1,
            flow: Some(3),
        },
    );
    of.res("acknowledged", 1, &Empty {});
}

fn frames_recv(of: &mut Of) {
    let all = FramesRecv {
        att: 1,
        flow: None,
        credit: None,
    };
    let one = FramesRecv {
        flow: Some(0),
        credit: Some(4_096),
        ..all
    };
    let frame = |seq, flags, data: &'static [u8]| Frame {
        src: NODE,
        seq,
        flags,
        data: Bytes::from_static(data),
    };
    of.req("all flows", 1, &all);
    of.req("one flow with credit", 2, &one);
    of.item("a frame", 1, &frame((1 << 40) + 1, 0, b"hello"));
    of.item(
        "repaired, the last, empty",
        2,
        &frame(u64::MAX, Frame::REPAIRED | Frame::LAST, b""),
    );
    of.item("after a loss", 2, &frame(2, Frame::LOST, &[0xff; 256]));
}

fn membership_watch(of: &mut Of) {
    let member = |role, state| MemberItem::Member {
        node: PEER.to_owned(),
        id: NODE,
        role,
        state,
        age_ms: 20,
    };
    of.req("request", 1, &MembershipWatch { att: 1 });
    of.item("a source", 1, &member(As::Source, MemberState::Joined));
    of.item(
        "a sink on its way",
        1,
        &member(As::Sink, MemberState::Joining),
    );
    of.item("the whole set was said", 1, &MemberItem::Synced);
    of.item(
        "a peer is leaving",
        1,
        &member(As::Peer, MemberState::Leaving),
    );
    of.item(
        "a replica is gone",
        1,
        &member(As::Replica, MemberState::Gone),
    );
}
