//! What may be typed. The spelling is a contract: scripts rely on it (docs/operations.md).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The Opus node: a shared utility that hosts many applications' overlays.
#[derive(Debug, Parser)]
#[command(name = "opus-node", version, about, max_term_width = 100)]
#[command(
    after_help = "Exit: 0 ok, 1 failed, 2 usage, 3 no node, 4 denied, 5 unhealthy, \
                        6 timed out."
)]
pub(super) struct Cli {
    /// Options of all verbs.
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Options of all verbs.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// The node's Unix socket
    #[arg(
        help = "The node's Unix socket [env: OPUS_SOCKET]",
        long,
        global = true,
        value_name = "PATH"
    )]
    pub(super) socket: Option<String>,
    /// The network's name
    #[arg(
        help = "The network's name [env: OPUS_NETWORK] [default: main]",
        long,
        global = true,
        value_name = "NAME"
    )]
    pub(super) network: Option<String>,
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a node in the foreground
    Run(RunArgs),
    /// Show how the node is
    Status(StatusArgs),
    /// List connected peers
    Peers,
    /// Show the tree of all nodes, and what is known of the whole
    Dicast(DicastArgs),
    /// Print events as they happen
    Events(EventsArgs),
    /// Show or make identities
    Id(IdArgs),
    /// Show or check the configuration
    Config(ConfigArgs),
    /// Describe, sign, deploy and look at applications
    App(AppArgs),
    /// Send a file or standard input to an application
    Publish(PublishArgs),
    /// Receive from an application
    Subscribe(SubscribeArgs),
    /// Call a method of opus-ipc by name
    Call(CallArgs),
    /// List the environment variables
    Env,
    /// Find what is wrong
    Doctor(NodeArgs),
    /// Leave all overlays in order, then stop
    Drain(DrainArgs),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Where a node's configuration and state are.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct NodeArgs {
    /// Configuration file on top of the usual ones
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Identity and state
    #[arg(
        help = "Identity and state [env: OPUS_DATA_DIR]",
        long,
        value_name = "DIR"
    )]
    pub(super) data_dir: Option<PathBuf>,
    /// Set any key of the configuration, such as limits.memory="1 GiB"
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Refuse unknown keys instead of warning
    #[arg(long)]
    pub(super) strict: bool,
}

/// `run`
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RunArgs {
    /// Where configuration and state are.
    #[command(flatten)]
    pub(super) node: NodeArgs,
    /// home, server or isolated
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Listen here; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(super) listen: Vec<String>,
    /// Dial this first; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(super) bootstrap: Vec<String>,
    /// Find nodes in the local network
    #[arg(long, overrides_with = "no_mdns")]
    pub(super) mdns: bool,
    /// Do not look for nodes in the local network
    #[arg(long)]
    pub(super) no_mdns: bool,
    /// Do not ask the router for a port
    #[arg(long)]
    pub(super) no_upnp: bool,
    /// Key file of a private network
    #[arg(long, value_name = "FILE")]
    pub(super) psk_file: Option<PathBuf>,
    /// What is logged
    #[arg(
        help = "What is logged, such as info,opus_overlay=debug",
        long,
        value_name = "FILTER"
    )]
    pub(super) log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

/// `status`
#[derive(Args, Clone, Debug, Default)]
pub(super) struct StatusArgs {
    /// Exit with 5 unless all is well
    #[arg(long)]
    pub(super) check: bool,
    /// Again each second, until interrupted
    #[arg(short, long)]
    pub(super) watch: bool,
}

/// `dicast`
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DicastArgs {
    /// What to do, if not to look.
    #[command(subcommand)]
    pub(super) verb: Option<DicastVerb>,
    /// This key alone: its name or number
    pub(super) key: Option<String>,
    /// Of which part of the tree [default: root]
    #[arg(long)]
    pub(super) scope: Option<TreeScope>,
    /// Of the cluster of this level that the node is in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    pub(super) level: Option<u8>,
    /// Each neighbour too: the members of the node's cluster, and the clusters beside it and above
    #[arg(long)]
    pub(super) parts: bool,
}

