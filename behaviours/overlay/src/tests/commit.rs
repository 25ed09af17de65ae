//! The commit protocol, one member at a time: node 1 under root 0, with child 2.

use opus_core::{Input, Machine as _, NodeId, Output, Seed, Time};

use super::{OVERLAY, contact, feed, id, machine};
use crate::{
    Command, Event, Message, Overlay,
    wire::{
        Answer, Beat, Body, Claim, Down, Entry, Gossip, Hop, Leave, Offer, OfferKind, Parting,
        Pressure, Purpose, Reason, Standing, Verdict,
    },
};

const NOW: Time = Time::from_secs(1);

struct Bench {
    machine: Overlay,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            machine: machine(Seed::new(1), 1, 0),
        };
        bench.feed(Input::Command(Command::Join {
            id: 1,
            overlay: OVERLAY,
            root: contact(0),
            alpha_milli: 1_500,
            cap: 4,
        }));
        for peer in 0..10 {
            bench.feed(Input::Connected(id(peer)));
        }
        bench.measured(0, 10_000);
        bench.from(0, verdict(1, 1, Answer::Accept(Box::new(down(0, &[])))));
        bench.from(2, offer(OfferKind::Orphan, true));
        let status = bench.machine.status(OVERLAY).unwrap();
        assert_eq!(status.parent, Some(id(0)));
        assert_eq!(status.children.len(), 1);
        bench
    }

    fn feed(&mut self, input: Input<Command, Message>) -> Vec<Output<Message, Event>> {
        feed(&mut self.machine, NOW, input)
    }

    fn measured(&mut self, peer: usize, rtt_us: u32) {
        self.feed(Input::Command(Command::Measured {
            peer: id(peer),
            rtt_us: Some(rtt_us),
            coordinate: None,
        }));
    }

    /// Lets time pass; gives who was asked how it stands.
    fn wait(&mut self, until: Time) -> Vec<NodeId> {
        let mut asked = Vec::new();
        while let Some(deadline) = self.machine.poll_timeout().filter(|due| due.at <= until) {
            self.machine.handle_timeout(deadline.at);
            while let Some(output) = self.machine.poll_output() {
                if let Output::Send { to, message, .. } = output
                    && let Body::Gossip(gossip) = message.body
                    && gossip.purpose == Purpose::Ask
                {
                    asked.push(to);
                }
            }
        }
        asked
    }

    /// A message from `peer`; gives what is sent then.
    fn from(&mut self, peer: usize, body: Body) -> Vec<(NodeId, Body)> {
        let message = Message {
            overlay: OVERLAY,
            epoch: 1,
            body,
        };
        let received = Input::Received {
            from: id(peer),
            message,
        };
        let sent = |output: Output<Message, Event>| match output {
            Output::Send { to, message, .. } => Some((to, message.body)),
            Output::Dial(_) | Output::Release(_) | Output::Penalise(..) | Output::Event(_) => None,
        };
        self.feed(received).into_iter().filter_map(sent).collect()
    }

    /// Makes node 1 offer itself to node 5, which is nearer than the root.
    fn begin_move(&mut self) {
        self.measured(5, 1_000);
        let sent = self.from(5, gossip(5_000, &[0]));
        let offered = |(to, body): &(NodeId, Body)| *to == id(5) && matches!(body, Body::Offer(_));
        assert!(sent.iter().any(offered), "{sent:?}");
    }

    fn children(&self) -> Vec<NodeId> {
        let status = self.machine.status(OVERLAY).unwrap();
        status.children.iter().map(|&(child, _)| child).collect()
    }

    fn parent(&self) -> Option<NodeId> {
        self.machine.status(OVERLAY)?.parent
    }
}

fn down(delay_us: u32, path: &[usize]) -> Down {
    let hop = |&index: &usize| Hop {
        contact: contact(index),
        delay_us: 0,
        version: 0,
    };
    Down {
        alpha_milli: 1_500,
        delay_us,
        version: 1,
        rooted: true,
        pressure: Pressure::None,
        members: 10,
        path_serial: 1,
        path: Some(path.iter().map(hop).collect()),
    }
}

