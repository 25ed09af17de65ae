//! Members: how they are taken in, listed, and forgotten.

use super::*;
use crate::wire::Row;

fn listed(net: &Net<Site>, overlay: OverlayId) -> Vec<(NodeId, MemberState)> {
    let members = net.machine(node(0)).members(overlay);
    members
        .into_iter()
        .map(|member| (member.contact.id, member.state))
        .collect()
}

fn relay_commands(net: &Net<Site>, at: u32) -> Vec<opus_relay::Command> {
    said(net, at, |event| match event {
        Event::Relay(command) => Some(command.clone()),
        _ => None,
    })
}

/// Root 0 with child 1, whose child is 2.
fn tree() -> (Net<Site>, OverlayId) {
    let (mut net, overlay) = net_with_app(3);
    attach(&mut net, 0, 1, Role::Source);
    attach(&mut net, 1, 2, Role::Sink);
    attach(&mut net, 2, 3, Role::Sink);
    net.run_for(Duration::from_secs(1));
    edges(&mut net, overlay, 0, None, &[1]);
    edges(&mut net, overlay, 1, Some(0), &[2]);
    edges(&mut net, overlay, 2, Some(1), &[]);
    net.run_for(Duration::from_secs(1));
    (net, overlay)
}

#[test]
fn a_sink_is_attached_at_once_and_joins_when_a_source_comes() {
    let (mut net, overlay) = net_with_app(2);
    attach(&mut net, 1, 7, Role::Sink);
    assert_eq!(attached(&net, 1), [7]);
    assert_eq!(state(&net, 1, overlay), AppState::Waiting);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    assert_eq!(state(&net, 1, overlay), AppState::Searching);
    assert_eq!(listed(&net, overlay), [(node(1), MemberState::Joining)]);
    let commands = relay_commands(&net, 1);
    assert!(matches!(commands[0], opus_relay::Command::Open { .. }));
    assert!(commands.contains(&opus_relay::Command::Root {
        overlay,
        source: node(0)
    }));
    assert!(commands.contains(&opus_relay::Command::Sink {
        overlay,
        att: 7,
        resume: None
    }));
}

