//! The data path: three nodes in a chain on loopback, over TCP and over QUIC.
//!
//! `cargo run --release --bin opus-testnet -- chain` (docs/performance.md). Each node is the full
//! composed behaviour on a thread of its own. What is told of the middle node is the CPU time of
//! its thread: decryption, framing, forwarding core, encryption, kernel. Frames are of the
//! complete class, so the source is held back by the slowest node and nothing is lost.

use std::{
    io::Write,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use libp2p::{Multiaddr, identity::Keypair};
use opus_core::{NodeId, OverlayId, Seed};
use opus_node::{
    net::{Guard, NetOptions, addr::Policy, transport},
    runtime::{Handle, MachineConfigs, Parts, Runtime},
};
use opus_relay::{Class, Command};
use rustix::time::{ClockId, clock_gettime};

const OVERLAY: OverlayId = OverlayId(7);
const KEY: [u8; 32] = [9; 32];
/// Payload bytes sent for one figure, at most.
const BYTES_A_RUN: usize = 1 << 30;
/// Frames sent for one figure, at most.
const FRAMES_A_RUN: usize = 1_000_000;
/// Frames of a latency figure: far apart, so that nothing queues.
const PINGS: usize = 500;

/// Measures and prints.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "transport  payload   frames/s  forwarded/core-s  us/frame  hop p50  p99 us"
    )?;
    for (name, listen) in [
        ("TCP", "/ip4/127.0.0.1/tcp/0"),
        ("QUIC", "/ip4/127.0.0.1/udp/0/quic-v1"),
    ] {
        let chain = Chain::start(listen)?;
        for payload in [64, 1 << 10, 16 << 10] {
            let row = chain
                .run(payload)
                .with_context(|| format!("{name} {payload} B"))?;
            writeln!(
                out,
                "{name:9}  {payload:7}  {:9.0}  {:16.0}  {:8.2}  {:7.0}  {:6.0}",
                row.frames_per_s,
                1.0 / row.cpu_s_per_frame,
                row.cpu_s_per_frame * 1e6,
                row.hop_us_p50,
                row.hop_us_p99,
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Row {
    frames_per_s: f64,
    cpu_s_per_frame: f64,
    hop_us_p50: f64,
    hop_us_p99: f64,
}

/// One node on a thread of its own. The thread ends when the node does.
struct Node {
    handle: Handle,
    address: Multiaddr,
    tokio: tokio::runtime::Handle,
}

struct Chain {
    nodes: [Node; 3],
}

impl Node {
    fn start(index: u64, listen: &str) -> anyhow::Result<Self> {
        let listen: Multiaddr = listen.parse()?;
        let (ready, started) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let built = build(index, listen);
                let run = match built {
                    Ok((node, handle)) => {
                        drop(ready.send(Ok((handle, tokio::runtime::Handle::current()))));
                        node.run()
                    }
                    Err(error) => {
                        drop(ready.send(Err(error)));
                        return;
                    }
                };
                Box::pin(run).await;
            });
        });
        let (handle, tokio) = started.recv().context("the node's thread ended")??;
        let address = tokio.block_on(async {
            loop {
                if let Some(address) = handle.ask(|core| core.listening().pop()).await? {
                    return anyhow::Ok(address);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })?;
        Ok(Self {
            handle,
            address,
            tokio,
        })
    }

    fn command(&self, command: Command) {
        self.handle.data().command(command);
    }

    /// CPU time of the node's thread.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let read = self.handle.ask(|_| clock_gettime(ClockId::ThreadCPUTime));
        let time = self.tokio.block_on(read)?;
        Ok(Duration::new(
            u64::try_from(time.tv_sec)?,
            u32::try_from(time.tv_nsec)?,
        ))
    }
}

fn build(index: u64, listen: Multiaddr) -> anyhow::Result<(Runtime, Handle)> {
    let seed = Seed::new(1).derive("chain", index);
    let keypair = Keypair::ed25519_from_bytes(seed.bytes())?;
    let guard = Guard::new(Policy::Any, &[]);
    let (transport, relay_client) = transport::real(&keypair, None, false, guard.clone())?;
    let options = NetOptions {
        listen: vec![listen],
        ..NetOptions::isolated()
    };
    Ok(Runtime::new(Parts {
        keypair,
        transport,
        relay_client,
        guard,
        options,
        machines: MachineConfigs::default(),
        boots: 1,
        seed,
    })?)
}

impl Chain {
    fn start(listen: &str) -> anyhow::Result<Self> {
        let nodes = [
            Node::start(0, listen)?,
            Node::start(1, listen)?,
            Node::start(2, listen)?,
        ];
        for (from, to) in [(1, 0), (2, 1)] {
            let address = nodes[to].address.clone();
            let peer = opus_swarm::peer_id(&nodes[to].handle.me());
            let dial = nodes[from].handle.ask(move |core| core.dial(peer, address));
            nodes[from].tokio.block_on(dial)?;
        }
        let [a, b, c] = [0, 1, 2].map(|at: usize| nodes[at].handle.me());
        let edges = |parent: Option<NodeId>, children: Vec<NodeId>| Command::Edges {
            overlay: OVERLAY,
            parent,
            children,
        };
        for node in &nodes {
            node.command(Command::Open {
                overlay: OVERLAY,
                class: Class::Complete,
                key: KEY,
            });
            node.command(Command::Root {
                overlay: OVERLAY,
                source: a,
            });
        }
        nodes[0].command(Command::Source {
            overlay: OVERLAY,
            seq_first: 1,
        });
        nodes[0].command(edges(None, vec![b]));
        nodes[1].command(edges(Some(a), vec![c]));
        nodes[2].command(edges(Some(b), vec![]));
        nodes[2].handle.data().open_queue(1);
        nodes[2].command(Command::Sink {
            overlay: OVERLAY,
            att: 1,
            resume: None,
        });
        let chain = Self { nodes };
        chain.wait_until_it_flows()?;
        Ok(chain)
    }

