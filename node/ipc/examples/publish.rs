//! Publishes the lines of its input: `publish SOCKET APP`.

use std::path::PathBuf;

use bytes::Bytes;
use opus_ipc::{
    client::Client,
    message::{AppAttach, As},
};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(app)) = (args.next(), args.next()) else {
        return Err("publish SOCKET APP".into());
    };
    let client = Client::connect(&[PathBuf::from(socket)], "publish").await?;
    let source = client
        .attach(AppAttach {
            app,
            role: As::Source,
            lease: None,
            ports: None,
            resume: None,
        })
        .await?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        // Answered when the node holds the line: that is the back-pressure.
        source.send(vec![Bytes::from(line)], false).await?;
    }
    source.send(vec![Bytes::new()], true).await?;
    source.flush().await?;
    source.detach().await?;
    Ok(())
}
