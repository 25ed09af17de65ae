//! The shape of a spec on paper: the TOML's tables, which are also the signed CBOR's maps.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Component, Consistency, DEADLINE_MS_DEFAULT, Kind, LATENCY_MS_DEFAULT, Region, Sla, Spec,
    curve::{Curve, Shape},
    error::SpecError,
};

/// A spec as written. `None`: not written.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Document {
    name: Option<String>,
    kind: Option<String>,
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Vec<ComponentRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<RegionRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<SlaTable>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ComponentRow {
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RegionRow {
    name: String,
    rate: Num,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct CeilingTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Num>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SlaTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<(Num, Num)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s0: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reliability: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<CeilingTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consistency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    knob: Option<Num>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_ms: Option<u64>,
}

impl TryFrom<Document> for Spec {
    type Error = SpecError;

    fn try_from(document: Document) -> Result<Self, SpecError> {
        let missing = |field| SpecError::field(field, "is missing");
        let kind = document.kind.ok_or_else(|| missing("kind"))?;
        let components = match document.components {
            None => vec![Component::Relay],
            Some(rows) => rows.iter().map(parse_component).collect::<Result<_, _>>()?,
        };
        let regions = document.regions.unwrap_or_default().into_iter();
        let spec = Self {
            name: document.name.ok_or_else(|| missing("name"))?,
            kind: parse_kind(&kind)?,
            version: document.version.ok_or_else(|| missing("version"))?,
            retired: document.retired.unwrap_or_default(),
            components,
            regions: regions
                .map(|row| Region {
                    name: row.name,
                    rate: row.rate.0,
                })
                .collect(),
            sla: parse_sla(document.sla.unwrap_or_default())?,
        };
        spec.check()?;
        Ok(spec)
    }
}

impl From<Spec> for Document {
    fn from(spec: Spec) -> Self {
        let regions: Vec<RegionRow> = spec
            .regions
            .into_iter()
            .map(|region| RegionRow {
                name: region.name,
                rate: Num(region.rate),
            })
            .collect();
        Self {
            name: Some(spec.name),
            kind: Some(spec.kind.name().to_owned()),
            version: Some(spec.version),
            retired: spec.retired.then_some(true),
            components: Some(spec.components.iter().map(write_component).collect()),
            regions: (!regions.is_empty()).then_some(regions),
            sla: Some(write_sla(spec.sla)),
        }
    }
}

fn parse_kind(text: &str) -> Result<Kind, SpecError> {
    let problem = "must be multicast, multi-sender, unicast or service";
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| SpecError::field("kind", problem))
}

fn parse_component(row: &ComponentRow) -> Result<Component, SpecError> {
    let digest = || {
        let text = row.digest.as_deref().unwrap_or_default();
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| {
                let problem = "must be the BLAKE3 digest of the program, 64 digits of 0-9 and a-f";
                SpecError::field("components.digest", problem)
            })
    };
    match row.start.as_str() {
        "relay" if row.digest.is_some() => Err(SpecError::field(
            "components.digest",
            "does not go with relay",
        )),
        "relay" => Ok(Component::Relay),
        "native" => Ok(Component::Native(digest()?)),
        "wasm" => Ok(Component::Wasm(digest()?)),
        _ => Err(SpecError::field(
            "components.start",
            "must be relay, native or wasm",
        )),
    }
}

fn write_component(component: &Component) -> ComponentRow {
    let (start, digest) = match component {
        Component::Relay => ("relay", None),
        Component::Native(digest) => ("native", Some(digest)),
        Component::Wasm(digest) => ("wasm", Some(digest)),
    };
    ComponentRow {
        start: start.to_owned(),
        digest: digest.map(|digest| HEXLOWER.encode(digest)),
    }
}

fn parse_sla(mut table: SlaTable) -> Result<Sla, SpecError> {
    let curve = parse_curve(&mut table)?;
    let ceiling = table.ceiling.unwrap_or_default();
    let latency = narrow("sla.latency_ms", table.latency_ms)?;
    let deadline = narrow("sla.deadline_ms", table.deadline_ms)?;
    let defaults = Sla::default();
    Ok(Sla {
        curve,
        latency_ms: latency
            .unwrap_or_else(|| LATENCY_MS_DEFAULT.min(deadline.unwrap_or(LATENCY_MS_DEFAULT))),
        deadline_ms: deadline.unwrap_or_else(|| DEADLINE_MS_DEFAULT.max(latency.unwrap_or(0))),
        reliability: table.reliability.map_or(defaults.reliability, |num| num.0),
        floor: narrow("sla.floor", table.floor)?.unwrap_or(defaults.floor),
        ceiling_slots: narrow("sla.ceiling.slots", ceiling.slots)?,
        ceiling_price: ceiling.price.map(|num| num.0),
        tier: table.tier.map_or(Ok(defaults.tier), |tier| {
            u8::try_from(tier).map_err(|_| SpecError::field("sla.tier", "must be from 0 to 3"))
        })?,
        consistency: parse_consistency(table.consistency.as_deref())?,
        knob_milli: table.knob.map(|num| parse_knob(num.0)).transpose()?,
        drain_ms: narrow("sla.drain_ms", table.drain_ms)?.unwrap_or(defaults.drain_ms),
    })
}

