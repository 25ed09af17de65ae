//! `call`: any method of opus-ipc by name, for tools and for trying things out.

use std::time::Duration;

use opus_ipc::{Method, Raw, client::Client, json, method::Shape};
use serde_json::Value;

use super::{
    args::{CallArgs, Global},
    connect::connect,
    exit::{Exit, Failure},
    output::Output,
};

/// Prints the result of a method, or the items of a stream, a line each.
pub(super) async fn call(
    global: &Global,
    args: &CallArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let params = parse(&args.params)?;
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
        output.result(&result, |to| writeln!(to, "{result:#}"))?;
        return Ok(Exit::Done);
    }
    let mut items = client.watch_raw(&args.method, params).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = items.next().await else {
            break;
        };
        let item = read(&item?)?;
        output.item(&item, |to| writeln!(to, "{item}"))?;
        left -= 1;
    }
    Ok(Exit::Done)
}

/// The parameters: a JSON object.
fn parse(text: &str) -> Result<Raw, Failure> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("the parameters are no JSON: {error}")))?;
    if !value.is_object() {
        return Err(Failure::usage("the parameters must be a JSON object"));
    }
    let unlawful = |error| Failure::usage(format!("the parameters cannot be sent: {error}"));
    json::to_raw(&value).map_err(unlawful)
}

fn read(raw: &Raw) -> Result<Value, Failure> {
    json::from_raw(raw).map_err(|error| {
        let message = format!("the node's answer is not understood: {error}");
        Failure::new(Exit::Failed, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_are_hex() {
        let raw = parse("{\"signed\": {\"hex\": \"00ff\"}}").unwrap();
        assert!(raw.0.ends_with(&[0x42, 0x00, 0xff]));
    }

    #[test]
    fn what_is_no_object_or_no_hex_is_a_wrong_usage() {
        for text in ["{", "[1]", "7", "{\"a\": {\"hex\": \"0\"}}"] {
            assert_eq!(parse(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
