//! What this node knows of applications: verified specs and who roots each overlay.
//!
//! The directory is the state that anti-entropy spreads: higher versions and higher root notes
//! replace lower ones, so that two directories which exchanged digests agree.

use opus_core::{BoundedMap, OverlayId};

use crate::{
    command::Refusal,
    spec::{App, AppRef, SignedApp, SignedError},
    wire::{Entry, PAGE_MAX, RootNote},
};

/// Applications by overlay.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    network: String,
    apps: BoundedMap<OverlayId, Known>,
}

/// One application.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) app: App,
    pub(crate) root: Option<RootNote>,
}

/// What a spec was to the directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Offered {
    /// In force from here on; the one it replaces, if any.
    Fresh {
        overlay: OverlayId,
        replaced: Option<Box<App>>,
    },
    /// In force already.
    Known(OverlayId),
}

/// Why a spec was not taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rejected {
    /// Never lawful: bad bytes, signature or values.
    Bad(SignedError),
    /// Lawful, but not here and now.
    Stale { have: u64 },
    /// No room.
    Full,
}

impl Directory {
    pub(crate) fn new(network: &str, apps_max: usize) -> Self {
        Self {
            network: network.to_owned(),
            apps: BoundedMap::new(apps_max),
        }
    }

    /// Takes a signed spec if it is lawful and newer than what is known. With `dry_run` only says
    /// what would happen.
    pub(crate) fn offer(&mut self, bytes: &[u8], dry_run: bool) -> Result<Offered, Rejected> {
        let signed = SignedApp::decode(bytes).map_err(Rejected::Bad)?;
        // A known spec is recognised by its bytes before the costly check of its signature.
        let known = self
            .apps
            .iter()
            .find(|(_, known)| known.app.signed == signed);
        if let Some((&overlay, _)) = known {
            return Ok(Offered::Known(overlay));
        }
        let app = signed.verify(&self.network).map_err(Rejected::Bad)?;
        let overlay = app.overlay;
        let replaced = self.replaces(&app)?;
        let fits = replaced.is_some() || !self.apps.is_full() || dry_run;
        if !fits && !self.evict_retired(&app) {
            return Err(Rejected::Full);
        }
        if !dry_run {
            let root = self.apps.get(&overlay).and_then(|known| known.root.clone());
            let known = Known { app, root };
            self.apps
                .insert(overlay, known)
                .map_err(|_| Rejected::Full)?;
        }
        Ok(Offered::Fresh { overlay, replaced })
    }

    /// The application that a verified one replaces, if any. Errors: it must not.
    fn replaces(&self, app: &App) -> Result<Option<Box<App>>, Rejected> {
        match self.apps.get(&app.overlay).map(|known| &known.app) {
            // 64 bits of two applications agree: only by design, and then the first one stays.
            Some(known) if known.app != app.app => Err(Rejected::Full),
            Some(known) if known.spec.version >= app.spec.version => Err(Rejected::Stale {
                have: known.spec.version,
            }),
            Some(known) => Ok(Some(Box::new(known.clone()))),
            None => Ok(None),
        }
    }

    /// Makes room for a live application by forgetting a retired one.
    fn evict_retired(&mut self, newcomer: &App) -> bool {
        let retired = self.apps.iter().find(|(_, known)| known.app.spec.retired);
        match retired.map(|(&overlay, _)| overlay) {
            Some(overlay) if !newcomer.spec.retired => self.apps.remove(&overlay).is_some(),
            Some(_) | None => false,
        }
    }

    /// Takes a root note if its application is known and the note is higher than the known one.
    pub(crate) fn learn_root(&mut self, note: &RootNote) -> bool {
        let Some(known) = self.apps.get_mut(&note.overlay) else {
            return false;
        };
        let newer = known
            .root
            .as_ref()
            .is_none_or(|old| note.rank() > old.rank());
        if newer {
            known.root = Some(note.clone());
        }
        newer
    }

    /// The application that `app` means. Errors: [`Refusal::NotFound`], [`Refusal::Ambiguous`].
    pub(crate) fn find(&self, app: &AppRef) -> Result<&Known, Refusal> {
        let mut meant = self.apps.values().filter(|known| app.means(&known.app.app));
        let first = meant
            .next()
            .ok_or_else(|| Refusal::NotFound(app.to_string()))?;
        match meant.next() {
            Some(_) => Err(Refusal::Ambiguous(app.to_string())),
            None => Ok(first),
        }
    }

    pub(crate) fn get(&self, overlay: OverlayId) -> Option<&Known> {
        self.apps.get(&overlay)
    }