fn offer(kind: OfferKind, leaf: bool) -> Body {
    Body::Offer(Box::new(Offer {
        serial: 7,
        kind,
        leaf,
        rtt_us: Some(2_000),
        slack_us: 500,
        seen_us: 10_000,
        hint: contact(2).hint,
        position: None,
    }))
}

fn claim(of: usize) -> Body {
    Body::Claim(Claim {
        of: id(of),
        serial: 3,
        slack_us: 100,
        seen_us: 10_000,
    })
}

fn verdict(of: usize, serial: u32, answer: Answer) -> Body {
    Body::Verdict(Box::new(Verdict {
        of: id(of),
        serial,
        answer,
    }))
}

fn gossip(delay_us: u32, path: &[usize]) -> Body {
    Body::Gossip(Box::new(Gossip {
        purpose: Purpose::Answer,
        rtt_us: None,
        me: Standing {
            hint: contact(5).hint,
            position: None,
            direct_us: Some(delay_us),
            delay_us,
            rooted: true,
            slots: 3,
            version: 1,
            path: path.iter().map(|&index| id(index)).collect(),
        },
        entries: Vec::new(),
    }))
}

/// The reason of the one refusal among what was sent, and to whom it went.
fn refusal(sent: &[(NodeId, Body)]) -> Option<(NodeId, Reason)> {
    sent.iter().find_map(|(to, body)| {
        let Body::Verdict(verdict) = body else {
            return None;
        };
        let Answer::Refuse { reason, .. } = verdict.answer else {
            return None;
        };
        Some((*to, reason))
    })
}

#[test]
fn a_claim_climbs_to_the_parent_and_its_verdict_comes_back() {
    let mut bench = Bench::new();
    let sent = bench.from(2, claim(9));
    let [(to, Body::Claim(passed))] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!((*to, passed.of, passed.seen_us), (id(0), id(9), 0));
    assert_eq!(
        bench.from(7, verdict(9, 3, Answer::Clear)),
        [],
        "not from the parent"
    );
    let sent = bench.from(0, verdict(9, 3, Answer::Clear));
    assert_eq!(sent, [(id(2), verdict(9, 3, Answer::Clear))]);
    assert_eq!(bench.from(0, verdict(9, 3, Answer::Clear)), [], "only once");
}

#[test]
fn a_claim_that_meets_a_pending_change_is_busy() {
    let mut bench = Bench::new();
    bench.begin_move();
    assert_eq!(
        refusal(&bench.from(2, claim(9))),
        Some((id(2), Reason::Busy))
    );
}

#[test]
fn a_claim_that_meets_its_own_node_or_one_below_it_is_a_loop() {
    let mut bench = Bench::new();
    assert_eq!(
        refusal(&bench.from(2, claim(1))),
        Some((id(2), Reason::Loop))
    );
    assert_eq!(
        refusal(&bench.from(2, claim(0))),
        Some((id(2), Reason::Loop))
    );
}

#[test]
fn a_claim_from_a_node_that_is_no_child_is_refused() {
    let mut bench = Bench::new();
    let refused = refusal(&bench.from(6, claim(9)));
    assert_eq!(refused, Some((id(6), Reason::NotMember)));
}

#[test]
fn a_claim_with_a_wrong_delay_is_stale_and_the_child_hears_the_right_one() {
    let mut bench = Bench::new();
    let mut stale = claim(9);
    if let Body::Claim(claim) = &mut stale {
        claim.seen_us = 12_000;
    }
    let sent = bench.from(2, stale);
    assert_eq!(refusal(&sent), Some((id(2), Reason::Stale)));
    let told = |(to, body): &(NodeId, Body)| *to == id(2) && matches!(body, Body::Beat(_));
    assert!(sent.iter().any(told));
}

