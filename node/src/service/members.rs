//! `membership.watch`: who receives what this source sends.

use std::sync::Arc;

use opus_core::{NodeId, OverlayId};
use opus_ipc::{
    message::{As, Code, Fault, MemberItem, MemberState as Said},
    serve::{Conn, Over, Sink},
};
use opus_site::{MemberState, Role};
use tokio::sync::broadcast::error::RecvError;

use super::Inner;

impl Inner {
    pub(super) async fn watch(&self, conn: &Arc<Conn>, att: u64, sink: Sink<MemberItem>) {
        let overlay = match self.owned(conn, att, |a| (a.role == Role::Source).then_some(a.overlay))
        {
            Ok(Some(overlay)) => overlay,
            Ok(None) => {
                let msg = "the node of the source keeps the member set; watch from there";
                return sink.err(Fault::new(Code::Unsupported, msg));
            }
            Err(fault) => return sink.err(fault),
        };
        // Ends when the client is gone, the node stops or the stream is cancelled.
        tokio::select! {
            // The client is gone: nobody is left to tell.
            Ok(()) | Err(Over) = self.follow(overlay, &sink) => {}
            () = sink.over() => {}
        }
    }

    async fn follow(&self, overlay: OverlayId, sink: &Sink<MemberItem>) -> Result<(), Over> {
        loop {
            let start = self
                .handle
                .ask(move |core| (core.watch_members(), core.site().members(overlay)));
            let Ok((mut changes, members)) = start.await else {
                return Ok(());
            };
            for member in members {
                let item = said(member.contact.id, member.role, member.state);
                sink.send(&item).await?;
            }
            sink.send(&MemberItem::Synced).await?;
            loop {
                match changes.recv().await {
                    Ok(change) if change.overlay == overlay => {
                        let item = said(change.member, change.role, change.state);
                        sink.send(&item).await?;
                    }
                    Ok(_) => {}
                    // Too slow: the whole set again says what was missed.
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