fn write_sla(sla: Sla) -> SlaTable {
    let consistency = match sla.consistency {
        Consistency::None => "none".to_owned(),
        Consistency::Bounded(n) => format!("bounded:{n}"),
        Consistency::Quorum => "quorum".to_owned(),
        Consistency::All => "all".to_owned(),
    };
    let ceiling = CeilingTable {
        slots: sla.ceiling_slots.map(u64::from),
        price: sla.ceiling_price.map(Num),
    };
    let limited = ceiling.slots.is_some() || ceiling.price.is_some();
    let mut table = SlaTable {
        latency_ms: Some(u64::from(sla.latency_ms)),
        reliability: Some(Num(sla.reliability)),
        deadline_ms: Some(u64::from(sla.deadline_ms)),
        floor: Some(u64::from(sla.floor)),
        ceiling: limited.then_some(ceiling),
        tier: Some(u64::from(sla.tier)),
        consistency: Some(consistency),
        knob: sla.knob_milli.map(|milli| Num(f64::from(milli) / 1_000.0)),
        drain_ms: Some(u64::from(sla.drain_ms)),
        ..SlaTable::default()
    };
    write_curve(&mut table, sla.curve);
    table
}

fn parse_curve(table: &mut SlaTable) -> Result<Curve, SpecError> {
    let missing = |field: &str| SpecError::field(field, "is missing for this curve");
    let name = table.curve.take();
    let shape = match name.as_deref() {
        None if table.points.is_some() => {
            return Err(SpecError::field("sla.points", "need curve = \"pwl\""));
        }
        None | Some("linear") => Shape::Linear,
        Some("pwl") => {
            let points = table.points.take().ok_or_else(|| missing("sla.points"))?;
            Shape::Pwl(points.into_iter().map(|(s, u)| (s.0, u.0)).collect())
        }
        Some("log") => Shape::Log(table.a.take().ok_or_else(|| missing("sla.a"))?.0),
        Some("power") => Shape::Power(table.alpha.take().ok_or_else(|| missing("sla.alpha"))?.0),
        Some("alpha-fair") => Shape::AlphaFair(
            table.alpha.take().ok_or_else(|| missing("sla.alpha"))?.0,
            table.s0.take().ok_or_else(|| missing("sla.s0"))?.0,
        ),
        Some("sat-exp") => Shape::SatExp(table.k.take().ok_or_else(|| missing("sla.k"))?.0),
        Some(_) => {
            let problem = "must be pwl, log, power, alpha-fair, sat-exp or linear";
            return Err(SpecError::field("sla.curve", problem));
        }
    };
    refuse_leftovers(table)?;
    Ok(Curve {
        shape,
        scale: table.scale.take().map_or(1.0, |num| num.0),
        cap: table.cap.take().map_or(1.0, |num| num.0),
    })
}

/// A parameter that the named curve does not have is a mistake of its owner.
fn refuse_leftovers(table: &SlaTable) -> Result<(), SpecError> {
    let left = [
        ("sla.points", table.points.is_some()),
        ("sla.a", table.a.is_some()),
        ("sla.alpha", table.alpha.is_some()),
        ("sla.k", table.k.is_some()),
        ("sla.s0", table.s0.is_some()),
    ];
    match left.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(SpecError::field(*field, "does not belong to this curve")),
        None => Ok(()),
    }
}

fn write_curve(table: &mut SlaTable, curve: Curve) {
    table.curve = Some(curve.name().to_owned());
    table.scale = Some(Num(curve.scale));
    table.cap = Some(Num(curve.cap));
    match curve.shape {
        Shape::Pwl(points) => {
            table.points = Some(points.into_iter().map(|(s, u)| (Num(s), Num(u))).collect());
        }
        Shape::Log(a) => table.a = Some(Num(a)),
        Shape::Power(alpha) => table.alpha = Some(Num(alpha)),
        Shape::AlphaFair(alpha, s0) => {
            table.alpha = Some(Num(alpha));
            table.s0 = Some(Num(s0));
        }
        Shape::SatExp(k) => table.k = Some(Num(k)),
        Shape::Linear => {}
    }
}

fn parse_consistency(text: Option<&str>) -> Result<Consistency, SpecError> {
    let problem = "must be none, bounded:N, quorum or all";
    match text {
        None | Some("none") => Ok(Consistency::None),
        Some("quorum") => Ok(Consistency::Quorum),
        Some("all") => Ok(Consistency::All),
        Some(other) => other
            .strip_prefix("bounded:")
            .and_then(|n| n.parse().ok())
            .map(Consistency::Bounded)
            .ok_or_else(|| SpecError::field("sla.consistency", problem)),
    }
}

fn parse_knob(knob: f64) -> Result<u32, SpecError> {
    if !(1.0..=16.0).contains(&knob) {
        return Err(SpecError::field("sla.knob", "must be from 1 to 16"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie from 1 to 16"
    )]
    let milli = (knob * 1_000.0).round() as u32;
    Ok(milli)
}

fn narrow(field: &str, value: Option<u64>) -> Result<Option<u32>, SpecError> {
    let too_large = |_| SpecError::field(field, "is too large");
    value
        .map(|v| u32::try_from(v).map_err(too_large))
        .transpose()
}

/// A number that may be written as integer or float; whole numbers are encoded as integers.
#[derive(Clone, Copy, Debug)]
struct Num(f64);

/// 2^53: up to here every whole f64 is one integer.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Serialize for Num {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0.trunc().total_cmp(&self.0).is_eq() && self.0.abs() <= WHOLE_MAX;
        if !whole || (self.0.is_sign_negative() && self.0.abs().total_cmp(&0.0).is_eq()) {
            return serializer.serialize_f64(self.0);
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        serializer.serialize_i64(self.0 as i64)
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Num;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Num, E> {
                Ok(Num(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Num, E> {
                Ok(Num(value as f64))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Num, E> {
                Ok(Num(value))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
