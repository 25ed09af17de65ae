//! An application in a lab: deployed, attached, published, followed.

use std::time::Duration;

use opus_core::{OverlayId, Seed, seed::test_seed};
use opus_ipc::{
    client::{Attachment, CallError, Client},
    message::{AppDeploy, As, MemberItem, MemberState},
};
use opus_lab::{Lab, LabConfig, TreeReport};
use opus_model::Stretch;
use opus_samples::ticker::{self, Followed};
use opus_site::spec::SignedApp;
use tokio::task::JoinHandle;

/// What timer steps of 1 ms a hop add to an emulated round trip.
pub(crate) const SLACK_MS: f64 = 3.0;

/// A lab with one application.
pub(crate) struct Party {
    pub(crate) lab: Lab,
    pub(crate) seed: u64,
    pub(crate) app: String,
    pub(crate) overlay: OverlayId,
    pub(crate) alpha: Stretch,
}

/// The seed of a test; printed when it fails, since the test's panic message carries it.
pub(crate) fn seed(default: u64) -> u64 {
    test_seed(default)
}

impl Party {
    /// `nodes` on a generated wide-area network; the ticker is deployed on node 0.
    pub(crate) async fn start(nodes: usize, seed: u64) -> Self {
        let config = LabConfig::wide_area(nodes, Seed::new(seed)).unwrap();
        Self::with(config, seed).await
    }

    pub(crate) async fn with(config: LabConfig, seed: u64) -> Self {
        let lab = Lab::start(config).unwrap();
        let owner = Seed::new(seed).derive("owner", 0).bytes();
        let spec = ticker::spec().unwrap();
        let alpha = Stretch::new(f64::from(spec.knob_milli()) / 1e3).unwrap();
        let signed = SignedApp::sign(&spec, "main", &owner).unwrap();
        let overlay = signed.clone().verify("main").unwrap().overlay;
        let client = client(&lab, 0).await;
        let params = AppDeploy {
            signed: signed.encode(),
            dry_run: None,
        };
        let app = client.call(&params).await.unwrap().app;
        Self {
            lab,
            seed,
            app,
            overlay,
            alpha,
        }
    }

    pub(crate) async fn source(&self) -> Attachment {
        attach(&client(&self.lab, 0).await, &self.app, As::Source)
            .await
            .unwrap()
    }

    /// A follower on `node`, in a task of its own.
    pub(crate) async fn follow(&self, node: usize) -> JoinHandle<Result<Followed, CallError>> {
        let client = client(&self.lab, node).await;
        let app = self.app.clone();
        tokio::spawn(async move {
            let attachment = attach(&client, &app, As::Sink).await?;
            ticker::follow(&attachment, |_, _| {}).await
        })
    }

    /// Waits until all running nodes are attached and within the bound; at most `limit` of
    /// virtual time.
    pub(crate) async fn at_rest(&self, limit: Duration) -> TreeReport {
        let members = (0..self.lab.len())
            .filter(|&node| self.lab.is_running(node))
            .count();
        self.at_rest_of(members, limit).await
    }

    /// The same for an overlay of `members`.
    pub(crate) async fn at_rest_of(&self, members: usize, limit: Duration) -> TreeReport {
        let mut seen = String::new();
        for _ in 0..limit.as_millis() / 500 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let Some(tree) = self.lab.tree(self.overlay, self.alpha).await else {
                continue;
            };
            let over = tree.violators(self.alpha, SLACK_MS);
            if tree.members.len() == members && over.is_empty() {
                return tree;
            }
            let lost: Vec<_> = tree.unattached.iter().map(|view| view.node).collect();
            seen = format!(
                "{} members, unattached {lost:?}, over {over:?}",
                tree.members.len()
            );
        }
        for node in 0..self.lab.len() {
            let Some(handle) = self.lab.handle(node) else {
                continue;
            };
            let app = self.overlay;
            let view = handle.ask(move |core| {
                let state = core.site().state(app);
                let edges = core
                    .site()
                    .edges(app)
                    .map(|(parent, children)| (parent, children.len()));
                (core.peer_count(), core.site().apps().count(), state, edges)
            });
            if let Ok((peers, apps, state, edges)) = view.await {
                eprintln!("n{node}: {peers} peers, {apps} apps, {state}, {edges:?}");
            }
        }
        panic!(
            "seed {}: no rest of {members} within {limit:?}: {seen}",
            self.seed
        );
    }
}

pub(crate) async fn client(lab: &Lab, node: usize) -> Client {
    Client::over(lab.dial_ipc(node).unwrap(), "test")
        .await
        .unwrap()
}

/// Attaches as soon as the spec has reached the node.
pub(crate) async fn attach(client: &Client, app: &str, role: As) -> Result<Attachment, CallError> {
    loop {
        match ticker::attach(client, app, role).await {
            Err(error) if error.fault().is_some_and(|fault| fault.retry_ms.is_some()) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

/// Waits until the source has been told of `count` joined sinks.
pub(crate) async fn joined(source: &Attachment, count: usize) {
    let mut members = source.members().await.unwrap();
    let mut joined = std::collections::BTreeSet::new();
    while joined.len() < count {
        let item = members.next().await.expect("the stream goes on").unwrap();
        if let MemberItem::Member {
            id,
            role: As::Sink,
            state,
            ..
        } = item
        {
            if state == MemberState::Joined {
                joined.insert(id);
            } else {
                joined.remove(&id);
            }
        }
    }
}
