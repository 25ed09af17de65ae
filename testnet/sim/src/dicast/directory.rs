//! The directory that all nodes of a scenario share: records by name, as a distributed hash table
//! keeps them. The last who writes wins, an answer takes its time, and what was not written again
//! in time is gone. It is asked for what anybody wrote, also during a cut.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Contact, Rng, Seed, Time};
use opus_site::dicast::Name;
use rand::RngExt;

/// Three times as long as between two records of one who publishes.
const LIFETIME: Duration = Duration::from_secs(900);

/// Between which an answer is under way, microseconds: a few round trips, one after the other.
const WAIT_US: (u64, u64) = (200_000, 800_000);

/// See the module. One record a name.
#[derive(Debug)]
pub(super) struct Directory {
    rng: Rng,
    records: BTreeMap<Name, (Vec<Contact>, Time)>,
}

impl Directory {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            rng: seed.derive("directory", 0).rng(),
            records: BTreeMap::new(),
        }
    }

    /// How long an answer takes.
    pub(super) fn wait(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(WAIT_US.0..WAIT_US.1))
    }

    pub(super) fn publish(&mut self, now: Time, name: Name, contacts: Vec<Contact>) {
        self.records.insert(name, (contacts, now + LIFETIME));
    }

    pub(super) fn contacts(&self, now: Time, name: Name) -> Vec<Contact> {
        let record = self.records.get(&name).filter(|(_, until)| now < *until);
        record
            .map(|(contacts, _)| contacts.clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use opus_core::NodeId;

    use super::*;

    #[test]
    fn the_last_record_counts_until_it_expires() {
        let mut directory = Directory::new(Seed::new(1));
        let contact = |index| vec![Contact::bare(NodeId::from_index(index))];
        let at = Time::from_secs;
        assert!(directory.contacts(at(0), Name::Root).is_empty());
        directory.publish(at(0), Name::Root, contact(1));
        directory.publish(at(10), Name::Root, contact(2));
        assert_eq!(directory.contacts(at(909), Name::Root), contact(2));
        assert!(directory.contacts(at(910), Name::Root).is_empty());
    }
}
