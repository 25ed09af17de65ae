//! Specs: every field, every refusal, and the signature.

use opus_core::codec;
use proptest::prelude::*;

use super::*;

const FULL: &str = r#"
name = "ticker"
kind = "multicast"
version = 1
components = [{ start = "relay" }]
regions = [{ name = "eu", rate = 200 }]
[sla]
curve = "pwl"
points = [[0, 0], [0.5, 80], [1, 100]]
latency_ms = 250
reliability = 0.999
deadline_ms = 400
floor = 2
ceiling = { slots = 40, price = 1.5 }
tier = 2
consistency = "none"
knob = 1.5
drain_ms = 10000
"#;

const SECRET: [u8; 32] = [7; 32];

fn refusal(text: &str) -> String {
    Spec::from_toml(text).unwrap_err().to_string()
}

/// The full spec with one line replaced.
fn with(line: &str, instead: &str) -> String {
    assert!(
        FULL.contains(line),
        "the test's own line {line} is in the spec"
    );
    FULL.replace(line, instead)
}

#[test]
fn the_full_example_keeps_every_value() {
    let spec = Spec::from_toml(FULL).unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.kind, spec.version),
        ("ticker", Kind::Multicast, 1)
    );
    assert_eq!(spec.regions[0].name, "eu");
    let sla = &spec.sla;
    assert_eq!(
        sla.curve.shape,
        Shape::Pwl(vec![(0.0, 0.0), (0.5, 80.0), (1.0, 100.0)])
    );
    assert_eq!(
        (sla.latency_ms, sla.deadline_ms, sla.drain_ms),
        (250, 400, 10_000)
    );
    assert_eq!(
        (sla.floor, sla.ceiling_slots, sla.ceiling_price),
        (2, Some(40), Some(1.5))
    );
    assert_eq!((sla.tier, sla.knob_milli), (2, Some(1_500)));
    assert_eq!(
        spec.class(),
        Class::Timed {
            deadline: Duration::from_millis(400)
        }
    );
}

#[test]
fn three_lines_are_enough() {
    let spec = Spec::from_toml("name = \"a\"\nkind = \"multicast\"\nversion = 3").unwrap();
    assert_eq!(spec, Spec::new("a", Kind::Multicast, 3).unwrap());
    assert_eq!(spec.knob_milli(), 1_500);
    assert_eq!(spec.components, [Component::Relay]);
}

#[test]
fn reliability_one_is_the_complete_class() {
    let spec = Spec::from_toml(&with("reliability = 0.999", "reliability = 1")).unwrap();
    assert_eq!(spec.class(), Class::Complete);
}

#[test]
fn each_needed_field_is_missed_by_name() {
    for field in ["name", "kind", "version"] {
        let kept: Vec<&str> = FULL
            .lines()
            .filter(|line| !line.starts_with(field))
            .collect();
        let text = kept.join("\n");
        assert_eq!(refusal(&text), format!("{field} is missing"));
    }
}

/// A line of the full spec, what stands there instead, and how the refusal begins.
const BAD: &[(&str, &str, &str)] = &[
    (
        "name = \"ticker\"",
        "name = \"Ticker\"",
        "name may only have",
    ),
    ("name = \"ticker\"", "name = \"\"", "name must have 1 to 32"),
    ("name = \"ticker\"", "name = \"-a\"", "name must not begin"),
    (
        "kind = \"multicast\"",
        "kind = \"broadcast\"",
        "kind must be multicast",
    ),
    ("version = 1", "version = 0", "version must be at least 1"),
    (
        "rate = 200",
        "rate = nan",
        "regions[0].rate must be a finite",
    ),
    (
        "name = \"eu\"",
        "name = \"e u\"",
        "regions[0].name may only",
    ),
    (
        "start = \"relay\"",
        "start = \"shell\"",
        "components.start must be",
    ),
    (
        "start = \"relay\"",
        "start = \"wasm\"",
        "components.digest must be",
    ),
    ("curve = \"pwl\"", "curve = \"cubic\"", "sla.curve must be"),
    ("curve = \"pwl\"", "curve = \"log\"", "sla.a is missing"),
    (
        "curve = \"pwl\"",
        "curve = \"linear\"",
        "sla.points does not belong",
    ),
    (
        "latency_ms = 250",
        "latency_ms = 0",
        "sla.latency_ms must be from 1",
    ),
    (
        "reliability = 0.999",
        "reliability = 1.01",
        "sla.reliability must be",
    ),
    (
        "deadline_ms = 400",
        "deadline_ms = 100",
        "sla.deadline_ms must not be below",
    ),
    ("floor = 2", "floor = 9999999999", "sla.floor is too large"),
    (
        "slots = 40",
        "slots = 0",
        "sla.ceiling.slots must be from 1",
    ),
    ("price = 1.5", "price = -1", "sla.ceiling.price must be"),
    ("tier = 2", "tier = 4", "sla.tier must be from 0 to 3"),
    (
        "consistency = \"none\"",
        "consistency = \"some\"",
        "sla.consistency must be",
    ),
    ("knob = 1.5", "knob = 0.9", "sla.knob must be from 1 to 16"),
    (
        "drain_ms = 10000",
        "drain_ms = 3600001",
        "sla.drain_ms must be",
    ),
];

#[test]
fn each_bad_value_is_refused_by_name() {
    for (line, instead, expected) in BAD {
        let told = refusal(&with(line, instead));
        assert!(told.starts_with(expected), "{instead}: {told}");
    }
}

