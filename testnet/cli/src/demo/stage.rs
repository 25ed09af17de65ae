//! The stage of the demo: a lab, the ticker deployed in it, its source.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use opus_core::{OverlayId, Seed};
use opus_ipc::{
    client::{Attachment, Client},
    message::{AppDeploy, As, MemberItem, MemberState},
};
use opus_lab::{Lab, LabConfig, TreeReport};
use opus_model::Stretch;
use opus_net::{Topology, TransitStub, transit_stub::Parameters};
use opus_samples::ticker::{self, Market};
use opus_site::spec::SignedApp;
use tokio::{task::JoinHandle, time::Instant};

use super::followers::Followers;

/// Side of the emulated world in milliseconds of round trip: an ocean, not the globe.
const WORLD_MS: f64 = 90.0;
/// What timer steps add to an emulated round trip on a busy machine, milliseconds.
const SLACK_MS: f64 = 4.0;

/// How long the source waits for a sink that vanished (30 s by default): the demo ends in a minute.
const HOLD: Duration = Duration::from_secs(10);

/// A lab with the ticker in it.
#[derive(Debug)]
pub(super) struct Stage {
    lab: Lab,
    seed: Seed,
    overlay: Option<OverlayId>,
    alpha: Stretch,
}

impl Stage {
    pub(super) fn set(nodes: usize, seed: u64) -> anyhow::Result<Self> {
        let seed = Seed::new(seed);
        let parameters = Parameters {
            world_ms: WORLD_MS,
            transit_ms: WORLD_MS / 2.0,
            stub_ms: WORLD_MS / 4.0,
            ..Parameters::default()
        };
        let network = TransitStub::new(&parameters, seed.derive("world", 0))?;
        let topology = Topology::of_transit_stub(network, nodes, seed.derive("places", 0))?;
        let mut config = LabConfig::new(topology, seed);
        config.machines.relay.hold = HOLD;
        let lab = Lab::start(config)?;
        let alpha = Stretch::new(f64::from(ticker::spec()?.knob_milli()) / 1e3)?;
        Ok(Self {
            lab,
            seed,
            overlay: None,
            alpha,
        })
    }

    pub(super) fn alpha(&self) -> f64 {
        self.alpha.factor()
    }

    /// Signs the ticker with an owner's key and deploys it through IPC on n0. Gives `name.owner`.
    pub(super) async fn deploy(&mut self) -> anyhow::Result<String> {
        let owner = self.seed.derive("owner", 0).bytes();
        let signed = SignedApp::sign(&ticker::spec()?, "main", &owner)?;
        let app = signed.clone().verify("main")?;
        self.overlay = Some(app.overlay);
        let client = self.client(0).await?;
        let params = AppDeploy {
            signed: signed.encode(),
            dry_run: None,
        };
        Ok(client.call(&params).await?.app)
    }

    async fn client(&self, node: usize) -> anyhow::Result<Client> {
        let io = self
            .lab
            .dial_ipc(node)
            .with_context(|| format!("n{node} does not run"))?;
        Ok(Client::over(io, "demo").await?)
    }

    pub(super) async fn attach_source(&self, app: &str) -> anyhow::Result<Source> {
        let client = self.client(0).await?;
        Ok(Source {
            attachment: ticker::attach(&client, app, As::Source).await?,
        })
    }

    /// Attaches a follower on every node but n0; each waits until the spec has reached its node.
    pub(super) async fn follow_everywhere(&self, app: &str) -> anyhow::Result<Followers> {
        let mut followers = Followers::default();
        for node in 1..self.lab.len() {
            let client = self.client(node).await?;
            followers.start(node, client, app.to_owned());
        }
        Ok(followers)
    }

    /// Waits until all running members are attached and within the bound.
    pub(super) async fn tree_at_rest(&self, limit: Duration) -> anyhow::Result<TreeReport> {
        let overlay = self.overlay.context("nothing is deployed")?;
        let members = (0..self.lab.len())
            .filter(|&node| self.lab.is_running(node))
            .count();
        let began = Instant::now();
        loop {
            let tree = self.lab.tree(overlay, self.alpha).await;
            if let Some(tree) = tree {
                let whole = tree.members.len() == members && tree.unattached.is_empty();
                if whole && tree.violators(self.alpha, SLACK_MS).is_empty() {
                    return Ok(tree);
                }
                if began.elapsed() > limit {
                    let over = tree.violators(self.alpha, SLACK_MS);
                    let (found, lost) = (tree.members.len(), tree.unattached.len());
                    bail!(
                        "the tree did not come to rest: {found} of {members} members, \
                         {lost} unattached, over the bound: {over:?}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn kill(&mut self, node: usize) {
        self.lab.kill(node).await;
    }
}

/// The node, neither source nor leaf, with the most children.
pub(super) fn busiest_inner(tree: &TreeReport) -> Option<usize> {
    let children = tree.tree.children();
    let inner = (1..children.len()).filter(|&row| !children[row].is_empty());
    let busiest = inner.max_by_key(|&row| children[row].len());
    busiest.map(|row| tree.members[row].node)
}

/// The publishing program.
#[derive(Debug)]
pub(super) struct Source {
    attachment: Attachment,
}

impl Source {
    /// Returns when `count` sinks are joined.
    pub(super) async fn all_joined(&self, count: usize) -> anyhow::Result<()> {
        let mut members = self.attachment.members().await?;
        let mut joined = std::collections::BTreeSet::new();
        while let Some(item) = members.next().await {
            if let MemberItem::Member {
                id,
                role: As::Sink,
                state,
                ..
            } = item?
            {
                match state {
                    MemberState::Joined => joined.insert(id),
                    MemberState::Joining | MemberState::Leaving | MemberState::Gone => {
                        joined.remove(&id)
                    }
                };
            }
            if joined.len() >= count {
                return Ok(());
            }
        }
        bail!("the node ended the membership stream")
    }

    /// Publishes in a task of its own until told to stop.
    pub(super) fn publish(self, seed: u64, interval: Duration) -> Publishing {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut market = Market::new(Seed::new(seed).derive("market", 0).rng());
            let enough = |_| stopped.load(Ordering::Relaxed);
            Ok(ticker::publish(&self.attachment, &mut market, interval, enough).await?)
        });
        Publishing { stop, task }
    }
}

/// A publishing program at work.
#[derive(Debug)]
pub(super) struct Publishing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<u64>>,
}

impl Publishing {
    /// Sends the last tick; returns how many were sent, after all sinks acknowledged them.
    pub(super) async fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
