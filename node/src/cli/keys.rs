//! `dicast define`, `dicast set`: keys of one's own, and this node's value of one.
//!
//! A value belongs to the connection that set it. So `set` alone only shows that the node takes the
//! value, which ends with the verb; `set --hold` stays connected until it is interrupted, and sets
//! the value again if the node was gone meanwhile.

use std::time::Duration;

use opus_ipc::{
    Code,
    client::{CallError, Client},
    message::{DicastDefine, DicastSet},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    args::{DefineArgs, Global, SetArgs},
    connect::{connect, connect_patiently},
    exit::{Exit, Failure},
    output::Output,
};

/// How long a node that is gone, or a definition that has not arrived, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks whether the value is still held.
const RENEWAL: Duration = Duration::from_secs(2);

/// Says what a key is, for the whole network.
pub(super) async fn define(
    global: &Global,
    args: &DefineArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let defined = client.call(&definition(args)).await?;
    output.result(&defined, |to| {
        let known = if defined.new {
            ""
        } else {
            ", as it was already"
        };
        writeln!(to, "{} is key {}{known}", defined.name, defined.key)
    })?;
    Ok(Exit::Done)
}

fn definition(args: &DefineArgs) -> DicastDefine {
    DicastDefine {
        name: args.name.clone(),
        function: args.function.clone(),
        range: (args.min, args.max),
        eps: args.eps,
        eager: args.eager.then_some(true),
        exact: args.inexact.then_some(false),
        statistical: args.statistical.then_some(true),
        age_ms: args.age,
    }
}

/// Sets this node's value of a key, for as long as the verb runs.
pub(super) async fn set(
    global: &Global,
    args: &SetArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let params = DicastSet {
        key: args.name.clone(),
        value: args.value,
        weight: args.weight,
    };
    if args.hold {
        let client = connect_patiently(global, PATIENCE).await?;
        return hold(&client, &params, output).await;
    }
    let client = connect(global).await?;
    client.call(&params).await?;
    told(&params, false, output)?;
    Ok(Exit::Done)
}

/// Never ends well: it is interrupted, or cannot hold the value any longer.
async fn hold(client: &Client, params: &DicastSet, output: &mut Output) -> Result<Exit, Failure> {
    let mut is_told = false;
    let mut held_at = Instant::now();
    loop {
        match client.call(params).await {
            Ok(_) => {
                held_at = Instant::now();
                if !std::mem::replace(&mut is_told, true) {
                    told(params, true, output)?;
                }
            }
            Err(error) if may_pass(&error) && held_at.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        sleep(RENEWAL).await;
    }
}

/// Whether the same call may succeed a little later.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Lost(_) => true,
        CallError::Fault(fault) => fault.retry_ms.is_some() && fault.code != Code::BadRequest,
        // The client has been patient itself.
        CallError::Connect(_) | CallError::Malformed(_) => false,
    }
}

fn told(params: &DicastSet, held: bool, output: &mut Output) -> Result<(), Failure> {
    let DicastSet { key, value, weight } = params;
    let document = json!({"key": key, "value": value, "weight": weight, "held": held});
    output.result(&document, |to| {
        let weight = weight.map_or_else(String::new, |weight| format!(" of weight {weight}"));
        if held {
            writeln!(to, "{key}: {value}{weight}, until interrupted")
        } else {
            writeln!(
                to,
                "{key}: {value}{weight} was taken, and ends with this; --hold keeps it"
            )
        }
    })?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use opus_ipc::Fault;

    use super::*;

    #[test]
    fn what_is_not_said_is_left_to_the_node() {
        let mut args = DefineArgs {
            name: "t".to_owned(),
            function: "mean".to_owned(),
            min: -40.0,
            max: 60.0,
            eps: None,
            eager: false,
            inexact: false,
            statistical: false,
            age: None,
        };
        let plain = definition(&args);
        let said = (
            plain.eps,
            plain.eager,
            plain.exact,
            plain.statistical,
            plain.age_ms,
        );
        assert_eq!(said, (None, None, None, None, None));
        args.inexact = true;
        args.eager = true;
        let full = definition(&args);
        assert_eq!((full.exact, full.eager), (Some(false), Some(true)));
        assert_eq!(full.range, (-40.0, 60.0));
    }

    #[test]
    fn a_value_is_tried_again_only_where_that_may_help() {
        let fault = |code| Fault::new(code, "x");
        assert!(may_pass(&CallError::Lost(None)));
        let soon = fault(Code::NotFound).retry_ms(1_000);
        assert!(may_pass(&CallError::Fault(soon)));
        assert!(!may_pass(&CallError::Fault(fault(Code::Busy))));
    }
}
