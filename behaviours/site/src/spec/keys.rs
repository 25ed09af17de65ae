//! Unknown keys in an owner's TOML: refused with the nearest known one, since a misspelt
//! `deadline_ms` would otherwise silently mean the default.

use toml::{Table, Value};

use super::error::SpecError;

const TOP: &[&str] = &[
    "name",
    "kind",
    "version",
    "retired",
    "components",
    "regions",
    "sla",
];
const COMPONENT: &[&str] = &["start", "digest"];
const REGION: &[&str] = &["name", "rate"];
const CEILING: &[&str] = &["slots", "price"];
const SLA: &[&str] = &[
    "curve",
    "points",
    "a",
    "alpha",
    "k",
    "s0",
    "cap",
    "scale",
    "latency_ms",
    "reliability",
    "deadline_ms",
    "floor",
    "ceiling",
    "tier",
    "consistency",
    "knob",
    "drain_ms",
];

/// Refuses the first key that no spec has. Types are serde's task.
pub(super) fn check(table: &Table) -> Result<(), SpecError> {
    check_table("", table, TOP)?;
    for (key, known) in [("components", COMPONENT), ("regions", REGION)] {
        let entries = table.get(key).and_then(Value::as_array);
        for entry in entries.into_iter().flatten().filter_map(Value::as_table) {
            check_table(&format!("{key}."), entry, known)?;
        }
    }
    if let Some(sla) = table.get("sla").and_then(Value::as_table) {
        check_table("sla.", sla, SLA)?;
        if let Some(ceiling) = sla.get("ceiling").and_then(Value::as_table) {
            check_table("sla.ceiling.", ceiling, CEILING)?;
        }
    }
    Ok(())
}

fn check_table(prefix: &str, table: &Table, known: &[&str]) -> Result<(), SpecError> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let nearest = known
        .iter()
        .min_by_key(|name| distance(key, name))
        .expect("every table has known keys");
    Err(SpecError::UnknownKey {
        key: format!("{prefix}{key}"),
        nearest: format!("{prefix}{nearest}"),
    })
}

/// Levenshtein's distance over bytes. Keys of a spec file are short.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
