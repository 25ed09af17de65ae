//! The process `opus-node run`: files, socket, log, signals around one [`runtime`](crate::runtime).
//!
//! Order of a start: log, signals, data directory and its lock, identity, boot count, socket,
//! network. The socket answers before the network has found anybody. The first SIGTERM or Ctrl-C
//! drains: clients get GOAWAY, overlays are left with their children handed over, anchors are
//! saved; a second one ends the process at once. `kill -9` at any moment leaves files that the next
//! start reads.

mod anchors;
mod log;

use std::{
    io::Write,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libp2p::{identity::Keypair, pnet::PreSharedKey};
use opus_core::Seed;
use opus_ipc::{
    bind::{self, Audience, BindError},
    serve::{About, Roles, Server},
};
use rand::{TryRng, rngs::SysRng};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{self, Config, ConfigError, PrivateAddresses, Profile},
    identity::{self, Identity, IdentityError},
    net::{Guard, NetOptions, addr::Policy, limits::Lists, peers::MeshConfig, transport},
    runtime::{Handle, MachineConfigs, Parts, Runtime, StartError},
    service::{Caution, Facts, LogControl, NodeService},
    state::{StateDir, StateError, next_boot},
};

pub use self::log::{FilterHandle, start_log};

/// Anchors are saved this often, so that a power cut loses little.
const ANCHORS_INTERVAL: Duration = Duration::from_secs(300);

/// Why a node does not run. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The socket, or another node has it.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The network.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The transports.
    #[error(transparent)]
    Transport(#[from] transport::TransportFailure),
    /// The private network key.
    #[error("the private network key {path} is not one: {why}; make one with 32 random bytes")]
    Psk {
        /// Its file.
        path: String,
        /// Why.
        why: String,
    },
    /// The node's loop ended by itself: a defect.
    #[error("the node's loop ended by itself ({0}); please report what the log says before this")]
    Ended(String),
    /// The system.
    #[error("cannot {action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
}

/// Runs a node until it is told to end. The log must have been started.
pub async fn run(config: Config, log: Option<Arc<dyn LogControl>>) -> Result<ExitCode, RunError> {
    // Before the socket can be seen: who sees it may tell the node to end.
    let mut signals = Signals::new()?;
    let dir = StateDir::open(&config.data_dir)?;
    let bound = bind::bind(dir.path(), &config.socket, Audience::User)?;
    let (identity, fresh) = Identity::load_or_create(&dir.path().join(identity::FILE))?;
    let mut cautions = Vec::new();
    let boots = count_boot(&dir, fresh, &mut cautions)?;
    let anchors = anchors::load(&dir, &mut cautions);
    let (runtime, handle) = build(&config, &identity, boots, &anchors)?;
    let facts = Facts {
        network: config.network.clone(),
        profile: config.profile.to_string(),
        socket: config.socket.clone(),
        data_dir: Some(dir.path().to_owned()),
        bootstrapped: !config.bootstrap.is_empty(),
        cautions,
        log,
    };
    let service = NodeService::new(handle.clone(), facts);
    let mut stop_asked = service.stop_asked();
    let about = About {
        node: identity.peer().to_string(),
        id: identity.node(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network: config.network.clone(),
    };
    let server = Server::new(Arc::new(service), about);
    let listener = bound.listener().map_err(system("listen on the socket"))?;
    let accepting = server.clone();
    let acceptor = tokio::spawn(async move {
        accepting.accept(listener, Roles::of_this_machine()).await;
    });
    let mut node = tokio::spawn(runtime.run());
    say_start(&config, &identity, fresh);
    let mut save = tokio::time::interval(ANCHORS_INTERVAL);
    let mut limit = config.drain;
    loop {
        tokio::select! {
            () = signals.next() => break,
            asked = stop_asked.wait_for(Option::is_some) => {
                if let Some(asked) = asked.ok().and_then(|asked| *asked) {
                    limit = limit.min(asked);
                }
                break;
            }
            ended = &mut node => {
                let why = ended.err().map(|error| error.to_string());
                return Err(RunError::Ended(why.unwrap_or_else(|| "no handle left".to_owned())));
            }
            _ = save.tick() => save_anchors(&handle, &dir).await,
        }
    }
    let drained = drain(&handle, &server, &dir, limit);
    tokio::select! {
        () = drained => {}
        () = signals.next() => tracing::warn!("a second signal: ending at once"),
    }
    acceptor.abort();
    node.abort();
    drop(bound);
    Ok(ExitCode::SUCCESS)
}

fn count_boot(dir: &StateDir, fresh: bool, cautions: &mut Vec<Caution>) -> Result<u32, StateError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "only if the boot count is lost, and only here"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let boots = next_boot(dir, fresh, now)?;
    if boots.lost {
        cautions.push(Caution {
            name: "state",
            cause: "the boot count was lost; it goes on from the clock".to_owned(),
            fix: "nothing: sequences still rise, if the system's clock is right".to_owned(),
        });
    }
    Ok(boots.count)
}

