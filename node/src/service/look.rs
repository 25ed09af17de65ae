//! `node.*`: what a person or a program sees of a node.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use opus_ipc::{
    message::{
        Check, Code, Empty, EventItem, EventLine, Fault, NodeEvents, NodeLogSet, PeerLine, Status,
        Verdict, Via,
    },
    serve::Sink,
};
use tokio::sync::broadcast::error::RecvError;

use super::Inner;
use crate::runtime::{Core, Level, Stopped};

/// A slow client counts against the node's health for so long.
const SLOW_AGE_MAX: Duration = Duration::from_secs(600);

/// What was found of the disk is good for so long.
const DISK_AGE_MAX: Duration = Duration::from_secs(30);
/// A disk that takes longer than this to make an empty file is not well.
const DISK_LIMIT: Duration = Duration::from_secs(1);

/// Something that is wrong with the node from its start, until its next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caution {
    /// A word for `doctor`.
    pub name: &'static str,
    /// What happened and why.
    pub cause: String,
    /// The command that mends it.
    pub fix: String,
}

/// Changes the log filter of the running process.
pub trait LogControl: Send + Sync {
    /// Sets a filter, and gives the one from before. Errors: what is wrong with it.
    fn set(&self, filter: &str) -> Result<String, String>;
}

/// What the service knows of the process around the node.
#[derive(Clone)]
pub struct Facts {
    /// Network name.
    pub network: String,
    /// `home`, `server` or `isolated`.
    pub profile: String,
    /// The socket's path; empty in process.
    pub socket: PathBuf,
    /// Where the node keeps its state; `None` in process.
    pub data_dir: Option<PathBuf>,
    /// Whether the operator named peers to start from: without them, no peer is no fault.
    pub bootstrapped: bool,
    /// What was wrong at start.
    pub cautions: Vec<Caution>,
    /// The log of the process, if the node may change it.
    pub log: Option<Arc<dyn LogControl>>,
}

impl Facts {
    /// Of a node that runs inside another program: no socket, no files, no log of its own.
    pub fn in_process() -> Self {
        Self {
            network: "main".to_owned(),
            profile: "isolated".to_owned(),
            socket: PathBuf::new(),
            data_dir: None,
            bootstrapped: false,
            cautions: Vec::new(),
            log: None,
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) async fn status(&self) -> Result<Status, Fault> {
        let doctor = self.doctor().await?;
        let bad = doctor.into_iter().find(|check| !check.ok);
        let facts = self.facts.clone();
        let read = move |core: &mut Core| Status {
            peer_id: core.peer_id().to_string(),
            listen: core.listening().iter().map(ToString::to_string).collect(),
            peers: core.peer_count() as u64,
            verdict: if bad.is_some() {
                Verdict::Degraded
            } else {
                Verdict::Ok
            },
            cause: bad.as_ref().and_then(|check| check.cause.clone()),
            fix: bad.and_then(|check| check.fix),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: facts.network,
            profile: facts.profile,
            socket: facts.socket.display().to_string(),
            pid: std::process::id(),
            uptime_ms: core.uptime_ms(),
            reach: core.reach().to_owned(),
            draining: core.is_draining(),
            nodes: super::dicast::nodes(core),
        };
        Ok(self.handle.ask(read).await?)
    }

    pub(super) async fn peers(&self) -> Result<Vec<PeerLine>, Fault> {
        let rows = self.handle.ask(|core| core.peer_rows()).await?;
        let line = |row: crate::runtime::PeerRow| PeerLine {
            peer: row.peer.to_string(),
            addr: row.address.to_string(),
            via: if row.relayed { Via::Relay } else { Via::Direct },
            rtt_ms: row.rtt_ms,
            loss: row.loss,
            version: row.version,
        };
        Ok(rows.into_iter().map(line).collect())
    }

    pub(super) async fn events(&self, params: &NodeEvents, sink: Sink<EventItem>) {
        let level = match params.level.as_deref() {
            None | Some("info") => Level::Info,
            Some("debug" | "trace") => Level::Debug,
            Some("warn" | "error") => Level::Warn,
            Some(other) => {
                let msg = format!("no level {other:?}; say error, warn, info, debug or trace");
                return sink.err(Fault::new(Code::BadRequest, msg));
            }
        };
        let mut listener = self.handle.tellers().listen();
        loop {
            let told = tokio::select! {
                told = listener.recv() => told,
                () = sink.over() => return,
            };
            let told = match told {
                Ok(told) => told,
                Err(RecvError::Lagged(n)) => {
                    if sink.publish("lost", &EventItem::Lost(n)).is_err() {
                        return;
                    }
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            if told.level < level || params.kind.as_deref().is_some_and(|kind| kind != told.kind) {
                continue;
            }
            let age = self.handle.clock().now() - told.at;
            let line = EventLine {
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                level: told.level.as_str().to_owned(),
                kind: told.kind.to_owned(),
                msg: told.msg.to_string(),
            };
            // Each event is a key of its own: none replaces another while credit lasts.
            let key = format!("{}@{:?}", told.kind, told.at);
            if sink.publish(&key, &EventItem::Event(line)).is_err() {
                return;
            }
        }
    }

    pub(super) fn log_set(self: &Arc<Self>, params: &NodeLogSet) -> Result<Empty, Fault> {
        let Some(log) = self.facts.log.clone() else {
            let msg = "this node runs inside another program, which owns the log";
            return Err(Fault::new(Code::Unsupported, msg));
        };
        let before = log.set(&params.filter).map_err(|why| {
            Fault::new(
                Code::BadRequest,
                format!("filter {:?}: {why}", params.filter),
            )
        })?;
        if let Some(ms) = params.for_ms {
            let inner = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if let (Err(why), Some(inner)) = (log.set(&before), inner.upgrade()) {
                    let msg = format!("the log filter {before:?} cannot be set back: {why}");
                    inner.handle.tellers().tell(Level::Warn, "life", msg);
                }
            });
        }
        Ok(Empty {})
    }

    pub(super) async fn doctor(&self) -> Result<Vec<Check>, Stopped> {
        let bootstrapped = self.facts.bootstrapped;
        let mut checks = self
            .handle
            .ask(move |core| network_checks(core, bootstrapped))
            .await?;
        checks.push(self.slow_check());
        checks.extend(self.disk_check().await);
        checks.extend(
            self.facts
                .cautions
                .iter()
                .map(|caution| bad(caution.name, caution.cause.clone(), caution.fix.clone())),
        );
        Ok(checks)
    }

    /// Whether the state can be written. Looked at off the loop, and not more often than needed: a
    /// disk that hangs must not hang `status`.
    async fn disk_check(&self) -> Option<Check> {
        let dir = self.facts.data_dir.clone()?;
        let now = self.handle.clock().now();
        if let Some((at, check)) = self
            .disk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            && now - at <= DISK_AGE_MAX
        {
            return Some(check);
        }
        let looking = tokio::task::spawn_blocking(move || disk_check(&dir));
        let check = match tokio::time::timeout(DISK_LIMIT, looking).await {
            Ok(Ok(check)) => check,
            Ok(Err(_)) | Err(_) => bad(
                "disk",
                "the disk of the data directory does not answer".to_owned(),
                "look at the system's log".to_owned(),
            ),
        };
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, check.clone()));
        Some(check)
    }

    fn slow_check(&self) -> Check {
        let now = self.handle.clock().now();
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = slow.iter().rev().find(|(at, _)| now - *at <= SLOW_AGE_MAX);
        recent.map_or_else(
            || good("clients"),
            |(_, who)| {
                bad(
                    "clients",
                    who.clone(),
                    "let that program read faster, or end it".to_owned(),
                )
            },
        )
    }
}

