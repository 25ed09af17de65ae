//! `membership.watch`: who receives what this source sends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use opus_core::{NodeId, OverlayId};
use opus_ipc::{
    message::{As, Code, Fault, MemberItem, MemberState as Said},
    serve::{Conn, Over, Sink},
};
use opus_site::{MemberState, Role};
use tokio::sync::{broadcast::error::RecvError, watch};

use super::{Inner, attach::Attachment};

impl Inner {
    pub(super) async fn watch(&self, conn: &Arc<Conn>, att: u64, sink: Sink<MemberItem>) {
        let read = |attachment: &Attachment| {
            let alive = attachment.alive.as_ref().map(watch::Sender::subscribe);
            (attachment.role, attachment.overlay, alive)
        };
        let (overlay, mut alive) = match self.owned(conn, att, read) {
            Ok((Role::Source, overlay, Some(alive))) => (overlay, alive),
            Ok(_) => {
                let msg = "the node of the source keeps the member set; watch from there";
                return sink.err(Fault::new(Code::Unsupported, msg));
            }
            Err(fault) => return sink.err(fault),
        };
        tokio::select! {
            // The client is gone: nobody is left to tell.
            Ok(()) | Err(Over) = self.follow(overlay, &sink) => return,
            () = sink.over() => return,
            // Nothing is ever sent: an error says that the attachment has ended.
            _ = alive.changed() => {}
        }
        sink.end(Code::Unavailable, "the attachment ended");
    }

    async fn follow(&self, overlay: OverlayId, sink: &Sink<MemberItem>) -> Result<(), Over> {
        let mut told: BTreeMap<NodeId, Role> = BTreeMap::new();
        loop {
            let start = self
                .handle
                .ask(move |core| (core.watch_members(), core.site().members(overlay)));
            let Ok((mut changes, members)) = start.await else {
                return Ok(());
            };
            let present: BTreeSet<NodeId> = members.iter().map(|m| m.contact.id).collect();
            let gone: Vec<_> = told
                .iter()
                .filter(|(id, _)| !present.contains(id))
                .collect();
            for (&id, &role) in gone {
                sink.send(&said(id, role, MemberState::Gone)).await?;
            }
            told.retain(|id, _| present.contains(id));
            for member in members {
                told.insert(member.contact.id, member.role);
                let item = said(member.contact.id, member.role, member.state);
                sink.send(&item).await?;
            }
            sink.send(&MemberItem::Synced).await?;
            loop {
                match changes.recv().await {
                    Ok(change) if change.overlay == overlay => {
                        told.insert(change.member, change.role);
                        let item = said(change.member, change.role, change.state);
                        sink.send(&item).await?;
                    }
                    Ok(_) => {}
                    // Too slow: the whole set again, and who went meanwhile.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        }
    }
}

fn said(id: NodeId, role: Role, state: MemberState) -> MemberItem {
    MemberItem::Member {
        node: opus_swarm::peer_id(&id).to_string(),
        id,
        role: match role {
            Role::Source => As::Source,
            Role::Sink => As::Sink,
        },
        state: match state {
            MemberState::Joining => Said::Joining,
            MemberState::Joined => Said::Joined,
            MemberState::Leaving => Said::Leaving,
            MemberState::Gone => Said::Gone,
        },
        // News come by push and are told as they come.
        age_ms: 0,
    }
}