/// The verbs of `dicast`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum DicastVerb {
    /// Say what a key of your own is, for the whole network
    Define(DefineArgs),
    /// Set this node's value of a key, until the command ends
    Set(SetArgs),
}

/// `dicast define`
#[derive(Args, Clone, Debug)]
pub(super) struct DefineArgs {
    /// a-z, then a-z 0-9 . _ -, such as my-app.queue
    pub(super) name: String,
    /// count, sum, mean, weighted-mean, variance, min, max, quantiles, top-1 to top-16
    #[arg(long, value_name = "WORD")]
    pub(super) function: String,
    /// Least value of a node
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = finite)]
    pub(super) min: f64,
    /// Greatest value of a node
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = finite)]
    pub(super) max: f64,
    /// By how much an answer may be wrong [default: 0]
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(super) eps: Option<f64>,
    /// Changes travel at once
    #[arg(long)]
    pub(super) eager: bool,
    /// Nodes need not know their own cluster exactly
    #[arg(long)]
    pub(super) inexact: bool,
    /// --eps is for three standard deviations, not for the worst
    #[arg(long)]
    pub(super) statistical: bool,
    /// Tell a change within --eps after so long, milliseconds [default: 60000]
    #[arg(long, value_name = "MS")]
    pub(super) age: Option<u64>,
}

/// `dicast set`
#[derive(Args, Clone, Debug)]
pub(super) struct SetArgs {
    /// The key's name
    pub(super) name: String,
    /// The value
    #[arg(allow_negative_numbers = true, value_parser = finite)]
    pub(super) value: f64,
    /// Of a weighted mean: how much the value counts, 0 to 1
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(super) weight: Option<f64>,
    /// Keep the value until interrupted
    #[arg(long)]
    pub(super) hold: bool,
}

/// A number that is one.
fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let finite = number.is_finite().then_some(number);
    finite.ok_or_else(|| "not a finite number".to_owned())
}

/// The parts of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TreeScope {
    /// This node alone.
    Own,
    /// Its cluster.
    Cluster,
    /// The cluster of a level above, named by --level.
    Above,
    /// All nodes.
    Root,
}

impl From<TreeScope> for opus_ipc::message::Scope {
    fn from(scope: TreeScope) -> Self {
        match scope {
            TreeScope::Own => Self::Own,
            TreeScope::Cluster => Self::Cluster,
            TreeScope::Above => Self::Above,
            TreeScope::Root => Self::Root,
        }
    }
}

/// `events`
#[derive(Args, Clone, Debug, Default)]
pub(super) struct EventsArgs {
    /// Go on until interrupted; the default
    #[arg(short, long, conflicts_with = "count")]
    pub(super) follow: bool,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// This level and graver ones: error, warn, info, debug, trace
    #[arg(long)]
    pub(super) level: Option<String>,
    /// This kind only
    #[arg(long)]
    pub(super) kind: Option<String>,
}

/// `drain`
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DrainArgs {
    /// How long it may take, milliseconds
    #[arg(long, value_name = "MS")]
    pub(super) ms: Option<u64>,
}

/// `id`
#[derive(Args, Debug)]
pub(super) struct IdArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: IdVerb,
}

/// The verbs of `id`.
#[derive(Debug, Subcommand)]
pub(super) enum IdVerb {
    /// Show the identity of the node, or of a key file
    Show {
        /// This key file instead of the node's
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Where configuration and state are.
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Make a new key file; never overwrites one
    New {
        /// The key file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `config`
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: ConfigVerb,
}

/// The verbs of `config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print the values in force
    Show {
        /// Say where each value is from
        #[arg(long)]
        origin: bool,
        /// What `run` would be given.
        #[command(flatten)]
        run: RunArgs,
    },
    /// Check all sources; fails if a value does not fit
    Check {
        /// What `run` would be given.
        #[command(flatten)]
        run: RunArgs,
    },
}

/// `app`
#[derive(Args, Debug)]
pub(super) struct AppArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: AppVerb,
}

