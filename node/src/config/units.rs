//! Sizes and rates as people write them: `512 MiB`, `10 Mbit/s`.

/// Units of a size and what they mean in bytes; the first that divides a size names it.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of a rate and what they mean in bits per second.
const RATES: [(&str, u64); 4] = [
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

/// Bytes of `512 MiB`, `10 GB` or `1048576`; `None` if it is no size.
pub fn size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Bits per second of `10 Mbit/s`; `None` if it is no rate.
pub fn rate(text: &str) -> Option<u64> {
    parse(text, &RATES)
}

/// A size as [`size`] reads it.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

/// A rate as [`rate`] reads it.
pub fn show_rate(bits_per_s: u64) -> String {
    show(bits_per_s, &RATES)
}

/// A count of bytes for people, not exact: three digits and a unit.
pub fn about(bytes: u64) -> String {
    let unit = SIZES[..4].iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{:.1} {name}", bytes as f64 / *unit as f64),
    )
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: u64 = digits.parse().ok()?;
    let unit = unit.trim();
    let factor = match unit {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .find(|(_, unit)| value >= *unit && value.is_multiple_of(*unit));
    let (name, unit) = whole.unwrap_or(&units[units.len() - 1]);
    format!("{} {name}", value / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(size("512 MiB"), Some(512 << 20));
        assert_eq!(size("10GB"), Some(10_000_000_000));
        assert_eq!(size("4096"), Some(4_096));
        assert_eq!(rate("10 Mbit/s"), Some(10_000_000));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "MiB", "-1 MiB", "1.5 GiB", "1 mib", "99999999999 TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(rate("10 MiB"), None);
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1_023, 1_024, 1_000_000, 512 << 20, 10 << 30, u64::MAX] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
            assert_eq!(rate(&show_rate(bytes)), Some(bytes));
        }
        assert_eq!(show_size(512 << 20), "512 MiB");
        assert_eq!(show_rate(10_000_000), "10 Mbit/s");
        assert_eq!(about(1_600_000), "1.5 MiB");
    }
}
