//! Records of dicast's directory, as Kademlia keeps them: contacts under a name.
//!
//! The key is a hash of network and name. The value names what it is of, so that whoever is asked
//! to store it can see that it belongs under its key: a list of the name, as bytes, and of the
//! contacts, each an identity and an address hint. Anybody may write a record. It is a hint, and
//! what it says is believed once somebody answers there.

use opus_core::{Contact, Hint, Limits, NodeId, codec};
use opus_dicast::{Name, label::Label};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Bytes of a value: a record's store takes 1 KiB, and each contact is up to 170.
const LIMITS: Limits = Limits {
    bytes: 1_000,
    depth: 4,
    items: 32,
    text_keys: false,
};

/// Contacts of one record: an agent and its three deputies.
const CONTACTS_MAX: usize = 4;

/// For a hash that no other part of the project makes.
const CONTEXT: &str = "opus dicast directory 1";

const ROOT: &[u8] = b"root";

/// Before the 16 bytes of a label.
const LABEL: &[u8] = b"label ";

/// For another hash that no other part of the project makes.
const SITE_CONTEXT: &str = "opus dicast site 1";

#[derive(Serialize, Deserialize)]
struct Value(ByteBuf, Vec<(NodeId, Hint)>);

/// The label of a site of `network`: part of a hash of both.
pub fn label_of(network: &str, site: &str) -> Label {
    let mut hasher = blake3::Hasher::new_derive_key(SITE_CONTEXT);
    hasher.update(network.as_bytes());
    hasher.update(&[0]);
    hasher.update(site.as_bytes());
    let mut label = [0; 16];
    label.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Label(label)
}

/// Under which key the records of `name` stand in `network`.
pub fn key_of(network: &str, name: Name) -> [u8; 32] {
    hash(network, &bytes_of(name))
}

fn hash(network: &str, name: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(network.as_bytes());
    hasher.update(&[0]);
    hasher.update(name);
    *hasher.finalize().as_bytes()
}

/// The value of a record of `name`: of the first four contacts.
pub fn value_of(name: Name, contacts: &[Contact]) -> Vec<u8> {
    let contacts = contacts.iter().take(CONTACTS_MAX);
    let contacts = contacts.map(|it| (it.id, it.hint.clone())).collect();
    codec::encode(&Value(ByteBuf::from(bytes_of(name)), contacts))
}

/// What a record says, if it is one of `network` and stands under its key: one to four contacts.
pub fn read(network: &str, key: &[u8], value: &[u8]) -> Option<(Name, Vec<Contact>)> {
    let Value(name, contacts) = codec::decode(value, LIMITS).ok()?;
    let belongs = key == hash(network, &name);
    let name = name_of(&name).filter(|_| belongs)?;
    let fits = (1..=CONTACTS_MAX).contains(&contacts.len());
    let contacts = contacts.into_iter().map(|(id, hint)| Contact { id, hint });
    let contacts: Vec<Contact> = contacts.filter(|_| fits).collect();
    let lawful = contacts.iter().all(|contact| contact.check().is_ok());
    (lawful && fits).then_some((name, contacts))
}

fn bytes_of(name: Name) -> Vec<u8> {
    match name {
        Name::Root => ROOT.to_vec(),
        Name::Label(label) => [LABEL, &label.0].concat(),
    }
}

fn name_of(bytes: &[u8]) -> Option<Name> {
    if bytes == ROOT {
        return Some(Name::Root);
    }
    let label = bytes.strip_prefix(LABEL)?;
    Some(Name::Label(Label(label.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts(count: u32, hint: usize) -> Vec<Contact> {
        let contact = |index| Contact {
            id: NodeId([index; 32]),
            hint: Hint(vec![index; hint].into()),
        };
        let last = u8::try_from(count).unwrap();
        (1..=last).map(contact).collect()
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_fits_into_the_store() {
        let key = key_of("main", Name::Root);
        let written = contacts(4, Hint::BYTES_MAX);
        let value = value_of(Name::Root, &written);
        assert!(value.len() <= LIMITS.bytes, "{}", value.len());
        assert_eq!(read("main", &key, &value), Some((Name::Root, written)));
    }

    #[test]
    fn a_site_has_a_label_of_its_own_in_each_network_and_a_record_under_it() {
        let label = label_of("main", "paris-1");
        assert_eq!(label, label_of("main", "paris-1"));
        assert_ne!(label, label_of("main", "paris-2"));
        assert_ne!(label, label_of("mainp", "aris-1"));
        let name = Name::Label(label);
        let written = contacts(4, Hint::BYTES_MAX);
        let value = value_of(name, &written);
        assert!(value.len() <= LIMITS.bytes, "{}", value.len());
        let key = key_of("main", name);
        assert_ne!(key, key_of("main", Name::Root));
        assert_eq!(read("main", &key, &value), Some((name, written)));
    }

    #[test]
    fn what_stands_under_another_key_or_is_of_another_network_is_no_record() {
        let key = key_of("main", Name::Root);
        let value = value_of(Name::Root, &contacts(1, 0));
        assert!(read("main", &key, &value).is_some());
        assert_eq!(read("other", &key, &value), None);
        assert_eq!(read("main", &[0; 32], &value), None);
        let stranger = codec::encode(&Value(ByteBuf::from(*b"else"), Vec::new()));
        assert_eq!(read("main", &hash("main", b"else"), &stranger), None);
    }

    #[test]
    fn too_many_contacts_none_at_all_and_hints_without_end_are_refused() {
        let key = key_of("main", Name::Root);
        let value = |contacts: Vec<Contact>| {
            let contacts = contacts.into_iter().map(|it| (it.id, it.hint));
            codec::encode(&Value(ByteBuf::from(ROOT), contacts.collect()))
        };
        assert_eq!(read("main", &key, &value(contacts(0, 0))), None);
        assert_eq!(read("main", &key, &value(contacts(5, 0))), None);
        assert_eq!(read("main", &key, &value(contacts(1, 129))), None);
        assert_eq!(read("main", &key, &value(contacts(200, 100))), None);
        let good = value(contacts(2, 8));
        for cut in 0..good.len() {
            assert_eq!(read("main", &key, &good[..cut]), None);
        }
    }
}
