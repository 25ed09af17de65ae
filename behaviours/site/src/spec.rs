//! Applications: the spec that an owner writes as TOML, signs, and hands to any node.
//!
//! [`Spec`] is the checked form. It is read from TOML ([`Spec::from_toml`], unknown keys refused)
//! or from the CBOR map that a signature covers ([`Spec::from_cbor`], unknown keys ignored, so that
//! an older node carries a newer spec). [`SignedApp`] is that map with its owner and signature, and
//! [`App`] what a node keeps after it verified one. Everything here is a function over plain data:
//! the command line signs offline with it.
//!
//! Source: `docs/ipc.md`, "Applications"; the curves are those of the market.

mod appref;
mod curve;
mod document;
mod error;
mod keys;
mod signed;

use std::time::Duration;

use opus_core::{
    Limits,
    codec::{self, Malformed},
};
use opus_relay::Class;
use serde::{Deserialize, Serialize};

use self::document::Document;
pub use self::{
    appref::{AppRef, AppRefError, overlay_of},
    curve::{Curve, Shape},
    error::SpecError,
    signed::{App, SignedApp, SignedError, owner_of},
};

/// Longest encoded spec, bytes: it travels whole in one message between sites.
pub const SPEC_BYTES_MAX: usize = 8 << 10;
/// Most regions, components and points of a curve in one spec.
pub const ROWS_MAX: usize = 64;
/// 1.5: the tree then costs about 9 % over the spanning tree at a mean RDP of 1.14 (Opus 3.1).
pub const KNOB_MILLI_DEFAULT: u32 = 1_500;
/// Frames of a timed application whose spec names no deadline, milliseconds.
pub const DEADLINE_MS_DEFAULT: u32 = 1_000;
/// What "in time" means where the spec does not say, milliseconds.
pub const LATENCY_MS_DEFAULT: u32 = 250;

const MS_MAX: u32 = 600_000;
const DRAIN_MS_MAX: u32 = 3_600_000;
const SLOTS_MAX: u32 = 1_000_000;

/// What an owner signed, checked: every value is in its range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Document", try_from = "Document")]
pub struct Spec {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub name: String,
    /// Who sends to whom.
    pub kind: Kind,
    /// An update is higher; at least 1.
    pub version: u64,
    /// The owner ended the application: its attachments end, its spec stays as a tombstone.
    pub retired: bool,
    /// What a slot of this application starts; at least one.
    pub components: Vec<Component>,
    /// Demand for a dry run only; real demand is measured.
    pub regions: Vec<Region>,
    /// What the application promises and what that is worth.
    pub sla: Sla,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One source, many sinks.
    Multicast,
    /// Every member sends to every other.
    MultiSender,
    /// One source, one sink.
    Unicast,
    /// Replicas answer requests.
    Service,
}

/// What a slot of the application starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The node's own forwarding.
    Relay,
    /// A native program the operator allowed, by the BLAKE3 digest of its bytes.
    Native([u8; 32]),
    /// A WebAssembly module, by the BLAKE3 digest of its bytes.
    Wasm([u8; 32]),
}

/// Expected demand of one region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// 1 to 32 of a-z, 0-9 and `-`.
    pub name: String,
    /// Requests or frames per second.
    pub rate: f64,
}

/// What the application promises and what that is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Sla {
    /// Value per second by the share in time.
    pub curve: Curve,
    /// Slower is not "in time", milliseconds.
    pub latency_ms: u32,
    /// Share of frames per joined sink, 0 to 1; 1 is the complete class.
    pub reliability: f64,
    /// Older frames of the timed class are dropped, milliseconds.
    pub deadline_ms: u32,
    /// Slots bought before the market.
    pub floor: u32,
    /// Most slots, if the owner limits them.
    pub ceiling_slots: Option<u32>,
    /// Highest price of a slot, if the owner limits it.
    pub ceiling_price: Option<f64>,
    /// 0 must stay up, to 3 best effort.
    pub tier: u8,
    /// Limits the replicas of a service.
    pub consistency: Consistency,
    /// LAST alpha or spanner k in thousandths, 1,000 to 16,000; `None`: the network turns it.
    pub knob_milli: Option<u32>,
    /// Notice before a lease ends, milliseconds.
    pub drain_ms: u32,
}

/// How replicas of a service agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// They do not.
    None,
    /// A replica lags at most this many writes.
    Bounded(u32),
    /// A write reaches a majority.
    Quorum,
    /// A write reaches all.
    All,
}

impl Spec {
    /// A multicast application with the defaults of everything else.
    ///
    /// Errors: [`SpecError`] for a name or version out of range.
    pub fn new(name: &str, kind: Kind, version: u64) -> Result<Self, SpecError> {
        let spec = Self {
            name: name.to_owned(),
            kind,
            version,
            retired: false,
            components: vec![Component::Relay],
            regions: Vec::new(),
            sla: Sla::default(),
        };
        spec.check()?;
        Ok(spec)
    }

