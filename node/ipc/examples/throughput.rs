//! Calls and frames per second over a real Unix socket, in one process:
//! `cargo run --release -p opus-ipc --example throughput`.
//!
//! The other end is the dispatcher with a service that answers at once, so the figures are those of
//! framing, codec, dispatch and sockets. Each is printed beside a raw echo of as many bytes over a
//! socket of the same kind, measured in the same run: the ratio is what does not depend on the
//! machine.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opus_core::NodeId;
use opus_ipc::{
    Fault,
    client::{Client, Config, Dial, Dialling, Io},
    message::{Code, Empty, Frame, FramesFlush, FramesRecv, FramesSend, Sent},
    serve::{About, Conn, Peer, Request, Server, Service},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Mutex,
    task::JoinSet,
};

const CALLS: u32 = 200_000;
const FRAMES: u64 = 200_000;
const PAYLOAD: usize = 1 << 10;

type Failure = Box<dyn std::error::Error>;

struct Desk;

impl Service for Desk {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other methods are not measured"
    )]
    fn call(&self, _: &Arc<Conn>, request: Request) {
        match request {
            Request::FramesFlush(_, reply) => reply.ok(&Empty {}),
            Request::FramesSend(params, reply) => reply.ok(&Sent {
                seq: 1,
                n: params.data.len() as u64,
                attainable: None,
            }),
            Request::FramesRecv(_, sink) => {
                tokio::spawn(async move {
                    let data = Bytes::from(vec![0; PAYLOAD]);
                    for seq in 1..=FRAMES {
                        let data = data.clone();
                        let src = NodeId([7; 32]);
                        let frame = Frame {
                            src,
                            seq,
                            flags: 0,
                            data,
                        };
                        if sink.send(&frame).await.is_err() {
                            return;
                        }
                    }
                    sink.finish();
                });
            }
            other => other.refuse(Fault::new(Code::Unsupported, "not measured")),
        }
    }
}

#[derive(Debug)]
struct Pair(Mutex<Option<UnixStream>>);

impl Dial for Pair {
    fn dial(&self) -> Dialling<'_> {
        Box::pin(async move {
            let io = self.0.lock().await.take();
            let io = io.ok_or(io::ErrorKind::NotConnected)?;
            Ok(Box::new(io) as Box<dyn Io>)
        })
    }

    fn name(&self) -> String {
        "socket pair".to_owned()
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let about = About {
        node: "bench".to_owned(),
        id: NodeId([1; 32]),
        version: "0".to_owned(),
        network: "main".to_owned(),
    };
    let server = Server::new(Arc::new(Desk), about);
    let (ours, theirs) = UnixStream::pair()?;
    tokio::spawn(async move { server.serve(theirs, Peer::admin()).await });
    let dial = Box::new(Pair(Mutex::new(Some(ours))));
    let client = Client::with(dial, Config::new("bench")).await?;

    let echo = echo(24, 64, CALLS).await?;
    let calls = calls(&client).await?;
    report("calls, 64 in flight", f64::from(CALLS), calls, echo);
    let echo = self::echo(PAYLOAD, 64, 100_000).await? * 2;
    let frames = receive(&client).await?;
    report("frames of 1 KiB received", FRAMES as f64, frames, echo);
    let frames = send(&client).await?;
    report(
        "frames of 1 KiB sent, 16 a call",
        FRAMES as f64,
        frames,
        echo,
    );
    Ok(())
}

async fn calls(client: &Client) -> Result<Duration, Failure> {
    let start = now();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..CALLS / 64 {
                let flush = FramesFlush { att: 1, flow: None };
                client.call(&flush).await?;
            }
            Ok::<_, opus_ipc::client::CallError>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(start.elapsed())
}

async fn receive(client: &Client) -> Result<Duration, Failure> {
    let start = now();
    let params = FramesRecv {
        att: 1,
        flow: None,
        credit: Some(1_024),
    };
    let mut items = client.watch(&params).await?;
    let mut count = 0;
    while let Some(frame) = items.next().await {
        frame?;
        count += 1;
    }
    if count != FRAMES {
        return Err("frames are missing".into());
    }
    Ok(start.elapsed())
}

async fn send(client: &Client) -> Result<Duration, Failure> {
    let start = now();
    let data = vec![Bytes::from(vec![0; PAYLOAD]); 16];
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (client, data) = (client.clone(), data.clone());
        tasks.spawn(async move {
            for _ in 0..FRAMES / 16 / 8 {
                let send = FramesSend {
                    att: 1,
                    data: data.clone(),
                    flow: None,
                    to: None,
                    now: None,
                    last: None,
                };
                client.call(&send).await?;
            }
            Ok::<_, opus_ipc::client::CallError>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(start.elapsed())
}

/// `count` messages of `size` bytes to an echo and back, `window` of them in one write.
async fn echo(size: usize, window: usize, count: u32) -> Result<Duration, Failure> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let bytes = size * window;
    tokio::spawn(async move {
        let mut buffer = vec![0; bytes];
        while theirs.read_exact(&mut buffer).await.is_ok() {
            if theirs.write_all(&buffer).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; bytes];
    let start = now();
    for _ in 0..count / u32::try_from(window)? {
        let (mut read, mut write) = ours.split();
        let out = vec![0; bytes];
        tokio::try_join!(write.write_all(&out), read.read_exact(&mut buffer))?;
    }
    Ok(start.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "the result of a program")]
fn report(what: &str, count: f64, took: Duration, echo: Duration) {
    let rate = count / took.as_secs_f64();
    let ratio = took.as_secs_f64() / echo.as_secs_f64();
    println!("{what:<34} {rate:>10.0}/s   {ratio:>5.1} x a raw echo");
}
