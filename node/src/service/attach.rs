//! `app.attach`, `app.detach`: programs that take part in an application.

use std::sync::Arc;

use opus_core::OverlayId;
use opus_ipc::{
    message::{AppAttach, As, Attached, Code, Empty, Fault, Lease},
    serve::{Conn, Reply},
};
use opus_site::{Refusal, Role, spec::AppRef};
use tokio::{sync::watch, task::JoinHandle};

use super::{Inner, frames::Outbox};
use crate::runtime;

/// Wait before a client asks again for a spec that has not arrived yet.
const SPEC_RETRY_MS: u64 = 500;

/// How the reason begins for which a sink that takes nothing is cut.
const SLOW: &str = "slow_consumer";

/// One program in one application. Ends with its connection.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) conn: u64,
    pub(super) overlay: OverlayId,
    pub(super) role: Role,
    /// Why it ended without its program's wish, once it has.
    pub(super) ended: Option<String>,
    /// Sources: the queue of frames to send.
    pub(super) outbox: Option<Outbox>,
    /// Held by the one stream that receives its frames.
    pub(super) reader: Arc<tokio::sync::Mutex<()>>,
    /// Gone as soon as the attachment has ended, for whatever reason.
    pub(super) alive: Option<watch::Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

impl Inner {
    pub(super) async fn attach(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        params: AppAttach,
        reply: Reply<Attached>,
    ) {
        match self.try_attach(conn, params).await {
            Ok(attached) if reply.is_over() => {
                // The client is gone: `closed` may have run before the attachment was filed.
                self.end_attachment(attached.att);
            }
            result => reply.end(result),
        }
    }

    async fn try_attach(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        params: AppAttach,
    ) -> Result<Attached, Fault> {
        in_scope(conn, &params.app)?;
        let app: AppRef = parse_app(&params.app)?;
        let role = role_of(params.role)?;
        if params.lease.is_some() {
            let msg = "this node issues no market leases; attach without one";
            return Err(Fault::new(Code::Unsupported, msg));
        }
        let resume = params.resume.map(|resume| (resume.src, resume.seq));
        let answer = self
            .handle
            .ask(move |core| core.attach(app, role, resume))
            .await?;
        let attached = answer
            .await
            .map_err(|_| runtime::Stopped)?
            .map_err(refused)?;
        Ok(self.file(conn, role, attached).await?)
    }

    async fn file(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        role: Role,
        attached: runtime::Attached,
    ) -> Result<Attached, runtime::Stopped> {
        let node = self.handle.ask(|core| core.peer_id().to_string()).await?;
        let att = u64::from(attached.att);
        let outbox = (role == Role::Source).then(|| Outbox::open(&self.handle, attached.overlay));
        let attachment = Attachment {
            conn: conn.id,
            overlay: attached.overlay,
            role,
            ended: None,
            outbox,
            reader: Arc::default(),
            alive: Some(watch::channel(()).0),
            watcher: None,
        };
        // Filed before its end is watched: an end that came already must find it.
        self.attachments().insert(att, attachment);
        let inner = Arc::downgrade(self);
        let program = Arc::clone(conn);
        let watcher = tokio::spawn(async move {
            let (Ok(why), Some(inner)) = (attached.ended.await, inner.upgrade()) else {
                return;
            };
            if why.starts_with(SLOW) {
                inner.name_slow(format!("{} stream=frames.recv: {why}", named(&program)));
            }
            if let Some(attachment) = inner.attachments().get_mut(&att) {
                if let Some(outbox) = attachment.outbox.take() {
                    outbox.close(&why);
                }
                attachment.ended = Some(why);
                attachment.alive = None;
            }
        });
        if let Some(attachment) = self.attachments().get_mut(&att) {
            attachment.watcher = Some(watcher);
        }
        Ok(Attached {
            att,
            app: attached.app.to_string(),
            node,
            id: self.handle.me(),
            lease: Lease::edge(attached.overlay.0.to_be_bytes().to_vec()),
        })
    }

    pub(super) fn detach(&self, conn: &Arc<Conn>, att: u64) -> Result<Empty, Fault> {
        self.owned(conn, att, |_| ())?;
        self.end_attachment(att);
        Ok(Empty {})
    }

    pub(super) fn end_attachments_of(&self, conn: u64) {
        let attachments = self.attachments();
        let owned = attachments
            .iter()
            .filter(|(_, attachment)| attachment.conn == conn);
        let owned: Vec<u64> = owned.map(|(att, _)| *att).collect();
        drop(attachments);
        for att in owned {
            self.end_attachment(att);
        }
    }

    fn end_attachment(&self, att: u64) {
        self.attachments().remove(&att);
        if let Ok(att) = u32::try_from(att) {
            self.handle.data().close_queue(att);
            self.handle.order(move |core| core.detach(att));
        }
    }

    /// Reads an attachment that belongs to this connection and has not ended.
    pub(super) fn owned<T>(
        &self,
        conn: &Arc<Conn>,
        att: u64,
        read: impl FnOnce(&Attachment) -> T,
    ) -> Result<T, Fault> {
        let attachments = self.attachments();
        let attachment = attachments
            .get(&att)
            .filter(|attachment| attachment.conn == conn.id);
        let Some(attachment) = attachment else {
            let msg = format!("this connection has no attachment {att}; call app.attach first");
            return Err(Fault::new(Code::NotFound, msg));
        };
        match &attachment.ended {
            Some(why) => Err(Fault::new(
                Code::Unavailable,
                format!("the attachment ended: {why}"),
            )),
            None => Ok(read(attachment)),
        }
    }
}

/// A program, for those who look for it.
fn named(conn: &Conn) -> String {
    let pid = conn
        .peer
        .pid
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    format!("app={:?} pid={pid}", conn.app)
}

/// A component may name its own application only.
pub(super) fn in_scope(conn: &Arc<Conn>, app: &str) -> Result<(), Fault> {
    match &conn.peer.scope {
        Some(scope) if scope != app => Err(Fault::new(
            Code::Denied,
            format!("this component belongs to {scope} only"),
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn parse_app(text: &str) -> Result<AppRef, Fault> {
    text.parse()
        .map_err(|error| Fault::new(Code::BadRequest, format!("{text:?}: {error}")))
}

fn role_of(role: As) -> Result<Role, Fault> {
    match role {
        As::Source => Ok(Role::Source),
        As::Sink => Ok(Role::Sink),
        As::Peer | As::Replica => {
            let msg = "this version of the node carries multicast applications only: \
                       attach as source or sink";
            Err(Fault::new(Code::Unsupported, msg))
        }
    }
}

/// What a refusal of the site manager is over IPC.
#[expect(clippy::needless_pass_by_value, reason = "for use as map_err(refused)")]
pub(super) fn refused(refusal: Refusal) -> Fault {
    let msg = refusal.to_string();
    match refusal {
        Refusal::Spec(_) => Fault::new(Code::BadRequest, msg).help("opus-node app sign --help"),
        Refusal::Version { .. } => Fault::new(Code::Exists, msg),
        Refusal::NotFound(_) => Fault::new(Code::NotFound, msg)
            .help("opus-node app list")
            .retry_ms(SPEC_RETRY_MS),
        Refusal::Retired(_) | Refusal::Ended(_) | Refusal::Draining => {
            Fault::new(Code::Unavailable, msg)
        }
        Refusal::Ambiguous(_) | Refusal::Role(_) => Fault::new(Code::BadRequest, msg),
        Refusal::Busy(_) => Fault::new(Code::Busy, msg),
        Refusal::Full(_) => Fault::new(Code::Quota, msg),
    }
}
