//! `config`, `env`, `completions`: what may be set, what is set, and where it is from.

use clap::CommandFactory;
use serde_json::{Map, Value, json};

use super::{
    args::{Cli, ConfigArgs, ConfigVerb, Global, RunArgs},
    complain,
    connect::{run_flags, settle},
    exit::{Exit, Failure},
    output::{Output, table},
};
use crate::config::{Settled, keys::KEYS};

/// `config show` and `config check`.
pub(super) fn config(
    global: &Global,
    args: &ConfigArgs,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match &args.verb {
        ConfigVerb::Show { origin, run } => show(global, run, *origin, output),
        ConfigVerb::Check { run } => check(global, run, output),
    }
}

/// The values in force, as a configuration file could say them.
fn show(
    global: &Global,
    run: &RunArgs,
    origin: bool,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let (_, settled) = settle(global, &run.node, run_flags(run))?;
    warn(&settled);
    let rows: Vec<(&str, &toml::Value, String)> = KEYS
        .iter()
        .filter_map(|key| {
            let (value, from) = settled.values.get(key.name)?;
            Some((key.name, value, from.to_string()))
        })
        .collect();
    let document: Map<String, Value> = rows
        .iter()
        .map(|(name, value, from)| {
            let shown = json!({"value": value, "origin": from});
            (
                (*name).to_owned(),
                if origin { shown } else { json!(value) },
            )
        })
        .collect();
    output.result(&document, |to| {
        for (name, value, from) in &rows {
            if origin {
                writeln!(to, "{name} = {value}  # {from}")?;
            } else {
                writeln!(to, "{name} = {value}")?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// Says "ok", or fails; warnings go to standard error.
fn check(global: &Global, run: &RunArgs, output: &mut Output) -> Result<Exit, Failure> {
    let (_, settled) = settle(global, &run.node, run_flags(run))?;
    warn(&settled);
    let document = json!({"ok": true, "warnings": settled.warnings});
    output.result(&document, |to| {
        writeln!(to, "ok, {} warnings", settled.warnings.len())
    })?;
    Ok(Exit::Done)
}

fn warn(settled: &Settled) {
    for warning in &settled.warnings {
        complain(&format!("warning: {warning}"));
    }
}

/// Every variable, its key, and its value if it is set.
pub(super) fn env(output: &mut Output) -> Result<Exit, Failure> {
    let value = |name: &str| std::env::var(name).ok();
    let variables: Vec<Value> = KEYS
        .iter()
        .map(|key| {
            let name = key.variable();
            json!({"name": name, "key": key.name, "doc": key.doc, "value": value(&name)})
        })
        .collect();
    let rows: Vec<Vec<String>> = KEYS
        .iter()
        .map(|key| {
            let name = key.variable();
            let set = value(&name).map_or_else(String::new, |value| format!("= {value}"));
            vec![name, key.doc.to_owned(), set]
        })
        .collect();
    output.result(&variables, |to| table(to, &rows))?;
    Ok(Exit::Done)
}

/// A completion script.
pub(super) fn completions(
    shell: clap_complete::Shell,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "opus-node", &mut script);
    output.bytes(&script)?;
    Ok(Exit::Done)
}
