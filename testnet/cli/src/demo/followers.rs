//! The receiving programs of the demo, and what became of each.

use std::time::Duration;

use opus_ipc::{client::Client, message::As};
use opus_samples::ticker::{self, Followed};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

/// After the last tick was acknowledged, followers have so long to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What one receiver saw.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) node: usize,
    pub(crate) followed: Followed,
    /// Why it ended early, if it did.
    pub(crate) error: Option<String>,
    /// Silences of more than a few ticks: when they ended, and how long they were.
    silences: Vec<(Instant, Duration)>,
}

impl Outcome {
    /// Whether all of `sent` ticks came, once and in order.
    pub(crate) fn is_whole(&self, sent: u64) -> bool {
        self.error.is_none()
            && self.followed.is_whole()
            && self.followed.first == Some(0)
            && self.followed.ticks == sent
    }

    /// The longest silence that ended after `at`.
    pub(crate) fn silence_after(&self, at: Instant) -> Duration {
        let later = self.silences.iter().filter(|(ended, _)| *ended >= at);
        later.map(|(_, length)| *length).max().unwrap_or_default()
    }
}

/// All receivers.
#[derive(Debug, Default)]
pub(super) struct Followers(Vec<(usize, JoinHandle<Outcome>)>);

impl Followers {
    pub(super) fn start(&mut self, node: usize, client: Client, app: String) {
        self.0.push((node, tokio::spawn(follow(node, client, app))));
    }

    /// The outcome of every receiver but the one on the killed node.
    pub(super) async fn outcomes(self, killed: usize) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for (node, task) in self.0 {
            if node == killed {
                task.abort();
                continue;
            }
            let outcome = timeout(END_LIMIT, task).await;
            outcomes
                .push(outcome.map_err(|_| anyhow::anyhow!("n{node} never got the last tick"))??);
        }
        Ok(outcomes)
    }
}

async fn follow(node: usize, client: Client, app: String) -> Outcome {
    /// Shorter ones are the rhythm of the market.
    const SILENCE_MIN: Duration = Duration::from_millis(10);
    let mut silences = Vec::new();
    let mut last: Option<Instant> = None;
    let followed = async {
        // Its own node may not have the spec yet; the client asks again, with patience.
        let attachment = attach(&client, &app).await?;
        ticker::follow(&attachment, |_, _| {
            let now = Instant::now();
            if let Some(before) = last
                .replace(now)
                .filter(|before| now - *before >= SILENCE_MIN)
            {
                silences.push((now, now - before));
            }
        })
        .await
    };
    let result = followed.await;
    let error = result.as_ref().err().map(ToString::to_string);
    Outcome {
        node,
        followed: result.unwrap_or_default(),
        error,
        silences,
    }
}

/// Attaches as sink as soon as the spec has reached the node.
async fn attach(
    client: &Client,
    app: &str,
) -> Result<opus_ipc::client::Attachment, opus_ipc::client::CallError> {
    loop {
        match ticker::attach(client, app, As::Sink).await {
            Err(error) if error.fault().is_some_and(|fault| fault.retry_ms.is_some()) => {
                let ms = error
                    .fault()
                    .and_then(|fault| fault.retry_ms)
                    .unwrap_or(100);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            other => return other,
        }
    }
}
