//! All connections of one node: places, acceptor, drain.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Duration,
};

#[cfg(unix)]
use super::Roles;
use super::{
    About, Budget, Config, Conn, Notice, Peer, Service,
    connection::{drive, hello, turn_away},
    shared::Shared,
    state::Closing,
};
use crate::{
    message::{Code, FromNode, Goaway, LimitsSaid, Role, Welcome, frame::VERSION},
    method::FEATURES,
    wire::{FRAME_MAX, HELLO_MAX, PAYLOAD_MAX, ReadError, Reader, Refusal},
};

/// Serves connections. Clones are the same server.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<dyn Service>,
    about: About,
    config: Config,
    budget: Budget,
    places: Mutex<Places>,
}

/// Who is there. At most `connections_max`; one more is turned away.
#[derive(Default)]
struct Places {
    taken: usize,
    /// Connections per user that is not admin.
    per_user: BTreeMap<User, usize>,
    open: BTreeMap<u64, Weak<Shared>>,
    going: Option<Goaway>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("about", &self.inner.about)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with the default limits and an account of its own.
    pub fn new(service: Arc<dyn Service>, about: About) -> Self {
        Self::with(service, about, Config::default(), Budget::default())
    }

    /// A server with other limits, or an account shared with others in this process.
    pub fn with(service: Arc<dyn Service>, about: About, config: Config, budget: Budget) -> Self {
        let places = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                service,
                about,
                config,
                budget,
                places,
            }),
        }
    }

    /// Serves one connection until it ends.
    pub async fn serve<IO>(&self, io: IO, peer: Peer)
    where
        IO: AsyncRead + AsyncWrite + Send,
    {
        let (read, mut write) = tokio::io::split(io);
        let limit = Duration::from_millis(self.inner.config.flush_ms_max);
        let place = match self.enter(&peer) {
            Ok(place) => place,
            Err(refusal) => return turn_away(&mut write, refusal, limit).await,
        };
        let mut reader = Reader::new(read, HELLO_MAX);
        let said = match hello(&mut reader).await {
            Ok(said) => said,
            Err(ReadError::Refused(refusal)) => {
                self.inner.service.notice(Notice::Refused {
                    app: String::new(),
                    pid: peer.pid,
                    code: refusal.code,
                    msg: refusal.msg.clone(),
                });
                return turn_away(&mut write, refusal, limit).await;
            }
            Err(ReadError::Closed | ReadError::Io(_)) => return,
        };
        reader.limit(FRAME_MAX);
        let conn = Arc::new(Conn {
            id: place.id,
            app: said.app,
            peer,
        });
        let opened = self.open(&conn);
        drive(&opened.shared, reader, write).await;
        drop(opened);
        drop(place);
    }

    /// Accepts connections for ever, each with the role of its kernel credentials.
    #[cfg(unix)]
    #[expect(clippy::infinite_loop, reason = "until its task is dropped")]
    pub async fn accept(&self, listener: tokio::net::UnixListener, roles: Roles) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    let peer = stream
                        .peer_cred()
                        .ok()
                        .and_then(|cred| roles.peer(cred.uid(), cred.gid(), cred.pid()));
                    tokio::spawn(async move { server.admit(stream, peer).await });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must close first.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Tells all clients, those to come too, to finish and come back later. The caller closes
    /// after `drain_ms` by [`Server::close`].
    pub fn goaway(&self, reason: impl Into<String>, drain_ms: u64) {
        let goaway = Goaway {
            reason: reason.into(),
            drain_ms,
        };
        self.places().going = Some(goaway.clone());
        for shared in self.all() {
            shared.goaway(&goaway);
        }
    }

    /// Closes all connections; what is in their send buffers still goes out, for a short while.
    pub fn close(&self) {
        for shared in self.all() {
            shared.close(Closing::Flush);
        }
    }

    /// The open connections, each with the bytes that it holds.
    pub fn connections(&self) -> Vec<(Arc<Conn>, usize)> {
        let with_bytes = |shared: Arc<Shared>| {
            let bytes = shared.used.load(Ordering::Relaxed);
            (Arc::clone(&shared.conn), bytes)
        };
        self.all().into_iter().map(with_bytes).collect()
    }

    /// The account of unsent and unfinished bytes.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    #[cfg(unix)]
    async fn admit(&self, mut stream: tokio::net::UnixStream, peer: Option<Peer>) {
        if let Some(peer) = peer {
            return self.serve(stream, peer).await;
        }
        let msg = "only the node's user, root and the groups opus-admin and opus may connect";
        let limit = Duration::from_millis(self.inner.config.flush_ms_max);
        turn_away(&mut stream, Refusal::new(Code::Denied, msg), limit).await;
    }

    fn enter(&self, peer: &Peer) -> Result<Place, Refusal> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Config {
            connections_max,
            connections_per_user_max,
            ..
        } = self.inner.config;
        let mut places = self.places();
        if places.taken >= connections_max {
            let msg = format!("{connections_max} connections are open");
            return Err(Refusal::new(Code::Busy, msg));
        }
        let user = (peer.role != Role::Admin).then_some(User { uid: peer.uid });
        if let Some(user) = user {
            let count = places.per_user.entry(user).or_default();
            if *count >= connections_per_user_max {
                let msg = format!("{connections_per_user_max} connections of this user are open");
                return Err(Refusal::new(Code::Busy, msg));
            }
            *count += 1;
        }
        places.taken += 1;
        Ok(Place {
            server: self.clone(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            user,
        })
    }

    fn open(&self, conn: &Arc<Conn>) -> Opened {
        let Inner {
            service,
            config,
            budget,
            ..
        } = &*self.inner;
        let shared = Shared::new(
            Arc::clone(conn),
            *config,
            budget.clone(),
            Arc::clone(service),
        );
        budget.enter(&shared);
        shared.say(&FromNode::Welcome(self.welcome(conn.peer.role)));
        let going = {
            let mut places = self.places();
            places.open.insert(conn.id, Arc::downgrade(&shared));
            places.going.clone()
        };
        if let Some(goaway) = going {
            shared.goaway(&goaway);
        }
        service.opened(conn);
        Opened { shared }
    }

    fn welcome(&self, role: Role) -> Welcome {
        let About {
            node,
            id,
            version,
            network,
        } = &self.inner.about;
        let Config {
            inflight_max,
            streams_max,
            credit_max,
            ..
        } = self.inner.config;
        Welcome {
            v: VERSION,
            node: node.clone(),
            id: *id,
            version: version.clone(),
            network: network.clone(),
            role,
            limits: LimitsSaid {
                frame: FRAME_MAX as u64,
                payload: PAYLOAD_MAX as u64,
                inflight: inflight_max as u64,
                streams: streams_max as u64,
                credit: u64::from(credit_max),
            },
            features: FEATURES.map(str::to_owned).to_vec(),
        }
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.places()
            .open
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.inner
            .places
            .lock()
            .expect("no holder of this lock panics")
    }
}

/// A user; those whom the transport does not tell are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct User {
    uid: Option<u32>,
}

/// A place among the connections; free again when dropped.
struct Place {
    server: Server,
    id: u64,
    /// Whom it counts against, unless an admin.
    user: Option<User>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.server.places();
        places.taken -= 1;
        places.open.remove(&self.id);
        if let Some(user) = self.user {
            let left = places.per_user.get_mut(&user).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                places.per_user.remove(&user);
            }
        }
    }
}

/// An open connection; the service learns of its end even when its task is dropped.
struct Opened {
    shared: Arc<Shared>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shared.close(Closing::Now);
        self.shared.write_off();
        self.shared.budget.leave(self.shared.conn.id);
        self.shared.service.closed(&self.shared.conn);
    }
}
