//! Which socket a verb speaks to, and what the configuration says.

use std::{path::PathBuf, time::Duration};

use opus_ipc::{
    client::{self, Client},
    endpoint::SYSTEM_DIR,
};

use super::{
    args::{Global, NodeArgs, RunArgs},
    exit::Failure,
};
use crate::config::{Config, Origin, Settled, Sources, keys::Key, layers::Values, socket_in};

/// Connects to the node that the options mean; does not wait for one that is not there.
pub(super) async fn connect(global: &Global) -> Result<Client, Failure> {
    connect_patiently(global, Duration::ZERO).await
}

/// The same, with so much patience for a node that goes away later.
pub(super) async fn connect_patiently(
    global: &Global,
    patience: Duration,
) -> Result<Client, Failure> {
    let paths = sockets(global)?;
    let mut config = client::Config::new("opus-node");
    config.patience = patience;
    let dial = Box::new(client::Paths::new(paths));
    Ok(Client::with(dial, config).await?)
}

/// The sockets to try, in order: what was said, or the user's node before the system's.
fn sockets(global: &Global) -> Result<Vec<PathBuf>, Failure> {
    let (config, settled) = settle(global, &NodeArgs::default(), Values::new())?;
    let derived = matches!(settled.values["socket"].1, Origin::Rule(_));
    let system = derived.then(|| socket_in(SYSTEM_DIR.as_ref(), &config.network));
    Ok(std::iter::once(config.socket).chain(system).collect())
}

/// The configuration that the options mean.
pub(super) fn settle(
    global: &Global,
    node: &NodeArgs,
    mut flags: Values,
) -> Result<(Config, Settled), Failure> {
    for assignment in &node.set {
        let (name, text) = assignment
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--set {assignment}: must be KEY=VALUE")))?;
        let key = Key::find(name).ok_or_else(|| {
            Failure::usage(format!("--set {name}: there is no such key")).help("opus-node env")
        })?;
        flags.insert(key.name, key.read(text));
    }
    let text = |text: &Option<String>| text.clone().map(toml::Value::from);
    let path = |path: &Option<PathBuf>| text(&path.as_ref().map(|p| p.display().to_string()));
    let said = [
        ("socket", text(&global.socket)),
        ("network", text(&global.network)),
        ("data_dir", path(&node.data_dir)),
    ];
    for (name, value) in said {
        flags.extend(value.map(|value| (name, value)));
    }
    let sources = Sources::of_process(node.config.clone(), flags, node.strict);
    Ok(Config::load(&sources)?)
}

/// What the flags of `run` say.
pub(super) fn run_flags(run: &RunArgs) -> Values {
    let text = |text: &Option<String>| text.clone().map(toml::Value::from);
    let list = |list: &[String]| {
        let items: Vec<toml::Value> = list.iter().cloned().map(Into::into).collect();
        (!items.is_empty()).then(|| items.into())
    };
    let psk_file = run.psk_file.as_ref().map(|path| path.display().to_string());
    let mdns = (run.mdns || run.no_mdns).then(|| (!run.no_mdns).into());
    let said = [
        ("profile", text(&run.profile)),
        ("listen", list(&run.listen)),
        ("bootstrap", list(&run.bootstrap)),
        ("mdns", mdns),
        ("upnp", run.no_upnp.then(|| false.into())),
        ("psk_file", text(&psk_file)),
        ("log.filter", text(&run.log)),
        ("log.format", text(&run.log_format)),
    ];
    let present = said
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    present.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn node(set: &[&str]) -> NodeArgs {
        NodeArgs {
            data_dir: Some("/nowhere".into()),
            set: set.iter().map(|&text| text.to_owned()).collect(),
            ..NodeArgs::default()
        }
    }

    #[test]
    fn flags_of_run_become_values() {
        let run = RunArgs {
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            no_mdns: true,
            log: Some("debug".to_owned()),
            ..RunArgs::default()
        };
        let global = Global {
            socket: Some("/nowhere/s".to_owned()),
            ..Global::default()
        };
        let set = node(&["limits.memory=1 GiB", "relay_server=yes"]);
        let (config, settled) = settle(&global, &set, run_flags(&run)).unwrap();
        assert_eq!(config.socket, PathBuf::from("/nowhere/s"));
        assert_eq!(config.limits.memory_bytes, 1 << 30);
        assert_eq!(config.log.filter, "debug");
        assert!(!config.mdns && config.is_loopback_only());
        assert_eq!(settled.values["mdns"].1, Origin::Flag);
    }

    #[test]
    fn a_key_that_cannot_be_set_is_a_wrong_usage() {
        for bad in ["limits.memory", "limits.memroy=1", "mdns=maybe"] {
            let refused = settle(&Global::default(), &node(&[bad]), Values::new()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{bad}");
        }
    }
}
