//! Of `dicast.*`.

use super::{Of, PEER};
use crate::message::{
    Answer, ClusterLine, Code, Defined, DicastDefine, DicastSet, DicastShow, DicastUnset,
    DicastView, Empty, Fault, KeyLine, KeyName, PartLine, QuantileLine, Scope, SeatLine, TopLine,
    Tree, View,
};

const ANSWER: Answer = Answer {
    v: 0.25,
    lo: 0.24,
    hi: 0.26,
    hard: true,
    count: 10_000,
    missing: 2,
    double: 1,
    age_ms: 1_250,
};

fn cluster(level: u8, seats: Option<u64>) -> ClusterLine {
    ClusterLine {
        id: "00ff00ff00ff00ff".to_owned(),
        epoch: 3,
        level,
        agent: PEER.to_owned(),
        deputies: vec![PEER.to_owned()],
        seats,
    }
}

pub(super) fn show(of: &mut Of) {
    let seat = |slot, role: &str, fit| SeatLine {
        slot,
        peer: PEER.to_owned(),
        role: role.to_owned(),
        fit,
        label: None,
    };
    let nodes = KeyLine {
        key: 0,
        name: Some("nodes".to_owned()),
        function: "count".to_owned(),
        own: Some(1.0),
        cluster: Some(ANSWER),
        root: Some(ANSWER),
    };
    let foreign = KeyLine {
        key: 40,
        name: None,
        function: "top 3".to_owned(),
        own: None,
        cluster: None,
        root: None,
    };
    let alone = Tree {
        cluster: None,
        members: Vec::new(),
        path: Vec::new(),
        posts: Vec::new(),
        keys: vec![foreign.clone()],
    };
    let seated = Tree {
        cluster: Some(cluster(1, Some(3))),
        members: vec![
            seat(0, "agent", true),
            seat(1, "deputy", true),
            seat(63, "member", false),
        ],
        path: vec![cluster(2, None)],
        posts: vec![cluster(1, Some(3))],
        keys: vec![nodes, foreign],
    };
    let mut of_site = alone.clone();
    of_site.members = vec![SeatLine {
        label: Some("000102030405060708090a0b0c0d0e0f".to_owned()),
        ..seat(0, "agent", true)
    }];
    of.req("request", 1, &DicastShow {});
    of.res("no seat yet", 1, &alone);
    of.res("a seat below the root", 2, &seated);
    of.res("a member of a site", 3, &of_site);
}

pub(super) fn view(of: &mut Of) {
    let named = |key, scope, level| DicastView {
        key: Some(key),
        scope: Some(scope),
        level,
        parts: None,
    };
    let of_root = View {
        key: 3,
        name: Some("load".to_owned()),
        scope: Scope::Root,
        level: None,
        answer: ANSWER,
        top: None,
        quantiles: None,
        parts: None,
    };
    let list = View {
        key: 40,
        name: None,
        scope: Scope::Above,
        level: Some(2),
        top: Some(vec![TopLine {
            node: "0707070707070707".to_owned(),
            v: 0.5,
        }]),
        ..of_root.clone()
    };
    let distribution = View {
        scope: Scope::Cluster,
        quantiles: Some(vec![QuantileLine {
            share: 0.5,
            v: 0.25,
            lo: 0.24,
            hi: 0.26,
        }]),
        ..of_root.clone()
    };
    let load = || KeyName::Name("load".to_owned());
    of.req("how many nodes there are", 1, &DicastView::default());
    of.req("by name", 2, &named(load(), Scope::Root, None));
    let above = named(KeyName::Number(40), Scope::Above, Some(2));
    of.req("by number, of a cluster above", 3, &above);
    of.req("this node's own", 4, &named(load(), Scope::Own, None));
    of.res("a number", 2, &of_root);
    of.res("a list", 3, &list);
    of.res("a distribution", 4, &distribution);
    view_parts(of, &of_root);
    let unknown = Fault::new(Code::NotFound, "no key 40 in this tree");
    of.err("unknown key", 3, unknown.help("opus-node dicast"));
    let early = Fault::new(Code::Unavailable, "no value of load is known yet");
    of.err("nothing known yet", 2, early.retry_ms(1_000));
}

fn view_parts(of: &mut Of, of_root: &View) {
    let part = |level, seat, peer: Option<&str>| PartLine {
        level,
        seat,
        peer: peer.map(str::to_owned),
        answer: ANSWER,
    };
    let with = |parts| View {
        parts: Some(parts),
        ..of_root.clone()
    };
    let request = DicastView {
        key: Some(KeyName::Name("load".to_owned())),
        parts: Some(true),
        ..DicastView::default()
    };
    let (near, beside, far) = (part(0, 63, Some(PEER)), part(1, 2, None), part(5, 0, None));
    of.req("with the neighbours", 5, &request);
    of.res("with neighbours", 5, &with(vec![near, beside, far]));
    of.res("without any neighbour", 5, &with(Vec::new()));
}

pub(super) fn define(of: &mut Of) {
    let plain = DicastDefine {
        name: "ticker.queue".to_owned(),
        function: "sum".to_owned(),
        range: (0.0, 4_096.0),
        eps: None,
        eager: None,
        exact: None,
        statistical: None,
        age_ms: None,
    };
    let full = DicastDefine {
        function: "weighted mean".to_owned(),
        range: (-40.0, 60.0),
        eps: Some(0.5),
        eager: Some(true),
        exact: Some(false),
        statistical: Some(true),
        age_ms: Some(10_000),
        ..plain.clone()
    };
    let defined = |new| Defined {
        key: 33_847,
        name: "ticker.queue".to_owned(),
        new,
    };
    of.req("an exact sum", 1, &plain);
    of.req("all that can be said", 2, &full);
    of.res("new to the network", 1, &defined(true));
    of.res("known, and alike", 2, &defined(false));
    let other = Fault::new(Code::Exists, "another key has this number");
    of.err("known, and other", 3, other.help("opus-node dicast 33847"));
}

pub(super) fn set(of: &mut Of) {
    let plain = DicastSet {
        key: "ticker.queue".to_owned(),
        value: 17.0,
        weight: None,
    };
    let weighted = DicastSet {
        value: -0.5,
        weight: Some(0.25),
        ..plain.clone()
    };
    of.req("a number", 1, &plain);
    of.req("a number and its weight", 2, &weighted);
    of.res("done", 1, &Empty {});
    let busy = Fault::new(Code::Busy, "held by another connection");
    of.err("another program's", 3, busy);
}

pub(super) fn unset(of: &mut Of) {
    let key = "ticker.queue".to_owned();
    of.req("request", 1, &DicastUnset { key });
    of.res("done", 1, &Empty {});
    let none = Fault::new(
        Code::NotFound,
        "this connection has no value of ticker.queue",
    );
    of.err("nothing to withdraw", 2, none);
}
