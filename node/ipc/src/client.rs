//! The program's side: calls, streams and attachments that outlive a connection.
//!
//! A [`Client`] holds one connection. When it is lost, the next call dials again, with pauses that
//! double, and gives up after [`Config::patience`]. A call that was in flight fails with
//! [`CallError::Lost`], since nobody knows whether it was carried out; it is never repeated.
//! An [`Attachment`] attaches again by itself, and its [`Frames`] go on after the last frame that
//! came (feature `resume`).

mod attachment;
mod dial;
mod items;
mod link;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(unix)]
pub use self::dial::Paths;
pub use self::{
    attachment::{Attachment, Frames},
    dial::{Dial, Dialling, Io, Local},
    items::Items,
};
use self::{
    dial::Once,
    link::{Link, Opened},
};
use crate::{
    body::{Body, Raw},
    message::{
        Fault, Hello, Welcome,
        frame::{Named, common, params as encoded},
    },
    method::{Call, Method, Watch},
    wire::ReadError,
};

/// Items that a node sends ahead unless it is asked for more: v1's number.
const CREDIT: u32 = 64;

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The program's name, for the node's log and `status`.
    pub app: String,
    /// Pause before the first new dial; doubles with each.
    pub pause: Duration,
    /// Longest pause between dials.
    pub pause_max: Duration,
    /// How long to dial again, or to wait for a spec that the node has not seen yet.
    pub patience: Duration,
}

impl Config {
    /// 0.1 to 2 s between dials, for a minute.
    pub fn new(app: impl Into<String>) -> Self {
        Self {
            app: app.into(),
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(2),
            patience: Duration::from_secs(60),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answers at the endpoint.
    #[error("no node answers at {at}: {error}")]
    NoNode {
        /// What was dialled.
        at: String,
        /// The last attempt's error.
        error: std::io::Error,
    },
    /// The node turned the client away.
    #[error("the node refused the connection: {0}")]
    Refused(Fault),
    /// What answers does not speak the protocol.
    #[error("no opus-ipc/1 at the other end: {0}")]
    Protocol(ReadError),
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node said so.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The connection ended with the call in flight: whether it was carried out is not known.
    #[error(
        "the connection to the node was lost{}",
        .0.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default()
    )]
    Lost(Option<Fault>),
    /// There is no connection, and no new one within the patience.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node answered with something else than the method's result.
    #[error("the node's answer is not understood: {0}")]
    Malformed(#[from] opus_core::Malformed),
}

impl CallError {
    /// The node's fault, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) | Self::Connect(ConnectError::Refused(fault)) => Some(fault),
            Self::Lost(fault) => fault.as_ref(),
            Self::Connect(_) | Self::Malformed(_) => None,
        }
    }
}

/// A connection to a node. Clones share it; the last one that is dropped closes it.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dial: Box<dyn Dial>,
    config: Config,
    /// Held while dialling, so that one dials for all.
    link: tokio::sync::Mutex<Arc<Link>>,
    welcome: Mutex<Welcome>,
}

impl Client {
    /// Connects to the first of `paths` that answers. Does not wait for a node that is not there.
    #[cfg(unix)]
    pub async fn connect(paths: &[PathBuf], app: &str) -> Result<Self, ConnectError> {
        let dial = Paths::new(paths.to_vec());
        Self::with(Box::new(dial), Config::new(app)).await
    }

