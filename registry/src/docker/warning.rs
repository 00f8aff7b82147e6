//! `Warning` headers: what a person should know of an answer that is given all the same (OCI distribution specification 1.1, "Warnings").

use crate::server::Front;
use poem::Response;
use poem::http::{HeaderValue, header};

/// The specification allows 4,096 bytes in all the warnings of an answer; none has more than two.
const TEXT_BYTES_MAX: usize = 1_900;

/// Adds a warning to an answer.
pub(super) fn add(response: &mut Response, text: &str) {
    response.headers_mut().append(header::WARNING, value(text));
}

/// What a node cannot know of what it serves: it is connected to nobody who could tell it of newer blocks.
pub(super) fn cut_off(front: &Front) -> Option<String> {
    let view = front.node.ledger();
    let state = view.state.as_deref()?;
    let me = front.node.node_id();
    let others = state.members.active().any(|(node, _)| *node != me);
    (others && front.node.peers().is_empty()).then(|| {
        format!(
            "this node is connected to no other node: what it serves is that of block {}, and a later one may have put it at risk",
            state.height()
        )
    })
}

/// `299 - "text"`: a quoted string of visible ASCII (RFC 9110, section 5.6.4).
fn value(text: &str) -> HeaderValue {
    let mut quoted = String::from("299 - \"");
    for character in text.chars() {
        if quoted.len() >= TEXT_BYTES_MAX {
            break;
        }
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    HeaderValue::try_from(quoted).expect("visible ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_warning_has_the_form_of_the_specification() {
        assert_eq!(value("mind \"this\" \\ that"), r#"299 - "mind \"this\" \\ that""#);
        assert_eq!(value("a\r\nb: é"), r#"299 - "a??b: ?""#);
        let mut response = Response::builder().finish();
        add(&mut response, "one");
        add(&mut response, "two");
        let warnings: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!(warnings, [r#"299 - "one""#, r#"299 - "two""#]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_quotes_or_grows_beyond_its_share(text in "\\PC{0,3000}") {
            let value = value(&text);
            let value = value.to_str().expect("visible ASCII");
            prop_assert!(value.len() <= 2_048);
            let inner = value.strip_prefix("299 - \"").and_then(|rest| rest.strip_suffix('"')).expect("quotes");
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                prop_assert!(character != '"');
                prop_assert!(character != '\\' || characters.next().is_some());
            }
        }
    }
}
