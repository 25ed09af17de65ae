//! `app`: describe and sign offline, then hand over; list and show.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use opus_core::codec;
use opus_ipc::{
    Raw,
    message::{AppDeploy, AppLine, AppList, AppRetire, AppShow, AppUpdate, AppView, Deployed},
};
use opus_site::spec::{AppRef, SignedApp, Spec};
use serde_json::json;

use super::{
    args::{AppArgs, AppKind, AppVerb, Global, NodeArgs, SignedArgs},
    blocking,
    connect::{connect, settle},
    exit::{Exit, Failure},
    output::{Output, table},
};
use crate::{config::layers::Values, identity::Identity};

/// The verbs of `app`.
pub(super) fn app(global: &Global, args: &AppArgs, output: &mut Output) -> Result<Exit, Failure> {
    match &args.verb {
        AppVerb::Init { file, kind, name } => init(file, *kind, name.as_deref(), output),
        AppVerb::Sign { file, key, out } => sign(global, file, key, out, output),
        AppVerb::Deploy(args) => blocking(deploy(global, args, output)),
        AppVerb::Update(args) => blocking(update(global, args, output)),
        AppVerb::Retire { app, key, dry_run } => {
            blocking(retire(global, app, key, *dry_run, output))
        }
        AppVerb::List => blocking(list(global, output)),
        AppVerb::Show { app } => blocking(show(global, app, output)),
    }
}

/// Writes a spec to begin with; the name is the file's unless given.
fn init(
    file: &Path,
    kind: AppKind,
    name: Option<&str>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let stem = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let name = name.map(str::to_owned).or(stem).unwrap_or_default();
    let text = template(&name, kind);
    Spec::from_toml(&text).map_err(|error| {
        Failure::usage(error.to_string()).help("opus-node app init FILE --name NAME")
    })?;
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| failed("write", file, &error))?;
    let document = json!({"file": file, "name": name});
    output.result(&document, |to| {
        let shown = file.display();
        writeln!(
            to,
            "{shown}\n  next: opus-node app sign {shown} --key owner.key --out {name}.app"
        )
    })?;
    Ok(Exit::Done)
}

fn template(name: &str, kind: AppKind) -> String {
    let kind = match kind {
        AppKind::Multicast => "multicast",
        AppKind::MultiSender => "multi-sender",
        AppKind::Unicast => "unicast",
        AppKind::Service => "service",
    };
    format!(
        r#"name = "{name}"  # a-z 0-9 -, up to 32
kind = "{kind}"  # multicast | multi-sender | unicast | service
version = 1  # an update is higher

[sla]
latency_ms = 250  # slower is not "in time"
reliability = 0.99  # of frames, per joined sink; 1.0 = complete: none is lost, the source waits
deadline_ms = 1000  # older frames are dropped (below 1.0)
# knob = 1.5  # bound on delay over direct delay, 1 to 16; unset: the network turns it
"#
    )
}

/// Checks a spec and signs it for the network; needs no node.
fn sign(
    global: &Global,
    file: &Path,
    key: &Path,
    out: &Path,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let text = fs::read_to_string(file).map_err(|error| failed("read", file, &error))?;
    let refused = |error: opus_site::spec::SpecError| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
    };
    let spec = Spec::from_toml(&text).map_err(refused)?;
    let owner = Identity::load(key)?;
    let network = network(global)?;
    let signed = SignedApp::sign(&spec, &network, owner.secret()).map_err(refused)?;
    fs::write(out, signed.encode()).map_err(|error| failed("write", out, &error))?;
    let app = AppRef::new(&spec.name, *signed.owner()).to_string();
    let version = spec.version;
    let document = json!({"app": app, "version": version, "network": network, "file": out});
    output.result(&document, |to| {
        let shown = out.display();
        writeln!(to, "{app}  version {version}  network {network}")?;
        writeln!(to, "  next: opus-node app deploy {shown}")
    })?;
    Ok(Exit::Done)
}

/// The network's name only: signing needs no place for state.
fn network(global: &Global) -> Result<String, Failure> {
    let node = NodeArgs {
        data_dir: Some(PathBuf::from("/nowhere")),
        ..NodeArgs::default()
    };
    Ok(settle(global, &node, Values::new())?.0.network)
}

async fn deploy(global: &Global, args: &SignedArgs, output: &mut Output) -> Result<Exit, Failure> {
    let params = AppDeploy {
        signed: signed(&args.file)?,
        dry_run: args.dry_run.then_some(true),
    };
    let client = connect(global).await?;
    deployed(&client.call(&params).await?, args.dry_run, output)
}

async fn update(global: &Global, args: &SignedArgs, output: &mut Output) -> Result<Exit, Failure> {
    let params = AppUpdate {
        signed: signed(&args.file)?,
        dry_run: args.dry_run.then_some(true),
    };
    let client = connect(global).await?;
    deployed(&client.call(&params).await?, args.dry_run, output)
}

