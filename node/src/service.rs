//! What a node answers over `opus-ipc/1`: the methods of ipc.md on a running node.
//!
//! The dispatcher of `opus-ipc` decodes, limits and authorises; here each method becomes a question
//! to the node's loop or to its data plane. Attachments, and values of keys, belong to their
//! connection and end with it. *Confused deputy*: no method takes a path, command, URL or address
//! that the node opens.

mod apps;
mod attach;
mod dicast;
mod frames;
mod keys;
mod look;
mod members;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opus_core::Time;
use opus_ipc::{
    message::{Check, Code, Empty, Fault},
    serve::{Conn, Notice, Request, Service},
};
use tokio::sync::watch;

use self::attach::Attachment;
use crate::runtime::{Handle, Level, Stopped};

pub use self::look::{Caution, Facts, LogControl};

/// Most slow clients remembered for `doctor`. Overflow: the oldest is forgotten.
const SLOW_MAX: usize = 16;

/// The service of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    facts: Facts,
    attachments: Mutex<BTreeMap<u64, Attachment>>,
    slow: Mutex<VecDeque<(Time, String)>>,
    /// What was last found of the disk, and when.
    disk: Mutex<Option<(Time, Check)>>,
    /// Set once a client asked the node to drain and end: within this time.
    stop: watch::Sender<Option<Duration>>,
}

impl NodeService {
    /// A service of the node behind `handle`.
    pub fn new(handle: Handle, facts: Facts) -> Self {
        Self(Arc::new(Inner {
            handle,
            facts,
            attachments: Mutex::new(BTreeMap::new()),
            slow: Mutex::new(VecDeque::new()),
            disk: Mutex::new(None),
            stop: watch::channel(None).0,
        }))
    }

    /// Is set when a client asked the node to drain and end, to the time that this may take.
    pub fn stop_asked(&self) -> watch::Receiver<Option<Duration>> {
        self.0.stop.subscribe()
    }
}

impl Service for NodeService {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`answer` names every request; only those that must keep an order are named here"
    )]
    fn call(&self, conn: &Arc<Conn>, request: Request) {
        // What must keep the order of its calls is queued here; the rest may take its time.
        match request {
            Request::FramesSend(params, reply) => self.0.send(conn, params, reply),
            Request::FramesFlush(params, reply) => self.0.flush(conn, params, reply),
            Request::DicastDefine(params, reply) => self.0.dicast_define(params, reply),
            Request::DicastSet(params, reply) => self.0.dicast_set(conn, params, reply),
            Request::DicastUnset(params, reply) => self.0.dicast_unset(conn, params, reply),
            request => {
                let (inner, conn) = (Arc::clone(&self.0), Arc::clone(conn));
                tokio::spawn(async move { inner.answer(&conn, request).await });
            }
        }
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.0.end_attachments_of(conn.id);
        let conn = conn.id;
        self.0.handle.order(move |core| core.end_program(conn));
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::SlowConsumer(_) | Notice::Evicted(_) => self.0.name_slow(notice.to_string()),
            Notice::Refused { .. } => self.0.warn(&notice.to_string()),
        }
    }
}

impl Inner {
    /// Tells of a program that was cut because it did not read, and keeps it for `doctor`.
    fn name_slow(&self, who: String) {
        self.warn(&who);
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.len() >= SLOW_MAX {
            slow.pop_front();
        }
        slow.push_back((self.handle.clock().now(), who));
    }

    fn warn(&self, msg: &str) {
        self.handle
            .tellers()
            .tell(Level::Warn, "ipc", msg.to_owned());
    }

    fn attachments(&self) -> MutexGuard<'_, BTreeMap<u64, Attachment>> {
        self.attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, conn: &Arc<Conn>, request: Request) {
        match request {
            Request::NodeStatus(_, reply) => reply.end(self.status().await),
            Request::NodePeers(_, reply) => reply.end(self.peers().await),
            Request::NodeEvents(params, sink) => self.events(&params, sink).await,
            Request::NodeDoctor(_, reply) => reply.end(self.doctor().await.map_err(Fault::from)),
            Request::NodeDrain(params, reply) => {
                let limit = params.ms.map_or(Duration::MAX, Duration::from_millis);
                self.stop.send_replace(Some(limit));
                reply.ok(&Empty {});
            }
            Request::NodeLogSet(params, reply) => reply.end(self.log_set(&params)),
            Request::AppDeploy(params, reply) => {
                reply.end(
                    self.deploy(params.signed, params.dry_run == Some(true))
                        .await,
                );
            }
            Request::AppUpdate(params, reply) => {
                reply.end(
                    self.deploy(params.signed, params.dry_run == Some(true))
                        .await,
                );
            }
            Request::AppRetire(params, reply) => {
                reply.end(
                    self.retire(params.signed, params.dry_run == Some(true))
                        .await,
                );
            }
            Request::AppList(params, reply) => reply.end(self.list(params).await),
            Request::AppShow(params, reply) => reply.end(self.show(&params.app).await),
            Request::AppAttach(params, reply) => self.attach(conn, params, reply).await,
            Request::AppDetach(params, reply) => reply.end(self.detach(conn, params.att)),
            Request::FramesRecv(params, sink) => self.recv(conn, &params, sink).await,
            Request::MembershipWatch(params, sink) => self.watch(conn, params.att, sink).await,
            Request::DicastShow(_, reply) => reply.end(self.dicast_show().await),
            Request::DicastView(params, reply) => reply.end(self.dicast_view(params).await),
            Request::FramesSend(_, reply) => reply.err(out_of_order()),
            Request::FramesFlush(_, reply) => reply.err(out_of_order()),
            Request::DicastDefine(_, reply) => reply.err(out_of_order()),
            Request::DicastSet(_, reply) | Request::DicastUnset(_, reply) => {
                reply.err(out_of_order());
            }
        }
    }
}

/// `call` queues these itself; reaching `answer` is a defect, told instead of hidden.
fn out_of_order() -> Fault {
    Fault::new(Code::Internal, "the call was not queued in its order")
}

impl From<Stopped> for Fault {
    fn from(stopped: Stopped) -> Self {
        Self::new(Code::Unavailable, stopped.to_string()).retry_ms(1_000)
    }
}
