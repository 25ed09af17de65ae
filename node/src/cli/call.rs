//! `call`: any method of opus-ipc by name, for tools and for trying things out.

use std::time::Duration;

use opus_core::codec;
use opus_ipc::{
    Method, Raw,
    client::Client,
    method::Shape,
    wire::{FRAME_MAX, limits},
};

use super::{
    args::{CallArgs, Global},
    connect::connect,
    exit::{Exit, Failure},
    json::Any,
    output::Output,
};

/// Prints the result of a method, or the items of a stream, a line each.
pub(super) async fn call(
    global: &Global,
    args: &CallArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let params = Any::parse(&args.params)
        .map_err(|problem| Failure::usage(format!("the parameters are no JSON: {problem}")))?;
    if !params.0.is_object() {
        return Err(Failure::usage("the parameters must be a JSON object"));
    }
    let params = Raw::of(&params);
    let client = connect(global).await?;
    let verb = ask(&client, args, params, output);
    match args.timeout {
        None => verb.await,
        Some(ms) => {
            let limit = Duration::from_millis(ms);
            let late = |_| Failure::new(Exit::TimedOut, format!("no answer within {ms} ms"));
            tokio::time::timeout(limit, verb).await.map_err(late)?
        }
    }
}

async fn ask(
    client: &Client,
    args: &CallArgs,
    params: Raw,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let is_stream = Method::parse(&args.method).map(Method::shape) == Some(Shape::Stream);
    if !is_stream {
        let result = read(&client.call_raw(&args.method, params).await?)?;
        let text = serde_json::to_string_pretty(&result.0).map_err(std::io::Error::from)?;
        output.result(&result.0, |to| writeln!(to, "{text}"))?;
        return Ok(Exit::Done);
    }
    let mut items = client.watch_raw(&args.method, params).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = items.next().await else {
            break;
        };
        let item = read(&item?)?;
        output.item(&item.0, |to| writeln!(to, "{}", item.0))?;
        left -= 1;
    }
    Ok(Exit::Done)
}

fn read(raw: &Raw) -> Result<Any, Failure> {
    codec::decode(&raw.0, limits(FRAME_MAX)).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the node's answer is not understood: {error}"),
        )
    })
}