#[test]
fn a_curve_that_is_not_concave_names_its_first_bad_triple() {
    let points = "points = [[0, 0], [0.5, 0.1], [0.75, 0.2], [1, 0.425]]";
    let told = refusal(&with("points = [[0, 0], [0.5, 80], [1, 100]]", points));
    assert_eq!(
        told,
        "sla.points: not concave at points 0, 1, 2: slopes 0.2 then 0.4"
    );
}

#[test]
fn points_that_fall_or_stand_still_in_share_are_refused() {
    let line = "points = [[0, 0], [0.5, 80], [1, 100]]";
    let told = refusal(&with(line, "points = [[0, 0], [0, 80]]"));
    assert_eq!(told, "sla.points must rise in share, point 1 does not");
    let told = refusal(&with(line, "points = [[0, 9], [1, 8]]"));
    assert_eq!(told, "sla.points must not fall in value, point 1 does");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let told = refusal(&with("deadline_ms = 400", "deadlin_ms = 400"));
    assert_eq!(
        told,
        "unknown key sla.deadlin_ms; did you mean sla.deadline_ms?"
    );
    let told = refusal(&with("slots = 40", "slot = 40"));
    assert_eq!(
        told,
        "unknown key sla.ceiling.slot; did you mean sla.ceiling.slots?"
    );
}

#[test]
fn a_spec_survives_cbor_and_unknown_keys_are_ignored_there() {
    let spec = Spec::from_toml(FULL).unwrap();
    let bytes = spec.to_cbor().unwrap();
    assert_eq!(Spec::from_cbor(&bytes).unwrap(), spec);
    // A map with one more entry: the head counts it, the entry follows.
    let mut more = bytes;
    assert_eq!(more[0] & 0xe0, 0xa0);
    more[0] += 1;
    more.extend_from_slice(b"\x66future\x05");
    assert_eq!(Spec::from_cbor(&more).unwrap(), spec);
}

#[test]
fn a_spec_holding_nan_cannot_be_encoded_or_signed() {
    let mut spec = Spec::from_toml(FULL).unwrap();
    spec.sla.reliability = f64::NAN;
    assert!(spec.to_cbor().is_err());
    assert!(SignedApp::sign(&spec, "main", &SECRET).is_err());
}

#[test]
fn an_app_reference_is_name_dot_52_letters() {
    let full = AppRef::new("ticker", owner_of(&SECRET));
    let text = full.to_string();
    assert_eq!(text.len(), "ticker.".len() + 52);
    assert_eq!(text.parse::<AppRef>().unwrap(), full);
    let bare: AppRef = "ticker".parse().unwrap();
    assert!(bare.means(&full) && !full.means(&bare));
    for bad in [
        "",
        "Ticker",
        "a.b",
        &text.to_uppercase(),
        &text[..text.len() - 1],
    ] {
        assert!(bad.parse::<AppRef>().is_err(), "{bad}");
    }
}

#[test]
fn overlays_differ_by_name_and_by_owner() {
    let overlay = |name, secret| overlay_of(name, &owner_of(&[secret; 32]));
    assert_ne!(overlay("a", 1), overlay("b", 1));
    assert_ne!(overlay("a", 1), overlay("a", 2));
    assert_eq!(overlay("a", 1), overlay("a", 1));
}

#[test]
fn a_signed_spec_is_verified_for_its_network_only() {
    let spec = Spec::from_toml(FULL).unwrap();
    let signed = SignedApp::sign(&spec, "main", &SECRET).unwrap();
    let again = SignedApp::decode(&signed.encode()).unwrap();
    assert_eq!(again, signed);
    let app = again.clone().verify("main").unwrap();
    assert_eq!(app.spec, spec);
    assert_eq!(app.app, AppRef::new("ticker", owner_of(&SECRET)));
    assert_eq!(again.verify("test"), Err(SignedError::Signature));
}

#[test]
fn any_changed_bit_of_a_signed_spec_is_noticed() {
    let spec = Spec::new("a", Kind::Multicast, 1).unwrap();
    let bytes = SignedApp::sign(&spec, "main", &SECRET).unwrap().encode();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let verified = SignedApp::decode(&changed).and_then(|signed| signed.verify("main"));
        assert!(verified.is_err(), "bit {bit}");
    }
}

#[test]
fn the_signed_form_is_the_golden_array() {
    let spec = Spec::new("a", Kind::Multicast, 1).unwrap();
    let signed = SignedApp::sign(&spec, "main", &SECRET).unwrap();
    let bytes = signed.encode();
    assert_eq!(bytes[..12], *b"\x85\x68opus-app\x01\x58");
    assert!(codec::scan(&bytes, SignedApp::LIMITS).is_ok());
    assert_eq!(signed.spec_bytes()[..8], *b"\xa5\x64name\x61a");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(SignedApp::decode(&bytes).is_err());
        prop_assert!(Spec::from_cbor(&bytes).is_err());
    }

    #[test]
    fn lawful_specs_survive_cbor(
        version in 1..u64::MAX,
        knob in 1_000..=16_000_u32,
        reliability in 0.0..=1.0,
        rate in 0.0..1e9,
        retired in any::<bool>(),
    ) {
        let mut spec = Spec::new("x", Kind::Service, version).unwrap();
        spec.sla.knob_milli = Some(knob);
        spec.sla.reliability = reliability;
        spec.retired = retired;
        spec.regions.push(Region { name: "eu".into(), rate });
        let bytes = spec.to_cbor().unwrap();
        prop_assert_eq!(Spec::from_cbor(&bytes).unwrap(), spec);
    }
}