/// The verbs of `app`.
#[derive(Debug, Subcommand)]
pub(super) enum AppVerb {
    /// Write a commented spec to begin with
    Init {
        /// The spec
        file: PathBuf,
        /// Who sends to whom
        #[arg(long, default_value = "multicast")]
        kind: AppKind,
        /// The application's name [default: the file's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Sign a spec with its owner's key; needs no node
    Sign {
        /// The spec
        file: PathBuf,
        /// The owner's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The signed spec
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Hand a signed spec to the node
    Deploy(SignedArgs),
    /// Hand a higher version of a signed spec to the node
    Update(SignedArgs),
    /// End an application
    Retire {
        /// name or name.owner
        app: String,
        /// The owner's key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// List the applications that the node knows
    List,
    /// Show one application and its overlay as the node sees it
    Show {
        /// name or name.owner
        app: String,
    },
}

/// A signed spec to hand over.
#[derive(Args, Clone, Debug)]
pub(super) struct SignedArgs {
    /// The signed spec
    pub(super) file: PathBuf,
    /// Only say what would happen
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The kinds of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AppKind {
    /// One source, many sinks.
    Multicast,
    /// Every member sends to every other.
    MultiSender,
    /// One source, one sink.
    Unicast,
    /// Replicas answer requests.
    Service,
}

/// `publish`
#[derive(Args, Clone, Debug)]
pub(super) struct PublishArgs {
    /// name or name.owner
    pub(super) app: String,
    /// Send this file instead of standard input
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Wait until so many sinks have joined
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) sinks: u64,
    /// How long to wait for them, seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(super) wait: u64,
    /// Send each line as a frame, as it comes
    #[arg(long)]
    pub(super) lines: bool,
}

/// `subscribe`
#[derive(Args, Clone, Debug)]
pub(super) struct SubscribeArgs {
    /// name or name.owner
    pub(super) app: String,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Stop after so many frames
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// Flow 0 to 15
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    pub(super) flow: u8,
    /// End each frame with a line feed
    #[arg(long)]
    pub(super) lines: bool,
    /// How long to wait for a node that is gone, seconds
    #[arg(long, value_name = "S", default_value_t = 120)]
    pub(super) patience: u64,
}

/// `call`
#[derive(Args, Clone, Debug)]
pub(super) struct CallArgs {
    /// Such as node.status
    pub(super) method: String,
    /// Parameters; byte strings as {"hex": "00ff"}
    #[arg(default_value = "{}")]
    pub(super) params: String,
    /// Of a stream: stop after so many items
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// Give up after so many milliseconds
    #[arg(long, value_name = "MS")]
    pub(super) timeout: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_that_scripts_rely_on_are_understood() {
        for line in [
            "run --data-dir D --socket S --listen /ip4/127.0.0.1/tcp/0 \
             --listen /ip4/127.0.0.1/udp/0/quic-v1 --bootstrap A --no-mdns",
            "--socket S status --json",
            "id new --out owner.key",
            "app sign app.toml --key owner.key --out x.app",
            "--socket S app deploy x.app",
            "app init ticker.toml --kind multicast",
            "config show --origin",
            "publish ticker --file F",
            "subscribe ticker --out F",
            "events -f",
            "dicast --json",
            "dicast load --scope cluster",
            "dicast 40 --level 2",
            "dicast load --parts --json",
            "--socket S dicast define my-app.t --function mean --min -40 --max 60 --eps .5 --json",
            "dicast define n --function count --min 0 --max 1 --eager --inexact --age 500",
            "dicast set my-app.t -3.5 --hold",
            "dicast set w 1 --weight 0.5",
            "dicast --socket S --json set w 1",
            "call node.status {}",
        ] {
            let words = std::iter::once("opus-node").chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for line in [
            "dicast set t nan",
            "dicast set t inf",
            "dicast set t warm",
            "dicast define t --function mean --min 0",
        ] {
            let words = std::iter::once("opus-node").chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