#[test]
fn a_branch_becomes_a_child_only_after_the_root_cleared_it() {
    let mut bench = Bench::new();
    let sent = bench.from(6, offer(OfferKind::Cheaper, false));
    assert!(matches!(sent.as_slice(), [(_, Body::Claim(_))]), "{sent:?}");
    assert_eq!(bench.children(), [id(2)]);
    let sent = bench.from(0, verdict(6, 7, Answer::Clear));
    let accepted = |(to, body): &(NodeId, Body)| {
        let Body::Verdict(verdict) = body else {
            return false;
        };
        *to == id(6) && matches!(verdict.answer, Answer::Accept(_))
    };
    assert!(sent.iter().any(accepted));
    assert_eq!(bench.children(), [id(2), id(6)]);
}

#[test]
fn a_refused_branch_frees_its_slot_and_hears_why() {
    let mut bench = Bench::new();
    bench.from(6, offer(OfferKind::Cheaper, false));
    let busy = Answer::Refuse {
        reason: Reason::Busy,
        hints: Vec::new(),
        standing: None,
    };
    let sent = bench.from(0, verdict(6, 7, busy));
    assert_eq!(refusal(&sent), Some((id(6), Reason::Busy)));
    assert_eq!(bench.children(), [id(2)]);
}

#[test]
fn an_accepted_change_leaves_the_old_parent_and_tells_the_children() {
    let mut bench = Bench::new();
    bench.begin_move();
    let accept = Answer::Accept(Box::new(down(5_000, &[0])));
    let sent = bench.from(5, verdict(1, 2, accept));
    assert_eq!(bench.parent(), Some(id(5)));
    let leave = Leave {
        why: Parting::Moved,
        to: None,
    };
    assert!(sent.contains(&(id(0), Body::Leave(leave))));
    let path = sent.iter().find_map(|(to, body)| {
        let Body::Beat(beat) = body else {
            return None;
        };
        match &**beat {
            Beat::Down(down) if *to == id(2) => down.path.as_ref().map(Vec::len),
            Beat::Down(_) | Beat::Up(_) => None,
        }
    });
    assert_eq!(path, Some(2));
}

#[test]
fn an_acceptance_nobody_waits_for_is_declined() {
    let mut bench = Bench::new();
    let accept = Answer::Accept(Box::new(down(5_000, &[0])));
    let sent = bench.from(5, verdict(1, 99, accept));
    assert!(matches!(sent.as_slice(), [(_, Body::Leave(_))]));
    assert_eq!(bench.parent(), Some(id(0)));
}

#[test]
fn who_sees_itself_among_its_ancestors_leaves() {
    let mut bench = Bench::new();
    let looped = down(20_000, &[2, 1, 0]);
    bench.from(0, Body::Beat(Box::new(Beat::Down(looped))));
    assert_eq!(bench.parent(), None);
}

#[test]
fn a_parent_that_denies_the_edge_is_left() {
    let mut bench = Bench::new();
    let leave = Leave {
        why: Parting::NoEdge,
        to: None,
    };
    bench.from(0, Body::Leave(leave));
    assert_eq!(bench.parent(), None);
}

#[test]
fn who_does_not_answer_is_passed_over() {
    let mut bench = Bench::new();
    let entry = |index: usize| Entry {
        contact: contact(index),
        rtt_us: None,
        direct_us: Some(8_000),
        position: None,
    };
    bench.measured(5, 1_000);
    bench.measured(6, 2_000);
    let Body::Gossip(mut gossip) = gossip(10_000, &[0]) else {
        panic!("it is gossip");
    };
    gossip.entries = vec![entry(5), entry(6)];
    bench.from(9, Body::Gossip(gossip));
    let first = bench.wait(Time::from_secs(2));
    assert!(!first.is_empty() && first.iter().all(|&asked| asked == id(5)));
    let then = bench.wait(Time::from_secs(5));
    assert!(then.contains(&id(6)), "{then:?}");
}