#[test]
fn root_and_members_carry_the_overlay_under_one_key() {
    let (net, _) = tree();
    let keys: Vec<[u8; 32]> = (0..3)
        .flat_map(|at| relay_commands(&net, at))
        .filter_map(|command| match command {
            opus_relay::Command::Open { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn members_at_every_depth_are_listed_as_joined() {
    let (net, overlay) = tree();
    let joined = MemberState::Joined;
    assert_eq!(
        listed(&net, overlay),
        [(node(1), joined), (node(2), joined)]
    );
    let told = said(&net, 0, |event| match event {
        Event::Member { member, state, .. } => Some((*member, *state)),
        _ => None,
    });
    assert_eq!(told.iter().filter(|(_, state)| *state == joined).count(), 2);
}

#[test]
fn edges_reach_the_relay_and_the_probe_and_each_peer_is_watched_once() {
    let (net, overlay) = tree();
    assert!(
        relay_commands(&net, 1).contains(&opus_relay::Command::Edges {
            overlay,
            parent: Some(node(0)),
            children: vec![node(2)]
        })
    );
    let watched = said(&net, 1, |event| match event {
        Event::Probe(command) => Some(command.clone()),
        _ => None,
    });
    let watch = opus_probe::Command::Watch;
    assert_eq!(watched, [watch(node(0)), watch(node(2))]);
}

#[test]
fn a_member_whose_node_dies_is_gone_after_the_hold() {
    let (mut net, overlay) = tree();
    net.crash(node(2));
    edges(&mut net, overlay, 1, Some(0), &[]);
    net.run_for(Duration::from_secs(20));
    assert_eq!(listed(&net, overlay).len(), 2);
    net.run_for(Duration::from_secs(17));
    assert_eq!(listed(&net, overlay), [(node(1), MemberState::Joined)]);
}

#[test]
fn a_member_that_moves_to_another_parent_stays_listed() {
    let (mut net, overlay) = tree();
    edges(&mut net, overlay, 1, Some(0), &[]);
    edges(&mut net, overlay, 0, None, &[1, 2]);
    edges(&mut net, overlay, 2, Some(0), &[]);
    net.run_for(Duration::from_secs(200));
    assert_eq!(listed(&net, overlay).len(), 2);
}

#[test]
fn a_branch_cut_off_in_silence_is_forgotten() {
    let (mut net, overlay) = tree();
    net.crash(node(1));
    net.crash(node(2));
    net.run_for(Duration::from_secs(130));
    assert_eq!(listed(&net, overlay), []);
}

#[test]
fn the_last_detach_leaves_the_overlay_and_tells_the_parent() {
    let (mut net, overlay) = tree();
    attach(&mut net, 2, 4, Role::Sink);
    net.command(node(2), Command::Detach { att: 3 });
    net.run_for(Duration::from_secs(1));
    assert_eq!(listed(&net, overlay).len(), 2);
    net.command(node(2), Command::Detach { att: 4 });
    net.run_for(Duration::from_secs(1));
    assert_eq!(listed(&net, overlay), [(node(1), MemberState::Joined)]);
    assert!(
        relay_commands(&net, 1).contains(&opus_relay::Command::ChildLeft {
            overlay,
            child: node(2)
        })
    );
    let left = said(&net, 2, |event| match event {
        Event::Overlay(opus_overlay::Command::Leave { .. }) => Some(()),
        _ => None,
    });
    assert_eq!(left.len(), 1);
    assert!(net.machine(node(2)).watches.is_empty());
}

#[test]
fn a_sink_beside_the_source_is_a_member_too() {
    let (mut net, overlay) = net_with_app(1);
    attach(&mut net, 0, 1, Role::Sink);
    attach(&mut net, 0, 2, Role::Source);
    assert_eq!(listed(&net, overlay), [(node(0), MemberState::Joined)]);
    net.run_for(Duration::from_secs(200));
    assert_eq!(listed(&net, overlay).len(), 1);
    net.command(node(0), Command::Detach { att: 1 });
    assert_eq!(listed(&net, overlay), []);
}

#[test]
fn nobody_joins_in_the_name_of_another_and_strangers_reports_count_nothing() {
    let (mut net, overlay) = tree();
    let join = Message::Join {
        overlay,
        role: Role::Sink,
        contact: Contact::bare(node(77)),
        generation: 1,
    };
    let received = |from, message| Input::Received { from, message };
    net.input(node(0), received(node(2), join));
    assert_eq!(net.penalties.last().unwrap().3, Offence::Forged);
    let gone = Row {
        member: node(1),
        role: Role::Sink,
        state: MemberState::Gone,
        generation: u64::MAX,
    };
    let report = Message::Report {
        overlay,
        rows: vec![gone],
    };
    net.input(node(0), received(node(2), report));
    assert_eq!(listed(&net, overlay).len(), 2);
}

#[test]
fn a_root_with_as_many_members_as_it_may_have_refuses_and_the_sink_is_told() {
    let mut net = Net::new((0..3).map(|index| {
        let config = Config {
            members_max: 1,
            ..config()
        };
        let seed = Seed::new(u64::from(index));
        let site = Site::new(config, Contact::bare(node(index)), 1, seed);
        (node(index), site)
    }));
    net.connect_all();
    deploy(&mut net, 0, &spec("a", 1));
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 1, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 2, 3, Role::Sink);
    net.run_for(Duration::from_secs(1));
    assert!(ended(&net, 1).is_empty());
    assert_eq!(ended(&net, 2), [3]);
}

#[test]
fn a_unicast_application_takes_one_sink() {
    let mut net = net(3);
    net.connect_all();
    let mut unicast = spec("a", 1);
    unicast.kind = Kind::Unicast;
    deploy(&mut net, 0, &unicast);
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 1, 2, Role::Sink);
    net.run_for(Duration::from_secs(1));
    attach(&mut net, 2, 3, Role::Sink);
    net.run_for(Duration::from_secs(1));
    assert_eq!((ended(&net, 1), ended(&net, 2)), (vec![], vec![3]));
}

#[test]
fn a_sink_resumes_only_where_the_source_is_the_same() {
    let (mut net, overlay) = net_with_app(2);
    for (att, source) in [(5, 0), (6, 9)] {
        let attach = Command::Attach {
            att,
            app: app(),
            role: Role::Sink,
            resume: Some((node(source), 42)),
        };
        net.command(node(1), attach);
    }
    attach(&mut net, 0, 1, Role::Source);
    net.run_for(Duration::from_secs(1));
    for (att, resume) in [(5, Some(42)), (6, None)] {
        let sink = opus_relay::Command::Sink {
            overlay,
            att,
            resume,
        };
        assert!(relay_commands(&net, 1).contains(&sink), "{att}");
    }
}

#[test]
fn a_slow_sink_is_ended_and_detached() {
    let (mut net, overlay) = tree();
    let slow = opus_relay::Event::SlowSink { overlay, att: 3 };
    net.command(node(2), Command::Relay(slow));
    assert_eq!(ended(&net, 2), [3]);
    assert_eq!(state(&net, 2, overlay), AppState::Unattached);
}

#[test]
fn a_measurement_goes_to_the_probe_and_its_answer_to_the_overlay() {
    let (mut net, _) = net_with_app(1);
    let targets = vec![Contact::bare(node(5))];
    let measure = opus_overlay::Event::Measure { targets };
    net.command(node(0), Command::Overlay(measure));
    let asked = said(&net, 0, |event| match event {
        Event::Probe(opus_probe::Command::Measure { id, targets, .. }) => {
            Some((*id, targets.clone()))
        }
        _ => None,
    });
    assert_eq!(asked[0].1, [node(5)]);
    let busy = opus_probe::Event::Refused {
        id: asked[0].0,
        reason: opus_probe::Refusal::Busy,
    };
    net.command(node(0), Command::Probe(busy));
    net.run_for(Duration::from_secs(2));
    let measured = opus_probe::Event::Measured {
        id: asked[0].0 + 1,
        peer: node(5),
        path: None,
        coordinate: None,
    };
    net.command(node(0), Command::Probe(measured));
    let answers = said(&net, 0, |event| match event {
        Event::Probe(opus_probe::Command::Measure { .. }) => Some("ask"),
        Event::Overlay(opus_overlay::Command::Measured { .. }) => Some("answer"),
        _ => None,
    });
    assert_eq!(answers, ["ask", "ask", "answer"]);
    assert!(net.machine(node(0)).measuring.is_empty());
}