/// Signs the spec in force with `retired` and the next version.
async fn retire(
    global: &Global,
    app: &str,
    key: &Path,
    dry_run: bool,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let owner = Identity::load(key)?;
    let client = connect(global).await?;
    let view = client
        .call(&AppShow {
            app: app.to_owned(),
        })
        .await?;
    let mut spec = Spec::from_cbor(&codec::encode(&view.spec)).map_err(unreadable)?;
    let full = AppRef::new(&spec.name, *owner.public()).to_string();
    if full != view.app {
        let message = format!(
            "{} belongs to another owner than {}",
            view.app,
            key.display()
        );
        return Err(Failure::new(Exit::Denied, message));
    }
    spec.retired = true;
    spec.version = spec.version.saturating_add(1);
    let network = client.welcome().network;
    let signed = SignedApp::sign(&spec, &network, owner.secret()).map_err(unreadable)?;
    let params = AppRetire {
        signed: signed.encode(),
        dry_run: dry_run.then_some(true),
    };
    deployed(&client.call(&params).await?, dry_run, output)
}

async fn list(global: &Global, output: &mut Output) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let apps = client.call(&AppList::default()).await?;
    output.result(&apps, |to| show_list(to, &apps))?;
    Ok(Exit::Done)
}

async fn show(global: &Global, app: &str, output: &mut Output) -> Result<Exit, Failure> {
    let client = connect(global).await?;
    let view = client
        .call(&AppShow {
            app: app.to_owned(),
        })
        .await?;
    let document = opus_ipc::json::from_raw(&Raw::of(&view)).map_err(unreadable)?;
    output.result(&document, |to| show_view(to, &view))?;
    Ok(Exit::Done)
}

fn deployed(deployed: &Deployed, dry_run: bool, output: &mut Output) -> Result<Exit, Failure> {
    output.result(deployed, |to| {
        let Deployed {
            app,
            version,
            quote,
        } = deployed;
        let done = if dry_run { "would be" } else { "is" };
        writeln!(to, "{app}  version {version} {done} in force")?;
        match &quote.why {
            Some(why) => writeln!(to, "  {why}"),
            None => Ok(()),
        }
    })?;
    Ok(if deployed.quote.admitted {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn show_list(to: &mut dyn Write, apps: &[AppLine]) -> io::Result<()> {
    if apps.is_empty() {
        return writeln!(to, "no application is known here");
    }
    let head = ["APP", "KIND", "VERSION", "STATE"]
        .map(str::to_owned)
        .to_vec();
    let rows = apps.iter().map(|line| {
        let kind = kind_name(line.kind);
        vec![
            line.app.clone(),
            kind.to_owned(),
            line.version.to_string(),
            line.state.clone(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    table(to, &rows)
}

fn kind_name(kind: opus_ipc::message::Kind) -> &'static str {
    match kind {
        opus_ipc::message::Kind::Multicast => "multicast",
        opus_ipc::message::Kind::MultiSender => "multi-sender",
        opus_ipc::message::Kind::Unicast => "unicast",
        opus_ipc::message::Kind::Service => "service",
    }
}

fn show_view(to: &mut dyn Write, view: &AppView) -> io::Result<()> {
    writeln!(to, "{}", view.app)?;
    writeln!(to, "  members  {}", view.members)?;
    writeln!(to, "  knob     {}", view.knob)?;
    writeln!(to, "  rdp      {:.3}  cost {:.1}", view.rdp, view.cost)?;
    for edge in &view.edges {
        writeln!(to, "  {} -> {}  {:.1} ms", edge.a, edge.b, edge.delay_ms)?;
    }
    for flow in &view.flows {
        let p99 = flow
            .p99_ms
            .map_or_else(String::new, |ms| format!(", p99 {ms:.1} ms"));
        writeln!(
            to,
            "  flow {} of {}: offered {}, on time {}, late {}, lost {}, repaired {}, \
             copies {}{p99}",
            flow.flow,
            flow.src,
            flow.offered,
            flow.on_time,
            flow.late,
            flow.lost,
            flow.repaired,
            flow.copies
        )?;
    }
    Ok(())
}

fn signed(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(file).map_err(|error| failed("read", file, &error))?;
    // What no node would take is told here, where the file's name is known.
    SignedApp::decode(&bytes).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{} is no signed spec: {error}", file.display()),
        )
        .help("opus-node app sign SPEC --key owner.key --out FILE")
    })?;
    Ok(bytes)
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot {action} {}: {error}", path.display()),
    )
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the node's spec is not understood: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_each_kind_is_a_lawful_spec() {
        for kind in [
            AppKind::Multicast,
            AppKind::MultiSender,
            AppKind::Unicast,
            AppKind::Service,
        ] {
            let spec = Spec::from_toml(&template("ticker", kind)).unwrap();
            assert_eq!((spec.name.as_str(), spec.version), ("ticker", 1));
        }
    }
}
