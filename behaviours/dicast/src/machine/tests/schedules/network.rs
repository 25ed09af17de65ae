//! The network between the machines of a scene: what is sent, dialled and lost, and what the fence
//! knows of it.

use std::{rc::Rc, time::Duration};

use opus_core::{NodeId, codec};

use super::scene::{Broken, Flight, Scene, What, index_of};
use crate::{Message, cluster::ClusterRef};

impl Scene {
    pub(super) fn rtt_us(&self, from: u8, to: u8) -> Option<u32> {
        let reached = self.node(to).is_some() && !is_apart(self.side, from, to);
        let us = 2 * self.delay(from, to).as_micros();
        reached.then(|| u32::try_from(us).expect("it is some milliseconds"))
    }

    /// *No two nodes ever hold, or are granted, one cluster and epoch.*
    pub(super) fn note_posts(&mut self, node: u8) -> Result<(), Broken> {
        let held: Vec<ClusterRef> = self.node(node).map_or_else(Vec::new, |it| {
            let views = it.machine.posts.values().map(|post| &post.view);
            views.map(|view| view.cluster).collect()
        });
        for cluster in held {
            self.note(cluster, node, "holds")?;
        }
        Ok(())
    }

    fn note(&mut self, cluster: ClusterRef, node: u8, how: &str) -> Result<(), Broken> {
        match self.holders.get(&cluster) {
            Some(&other) if other != node => Err(format!(
                "fence: node {node} {how} {cluster:?}, which is of node {other}"
            )),
            Some(_) => Ok(()),
            None => {
                Rc::make_mut(&mut self.holders).insert(cluster, node);
                Ok(())
            }
        }
    }

    pub(super) fn send(&mut self, from: u8, to: NodeId, message: &Message) -> Result<(), Broken> {
        if let Message::Grant(grant) = message
            && let Some(seat) = grant.up.view.roster.get(grant.up.slot)
        {
            self.note(grant.cluster, index_of(seat.id()), "is granted")?;
        } else if let Message::Twinned(twinned) = message {
            self.note(twinned.cluster, index_of(to), "is granted")?;
        } else if let Message::Office(office) = message {
            let agent = index_of(office.view.agent.id);
            self.note(office.view.cluster, agent, "is given")?;
        }
        let to = index_of(to);
        if self.links.contains(&pair(from, to)) {
            let bytes = codec::encode(message).into();
            self.post(from, to, What::Message(bytes, kind_of(message)));
        }
        Ok(())
    }

    pub(super) fn dial(&mut self, from: u8, to: u8) {
        if self.links.contains(&pair(from, to)) {
            return;
        }
        if self.node(to).is_some() && to != from && !is_apart(self.side, from, to) {
            self.links.insert(pair(from, to));
            self.post(to, from, What::Connected(to));
            self.post(from, to, What::Connected(from));
        } else {
            self.post(from, from, What::DialFailed(to));
        }
    }

    /// Puts something under way. What crosses a cut is lost.
    pub(super) fn post(&mut self, from: u8, to: u8, what: What) {
        if matches!(what, What::Message(..)) && is_apart(self.side, from, to) {
            return;
        }
        let sent = &mut self.sent[usize::from(from)];
        *sent += 1;
        let id = (from, *sent);
        let due = self.now + self.delay(from, to);
        self.flights.push(Flight { id, to, what, due });
    }

    /// One way. Different for most pairs, so that few things happen at once.
    pub(super) fn delay(&self, from: u8, to: u8) -> Duration {
        let group = |node: u8| self.groups[usize::from(node)];
        let far = u64::from(group(from) != group(to));
        let some = (u64::from(from) * 5 + u64::from(to) * 3) % 7;
        Duration::from_micros(3_000 + 20_000 * far + 700 * some)
    }
}

pub(super) fn is_apart(side: u8, a: u8, b: u8) -> bool {
    (side >> a & 1) != (side >> b & 1)
}

fn pair(a: u8, b: u8) -> (u8, u8) {
    (a.min(b), a.max(b))
}

/// The name of the variant.
fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Beat(_) => "Beat",
        Message::Pulse(_) => "Pulse",
        Message::Check(_) => "Check",
        Message::Alive(_) => "Alive",
        Message::Accuse(_) => "Accuse",
        Message::Verdict(_) => "Verdict",
        Message::Join(_) => "Join",
        Message::Places(_) => "Places",
        Message::Welcome(_) => "Welcome",
        Message::Busy(_) => "Busy",
        Message::Ask(_) => "Ask",
        Message::Stranger(_) => "Stranger",
        Message::Leave(_) => "Leave",
        Message::Moved(_) => "Moved",
        Message::Claim(_) => "Claim",
        Message::Grant(_) => "Grant",
        Message::Fenced(_) => "Fenced",
        Message::Takeover(_) => "Takeover",
        Message::Twin(_) => "Twin",
        Message::Twinned(_) => "Twinned",
        Message::Poles(_) => "Poles",
        Message::Sides(_) => "Sides",
        Message::Office(_) => "Office",
        Message::Merge(_) => "Merge",
        Message::Merged(_) => "Merged",
        Message::Crown(_) => "Crown",
        Message::Hello(_) => "Hello",
        Message::Push(_) => "Push",
        Message::Got(_) => "Got",
        Message::Widths(_) => "Widths",
        Message::Full(_) => "Full",
        Message::Specs(_) => "Specs",
        Message::AskPath(_) => "AskPath",
        Message::Path(_) => "Path",
        Message::Kin(_) => "Kin",
        Message::Gather(_) => "Gather",
        Message::Audit(_) => "Audit",
        Message::Audited(_) => "Audited",
        Message::Liar(_) => "Liar",
        Message::Compare(_) => "Compare",
        Message::Renewed(_) => "Renewed",
    }
}
