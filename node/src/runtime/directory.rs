//! dicast's directory in Kademlia: what is asked of it, told it, and kept for others.
//!
//! Records are hints that anybody may write, each a few contacts under a name
//! ([`crate::net::record`]). The last who writes wins. Without Kademlia there is no directory, and
//! dicast does without.

use libp2p::kad::{
    self, GetRecordOk, InboundRequest, PeerRecord, QueryId, QueryResult, Quorum, Record,
    store::{MemoryStore, RecordStore},
};
use opus_core::Contact;
use opus_dicast::{Command, Name};
use web_time::Instant;

use super::Core;
use crate::net::{KAD_RECORD_TTL, KAD_RECORDS_MAX, record};

/// Lookups under way. dicast asks for the root each ten seconds at most, and an agent for each
/// label among its members. Overflow: the oldest is ended.
const LOOKUPS_MAX: usize = 8;

/// Different records of one lookup that are passed on; then it ends.
const ANSWERS_MAX: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The oldest first.
    lookups: Vec<Lookup>,
    counts: DirectoryCounts,
}

/// What went through the directory since the node was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    /// Records that this node began to write.
    pub published: u64,
    /// Records of others that it was asked to keep, and keeps or kept.
    pub kept: u64,
    /// The same, but that were none.
    pub refused: u64,
    /// Records that it looked for, and that others told.
    pub found: u64,
}

/// Under which key the records of the root stand.
fn root_key(network: &str) -> kad::RecordKey {
    kad::RecordKey::new(&record::key_of(network, Name::Root))
}

/// Drops what has expired, if the store is full; and for a record of the root another one, since
/// anybody may fill the store with names of sites.
fn make_room(store: &mut MemoryStore, root: bool) {
    if store.records().count() < KAD_RECORDS_MAX {
        return;
    }
    let now = Instant::now();
    store.retain(|_, record| record.expires.is_none_or(|at| at > now));
    let soonest = store.records().min_by_key(|record| record.expires);
    let soonest = soonest.map(|record| record.key.clone());
    if let Some(key) = soonest.filter(|_| root && store.records().count() >= KAD_RECORDS_MAX) {
        store.remove(&key);
    }
}

#[derive(Debug)]
struct Lookup {
    query: QueryId,
    name: Name,
    found: Vec<Vec<Contact>>,
}

impl Core {
    /// What went through the directory.
    pub fn directory_counts(&self) -> DirectoryCounts {
        self.tree.directory.counts
    }

    /// Looks for records of `name`.
    pub(super) fn look_up(&mut self, name: Name) {
        let key = record::key_of(&self.options.network, name);
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        if self.tree.directory.lookups.len() >= LOOKUPS_MAX {
            let oldest = self.tree.directory.lookups.remove(0);
            if let Some(mut query) = kad.query_mut(&oldest.query) {
                query.finish();
            }
        }
        let query = kad.get_record(kad::RecordKey::new(&key));
        self.tree.directory.lookups.push(Lookup {
            query,
            name,
            found: Vec::new(),
        });
    }

    /// Writes a record of `name`, in place of the last one.
    pub(super) fn publish(&mut self, name: Name, contacts: &[Contact]) {
        let key = record::key_of(&self.options.network, name);
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        let record = Record {
            // Our own copy would never expire otherwise.
            expires: Some(Instant::now() + KAD_RECORD_TTL),
            ..Record::new(kad::RecordKey::new(&key), record::value_of(name, contacts))
        };
        make_room(
            kad.store_mut(),
            record.key == root_key(&self.options.network),
        );
        match kad.put_record(record, Quorum::One) {
            Ok(_) => self.tree.directory.counts.published += 1,
            Err(error) => tracing::debug!(?error, "a record is not kept"),
        }
    }

    /// Another node wants us to keep a record: if it is one.
    pub(super) fn on_record_offered(&mut self, request: InboundRequest) {
        let InboundRequest::PutRecord {
            record: Some(offered),
            ..
        } = request
        else {
            return;
        };
        let network = &self.options.network;
        let read = record::read(network, offered.key.as_ref(), &offered.value);
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        let store = kad.store_mut();
        make_room(store, matches!(read, Some((Name::Root, _))));
        let kept = read.is_some() && store.put(offered).is_ok();
        let counts = &mut self.tree.directory.counts;
        counts.kept += u64::from(kept);
        counts.refused += u64::from(!kept);
    }

    /// A lookup goes on, or is over.
    pub(super) fn on_lookup(&mut self, query: QueryId, result: QueryResult, last: bool) {
        let lookups = &mut self.tree.directory.lookups;
        let Some(at) = lookups.iter().position(|it| it.query == query) else {
            return;
        };
        if last {
            lookups.remove(at);
        }
        let QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(PeerRecord { record, peer }))) =
            result
        else {
            return;
        };
        let network = &self.options.network;
        let read = record::read(network, record.key.as_ref(), &record.value);
        let (Some((name, contacts)), false) = (read, last) else {
            return;
        };
        let lookup = &mut lookups[at];
        if name != lookup.name || lookup.found.contains(&contacts) {
            return;
        }
        lookup.found.push(contacts.clone());
        if lookup.found.len() >= ANSWERS_MAX
            && let Some(kad) = self.swarm.behaviour_mut().kad.as_mut()
            && let Some(mut query) = kad.query_mut(&query)
        {
            query.finish();
        }
        self.tree.directory.counts.found += u64::from(peer.is_some());
        self.tell_found(name, contacts);
    }

    fn tell_found(&mut self, name: Name, contacts: Vec<Contact>) {
        self.dicast_command(Command::Found {
            id: super::tree::COMMAND,
            name: Some(name),
            contacts,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::{PeerId, kad::store::MemoryStoreConfig};
    use opus_dicast::label::Label;

    use super::*;

    fn record(index: u16, left: Duration) -> Record {
        let mut label = [0; 16];
        label[..2].copy_from_slice(&index.to_be_bytes());
        let key = record::key_of("main", Name::Label(Label(label)));
        Record {
            expires: Some(Instant::now() + left),
            ..Record::new(kad::RecordKey::new(&key), Vec::new())
        }
    }

    #[test]
    fn a_store_full_of_sites_has_room_for_the_root_and_drops_what_has_expired() {
        let limits = MemoryStoreConfig {
            max_records: KAD_RECORDS_MAX,
            ..Default::default()
        };
        let mut store = MemoryStore::with_config(PeerId::random(), limits);
        let full = u16::try_from(KAD_RECORDS_MAX).unwrap();
        let long = Duration::from_secs(900);
        for index in 0..full {
            store.put(record(index, long)).unwrap();
        }
        make_room(&mut store, false);
        assert!(store.put(record(full, long)).is_err());
        let root = Record::new(root_key("main"), Vec::new());
        make_room(&mut store, true);
        store.put(root).unwrap();
        assert!(store.get(&root_key("main")).is_some());
        // The one that was longest without a word has gone; one more has expired.
        let stale = record(7, Duration::ZERO);
        store.put(stale.clone()).unwrap();
        make_room(&mut store, false);
        assert!(store.get(&stale.key).is_none());
        store.put(record(full, long)).unwrap();
    }
}