    /// The root note of an overlay, if one is known.
    pub(crate) fn root(&self, overlay: OverlayId) -> Option<&RootNote> {
        self.apps.get(&overlay)?.root.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.apps.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// The page of at most [`PAGE_MAX`] entries that follows `after`, and whether more follow it.
    pub(crate) fn page(&self, after: Option<OverlayId>) -> (Vec<Entry>, bool) {
        let mut rest = self
            .apps
            .iter()
            .filter(|&(&overlay, _)| after.is_none_or(|after| overlay > after));
        let entries: Vec<Entry> = rest
            .by_ref()
            .take(PAGE_MAX)
            .map(|(&overlay, known)| Entry {
                overlay,
                version: known.app.spec.version,
                root: known.root.as_ref().map(RootNote::rank),
            })
            .collect();
        (entries, rest.next().is_some())
    }

    /// Which of a peer's entries are newer there than here.
    pub(crate) fn lacks(&self, entries: &[Entry]) -> Vec<OverlayId> {
        let lacks = |entry: &&Entry| {
            self.apps.get(&entry.overlay).is_none_or(|known| {
                entry.version > known.app.spec.version
                    || entry.root > known.root.as_ref().map(RootNote::rank)
            })
        };
        entries
            .iter()
            .filter(lacks)
            .map(|entry| entry.overlay)
            .collect()
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Bad(error) => Self::Spec(error.to_string()),
            Rejected::Stale { have } => Self::Version { have },
            Rejected::Full => Self::Full("applications"),
        }
    }
}

#[cfg(test)]
mod tests {
    use opus_core::{Contact, NodeId};

    use super::*;
    use crate::spec::{Kind, Spec};

    fn signed(name: &str, version: u64, retired: bool) -> Vec<u8> {
        let mut spec = Spec::new(name, Kind::Multicast, version).unwrap();
        spec.retired = retired;
        SignedApp::sign(&spec, "main", &[1; 32]).unwrap().encode()
    }

    fn note(directory: &Directory, name: &str, epoch: u64, root: u32) -> RootNote {
        let app = name.parse().unwrap();
        RootNote {
            overlay: directory.find(&app).unwrap().app.overlay,
            root: Contact::bare(NodeId::from_index(root)),
            epoch,
            gone: false,
            revision: 0,
        }
    }

    #[test]
    fn only_a_higher_version_replaces_a_spec() {
        let mut directory = Directory::new("main", 4);
        assert!(matches!(
            directory.offer(&signed("a", 2, false), false),
            Ok(Offered::Fresh { replaced: None, .. })
        ));
        assert!(matches!(
            directory.offer(&signed("a", 2, false), false),
            Ok(Offered::Known(_))
        ));
        let other_bytes = directory.offer(&signed("a", 2, true), false);
        assert_eq!(other_bytes, Err(Rejected::Stale { have: 2 }));
        let lower = directory.offer(&signed("a", 1, false), false);
        assert_eq!(lower, Err(Rejected::Stale { have: 2 }));
        assert!(matches!(
            directory.offer(&signed("a", 3, false), false),
            Ok(Offered::Fresh { replaced: Some(old), .. }) if old.spec.version == 2
        ));
    }

    #[test]
    fn a_dry_run_changes_nothing() {
        let mut directory = Directory::new("main", 4);
        directory.offer(&signed("a", 1, false), true).unwrap();
        assert!(directory.is_empty());
    }

    #[test]
    fn a_full_directory_lets_a_retired_application_go_and_refuses_otherwise() {
        let mut directory = Directory::new("main", 1);
        directory.offer(&signed("a", 1, true), false).unwrap();
        directory.offer(&signed("b", 1, false), false).unwrap();
        assert_eq!(directory.iter().count(), 1);
        assert_eq!(
            directory.offer(&signed("c", 1, false), false),
            Err(Rejected::Full)
        );
    }

    #[test]
    fn the_higher_root_note_wins_in_any_order() {
        let learn = |order: [(u64, u32); 3]| {
            let mut directory = Directory::new("main", 1);
            directory.offer(&signed("a", 1, false), false).unwrap();
            for (epoch, root) in order {
                let note = note(&directory, "a", epoch, root);
                directory.learn_root(&note);
            }
            let overlay = directory.iter().next().unwrap().app.overlay;
            directory.root(overlay).unwrap().rank()
        };
        let up = learn([(1, 5), (2, 3), (2, 4)]);
        assert_eq!(up, learn([(2, 4), (2, 3), (1, 5)]));
        assert_eq!(up.1, NodeId::from_index(4));
    }

    #[test]
    fn pages_cover_everything_once_and_show_what_is_lacking() {
        let mut full = Directory::new("main", 100);
        for index in 0..40 {
            full.offer(&signed(&format!("app{index}"), 1, false), false)
                .unwrap();
        }
        let empty = Directory::new("main", 100);
        let (mut after, mut seen) = (None, 0);
        loop {
            let (entries, more) = full.page(after);
            assert_eq!(empty.lacks(&entries).len(), entries.len());
            assert!(full.lacks(&entries).is_empty());
            seen += entries.len();
            after = entries.last().map(|entry| entry.overlay);
            if !more {
                break;
            }
        }
        assert_eq!(seen, 40);
    }
}
