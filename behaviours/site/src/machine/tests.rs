//! Site managers among themselves; the test plays their overlay and relay.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one event it is about"
)]

mod cell;
mod hostile;
mod members;
mod roots;
mod specs;
mod suspicion;

use std::time::Duration;

use opus_core::{
    Contact, Input, NodeId, OverlayId, Seed, Time,
    testing::{Net, contract},
};

use super::*;
use crate::{
    AppRef, AppState, MemberState, Refusal, Role, SignedApp, Spec,
    spec::{Kind, owner_of},
};

const OWNER: [u8; 32] = [9; 32];

fn node(index: u32) -> NodeId {
    NodeId::from_index(index)
}

fn config() -> Config {
    Config {
        secret: [5; 32],
        ..Config::default()
    }
}

fn site(index: u32, boots: u64) -> Site {
    let seed = Seed::new(u64::from(index));
    Site::new(config(), Contact::bare(node(index)), boots, seed)
}

fn net(nodes: u32) -> Net<Site> {
    Net::new((0..nodes).map(|index| (node(index), site(index, 1))))
}

/// A network whose node 0 was given the application "a".
fn net_with_app(nodes: u32) -> (Net<Site>, OverlayId) {
    let mut net = net(nodes);
    net.connect_all();
    deploy(&mut net, 0, &spec("a", 1));
    net.run_for(Duration::from_secs(1));
    let overlay = net.machine(node(0)).overlay_of(&app()).unwrap();
    (net, overlay)
}

fn spec(name: &str, version: u64) -> Spec {
    let mut spec = Spec::new(name, Kind::Multicast, version).unwrap();
    spec.sla.reliability = 1.0;
    spec
}

fn signed(spec: &Spec) -> Vec<u8> {
    SignedApp::sign(spec, "main", &OWNER).unwrap().encode()
}

fn app() -> AppRef {
    AppRef::new("a", owner_of(&OWNER))
}

fn deploy(net: &mut Net<Site>, at: u32, spec: &Spec) {
    let deploy = Command::Deploy {
        id: 1,
        signed: signed(spec),
        dry_run: false,
    };
    net.command(node(at), deploy);
}

fn attach(net: &mut Net<Site>, at: u32, att: u32, role: Role) {
    let attach = Command::Attach {
        att,
        app: app(),
        role,
        resume: None,
    };
    net.command(node(at), attach);
}

/// Plays the overlay machine of a node.
fn edges(net: &mut Net<Site>, overlay: OverlayId, at: u32, parent: Option<u32>, children: &[u32]) {
    let event = opus_overlay::Event::Edges {
        overlay,
        parent: parent.map(node),
        children: children.iter().map(|&child| node(child)).collect(),
        path: Vec::new(),
    };
    net.command(node(at), Command::Overlay(event));
}

/// Everything node `at` said since the test began, as far as `pick` wants it.
fn said<T>(net: &Net<Site>, at: u32, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
    let said = net.events.iter().filter(|(_, who, _)| *who == node(at));
    said.filter_map(|(_, _, event)| pick(event)).collect()
}

fn refusals(net: &Net<Site>, at: u32) -> Vec<Refusal> {
    said(net, at, |event| match event {
        Event::Refused { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn attached(net: &Net<Site>, at: u32) -> Vec<u32> {
    said(net, at, |event| match event {
        Event::Attached { att, .. } => Some(*att),
        _ => None,
    })
}

fn ended(net: &Net<Site>, at: u32) -> Vec<u32> {
    said(net, at, |event| match event {
        Event::Ended { att, .. } => Some(*att),
        _ => None,
    })
}

fn state(net: &Net<Site>, at: u32, overlay: OverlayId) -> AppState {
    net.machine(node(at)).state(overlay)
}

#[test]
fn the_machine_keeps_its_contract() {
    let bytes = signed(&spec("a", 1));
    let attach = |att, role| {
        Input::Command(Command::Attach {
            att,
            app: app(),
            role,
            resume: None,
        })
    };
    let deploy = Input::Command(Command::Deploy {
        id: 1,
        signed: bytes,
        dry_run: false,
    });
    let inputs = [
        (Time::from_secs(1), Input::Connected(node(2))),
        (Time::from_secs(2), deploy),
        (Time::from_secs(3), attach(1, Role::Sink)),
        (Time::from_secs(4), attach(2, Role::Source)),
        (
            Time::from_secs(500),
            Input::Command(Command::Detach { att: 2 }),
        ),
        (Time::from_secs(900), Input::Disconnected(node(2))),
    ];
    let log = contract::check(|| site(1, 1), &inputs);
    assert!(log.iter().any(|line| line.contains("Attached")));
}
