//! `opus-testnet up`: nodes in one process that programs and `opus-node` talk to by sockets.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use opus_core::Seed;
use opus_lab::{Lab, LabConfig};
use opus_model::Matrix;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use crate::say::Say;

/// Name of the socket by which `kill` and `restart` reach a running `up`.
const CONTROL: &str = "control.sock";
/// Longest order read from the control socket.
const ORDER_BYTES_MAX: u64 = 64;

/// An order is said within this time.
const ORDER_LIMIT: Duration = Duration::from_secs(2);

/// Options of `up`.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// Number of nodes.
    #[arg(value_name = "N", default_value_t = 20, conflicts_with = "nodes")]
    count: u16,
    /// The same, by name.
    #[arg(long)]
    nodes: Option<u16>,
    /// Emulated wide-area delays; without it all links are 1 ms.
    #[arg(long)]
    wan: bool,
    /// Where the sockets n0.sock, n1.sock, .. go.
    #[arg(long, default_value = "run")]
    dir: PathBuf,
    /// Seed of network and identities.
    #[arg(long, env = "OPUS_SEED", default_value_t = 7)]
    seed: u64,
}

/// Options of `kill` and `restart`.
#[derive(Args, Debug)]
pub(crate) struct TellArgs {
    /// Which node, such as n7.
    node: String,
    /// The `--dir` of the running `up`.
    #[arg(long, default_value = "run")]
    dir: PathBuf,
}

/// Runs until Ctrl-C.
pub(crate) async fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let nodes = usize::from(args.nodes.unwrap_or(args.count));
    if !(2..=1_000).contains(&nodes) {
        bail!("{nodes} nodes: from 2 to 1000 run in one process");
    }
    let say = Say::start();
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    let control = listen(&args.dir.join(CONTROL))?;
    let mut lab = Lab::start(config(nodes, args)?)?;
    let mut sockets = Sockets {
        dir: args.dir.clone(),
        accepting: Vec::new(),
    };
    for node in 0..nodes {
        sockets.open(&lab, node)?;
    }
    say.step(&format!(
        "{nodes} nodes up, sockets {0}/n0.sock .. {0}/n{1}.sock",
        args.dir.display(),
        nodes - 1
    ));
    say.step("Ctrl-C ends them");
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            order = control.accept() => {
                let (stream, _) = order.context("the control socket failed")?;
                obey(stream, &mut lab, &mut sockets, &say).await;
            }
        }
    }
    sockets.remove();
    Ok(ExitCode::SUCCESS)
}

fn config(nodes: usize, args: &UpArgs) -> anyhow::Result<LabConfig> {
    let seed = Seed::new(args.seed);
    if args.wan {
        return Ok(LabConfig::wide_area(nodes, seed)?);
    }
    let near = Matrix::from_fn(nodes, |_, _| 2.0)?;
    Ok(LabConfig::new(near.into(), seed))
}

/// A fresh socket; one that a dead `up` left behind is replaced, a live one is not.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "another opus-testnet serves {}; end it, or choose another --dir",
            path.display()
        );
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
    }
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// The sockets of the nodes.
struct Sockets {
    dir: PathBuf,
    accepting: Vec<(usize, JoinHandle<()>)>,
}

impl Sockets {
    fn path(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{node}.sock"))
    }

    fn open(&mut self, lab: &Lab, node: usize) -> anyhow::Result<()> {
        let listener = listen(&self.path(node))?;
        let serve = lab
            .serve_ipc(node, listener)
            .context("the node does not run")?;
        self.accepting.push((node, tokio::spawn(serve)));
        Ok(())
    }

    fn close(&mut self, node: usize) {
        self.accepting.retain(|(of, task)| {
            if *of == node {
                task.abort();
            }
            *of != node
        });
        // It may be gone already; a next `open` replaces it in any case.
        drop(std::fs::remove_file(self.path(node)));
    }

    fn remove(&mut self) {
        let nodes: Vec<usize> = self.accepting.iter().map(|(node, _)| *node).collect();
        for node in nodes {
            self.close(node);
        }
        drop(std::fs::remove_file(self.dir.join(CONTROL)));
    }
}

async fn obey(stream: UnixStream, lab: &mut Lab, sockets: &mut Sockets, say: &Say) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut limited = BufReader::new(tokio::io::AsyncReadExt::take(read, ORDER_BYTES_MAX));
    // Who connects and says nothing must not hold up the others, nor Ctrl-C.
    let read = tokio::time::timeout(ORDER_LIMIT, limited.read_line(&mut line)).await;
    let answer = match read {
        Ok(Ok(_)) => carry_out(line.trim(), lab, sockets).await,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(anyhow::anyhow!("no order within {ORDER_LIMIT:?}")),
    };
    let text = match answer {
        Ok(()) => {
            say.step(line.trim());
            "ok\n".to_owned()
        }
        Err(error) => format!("{error:#}\n"),
    };
    // Who asked may be gone; the order was carried out all the same.
    drop(write.write_all(text.as_bytes()).await);
}

async fn carry_out(order: &str, lab: &mut Lab, sockets: &mut Sockets) -> anyhow::Result<()> {
    let (verb, name) = order.split_once(' ').context("say kill nI or restart nI")?;
    let node: usize = name
        .strip_prefix('n')
        .unwrap_or(name)
        .parse()
        .context("no node's name")?;
    if node >= lab.len() {
        bail!("there is no n{node}; the last is n{}", lab.len() - 1);
    }
    match verb {
        "kill" if lab.is_running(node) => {
            sockets.close(node);
            lab.kill(node).await;
            Ok(())
        }
        "kill" => bail!("n{node} is not running"),
        "restart" if lab.is_running(node) => bail!("n{node} is running"),
        "restart" => {
            lab.restart(node)?;
            sockets.open(lab, node)
        }
        other => bail!("no order {other:?}; say kill nI or restart nI"),
    }
}

/// Sends an order to a running `up`.
pub(crate) async fn tell(verb: &str, args: &TellArgs) -> anyhow::Result<ExitCode> {
    let path = args.dir.join(CONTROL);
    let mut stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("no opus-testnet up answers at {}", path.display()))?;
    stream
        .write_all(format!("{verb} {}\n", args.node).as_bytes())
        .await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    match answer.trim() {
        "ok" => Ok(ExitCode::SUCCESS),
        refusal => bail!("{refusal}"),
    }
}
