//! A peer that negotiates each protocol and then breaks it: the node stays up, its memory stays
//! bounded, and the frames of an honest peer arrive whole meanwhile.

use std::{fs, pin::Pin, task::Poll};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
        transport::{DialOpts, PortUse},
    },
    identity, tcp,
};
use opus_node::net::transport::secure;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::bench::{Bench, Node, TCP, ends, noise};

/// What all attacks together may cost the node.
const GROWTH_MAX: u64 = 64 << 20;

/// Ours, then libp2p's. The node must speak them: an attack on nothing proves nothing.
const PROTOCOLS: [&str; 8] = [
    "/opus/probe/1",
    "/opus/overlay/1",
    "/opus/site/1",
    "/opus/frames/1",
    "/opus/main/kad/1",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
];

/// Most streams of the trick that opens many; the node's limit on a connection is 128.
const STREAMS: usize = 200;

/// What is done to a stream once its protocol was agreed on.
#[derive(Clone, Copy, Debug)]
enum Trick {
    Noise,
    /// Lengths of all ones, as varint and in each byte order, with much behind them.
    HugeLength,
    /// A lawful length, and an item that announces 2^63 entries.
    Bomb,
    /// A length, half of what it announces, then the end.
    Half,
    Nothing,
    ManyStreams,
}

impl Trick {
    const ALL: [Self; 6] = [
        Self::Noise,
        Self::HugeLength,
        Self::Bomb,
        Self::Half,
        Self::Nothing,
        Self::ManyStreams,
    ];

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Noise | Self::ManyStreams => noise(64 << 10),
            Self::HugeLength => [vec![0xff; 16], vec![0x41; 1 << 20]].concat(),
            Self::Bomb => [
                &[12, 0x9b, 0x7f],
                [0xff; 7].as_slice(),
                &[0, 0, 0],
                &[0x81; 4096],
            ]
            .concat(),
            Self::Half => [[100, 0, 0, 0].as_slice(), &[0x80; 46]].concat(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// A connection of a peer that speaks no protocol at all.
struct Attacker {
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
}

impl Attacker {
    async fn connect(number: u8, to: &Multiaddr) -> Self {
        let keypair = identity::Keypair::ed25519_from_bytes([number; 32]).unwrap();
        let tcp = tcp::tokio::Transport::new(tcp::Config::default());
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dial = secure(tcp, &keypair)
            .unwrap()
            .dial(to.clone(), opts)
            .unwrap();
        let (_, muxer) = ends("a connection", dial).await.unwrap();
        let (opens, asked) = mpsc::channel(1);
        tokio::spawn(drive(muxer, asked));
        Self { opens }
    }

    /// A stream on which `protocol` was agreed; `None` if the node has had enough of this peer.
    async fn stream(&self, protocol: &str) -> Option<SubstreamBox> {
        let (give, given) = oneshot::channel();
        self.opens.send(give).await.ok()?;
        let mut stream = given.await.ok()?;
        let hello = [said("/multistream/1.0.0"), said(protocol)].concat();
        stream.write_all(&hello).await.ok()?;
        stream.flush().await.ok()?;
        let mut answer = vec![0; hello.len()];
        stream.read_exact(&mut answer).await.ok()?;
        assert_eq!(answer, hello, "the node does not speak {protocol}");
        Some(stream)
    }

    /// Opens streams and sends what `trick` says. Who does not read keeps the bytes waiting: the
    /// tasks hold the streams and end with the set.
    async fn attack(&self, protocol: &str, trick: Trick, tasks: &mut JoinSet<()>) {
        let count = if matches!(trick, Trick::ManyStreams) {
            STREAMS
        } else {
            1
        };
        for _ in 0..count {
            let Some(mut stream) = self.stream(protocol).await else {
                return;
            };
            tasks.spawn(async move {
                // A node that resets the stream takes no more: that is as it should be.
                drop(stream.write_all(&trick.bytes()).await);
                drop(stream.flush().await);
                if matches!(trick, Trick::Half) {
                    drop(stream.close().await);
                }
                std::future::pending::<()>().await;
            });
        }
    }
}

/// A line of multistream-select.
fn said(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap();
    assert!(length < 128, "one byte of varint");
    [&[length], text.as_bytes(), b"\n"].concat()
}

/// Keeps a connection going: opens streams as asked, takes those of the node and never answers.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut asked: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
) {
    let mut silent = Vec::new();
    let mut next = None;
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(Err(_)) = muxer.poll_unpin(cx) {
                return Poll::Ready(());
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    silent.push(stream);
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if next.is_none() {
                match asked.poll_recv(cx) {
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Ready(asked) => next = asked,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut muxer).poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    let give: oneshot::Sender<_> = next.take().unwrap();
                    drop(give.send(stream));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// An honest node with a sink, and the node with the source that is attacked.
struct Pair {
    target: Node,
    honest: Node,
    bench: Bench,
}

impl Pair {
    async fn new() -> Self {
        let bench = Bench::new();
        let flags = format!("--listen {TCP} --no-mdns --set kademlia=server");
        let target = bench.node("target", &flags).await;
        let bootstrap = target.address("/tcp/").await;
        let honest = bench
            .node("honest", &format!("{flags} --bootstrap {bootstrap}"))
            .await;
        honest.knows(&target.status().await.peer_id).await;
        fs::write(bench.path("file"), vec![7; 12 << 20]).unwrap();
        bench.deploy_film("target").await;
        Self {
            target,
            honest,
            bench,
        }
    }

    /// A file from the attacked node to the honest one.
    async fn transfer(&self) {
        let receiving = self
            .bench
            .start("--socket honest/s subscribe film --out out");
        let publish = "--socket target/s publish film --file file --sinks 1";
        let sent = ends("publish", self.bench.start(publish)).await.unwrap();
        let received = ends("subscribe", receiving).await.unwrap();
        assert_eq!(
            (&received["frames"], &received["gaps"]),
            (&sent["frames"], &0.into())
        );
        let copy = fs::read(self.bench.path("out")).unwrap();
        assert!(copy == fs::read(self.bench.path("file")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_each_protocol_harms_nobody() {
    let pair = Pair::new().await;
    pair.transfer().await;
    let before = pair.target.rss();
    let address: Multiaddr = pair.target.address("/tcp/").await.parse().unwrap();
    let address = opus_node::net::addr::without_peer(address);
    let mut number = 0;
    for trick in Trick::ALL {
        // The peers of one trick stay, with their streams, until all protocols have had it.
        let (mut attackers, mut tasks) = (Vec::new(), JoinSet::new());
        let attacking = async {
            for protocol in PROTOCOLS {
                number += 1;
                let attacker = Attacker::connect(number, &address).await;
                ends(protocol, attacker.attack(protocol, trick, &mut tasks)).await;
                attackers.push(attacker);
            }
        };
        tokio::join!(attacking, pair.transfer());
        let grown = pair.target.rss().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{trick:?}: {grown} bytes more");
    }
    pair.transfer().await;
    let said = pair.target.said() + &pair.honest.said();
    assert!(!said.contains("panicked"), "{said}");
}
