//! State files under crashes and damage.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

const KIND: Kind = Kind {
    name: "thing",
    tag: *b"TEST",
    version: 3,
    bytes_max: 1_000,
};

fn dir() -> (tempfile::TempDir, StateDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    (temp, dir)
}

#[test]
fn what_is_saved_is_loaded_and_only_the_owner_may_read_it() {
    let (_temp, dir) = dir();
    assert_eq!(dir.load(&KIND).unwrap(), Loaded::Absent);
    dir.save(&KIND, b"one").unwrap();
    dir.save(&KIND, b"two").unwrap();
    assert_eq!(dir.load(&KIND).unwrap(), Loaded::Good(b"two".to_vec()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.path().join("thing")), 0o600);
}

#[test]
fn a_damaged_file_is_put_aside_and_the_previous_copy_taken() {
    let (_temp, dir) = dir();
    dir.save(&KIND, b"one").unwrap();
    dir.save(&KIND, b"two").unwrap();
    fs::write(dir.path().join("thing"), b"rubbish").unwrap();
    let Loaded::Recovered { payload, aside, .. } = dir.load(&KIND).unwrap() else {
        panic!("damage is noticed");
    };
    assert_eq!(payload.as_deref(), Some(&b"one"[..]));
    assert_eq!(fs::read(aside).unwrap(), b"rubbish");
}

#[test]
fn without_a_previous_copy_nothing_is_made_up() {
    let (_temp, dir) = dir();
    dir.save(&KIND, b"one").unwrap();
    fs::write(dir.path().join("thing"), b"").unwrap();
    let loaded = dir.load(&KIND).unwrap();
    assert!(matches!(
        loaded,
        Loaded::Recovered {
            payload: None,
            damage: Damage::Length,
            ..
        }
    ));
    assert_eq!(dir.load(&KIND).unwrap(), Loaded::Absent);
}

#[test]
fn a_crash_between_the_renames_leaves_the_old_content() {
    let (_temp, dir) = dir();
    dir.save(&KIND, b"one").unwrap();
    fs::rename(dir.path().join("thing"), dir.path().join("thing.previous")).unwrap();
    assert_eq!(dir.load(&KIND).unwrap(), Loaded::Good(b"one".to_vec()));
}

#[test]
fn damaged_files_do_not_pile_up() {
    let (_temp, dir) = dir();
    for round in 0..40 {
        fs::write(dir.path().join("thing"), format!("rubbish {round}")).unwrap();
        assert!(matches!(dir.load(&KIND).unwrap(), Loaded::Recovered { .. }));
    }
    let kept = fs::read_dir(dir.path().join("corrupt")).unwrap().count();
    assert_eq!(kept, CORRUPT_MAX as usize);
}

#[test]
fn a_newer_version_is_left_alone() {
    let (_temp, dir) = dir();
    let newer = Kind { version: 4, ..KIND };
    dir.save(&newer, b"new").unwrap();
    assert_eq!(dir.load(&KIND).unwrap(), Loaded::Newer(4));
    assert_eq!(dir.load(&newer).unwrap(), Loaded::Good(b"new".to_vec()));
}

#[test]
fn a_huge_file_is_not_read_whole() {
    let (_temp, dir) = dir();
    let file = File::create(dir.path().join("thing")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(dir.load(&KIND).unwrap(), Loaded::Recovered { .. }));
}

#[test]
fn every_flipped_bit_and_every_truncation_is_noticed() {
    let good = KIND.seal(b"a payload of some length");
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damage = KIND.open(&bytes).unwrap_err();
        assert!(
            !matches!(damage, Damage::Newer(_)),
            "bit {bit} looks like a newer program"
        );
    }
    for end in 0..good.len() {
        assert!(KIND.open(&good[..end]).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn an_envelope_gives_back_its_payload(
        payload in proptest::collection::vec(any::<u8>(), 0..1_000),
    ) {
        let sealed = KIND.seal(&payload);
        prop_assert_eq!(KIND.open(&sealed), Ok(payload.as_slice()));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(KIND.open(&bytes).is_err());
    }
}