    /// Speaks over a transport that is open already; there is no second one when it is lost.
    pub async fn over<T>(io: T, app: &str) -> Result<Self, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut config = Config::new(app);
        config.patience = Duration::ZERO;
        Self::with(Box::new(Once::new(io)), config).await
    }

    /// Connects by any transport.
    pub async fn with(dial: Box<dyn Dial>, config: Config) -> Result<Self, ConnectError> {
        let link = dial_once(&*dial, &config).await?;
        let welcome = Mutex::new(link.welcome.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                dial,
                config,
                link: tokio::sync::Mutex::new(link),
                welcome,
            }),
        })
    }

    /// What the node said of itself, when the connection was last made.
    pub fn welcome(&self) -> Welcome {
        self.inner
            .welcome
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// Calls a method and waits for its result.
    pub async fn call<M: Call>(&self, params: &M) -> Result<M::Answer, CallError> {
        let link = self.link().await?;
        call_on(&link, params, None).await
    }

    /// The same, but the node gives up with `deadline` after `limit`.
    pub async fn call_within<M: Call>(
        &self,
        params: &M,
        limit: Duration,
    ) -> Result<M::Answer, CallError> {
        let link = self.link().await?;
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        call_on(&link, params, Some(limit)).await
    }

    /// Opens a stream. A refusal comes from [`Items::next`].
    pub async fn watch<M: Watch>(&self, params: &M) -> Result<Items<M::Item>, CallError> {
        let link = self.link().await?;
        let items = watch_on(&link, params)?;
        Ok(items.keeping(self.clone()))
    }

    /// Calls a method by name with encoded params (a map): for tools.
    pub async fn call_raw(&self, method: &str, params: Raw) -> Result<Raw, CallError> {
        let link = self.link().await?;
        link.call(named(method), params).await
    }

    /// Opens a stream by name with encoded params (a map): for tools.
    pub async fn watch_raw(&self, method: &str, params: Raw) -> Result<Items<Raw>, CallError> {
        let link = self.link().await?;
        let opened = open_on(&link, named(method), params)?;
        let items = Items::new(link, opened, |item| Ok(Raw(item.clone())));
        Ok(items.keeping(self.clone()))
    }

    /// The connection; a new one, after pauses, if it was lost.
    async fn link(&self) -> Result<Arc<Link>, CallError> {
        let Inner {
            dial,
            config,
            link,
            welcome,
        } = &*self.inner;
        let mut link = link.lock().await;
        if !link.is_closed() {
            return Ok(Arc::clone(&link));
        }
        let mut pause = config.pause;
        let mut left = config.patience;
        loop {
            match dial_once(&**dial, config).await {
                Ok(new) => {
                    *welcome.lock().expect("no holder of this lock panics") = new.welcome.clone();
                    *link = Arc::clone(&new);
                    return Ok(new);
                }
                Err(error) if left.is_zero() => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, ?pause, "dialling again");
                    tokio::time::sleep(pause.min(left)).await;
                    left = left.saturating_sub(pause);
                    pause = (pause * 2).min(config.pause_max);
                }
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.get_mut().close(None);
    }
}

async fn dial_once(dial: &dyn Dial, config: &Config) -> Result<Arc<Link>, ConnectError> {
    let io = dial.dial().await.map_err(|error| ConnectError::NoNode {
        at: dial.name(),
        error,
    })?;
    Link::open(io, &Hello::new(&config.app)).await
}

async fn call_on<M: Call>(
    link: &Arc<Link>,
    params: &M,
    deadline_ms: Option<u64>,
) -> Result<M::Answer, CallError> {
    let result = link
        .call(Named::Known(M::METHOD), encoded(params, deadline_ms))
        .await?;
    Ok(M::Answer::read(&result.0)?)
}

fn watch_on<M: Watch>(link: &Arc<Link>, params: &M) -> Result<Items<M::Item>, CallError> {
    let opened = open_on(link, Named::Known(M::METHOD), encoded(params, None))?;
    Ok(Items::new(Arc::clone(link), opened, M::Item::read))
}

fn open_on(link: &Arc<Link>, method: Named, params: Raw) -> Result<Opened, CallError> {
    let asked = common(&params.0).ok().and_then(|common| common.credit);
    let most = u32::try_from(link.welcome.limits.credit).unwrap_or(u32::MAX);
    let window = asked
        .map_or(CREDIT, |n| u32::try_from(n).unwrap_or(u32::MAX))
        .min(most);
    link.stream(method, params, window)
}

fn named(method: &str) -> Named {
    Method::parse(method).map_or_else(|| Named::Unknown(method.to_owned()), Named::Known)
}
