//! Specs spread, attachments are admitted or refused.

use serde_bytes::ByteBuf;

use super::*;
use crate::wire::RootNote;

/// A chain 0 - 1 - 2 - 3.
fn chain() -> Net<Site> {
    let mut net = net(4);
    for index in 0..3 {
        net.connect(node(index), node(index + 1));
    }
    net
}

fn versions(net: &Net<Site>) -> Vec<Option<u64>> {
    let version = |id: NodeId| {
        net.machine(id)
            .app(&app())
            .ok()
            .map(|row| row.app.spec.version)
    };
    net.ids().into_iter().map(version).collect()
}

#[test]
fn a_spec_reaches_every_node_and_an_update_too() {
    let mut net = chain();
    deploy(&mut net, 0, &spec("a", 1));
    net.run_for(Duration::from_secs(1));
    assert_eq!(versions(&net), [Some(1); 4]);
    deploy(&mut net, 3, &spec("a", 2));
    net.run_for(Duration::from_secs(1));
    assert_eq!(versions(&net), [Some(2); 4]);
}

#[test]
fn a_node_that_connects_late_pulls_all_it_lacks() {
    let mut net = net(2);
    for index in 0..50 {
        deploy(&mut net, 0, &spec(&format!("app{index}"), 1));
    }
    net.connect(node(0), node(1));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.machine(node(1)).apps().count(), 50);
}

#[test]
fn a_push_that_was_lost_is_mended_by_the_next_digest() {
    let mut net = chain();
    net.set_fault(|now, _, _, _| {
        if now < Time::from_secs(1) {
            opus_core::testing::LinkFault::Lose
        } else {
            opus_core::testing::LinkFault::Deliver
        }
    });
    deploy(&mut net, 0, &spec("a", 1));
    net.run_for(Duration::from_secs(1));
    assert_eq!(versions(&net)[1], None);
    net.run_for(Duration::from_secs(80));
    assert_eq!(versions(&net), [Some(1); 4]);
}

#[test]
fn a_deploy_answers_by_its_id_and_a_dry_run_changes_nothing() {
    let mut net = net(1);
    let command = |signed: Vec<u8>, id, dry_run| Command::Deploy {
        id,
        signed,
        dry_run,
    };
    net.command(node(0), command(signed(&spec("a", 3)), 7, true));
    assert_eq!(net.machine(node(0)).apps().count(), 0);
    net.command(node(0), command(signed(&spec("a", 3)), 8, false));
    net.command(node(0), command(signed(&spec("a", 2)), 9, false));
    net.command(node(0), command(b"garbage".to_vec(), 10, false));
    let answers = said(&net, 0, |event| match event {
        Event::Deployed { id, version, .. } => Some((*id, Some(*version))),
        Event::Refused { id, .. } => Some((*id, None)),
        _ => None,
    });
    assert_eq!(answers, [(7, Some(3)), (8, Some(3)), (9, None), (10, None)]);
    assert_eq!(refusals(&net, 0)[0], Refusal::Version { have: 3 });
}

#[test]
fn attachments_that_cannot_be_are_refused_with_the_reason() {
    let (mut net, _) = net_with_app(1);
    let mut service = spec("svc", 1);
    service.kind = Kind::Service;
    deploy(&mut net, 0, &service);
    let mut attach_to = |att, name: &str, role| {
        let app = name.parse().unwrap();
        net.command(
            node(0),
            Command::Attach {
                att,
                app,
                role,
                resume: None,
            },
        );
    };
    attach_to(1, "nobody", Role::Sink);
    attach_to(2, "svc", Role::Sink);
    attach_to(3, "a", Role::Source);
    attach_to(4, "a", Role::Source);
    attach_to(3, "a", Role::Sink);
    let expected = [
        Refusal::NotFound("nobody".into()),
        Refusal::Role("service"),
        Refusal::Busy(app().to_string()),
        Refusal::Full("attachments"),
    ];
    assert_eq!(refusals(&net, 0), expected);
    assert_eq!(attached(&net, 0), [3]);
}

#[test]
fn a_name_that_two_owners_use_is_ambiguous() {
    let (mut net, _) = net_with_app(1);
    let other = SignedApp::sign(&spec("a", 1), "main", &[1; 32]).unwrap();
    let deploy = Command::Deploy {
        id: 2,
        signed: other.encode(),
        dry_run: false,
    };
    net.command(node(0), deploy);
    let site = net.machine(node(0));
    let bare = "a".parse().unwrap();
    assert_eq!(site.app(&bare).unwrap_err(), Refusal::Ambiguous("a".into()));
    assert!(site.app(&app()).is_ok());
}

#[test]
fn retiring_ends_every_attachment_and_admits_no_more() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    let mut last = spec("a", 2);
    last.retired = true;
    deploy(&mut net, 1, &last);
    net.run_for(Duration::from_secs(1));
    assert_eq!((ended(&net, 0), ended(&net, 1)), (vec![1], vec![2]));
    assert_eq!(state(&net, 0, overlay), AppState::Retired);
    attach(&mut net, 1, 3, Role::Sink);
    assert_eq!(refusals(&net, 1), [Refusal::Retired(app().to_string())]);
}

#[test]
fn a_changed_knob_is_turned_at_the_root_only() {
    let (mut net, _) = net_with_app(2);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Sink);
    let mut tuned = spec("a", 2);
    tuned.sla.knob_milli = Some(2_000);
    deploy(&mut net, 1, &tuned);
    net.run_for(Duration::from_secs(1));
    let turns = |at| {
        said(&net, at, |event| match event {
            Event::Overlay(opus_overlay::Command::SetKnob { alpha_milli, .. }) => {
                Some(*alpha_milli)
            }
            _ => None,
        })
    };
    assert_eq!(turns(0), [2_000]);
    assert!(turns(1).is_empty());
}

#[test]
fn a_forged_spec_is_penalised_and_a_flood_is_cut() {
    let (mut net, _) = net_with_app(2);
    let mut forged = signed(&spec("b", 1));
    *forged.last_mut().unwrap() ^= 1;
    let have = |signed: Vec<u8>| Input::Received {
        from: node(1),
        message: Message::Have {
            signed: Some(ByteBuf::from(signed)),
            root: None,
        },
    };
    net.input(node(0), have(forged));
    let penalties = |net: &Net<Site>| -> Vec<Offence> {
        net.penalties
            .iter()
            .map(|(_, _, _, offence)| *offence)
            .collect()
    };
    assert_eq!(penalties(&net), [Offence::Forged]);
    for _ in 0..=config().messages_burst {
        net.input(node(0), have(signed(&spec("a", 1))));
    }
    assert!(penalties(&net).contains(&Offence::Flood));
}

#[test]
fn root_notes_of_unknown_applications_are_not_kept() {
    let (mut net, _) = net_with_app(2);
    let note = RootNote {
        overlay: OverlayId(99),
        root: Contact::bare(node(1)),
        epoch: 1,
        gone: false,
        revision: 0,
    };
    let message = Message::Have {
        signed: None,
        root: Some(note),
    };
    net.input(
        node(0),
        Input::Received {
            from: node(1),
            message,
        },
    );
    assert!(net.machine(node(0)).directory.root(OverlayId(99)).is_none());
}
