//! `dicast.*`: the tree as this node knows it, and its answers with their bounds.

use opus_core::{NodeId, Time};
use opus_dicast::{
    Dicast, Scope,
    aggregate::{self, Entry, Function, KeyId, KeySpec, Value},
    cluster::{Ancestor, View as Cluster},
};
use opus_ipc::message::{
    Answer, ClusterLine, Code, DicastView, Fault, KeyLine, KeyName, PartLine, QuantileLine,
    Scope as Said, SeatLine, TopLine, Tree, View,
};
use opus_site::summary;

use super::Inner;
use crate::runtime::Core;

/// Of a distribution these are told.
const SHARES: [f64; 5] = [0.1, 0.25, 0.5, 0.9, 0.99];
/// What is not known yet may be known after this.
const RETRY_MS: u64 = 1_000;

impl Inner {
    pub(super) async fn dicast_view(&self, params: DicastView) -> Result<View, Fault> {
        self.handle.ask(move |core| view(core, &params)).await?
    }

    pub(super) async fn dicast_show(&self) -> Result<Tree, Fault> {
        Ok(self.handle.ask(|core| tree(core)).await?)
    }
}

/// How many nodes the network has, as far as this one knows.
pub(super) fn nodes(core: &Core) -> Option<Answer> {
    let answer = core
        .dicast()
        .view(core.now(), KeyId::MEMBERS, Scope::Root)?;
    Some(said(&answer, &KeySpec::MEMBERS))
}

fn view(core: &Core, params: &DicastView) -> Result<View, Fault> {
    let dicast = core.dicast();
    let key = key_of(params.key.as_ref())?;
    let name = summary::name_of(key);
    let known_as = name.map_or_else(|| key.0.to_string(), str::to_owned);
    let Some(spec) = dicast.spec(key) else {
        let fault = Fault::new(Code::NotFound, format!("no key {known_as} in this tree"));
        let fault = fault.help("opus-node dicast");
        // Those of the site manager come with the tree.
        return Err(if name.is_some() {
            fault.retry_ms(RETRY_MS)
        } else {
            fault
        });
    };
    let said_scope = params.scope.unwrap_or(Said::Root);
    let scope = match said_scope {
        Said::Own => Scope::Own,
        Said::Cluster => Scope::Cluster,
        Said::Above => Scope::Above(level_of(dicast, params.level)?),
        Said::Root => Scope::Root,
    };
    let answer = dicast.view(core.now(), key, scope).ok_or_else(|| {
        let msg = format!("no value of {known_as} is known yet for this part of the tree");
        Fault::new(Code::Unavailable, msg).retry_ms(RETRY_MS)
    })?;
    Ok(View {
        key: key.0,
        name: name.map(str::to_owned),
        scope: said_scope,
        level: params.level,
        answer: said(&answer, spec),
        top: top(&answer),
        quantiles: quantiles(&answer, spec),
        parts: (params.parts == Some(true)).then(|| parts(core, key, spec)),
    })
}

/// Errors: no key has this name.
fn key_of(named: Option<&KeyName>) -> Result<KeyId, Fault> {
    match named {
        None => Ok(KeyId::MEMBERS),
        Some(KeyName::Number(number)) => Ok(KeyId(*number)),
        Some(KeyName::Name(name)) => summary::by_name(name).map(|key| key.id).ok_or_else(|| {
            let known: Vec<_> = summary::KEYS.iter().map(|key| key.name).collect();
            let msg = format!(
                "no key {name:?}; those with a name are {}",
                known.join(", ")
            );
            Fault::new(Code::NotFound, msg).help("opus-node dicast")
        }),
    }
}

/// Errors: this node is in no cluster of that level.
fn level_of(dicast: &Dicast, level: Option<u8>) -> Result<u8, Fault> {
    let level = level.unwrap_or(1);
    let height = dicast.root().map_or(0, |root| root.level);
    if level > height {
        let msg = format!("no cluster of level {level}: the tree has {height} levels");
        return Err(Fault::new(Code::NotFound, msg).help("opus-node dicast"));
    }
    Ok(level)
}

fn said(answer: &aggregate::Answer, spec: &KeySpec) -> Answer {
    let v = match &answer.value {
        Value::Number(number) => *number,
        Value::Top(list) => list
            .entries()
            .last()
            .map_or(spec.range.0, |last| f64::from(last.value)),
        Value::Quantiles(_) => answer
            .quantile(0.5, spec)
            .map_or(spec.range.0, |(median, ..)| median),
    };
    Answer {
        v,
        lo: answer.lo,
        hi: answer.hi,
        hard: answer.hard,
        count: answer.count,
        missing: answer.missing_max,
        double: answer.double_max,
        age_ms: u64::try_from(answer.age.as_millis()).unwrap_or(u64::MAX),
    }
}

