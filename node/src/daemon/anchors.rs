//! Anchors: peers of the last run, tried beside the bootstrap list at the next start.

use libp2p::Multiaddr;

use crate::{
    service::Caution,
    state::{Kind, Loaded, StateDir, StateError},
};

/// Most anchors kept.
pub(super) const ANCHORS_MAX: usize = 32;

/// One address a line, each ending in `/p2p/ID`.
const KIND: Kind = Kind {
    name: "anchors",
    tag: *b"ANCH",
    version: 1,
    bytes_max: 16 << 10,
};

/// The anchors of the last run. A damaged file is put aside and told: the node starts without.
pub(super) fn load(dir: &StateDir, cautions: &mut Vec<Caution>) -> Vec<Multiaddr> {
    let payload = match dir.load(&KIND) {
        Ok(Loaded::Good(payload)) => payload,
        Ok(Loaded::Absent | Loaded::Newer(_)) => return Vec::new(),
        Ok(Loaded::Recovered {
            payload,
            damage,
            aside,
        }) => {
            cautions.push(Caution {
                name: "state",
                cause: format!("the anchors were damaged ({damage})"),
                fix: format!("nothing; the damaged file is {}", aside.display()),
            });
            payload.unwrap_or_default()
        }
        Err(error) => {
            cautions.push(Caution {
                name: "state",
                cause: error.to_string(),
                fix: "opus-node doctor".to_owned(),
            });
            return Vec::new();
        }
    };
    let text = String::from_utf8_lossy(&payload);
    text.lines()
        .take(ANCHORS_MAX)
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Keeps at most [`ANCHORS_MAX`] anchors. Errors: [`StateError`]; those from before are in force.
pub(super) fn save(dir: &StateDir, anchors: &[Multiaddr]) -> Result<(), StateError> {
    let mut text = String::new();
    for anchor in anchors.iter().take(ANCHORS_MAX) {
        let line = format!("{anchor}\n");
        if text.len() + line.len() <= KIND.bytes_max {
            text.push_str(&line);
        }
    }
    dir.save(&KIND, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_survive_a_restart_and_damage_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let anchors: Vec<Multiaddr> = (1..40)
            .map(|port| format!("/ip4/203.0.113.9/tcp/{port}").parse().unwrap())
            .collect();
        save(&dir, &anchors).unwrap();
        let mut cautions = Vec::new();
        assert_eq!(load(&dir, &mut cautions), anchors[..ANCHORS_MAX]);
        assert!(cautions.is_empty());
        std::fs::write(temp.path().join("anchors"), b"rubbish").unwrap();
        assert!(load(&dir, &mut cautions).is_empty());
        assert_eq!(cautions.len(), 1);
    }
}