    /// Reads the TOML that an owner writes.
    ///
    /// Errors: [`SpecError`], which names the field; for an unknown key the nearest known one.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| SpecError::Toml(error.to_string()))?;
        keys::check(&table)?;
        let document: Document =
            toml::from_str(text).map_err(|error| SpecError::Toml(error.to_string()))?;
        document.try_into()
    }

    /// Reads the CBOR map that a signature covers; unknown keys are ignored.
    ///
    /// Errors: [`SpecError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, SpecError> {
        let document: Document = codec::decode(bytes, LIMITS)?;
        document.try_into()
    }

    /// The CBOR map with the TOML's keys, in the TOML's order, defaults written out; definite
    /// lengths, whole numbers as integers.
    ///
    /// Errors: [`SpecError`] when a value is out of range, NaN included.
    pub fn to_cbor(&self) -> Result<Vec<u8>, SpecError> {
        self.check()?;
        let bytes = codec::encode(&Document::from(self.clone()));
        if bytes.len() > SPEC_BYTES_MAX {
            return Err(SpecError::Malformed(Malformed::TooLarge {
                bytes: bytes.len(),
                limit: SPEC_BYTES_MAX,
            }));
        }
        Ok(bytes)
    }

    /// The promise of this application's flows.
    pub fn class(&self) -> Class {
        if self.sla.reliability >= 1.0 {
            return Class::Complete;
        }
        Class::Timed {
            deadline: Duration::from_millis(u64::from(self.sla.deadline_ms)),
        }
    }

    /// The knob in thousandths that the root sets: the spec's, else the default.
    pub fn knob_milli(&self) -> u32 {
        self.sla.knob_milli.unwrap_or(KNOB_MILLI_DEFAULT)
    }

    /// Checks every value. Errors: [`SpecError`], which names the field.
    pub fn check(&self) -> Result<(), SpecError> {
        label("name", &self.name)?;
        if self.version == 0 {
            return Err(SpecError::field("version", "must be at least 1"));
        }
        self.check_components()?;
        self.check_regions()?;
        self.sla.check()
    }

    fn check_components(&self) -> Result<(), SpecError> {
        if self.components.is_empty() {
            return Err(SpecError::field("components", "must name at least one"));
        }
        rows("components", self.components.len())
    }

    fn check_regions(&self) -> Result<(), SpecError> {
        rows("regions", self.regions.len())?;
        for (index, region) in self.regions.iter().enumerate() {
            let field = format!("regions[{index}]");
            label(&format!("{field}.name"), &region.name)?;
            if !region.rate.is_finite() || region.rate < 0.0 {
                let problem = "must be a finite number of at least 0";
                return Err(SpecError::field(format!("{field}.rate"), problem));
            }
            if self.regions[..index]
                .iter()
                .any(|other| other.name == region.name)
            {
                return Err(SpecError::field(
                    format!("{field}.name"),
                    "names a region twice",
                ));
            }
        }
        Ok(())
    }
}

impl Sla {
    fn check(&self) -> Result<(), SpecError> {
        self.curve.check()?;
        range("sla.latency_ms", self.latency_ms, 1, MS_MAX)?;
        range("sla.deadline_ms", self.deadline_ms, 1, MS_MAX)?;
        if self.deadline_ms < self.latency_ms {
            return Err(SpecError::field(
                "sla.deadline_ms",
                "must not be below latency_ms",
            ));
        }
        if !(0.0..=1.0).contains(&self.reliability) {
            return Err(SpecError::field("sla.reliability", "must be from 0 to 1"));
        }
        range("sla.floor", self.floor, 0, SLOTS_MAX)?;
        if let Some(slots) = self.ceiling_slots {
            range("sla.ceiling.slots", slots, 1, SLOTS_MAX)?;
        }
        if self
            .ceiling_price
            .is_some_and(|price| !price.is_finite() || price < 0.0)
        {
            let problem = "must be a finite number of at least 0";
            return Err(SpecError::field("sla.ceiling.price", problem));
        }
        range("sla.tier", u32::from(self.tier), 0, 3)?;
        if let Some(knob) = self.knob_milli
            && !(1_000..=16_000).contains(&knob)
        {
            return Err(SpecError::field("sla.knob", "must be from 1 to 16"));
        }
        range("sla.drain_ms", self.drain_ms, 0, DRAIN_MS_MAX)
    }
}

impl Default for Sla {
    fn default() -> Self {
        Self {
            curve: Curve::linear(),
            latency_ms: LATENCY_MS_DEFAULT,
            reliability: 0.99,
            deadline_ms: DEADLINE_MS_DEFAULT,
            floor: 0,
            ceiling_slots: None,
            ceiling_price: None,
            tier: 2,
            consistency: Consistency::None,
            knob_milli: None,
            drain_ms: 10_000,
        }
    }
}

impl Kind {
    /// All kinds, as ipc.md lists them.
    pub const ALL: [Self; 4] = [
        Self::Multicast,
        Self::MultiSender,
        Self::Unicast,
        Self::Service,
    ];

    /// The name in specs and over IPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multicast => "multicast",
            Self::MultiSender => "multi-sender",
            Self::Unicast => "unicast",
            Self::Service => "service",
        }
    }
}

/// Bounds on an encoded spec.
const LIMITS: Limits = Limits {
    bytes: SPEC_BYTES_MAX,
    depth: 8,
    items: 1_024,
    text_keys: true,
};

/// Checks a name of an application or region: one DNS label of at most 32 letters.
fn label(field: &str, text: &str) -> Result<(), SpecError> {
    let lawful = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let problem = if text.is_empty() || text.len() > 32 {
        "must have 1 to 32 letters"
    } else if !text.bytes().all(lawful) {
        "may only have a-z, 0-9 and -"
    } else if text.starts_with('-') || text.ends_with('-') {
        "must not begin or end with -"
    } else {
        return Ok(());
    };
    Err(SpecError::field(field, problem))
}

fn rows(field: &str, count: usize) -> Result<(), SpecError> {
    if count > ROWS_MAX {
        return Err(SpecError::field(
            field,
            format!("may have at most {ROWS_MAX} entries"),
        ));
    }
    Ok(())
}

fn range(field: &str, value: u32, min: u32, max: u32) -> Result<(), SpecError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(SpecError::field(
        field,
        format!("must be from {min} to {max}"),
    ))
}

#[cfg(test)]
mod tests;