fn top(answer: &aggregate::Answer) -> Option<Vec<TopLine>> {
    let Value::Top(list) = &answer.value else {
        return None;
    };
    let line = |entry: &Entry| TopLine {
        node: data_encoding::HEXLOWER.encode(&entry.node.to_le_bytes()),
        v: f64::from(entry.value),
    };
    Some(list.entries().iter().map(line).collect())
}

fn quantiles(answer: &aggregate::Answer, spec: &KeySpec) -> Option<Vec<QuantileLine>> {
    let Value::Quantiles(_) = answer.value else {
        return None;
    };
    let line = |share: f64| {
        let (v, lo, hi) = answer.quantile(share, spec)?;
        Some(QuantileLine { share, v, lo, hi })
    };
    Some(SHARES.into_iter().filter_map(line).collect())
}

/// What is known of each neighbour, the nearest level first.
fn parts(core: &Core, key: KeyId, spec: &KeySpec) -> Vec<PartLine> {
    let dicast = core.dicast();
    let ours = dicast.posts().find(|view| view.level == 1);
    let ours = ours.or_else(|| dicast.leaf().map(|(view, _)| view));
    let peer = |slot| Some(name(&ours?.roster.get(slot)?.id()));
    let line = |((level, slot), answer): ((u8, u8), aggregate::Answer)| PartLine {
        level,
        seat: u64::from(slot),
        peer: (level == 0).then(|| peer(slot)).flatten(),
        answer: said(&answer, spec),
    };
    let siblings = dicast.siblings(core.now(), key).into_iter();
    siblings.map(line).collect()
}

fn tree(core: &Core) -> Tree {
    let (dicast, now) = (core.dicast(), core.now());
    let leaf = dicast.leaf().map(|(view, _)| view);
    Tree {
        cluster: leaf.map(cluster),
        members: leaf.map(seats).unwrap_or_default(),
        path: dicast.path().iter().map(above).collect(),
        posts: dicast.posts().map(cluster).collect(),
        keys: dicast
            .key_specs()
            .map(|(key, spec)| line(dicast, now, key, spec))
            .collect(),
    }
}

fn name(id: &NodeId) -> String {
    opus_swarm::peer_id(id).to_string()
}

fn cluster(view: &Cluster) -> ClusterLine {
    let deputies = view.deputies.0.iter();
    let deputies = deputies.filter_map(|slot| view.roster.get(*slot));
    ClusterLine {
        id: format!("{:016x}", view.cluster.id),
        epoch: view.cluster.epoch,
        level: view.level,
        agent: name(&view.agent.id),
        deputies: deputies.map(|seat| name(&seat.id())).collect(),
        seats: Some(view.roster.len() as u64),
    }
}

fn above(ancestor: &Ancestor) -> ClusterLine {
    let deputies = ancestor.deputies.0.iter();
    ClusterLine {
        id: format!("{:016x}", ancestor.cluster.id),
        epoch: ancestor.cluster.epoch,
        level: ancestor.level,
        agent: name(&ancestor.agent.id),
        deputies: deputies.map(|contact| name(&contact.id)).collect(),
        seats: None,
    }
}

fn seats(view: &Cluster) -> Vec<SeatLine> {
    let role = |slot, id| match view.rank(slot) {
        _ if id == view.agent.id => "agent",
        Some(_) => "deputy",
        None => "member",
    };
    let seats = view.roster.iter().map(|(slot, seat)| SeatLine {
        slot,
        peer: name(&seat.id()),
        role: role(slot, seat.id()).to_owned(),
        fit: seat.marks.fit,
        label: seat.marks.label.map(|label| label.to_string()),
    });
    seats.collect()
}

fn line(dicast: &Dicast, now: Time, key: KeyId, spec: &KeySpec) -> KeyLine {
    let of = |scope| {
        let answer = dicast.view(now, key, scope)?;
        Some(said(&answer, spec))
    };
    KeyLine {
        key: key.0,
        name: summary::name_of(key).map(str::to_owned),
        function: word(spec.function),
        own: of(Scope::Own).map(|answer| answer.v),
        cluster: of(Scope::Cluster),
        root: of(Scope::Root),
    }
}

fn word(function: Function) -> String {
    match function {
        Function::Count => "count".to_owned(),
        Function::Sum => "sum".to_owned(),
        Function::Mean => "mean".to_owned(),
        Function::WeightedMean => "weighted mean".to_owned(),
        Function::Variance => "variance".to_owned(),
        Function::Min => "min".to_owned(),
        Function::Max => "max".to_owned(),
        Function::TopK(length) => format!("top {length}"),
        Function::Quantiles => "quantiles".to_owned(),
        Function::Distinct => "distinct".to_owned(),
    }
}
