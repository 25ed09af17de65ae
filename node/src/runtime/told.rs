//! What the node tells its operator: the log, and `node.events` for whoever listens.

use std::sync::Arc;

use opus_core::Time;
use opus_swarm::Clock;
use tokio::sync::broadcast;

/// Most events that a slow listener may lag behind; beyond it he is told how many he lost.
const LAG_MAX: usize = 256;

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only for developers.
    Debug,
    /// Worth knowing.
    Info,
    /// Something the operator may want to mend.
    Warn,
}

impl Level {
    /// As written in `node.events`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Time,
    /// How grave.
    pub level: Level,
    /// A word: app, overlay, member, relay, peer, reach, ipc, life.
    pub kind: &'static str,
    /// One sentence.
    pub msg: Arc<str>,
}

/// Where events go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tellers {
    clock: Clock,
    listeners: broadcast::Sender<Told>,
}

impl Tellers {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            listeners: broadcast::channel(LAG_MAX).0,
        }
    }

    /// Logs an event and hands it to the listeners.
    pub fn tell(&self, level: Level, kind: &'static str, msg: impl Into<Arc<str>>) {
        let msg = msg.into();
        match level {
            Level::Debug => tracing::debug!(kind, "{msg}"),
            Level::Info => tracing::info!(kind, "{msg}"),
            Level::Warn => tracing::warn!(kind, "{msg}"),
        }
        // Nobody listening is the usual case.
        drop(self.listeners.send(Told {
            at: self.clock.now(),
            level,
            kind,
            msg,
        }));
    }

    /// Listens from here on.
    pub fn listen(&self) -> broadcast::Receiver<Told> {
        self.listeners.subscribe()
    }
}