    /// A sink counts from its joining on: send until the first frame arrives.
    fn wait_until_it_flows(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.send(&[Bytes::from_static(b"first")])?;
            std::thread::sleep(Duration::from_millis(20));
            if self.received(Duration::from_millis(1))? > 0 {
                std::thread::sleep(Duration::from_millis(300));
                while self.received(Duration::from_millis(50))? > 0 {}
                return Ok(());
            }
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                "no frame came through the chain"
            );
        }
    }

    fn send(&self, batch: &[Bytes]) -> anyhow::Result<()> {
        let data = self.nodes[0].handle.data();
        self.nodes[0]
            .tokio
            .block_on(data.send(OVERLAY, 0, batch, false, false))?;
        Ok(())
    }

    fn received(&self, wait: Duration) -> anyhow::Result<usize> {
        let end = &self.nodes[2];
        let deliveries = end
            .handle
            .data()
            .deliveries(1)
            .context("the sink is open")?;
        let next = async { tokio::time::timeout(wait, deliveries.next(64)).await };
        Ok(end
            .tokio
            .block_on(next)
            .ok()
            .flatten()
            .map_or(0, |batch| batch.len()))
    }

    fn run(&self, payload: usize) -> anyhow::Result<Row> {
        let frames = FRAMES_A_RUN.min(BYTES_A_RUN / payload);
        // A tenth first: caches, windows of QUIC and buffers grow to their size.
        self.flood(payload, frames / 10)?;
        let (cpu, began) = (self.nodes[1].cpu()?, Instant::now());
        self.flood(payload, frames)?;
        let wall = began.elapsed().as_secs_f64();
        let cpu = self.nodes[1].cpu()?.saturating_sub(cpu).as_secs_f64();
        let (hop_us_p50, hop_us_p99) = self.pings(payload)?;
        Ok(Row {
            frames_per_s: frames as f64 / wall,
            cpu_s_per_frame: cpu / frames as f64,
            hop_us_p50,
            hop_us_p99,
        })
    }

    /// Sends `frames` and returns when all have arrived.
    fn flood(&self, payload: usize, frames: usize) -> anyhow::Result<()> {
        let end = &self.nodes[2];
        let deliveries = end
            .handle
            .data()
            .deliveries(1)
            .context("the sink is open")?;
        let arrived = end.tokio.spawn(async move {
            let mut count = 0;
            while count < frames {
                match deliveries.next(64).await {
                    Some(batch) => count += batch.len(),
                    None => break,
                }
            }
            count
        });
        let data = std::sync::Arc::clone(self.nodes[0].handle.data());
        let body = Bytes::from(vec![7; payload]);
        let sending = self.nodes[0].tokio.spawn(async move {
            let batch = vec![body; 64];
            let mut left = frames;
            while left > 0 {
                let count = left.min(batch.len());
                data.send(OVERLAY, 0, &batch[..count], false, false).await?;
                left -= count;
            }
            anyhow::Ok(())
        });
        let count = end.tokio.block_on(arrived)?;
        self.nodes[0].tokio.block_on(sending)??;
        ensure!(count == frames, "{count} of {frames} frames came");
        Ok(())
    }

    /// Half the median and 99th percentile of the time over both hops, microseconds.
    fn pings(&self, payload: usize) -> anyhow::Result<(f64, f64)> {
        let end = &self.nodes[2];
        let deliveries = end
            .handle
            .data()
            .deliveries(1)
            .context("the sink is open")?;
        let origin = Instant::now();
        let arriving = end.tokio.spawn(async move {
            let mut hops = Vec::with_capacity(PINGS);
            while hops.len() < PINGS {
                let Some(batch) = deliveries.next(1).await else {
                    break;
                };
                let now = origin.elapsed().as_nanos();
                for delivery in batch.iter() {
                    let sent: [u8; 16] = delivery.data[..16].try_into().unwrap_or_default();
                    hops.push((now - u128::from_le_bytes(sent)) as f64 / 2e3);
                }
            }
            hops
        });
        for _ in 0..PINGS {
            let mut body = BytesMut::zeroed(payload.max(16));
            (&mut body[..16]).put_u128_le(origin.elapsed().as_nanos());
            self.send(&[body.freeze()])?;
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut hops = end.tokio.block_on(arriving)?;
        hops.sort_by(f64::total_cmp);
        Ok((hops[hops.len() / 2], hops[hops.len() * 99 / 100]))
    }
}
