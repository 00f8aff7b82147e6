use super::*;
use proptest::prelude::*;

/// The example of the reference implementation (Go, golang.org/x/mod/sumdb/note).
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

/// A checkpoint of the log of Go's modules.
const GO: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GOS_NOTE: &str = "go.sum database tree\n6476701\nmb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=\n\n\
    — sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=\n";

/// The example of the specification of cosignatures (c2sp.org/tlog-cosignature), whose keys it does not give.
const SPECIFIED: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn key(text: &str) -> NoteKey {
    text.parse().expect("a verifier key")
}

fn note(text: &str) -> SignedNote {
    SignedNote::parse(text.as_bytes()).expect("a note")
}

#[test]
fn notes_of_other_programs_are_read_and_their_signatures_hold() {
    for (key_text, note_text) in [(PETER, PETERS_NOTE), (GO, GOS_NOTE)] {
        let (key, note) = (key(key_text), note(note_text));
        assert_eq!((key.to_string(), note.to_string()), (key_text.to_owned(), note_text.to_owned()));
        assert_eq!(note.signers(std::slice::from_ref(&key)), Ok(vec![&key]));
        let other = note_text.replacen('o', "0", 1);
        let refused = SignedNote::parse(other.as_bytes()).expect("a note").signers(std::slice::from_ref(&key));
        assert_eq!(refused, Err(NoteError::Signature(key.name().to_owned())));
    }
}

#[test]
fn a_cosigned_note_shows_when_it_was_cosigned() {
    let note = note(SPECIFIED);
    assert_eq!(note.to_string(), SPECIFIED);
    let [_, cosignature] = note.signatures() else { panic!("two lines") };
    assert_eq!((cosignature.name(), cosignature.time_s()), ("witness.example.com/w1", Some(1_679_315_147)));
    let signed = cosignature_text(1_679_315_147, note.text());
    let expected =
        "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert_eq!(signed, expected);
}

#[test]
fn lines_of_unknown_keys_are_ignored_and_nobody_counts_twice() {
    let twice = format!("{PETERS_NOTE}{}", PETERS_NOTE.rsplit_once("\n\n").expect("lines").1);
    let known = [key(GO), key(PETER)];
    assert_eq!(note(&twice).signers(&known), Ok(vec![&known[1]]));
    // The same name with another key, and the same key under another name.
    let renamed = PETERS_NOTE.replace("— PeterNeumann", "— Peter");
    assert_eq!(note(&renamed).signers(&known), Ok(vec![]));
    assert_eq!(note(PETERS_NOTE).signers(&known[..1]), Ok(vec![]));
}

#[test]
fn what_is_no_note_is_refused_by_its_reason() {
    let line = PETERS_NOTE.rsplit_once("\n\n").expect("lines").1.trim_end();
    for (text, expected) in [
        (String::new(), NoteError::Unsigned),
        ("text\n".into(), NoteError::Unsigned),
        ("text\n\n".into(), NoteError::Unsigned),
        (format!("text\n\n{line}"), NoteError::Unsigned),
        (format!("text\r\n\n{line}\n"), NoteError::Text),
        (format!("text\n\n{line}\n{}\n", line.replace('\u{2014}', "-")), NoteError::Line(2)),
        (format!("text\n\n{}\n", line.replace("PeterNeumann ", "")), NoteError::Line(1)),
        (format!("text\n\n{line} \n"), NoteError::Line(1)),
        (format!("text\n\n{}\n", line.replace("x08go", "x08g")), NoteError::Line(1)),
        (format!("text\n\n{}\n", line.replace("nAM=", "nAN=")), NoteError::Line(1)),
        ("text\n\n— name AAAAAA==\n".into(), NoteError::Line(1)),
        ("text\n\n— a+b AAAAAAA=\n".into(), NoteError::Line(1)),
        ("t".repeat(NOTE_BYTES_MAX + 1), NoteError::TooLarge { size_bytes: NOTE_BYTES_MAX + 1 }),
    ] {
        assert_eq!(SignedNote::parse(text.as_bytes()), Err(expected), "{text:.200}");
    }
    assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(NoteError::Text));
    for text in [
        "",
        "name",
        "name+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(matches!(text.parse::<NoteKey>(), Err(NoteError::Key(_))), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_what_it_reads_it_writes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(note) = SignedNote::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn a_note_with_any_byte_changed_is_not_read_or_another_note(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = SPECIFIED.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(note) = SignedNote::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes);
        }
    }
}
