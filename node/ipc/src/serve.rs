//! The node's side: one dispatcher over any `AsyncRead + AsyncWrite`.
//!
//! The dispatcher speaks the protocol: framing, HELLO, roles, limits, credit, deadlines, cancel,
//! back-pressure. A [`Service`] gets decoded and checked [`Request`]s only, each with the handle
//! that answers it: [`Reply`] for a call, [`Sink`] for a stream. Both may be kept and used from
//! any thread; a handle that is dropped unused answers `internal`.
//!
//! One task drives a connection: reader and writer take turns in it, so answers to a burst of
//! calls leave in one write. Nothing is unbounded: [`Config`] names each limit.

mod budget;
mod connection;
mod dispatch;
mod reply;
mod request;
mod roles;
mod server;
mod shared;
mod sink;
mod state;
mod ticket;

use std::{fmt, sync::Arc};

pub use self::{
    budget::Budget,
    reply::Reply,
    request::Request,
    roles::Roles,
    server::Server,
    sink::{Full, Over, Sink},
};
use crate::{
    message::{Code, Role},
    method::Method,
};

/// What the node implements.
///
/// `call` must not block: it answers at once, or keeps the handle and answers later.
pub trait Service: Send + Sync + 'static {
    /// One request, decoded, checked and allowed for the connection's role.
    fn call(&self, conn: &Arc<Conn>, request: Request);

    /// HELLO was accepted.
    fn opened(&self, conn: &Arc<Conn>) {
        let _: &Arc<Conn> = conn;
    }

    /// The connection is gone, and with it its attachments. Called once after each `opened`.
    fn closed(&self, conn: &Arc<Conn>) {
        let _: &Arc<Conn> = conn;
    }

    /// Something that the log and `status` should tell.
    fn notice(&self, notice: Notice) {
        let _: Notice = notice;
    }
}

/// A connection, as the service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Unique within the process.
    pub id: u64,
    /// The program's own name; from HELLO, fit for a log line.
    pub app: String,
    /// Who is at the other end.
    pub peer: Peer,
}

/// Who is at the other end, as the acceptor found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub role: Role,
    /// User id, if the transport tells.
    pub uid: Option<u32>,
    /// Process id, if the transport tells.
    pub pid: Option<i32>,
    /// For [`Role::Component`]: the only application that it may name.
    pub scope: Option<String>,
}

impl Peer {
    /// The node's own process.
    pub fn admin() -> Self {
        Self {
            role: Role::Admin,
            uid: None,
            pid: None,
            scope: None,
        }
    }

    /// A program of somebody who may use applications.
    pub fn app() -> Self {
        Self {
            role: Role::App,
            ..Self::admin()
        }
    }

    /// A component that the node started for `app`.
    pub fn component(app: impl Into<String>) -> Self {
        Self {
            role: Role::Component,
            scope: Some(app.into()),
            ..Self::admin()
        }
    }
}

/// What WELCOME says of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// libp2p peer id.
    pub node: String,
    /// The node, as in `src` of frames.
    pub id: opus_core::NodeId,
    /// Of the program.
    pub version: String,
    /// Network name.
    pub network: String,
}

/// The limits of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Calls in flight; over it the connection is not read until one ends.
    pub inflight_max: usize,
    /// Streams of a connection; one more is answered `quota`.
    pub streams_max: usize,
    /// Credit of a stream at its start, unless it asks for more.
    pub credit: u32,
    /// Most credit of a stream; what is over is forgotten.
    pub credit_max: u32,
    /// Unsent bytes of a connection; from here on it is not read and its streams wait.
    pub unsent_bytes_max: usize,
    /// Connections; one more is answered `busy`.
    pub connections_max: usize,
    /// Connections of a user that is not admin; one more is answered `busy`.
    pub connections_per_user_max: usize,
    /// Without progress of a write for so long, the connection is closed as `slow_consumer`.
    pub stuck_ms_max: u64,
    /// Time for the last words of a connection that is refused or drained.
    pub flush_ms_max: u64,
    /// Keys that a lossy stream keeps while it waits; the oldest is given up for a new one.
    pub pending_keys_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inflight_max: 64,
            streams_max: 64,
            credit: 64,
            credit_max: 4_096,
            unsent_bytes_max: 4 << 20,
            connections_max: 1_024,
            connections_per_user_max: 256,
            stuck_ms_max: 30_000,
            flush_ms_max: 2_000,
            pending_keys_max: 64,
        }
    }
}

/// What the log and `status` should tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A client did not read for [`Config::stuck_ms_max`] and was closed.
    SlowConsumer(Slow),
    /// All connections together held too much; the worst was closed.
    Evicted(Slow),
    /// A client broke the protocol and was closed.
    Refused {
        /// From HELLO; empty before.
        app: String,
        /// Process id, if known.
        pid: Option<i32>,
        /// What it was told.
        code: Code,
        /// What it was told.
        msg: String,
    },
}

/// A client that was closed because of what it left unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// From HELLO.
    pub app: String,
    /// Process id, if known.
    pub pid: Option<i32>,
    /// The call and method of the stream with most unsent bytes, if a stream is to blame.
    pub stream: Option<(u32, Method)>,
    /// Unsent and unfinished bytes.
    pub bytes: usize,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlowConsumer(slow) => write!(f, "slow_consumer: {slow}"),
            Self::Evicted(slow) => write!(f, "evicted: {slow}"),
            Self::Refused {
                app,
                pid,
                code,
                msg,
            } => {
                let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
                write!(f, "refused: app={app:?} pid={pid} {code}: {msg}")
            }
        }
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        write!(f, "app={:?} pid={pid} bytes={}", self.app, self.bytes)?;
        match self.stream {
            Some((call, method)) => write!(f, " stream={}#{call}", method.name()),
            None => Ok(()),
        }
    }
}
