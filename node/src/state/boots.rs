//! The boot count: what makes sequence numbers rise over restarts.

use super::{Kind, Loaded, StateDir, StateError};

const KIND: Kind = Kind {
    name: "boots",
    tag: *b"BOOT",
    version: 1,
    bytes_max: 4,
};

/// Sequences are `boots << 40 | n` in 64 bits: 24 bits of boots, one each second for half a year.
pub const BOOTS_MAX: u32 = (1 << 24) - 1;

/// Where a lost count begins anew: minutes since 2026-01-01, in Unix minutes. No node boots more
/// often than once a minute for long, so this lies above whatever was lost, until 2057.
const EPOCH_MINUTES: u64 = 29_453_760;

/// The count of this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boots {
    /// 1 to [`BOOTS_MAX`]; higher than at each start before.
    pub count: u32,
    /// Whether the count was lost and began anew from the clock.
    pub lost: bool,
}

/// Counts this start and keeps the count.
///
/// `fresh` says that the identity was made just now: then nothing was counted before. `unix_s` is
/// the system's time in seconds; it is used only if the count is lost.
///
/// Errors: [`StateError`] when the count cannot be kept; the start is not counted.
pub fn next_boot(dir: &StateDir, fresh: bool, unix_s: u64) -> Result<Boots, StateError> {
    let counted = |payload: &[u8]| payload.try_into().map(u32::from_le_bytes).ok();
    let loaded = dir.load(&KIND)?;
    // Left alone for the program that wrote it.
    let newer = matches!(loaded, Loaded::Newer(_));
    let known = match loaded {
        Loaded::Good(payload) => counted(&payload),
        Loaded::Absent if fresh => Some(0),
        // A previous copy is one start old, or more: not enough to rise for certain.
        Loaded::Absent | Loaded::Recovered { .. } | Loaded::Newer(_) => None,
    };
    let lost = known.is_none();
    let before = known.unwrap_or_else(|| from_clock(unix_s));
    let count = before.saturating_add(1).min(BOOTS_MAX);
    if !newer {
        dir.save(&KIND, &count.to_le_bytes())?;
    }
    Ok(Boots { count, lost })
}

fn from_clock(unix_s: u64) -> u32 {
    let minutes = (unix_s / 60).saturating_sub(EPOCH_MINUTES);
    u32::try_from(minutes).unwrap_or(BOOTS_MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// 2026-11-24.
    const NOW_S: u64 = 1_795_478_400;

    fn count(dir: &StateDir, fresh: bool) -> u32 {
        next_boot(dir, fresh, NOW_S).unwrap().count
    }

    #[test]
    fn each_start_counts_one_more() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        assert_eq!(
            [count(&dir, true), count(&dir, false), count(&dir, false)],
            [1, 2, 3]
        );
    }

    #[test]
    fn a_lost_count_goes_on_above_what_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        for _ in 0..50 {
            count(&dir, true);
        }
        let file = temp.path().join("boots");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let boots = next_boot(&dir, false, NOW_S).unwrap();
        assert!(boots.lost && boots.count > 400_000 && boots.count < BOOTS_MAX);
        assert_eq!(count(&dir, false), boots.count + 1);
    }

    #[test]
    fn an_identity_without_a_count_has_lost_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        assert!(next_boot(&dir, false, NOW_S).unwrap().lost);
    }

    #[test]
    fn a_wrong_clock_does_not_break_the_count() {
        assert_eq!(from_clock(0), 0);
        assert_eq!(from_clock(u64::MAX), BOOTS_MAX);
    }
}
