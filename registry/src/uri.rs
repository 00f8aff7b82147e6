//! Segments of a request's path as the client meant them.

use std::fmt::Write as _;

/// Resolves the percent escapes of one segment (RFC 3986, section 2.1).
///
/// None when an escape is broken, or when it hides something that would make another path of it: a slash, a control
/// character or a byte that is no ASCII. No name that is served here has any of these.
pub(crate) fn decode_segment(segment: &str) -> Option<String> {
    let mut decoded = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        };
        if !byte.is_ascii_graphic() || byte == b'/' {
            return None;
        }
        decoded.push(char::from(byte));
    }
    Some(decoded)
}

/// Escapes what is not unreserved (RFC 3986, section 2.3), nor in `kept`.
pub(crate) fn encode_segment(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_resolved_once_and_none_can_hide_a_slash() {
        assert_eq!(decode_segment("sha256%3Aab").as_deref(), Some("sha256:ab"));
        assert_eq!(decode_segment("%2e%2E").as_deref(), Some(".."));
        assert_eq!(decode_segment("%252e").as_deref(), Some("%2e"));
        for wrong in ["%2F", "a%2fb", "%", "%4", "%zz", "%00", "%0a", "%c3%a9", "é", " "] {
            assert_eq!(decode_segment(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_printable_segment_survives_being_escaped(text in "[!-.0-~]{0,40}") {
            let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(decode_segment(&escaped), Some(text.clone()));
            prop_assert_eq!(decode_segment(&encode_segment(&text, b":")), Some(text));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}") {
            decode_segment(&text);
        }
    }
}