fn network_checks(core: &mut Core, bootstrapped: bool) -> Vec<Check> {
    let listening = core.listening();
    let ports = if listening.is_empty() {
        bad(
            "ports",
            "the node listens on no address".to_owned(),
            "give opus-node run a free --listen address".to_owned(),
        )
    } else {
        good("ports")
    };
    let peers = if core.peer_count() == 0 && bootstrapped {
        bad(
            "peers",
            "no peer is connected; the bootstrap addresses do not answer".to_owned(),
            "opus-node config show --origin".to_owned(),
        )
    } else {
        good("peers")
    };
    let reach = if core.reach() == "no" {
        bad(
            "reach",
            "nodes outside cannot reach this one".to_owned(),
            "forward a port, or let UPnP do it: upnp = true".to_owned(),
        )
    } else {
        good("reach")
    };
    let denied = core.connections_denied();
    let dropped = core.data().events_dropped();
    let limits = if denied > 0 {
        bad(
            "limits",
            format!("{denied} connections were denied by the limits or lists of the operator"),
            "opus-node events -f".to_owned(),
        )
    } else if dropped > 0 {
        bad(
            "limits",
            format!("{dropped} events of the data plane were dropped: the node is too busy"),
            "give the node more of the processor".to_owned(),
        )
    } else {
        good("limits")
    };
    vec![ports, peers, reach, limits]
}

fn disk_check(data_dir: &Path) -> Check {
    match tempfile::tempfile_in(data_dir) {
        Ok(_) => good("disk"),
        Err(error) => bad(
            "disk",
            format!("cannot write to {}: {error}", data_dir.display()),
            "free some space there, or give --data-dir another folder".to_owned(),
        ),
    }
}

fn good(name: &str) -> Check {
    Check {
        name: name.to_owned(),
        ok: true,
        cause: None,
        fix: None,
    }
}

fn bad(name: &str, cause: String, fix: String) -> Check {
    Check {
        name: name.to_owned(),
        ok: false,
        cause: Some(cause),
        fix: Some(fix),
    }
}
