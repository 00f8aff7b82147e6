//! Numbers of bytes, as people write and read them.

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a size such as `500 GB`, `64GiB` or `1048576`.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; it is written like 500GB, 64GiB or 1048576");
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim();
    let factor = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// A size as a table shows it, with three digits or four.
pub fn shown(bytes: u64) -> String {
    let Some((unit, factor)) = UNITS[5..].iter().rev().find(|(_, factor)| bytes >= *factor) else {
        return format!("{bytes} B");
    };
    let amount = bytes as f64 / *factor as f64;
    if amount < 10.0 { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written_and_nothing_else_is() {
        for (text, bytes) in [
            ("10 GB", 10_000_000_000),
            ("10gib", 10 << 30),
            ("512MiB", 512 << 20),
            ("7", 7),
            ("0", 0),
            (" 3 B ", 3),
            ("2tb", 2_000_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "1.5 GB", "10 XB", "99999999 TiB", "1 GB 2", "0x10"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        let all = [0, 1_023, 1_024, 1_536, 10 << 10, 999 << 20, 5 << 30, 3 << 40].map(shown);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "999 MiB", "5.0 GiB", "3.0 TiB"]);
    }
}
