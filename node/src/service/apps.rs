//! `app.*` but attaching: deploy, update, retire, list, show.

use opus_core::{OverlayId, codec};
use opus_ipc::message::{
    AppLine, AppList, AppView, Code, Deployed, Edge, Fault, FlowLine, Kind as Said, Quote,
};
use opus_overlay::Status;
use opus_relay::{FlowId, FlowStats, Forward};
use opus_site::spec::{Kind, SPEC_BYTES_MAX, SignedApp, Spec};

use super::{
    Inner,
    attach::{parse_app, refused},
};
use crate::runtime::{Core, Stopped};

/// Most lines of one `app.list`.
const LINES_MAX: usize = 256;

impl Inner {
    pub(super) async fn deploy(&self, signed: Vec<u8>, dry_run: bool) -> Result<Deployed, Fault> {
        let answer = self
            .handle
            .ask(move |core| core.deploy(signed, dry_run))
            .await?;
        let (app, version) = answer.await.map_err(|_| Stopped)?.map_err(refused)?;
        Ok(Deployed {
            app: app.to_string(),
            version,
            quote: edge_quote(),
        })
    }

    pub(super) async fn retire(&self, signed: Vec<u8>, dry_run: bool) -> Result<Deployed, Fault> {
        let spec = SignedApp::decode(&signed).ok();
        let spec = spec.and_then(|signed| Spec::from_cbor(signed.spec_bytes()).ok());
        if spec.is_some_and(|spec| !spec.retired) {
            let msg = "this signed spec does not retire its application";
            return Err(Fault::new(Code::BadRequest, msg).help("opus-node app retire --help"));
        }
        self.deploy(signed, dry_run).await
    }

    pub(super) async fn list(&self, params: AppList) -> Result<Vec<AppLine>, Fault> {
        let max = params
            .max
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(LINES_MAX);
        let read = |core: &mut Core| {
            let line = |row: opus_site::AppRow<'_>| AppLine {
                app: row.app.app.to_string(),
                kind: kind(row.app.spec.kind),
                version: row.app.spec.version,
                slots: 0.0,
                state: row.state.to_string(),
            };
            core.site().apps().map(line).collect::<Vec<_>>()
        };
        let mut lines = self.handle.ask(read).await?;
        lines.sort_by(|a, b| a.app.cmp(&b.app));
        let after = params.after.unwrap_or_default();
        lines.retain(|line| line.app > after);
        lines.truncate(max.min(LINES_MAX));
        Ok(lines)
    }

    pub(super) async fn show(&self, app: &str) -> Result<AppView, Fault> {
        let app = parse_app(app)?;
        self.handle.ask(move |core| view(core, &app)).await?
    }
}

fn view(core: &mut Core, app: &opus_site::spec::AppRef) -> Result<AppView, Fault> {
    let row = core.site().app(app).map_err(refused)?;
    let overlay = row.app.overlay;
    let spec = codec::decode(
        row.app.signed.spec_bytes(),
        opus_ipc::wire::limits(SPEC_BYTES_MAX),
    )
    .map_err(|error| Fault::new(Code::Internal, format!("the spec does not decode: {error}")))?;
    let status = core.overlay().status(overlay);
    let members = row.members.unwrap_or_else(|| usize::from(status.is_some()));
    let knob = status
        .as_ref()
        .map_or(row.app.spec.knob_milli(), |status| status.alpha_milli);
    Ok(AppView {
        app: row.app.app.to_string(),
        spec,
        members: members as u64,
        edges: status
            .as_ref()
            .map(|status| edges(core, status))
            .unwrap_or_default(),
        rdp: status.as_ref().and_then(rdp).unwrap_or(1.0),
        cost: status
            .as_ref()
            .map_or(0.0, |status| status.sums.cost_us as f64 / 1e3),
        knob: f64::from(knob) / 1e3,
        flows: flows(core, overlay),
    })
}

/// What passed through this node.
fn flows(core: &Core, overlay: OverlayId) -> Vec<FlowLine> {
    let line = |(id, stats): (FlowId, FlowStats)| FlowLine {
        src: opus_swarm::peer_id(&id.source).to_string(),
        flow: id.flow,
        offered: stats.offered,
        on_time: stats.on_time,
        late: stats.late,
        lost: stats.lost,
        refused: stats.refused,
        duplicates: stats.duplicates,
        repaired: stats.repaired,
        copies: stats.copies,
        p99_ms: stats
            .latency
            .quantile(0.99)
            .map(|p99| p99.as_secs_f64() * 1e3),
    };
    let all = core.data().inspect(Forward::flows);
    let ours = all.into_iter().filter(|(id, _)| id.overlay == overlay);
    ours.map(line).collect()
}

/// The edges at this node: to its parent, and to its children.
fn edges(core: &Core, status: &Status) -> Vec<Edge> {
    let name = |id| opus_swarm::peer_id(id).to_string();
    let me = core.me();
    let edge = |a, b, rtt_us: u32| Edge {
        a: name(a),
        b: name(b),
        delay_ms: f64::from(rtt_us) / 1e3,
        cost: f64::from(rtt_us) / 1e3,
    };
    let up = status
        .parent
        .iter()
        .map(|parent| edge(parent, &me, status.parent_rtt_us));
    let down = status
        .children
        .iter()
        .map(|(child, rtt_us)| edge(&me, child, *rtt_us));
    up.chain(down).collect()
}

/// At the root the largest of the tree, else this node's own.
fn rdp(status: &Status) -> Option<f64> {
    if status.direct_us == Some(0) {
        return (status.sums.attached > 0).then(|| f64::from(status.sums.rdp_max_milli) / 1e3);
    }
    status
        .direct_us
        .map(|direct| f64::from(status.delay_us) / f64::from(direct))
}

/// Without a market yet every application is admitted: its frames travel over the nodes of those
/// who take part, and cost no slot.
fn edge_quote() -> Quote {
    let why = "edge attachments only: the nodes of those who attach carry it";
    Quote {
        admitted: true,
        slots: 0.0,
        price: 0.0,
        served: 1.0,
        why: Some(why.to_owned()),
    }
}

fn kind(kind: Kind) -> Said {
    match kind {
        Kind::Multicast => Said::Multicast,
        Kind::MultiSender => Said::MultiSender,
        Kind::Unicast => Said::Unicast,
        Kind::Service => Said::Service,
    }
}
