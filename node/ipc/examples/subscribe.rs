//! Writes each frame that comes as a line: `subscribe SOCKET APP`. Ends with the last one.

use std::path::PathBuf;

use opus_ipc::{
    client::Client,
    message::{AppAttach, As, Frame},
};
use tokio::io::{AsyncWriteExt, stdout};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(app)) = (args.next(), args.next()) else {
        return Err("subscribe SOCKET APP".into());
    };
    let client = Client::connect(&[PathBuf::from(socket)], "subscribe").await?;
    let sink = client
        .attach(AppAttach {
            app,
            role: As::Sink,
            lease: None,
            ports: None,
            resume: None,
        })
        .await?;
    let mut out = stdout();
    // Flow 0, and 256 frames on their way at most; goes on when the node comes back.
    let mut frames = sink.frames(Some(0), 256);
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        if frame.flags & Frame::LAST != 0 && frame.data.is_empty() {
            break;
        }
        out.write_all(&frame.data).await?;
        out.write_all(b"\n").await?;
        out.flush().await?;
    }
    Ok(())
}
