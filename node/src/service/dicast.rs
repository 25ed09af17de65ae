//! `dicast.*`: the tree as this node knows it, and its answers with their bounds.

use opus_core::{NodeId, Time};
use opus_dicast::{
    Dicast, Scope,
    aggregate::{self, Entry, KeyId, KeySpec, Value},
    cluster::{Ancestor, View as Cluster},
};
use opus_ipc::message::{
    Answer, ClusterLine, Code, DicastView, Fault, KeyLine, KeyName, PartLine, QuantileLine,
    Scope as Said, SeatLine, TopLine, Tree, View,
};
use opus_site::{keys, summary};

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
    let (key, name) = key_of(core, params.key.as_ref())?;
    let known_as = name.clone().unwrap_or_else(|| key.0.to_string());
    let Some(spec) = dicast.spec(key) else {
        return Err(unknown(key, &known_as));
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
        name,
        scope: said_scope,
        level: params.level,
        answer: said(&answer, spec),
        top: top(&answer),
        quantiles: quantiles(&answer, spec),
        parts: (params.parts == Some(true)).then(|| parts(core, key, spec)),
    })
}

/// The key and its name, if it has one here. Errors: no key can have this name.
fn key_of(core: &Core, named: Option<&KeyName>) -> Result<(KeyId, Option<String>), Fault> {
    let key = match named {
        None => KeyId::MEMBERS,
        Some(KeyName::Number(number)) => KeyId(*number),
        Some(KeyName::Name(name)) => {
            let every_node = summary::by_name(name).map(|key| Ok(key.id));
            let key = every_node.unwrap_or_else(|| core.program_keys().key_of(name));
            let key = key.map_err(|error| {
                let msg = format!("no key {name:?}: {error}");
                Fault::new(Code::NotFound, msg).help("opus-node dicast")
            })?;
            return Ok((key, Some(name.clone())));
        }
    };
    Ok((key, key_name(core, key)))
}

/// The name of a key that every node has, or that programs of this one named.
fn key_name(core: &Core, key: KeyId) -> Option<String> {
    let name = summary::name_of(key).or_else(|| core.program_keys().name_of(key));
    name.map(str::to_owned)
}

/// The tree has no such key.
fn unknown(key: KeyId, known_as: &str) -> Fault {
    let fault = |msg| Fault::new(Code::NotFound, msg).help("opus-node dicast");
    if summary::name_of(key).is_some() {
        // Those of the site manager come with the tree.
        return fault(format!("no key {known_as} in this tree yet")).retry_ms(RETRY_MS);
    }
    if known_as == key.0.to_string() {
        return fault(format!("no key {known_as} in this tree"));
    }
    let every_node: Vec<_> = summary::KEYS.iter().map(|key| key.name).collect();
    fault(format!(
        "no key {known_as:?} in this tree (it would be {}): no program has defined it, as far as \
         is known here; those of every node are {}",
        key.0,
        every_node.join(", ")
    ))
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
        node: data_encoding::HEXLOWER.encode(&entry.node.to_be_bytes()),
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
            .map(|(key, spec)| line(core, now, key, spec))
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
        fit: seat.marks().fit,
        label: seat.marks().label.map(|label| label.to_string()),
    });
    seats.collect()
}

fn line(core: &Core, now: Time, key: KeyId, spec: &KeySpec) -> KeyLine {
    let of = |scope| {
        let answer = core.dicast().view(now, key, scope)?;
        Some(said(&answer, spec))
    };
    KeyLine {
        key: key.0,
        name: key_name(core, key),
        function: keys::word(spec.function),
        own: of(Scope::Own).map(|answer| answer.v),
        cluster: of(Scope::Cluster),
        root: of(Scope::Root),
    }
}