fn build(
    config: &Config,
    identity: &Identity,
    boots: u32,
    anchors: &[libp2p::Multiaddr],
) -> Result<(Runtime, Handle), RunError> {
    let mut entropy = [0; 32];
    SysRng
        .try_fill_bytes(&mut entropy)
        .map_err(|error| system("draw random numbers")(std::io::Error::other(error.to_string())))?;
    let keypair: Keypair = identity.keypair();
    let psk = config.psk_file.as_deref().map(read_psk).transpose()?;
    let guard = Guard::new(policy(config), &config.bootstrap);
    let (connections, relay_client) =
        transport::real(&keypair, psk, config.relay_client, guard.clone())?;
    let mut options = net_options(config);
    options.known = anchors.to_vec();
    let parts = Parts {
        keypair,
        transport: connections,
        relay_client,
        guard,
        options,
        machines: MachineConfigs::default(),
        boots,
        seed: Seed::from_entropy(entropy),
    };
    Ok(Runtime::new(parts)?)
}

/// What of the addresses that others tell this node dials.
fn policy(config: &Config) -> Policy {
    if config.is_loopback_only() {
        return Policy::LoopbackOnly;
    }
    match config.private_addresses {
        PrivateAddresses::Any => Policy::Any,
        PrivateAddresses::Own => Policy::GlobalAndOwn(Vec::new()),
        PrivateAddresses::Never => Policy::GlobalOnly,
    }
}

fn net_options(config: &Config) -> NetOptions {
    use libp2p::kad::Mode;
    NetOptions {
        network: config.network.clone(),
        site: config.site.clone().filter(|site| !site.is_empty()),
        listen: config.listen.clone(),
        bootstrap: config.bootstrap.clone(),
        mesh: MeshConfig::default(),
        connections_max: config.limits.connections,
        kademlia: match config.kademlia {
            config::Kademlia::Off => None,
            config::Kademlia::Auto => Some(None),
            config::Kademlia::Client => Some(Some(Mode::Client)),
            config::Kademlia::Server => Some(Some(Mode::Server)),
        },
        mdns: config.mdns,
        upnp: config.upnp,
        autonat_client: config.autonat_client,
        autonat_server: config.autonat_server,
        relay_client: config.relay_client,
        relay_server: config.relay_server,
        home: config.private_addresses == PrivateAddresses::Own,
        hide_listen_addresses: config.profile == Profile::Home && !config.is_loopback_only(),
        lists: Lists {
            allow: config.allow.clone(),
            deny: config.deny.clone(),
        },
        ..NetOptions::isolated()
    }
}

fn read_psk(path: &Path) -> Result<PreSharedKey, RunError> {
    let failed = |why: String| RunError::Psk {
        path: path.display().to_string(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.parse().map_err(|error| failed(format!("{error:?}")))
}

/// The lines of the first five minutes, on standard error: standard output is for programs.
fn say_start(config: &Config, identity: &Identity, fresh: bool) {
    let age = if fresh { "new, " } else { "" };
    let file = config.data_dir.join(identity::FILE);
    let limits = &config.limits;
    let lines = format!(
        "  identity  {}  ({age}{})\n  limits    {}: {} connections\n\
           \x20 network   {}\n  ready     {}\n",
        identity.peer(),
        file.display(),
        config.profile,
        limits.connections,
        config.network,
        config.socket.display(),
    );
    // A closed terminal is no reason to stop a node.
    drop(std::io::stderr().write_all(lines.as_bytes()));
}

/// Says goodbye to programs and overlays, within `limit`.
async fn drain(handle: &Handle, server: &Server, dir: &StateDir, limit: Duration) {
    let drain_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    server.goaway("the node is draining", drain_ms);
    save_anchors(handle, dir).await;
    if handle.ask(crate::runtime::Core::drain).await.is_err() {
        return;
    }
    let left = async {
        // Overlays are left when no attachment holds them; ask now and then, it is cheap. Once
        // more after that: what was written then is on its way.
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let mut looks = 0;
        while looks < 2 {
            look.tick().await;
            match handle.ask(|core| core.has_left()).await {
                Ok(true) => looks += 1,
                Ok(false) => looks = 0,
                Err(_) => return,
            }
        }
    };
    if tokio::time::timeout(limit, left).await.is_err() {
        tracing::warn!("the drain took too long; the rest is cut off");
    }
    server.close();
}

async fn save_anchors(handle: &Handle, dir: &StateDir) {
    let Ok(anchors) = handle.ask(|core| core.anchors()).await else {
        return;
    };
    if anchors.is_empty() {
        return;
    }
    if let Err(error) = anchors::save(dir, &anchors) {
        tracing::warn!(%error, "the anchors are not saved; the next start asks the bootstrap list");
    }
}

fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |error| RunError::System { action, error }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let open = |kind| signal(kind).map_err(system("listen to signals"));
        Ok(Self {
            term: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
