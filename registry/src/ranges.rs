//! Which bytes of a file a `Range` header asks for (RFC 9110, section 14).
//!
//! One range is served as asked. Several ranges, other units and what does not parse are ignored, as the RFC allows: the
//! whole file is sent, which every client must be ready for.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Whole,
    /// The first and the last byte, both within the file.
    Part {
        first: u64,
        last: u64,
    },
    Unsatisfiable,
}

/// Reads the value of a `Range` header for a file of `size_bytes`.
pub(crate) fn select(header: &str, size_bytes: u64) -> Selection {
    let Some((unit, set)) = header.split_once('=') else { return Selection::Whole };
    let (unit, set) = (unit.trim(), set.trim());
    let Some((first, last)) = set.split_once('-') else { return Selection::Whole };
    let (first, last) = (first.trim(), last.trim());
    if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selection::Whole;
    }
    match (position(first), position(last)) {
        (Some(first), Some(last)) if last < first || first >= size_bytes => Selection::Unsatisfiable,
        (Some(first), Some(last)) => Selection::Part { first, last: last.min(size_bytes - 1) },
        (Some(first), None) if !last.is_empty() || first >= size_bytes => {
            if last.is_empty() {
                Selection::Unsatisfiable
            } else {
                Selection::Whole
            }
        }
        (Some(first), None) => Selection::Part { first, last: size_bytes - 1 },
        (None, Some(0)) if first.is_empty() => Selection::Unsatisfiable,
        // Nothing can be the last bytes of an empty file, and all of it is.
        (None, Some(_)) if first.is_empty() && size_bytes == 0 => Selection::Whole,
        (None, Some(count)) if first.is_empty() => {
            Selection::Part { first: size_bytes.saturating_sub(count), last: size_bytes - 1 }
        }
        _ => Selection::Whole,
    }
}

/// A run of digits. One that is too large for a position is beyond the end of any file.
fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(header: &str, size_bytes: u64, expected: Selection) {
        assert_eq!(select(header, size_bytes), expected, "{header:?} of {size_bytes} bytes");
    }

    #[test]
    fn the_forms_of_the_rfc_select_what_they_say() {
        check("bytes=0-499", 10_000, Selection::Part { first: 0, last: 499 });
        check("bytes=9500-", 10_000, Selection::Part { first: 9_500, last: 9_999 });
        check("bytes=-500", 10_000, Selection::Part { first: 9_500, last: 9_999 });
        check("bytes=-50000", 10_000, Selection::Part { first: 0, last: 9_999 });
        check("Bytes = 0-99999999999999999999999999", 10, Selection::Part { first: 0, last: 9 });
    }

    #[test]
    fn what_lies_outside_of_the_file_cannot_be_had() {
        for header in ["bytes=10-", "bytes=10-20", "bytes=500-0", "bytes=-0", "bytes=99999999999999999999999-"] {
            check(header, 10, Selection::Unsatisfiable);
        }
        check("bytes=0-", 0, Selection::Unsatisfiable);
        check("bytes=-1", 0, Selection::Whole);
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_ignored() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-b", "bytes=0-1,4-5", "lines=0-1", "bytes=+1-2", "bytes=--1"]
        {
            check(header, 10, Selection::Whole);
        }
    }

    proptest! {
        #[test]
        fn any_part_that_is_written_as_a_range_is_read_back(size_bytes in 1u64.., a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (a % size_bytes, b % size_bytes);
            let (first, last) = (a.min(b), a.max(b));
            prop_assert_eq!(select(&format!("bytes={first}-{last}"), size_bytes), Selection::Part { first, last });
        }

        #[test]
        fn no_header_selects_a_byte_that_is_not_there(header in "(bytes)?=?[-0-9a-z, ]{0,24}", size_bytes in any::<u64>()) {
            if let Selection::Part { first, last } = select(&header, size_bytes) {
                prop_assert!(first <= last && last < size_bytes);
            }
        }
    }
}
