use proptest::prelude::*;
use pyrsia_verifier_kit::hash::sha256;

use super::*;
use crate::checksum::Sums;
use crate::sbom::{BYTES_MAX, Format};

const JAR: &[u8] = b"a jar";
const JARS: &[&[u8]] = &[JAR, b"the same jar"];
const FILES: [&str; 3] = ["./src/A.java", "./src/B.java", "./src/C.java"];

/// How a document is written; what it says is always the same.
#[derive(Clone, Debug)]
struct Writing {
    created: &'static str,
    namespace: &'static str,
    jar: &'static [u8],
    /// The numbers of the files, of which the first is added to those behind it.
    order: Vec<usize>,
    first_number: usize,
    are_relationships_turned: bool,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            created: "2026-11-20T10:00:00Z",
            namespace: "c0ffee00-1111-2222-3333-444455556666",
            jar: JAR,
            order: vec![0, 1, 2],
            first_number: 1,
            are_relationships_turned: false,
        }
    }
}

fn document(writing: &Writing) -> String {
    let number = |file: usize| writing.first_number + writing.order.iter().position(|at| *at == file).unwrap();
    let files: Vec<String> = writing
        .order
        .iter()
        .map(|file| {
            let (name, id) = (FILES[*file], number(*file));
            format!("{{ \"SPDXID\" : \"SPDXRef-gnrtd{id}\", \"fileName\" : \"{name}\" }}")
        })
        .collect();
    let mut relationships: Vec<String> = (0..FILES.len())
        .map(|file| {
            let id = number(file);
            format!(
                "{{ \"spdxElementId\" : \"SPDXRef-gnrtd0\", \"relationshipType\" : \"CONTAINS\", \"relatedSpdxElement\" : \"SPDXRef-gnrtd{id}\" }}"
            )
        })
        .collect();
    if writing.are_relationships_turned {
        relationships.reverse();
    }
    let has: Vec<String> = writing.order.iter().map(|file| format!("\"SPDXRef-gnrtd{}\"", number(*file))).collect();
    let sha1 = Sums::of(writing.jar, &[Algorithm::Sha1]).unwrap().get(Algorithm::Sha1).to_owned();
    format!(
        "{{\n  \"spdxVersion\" : \"SPDX-2.3\",\n  \"creationInfo\" : {{ \"created\" : \"{}\", \"creators\" : [ \"Tool: t\" ] }},\n  \
         \"documentNamespace\" : \"http://spdx.example/demo-{}\",\n  \"packages\" : [ {{\n    \"SPDXID\" : \"SPDXRef-gnrtd0\",\n    \
         \"checksums\" : [ {{ \"algorithm\" : \"SHA1\", \"checksumValue\" : \"{sha1}\" }} ],\n    \"hasFiles\" : [ {} ],\n    \
         \"packageFileName\" : \"demo-1.0.jar\"\n  }} ],\n  \"files\" : [ {} ],\n  \"relationships\" : [ {} ]\n}}",
        writing.created,
        writing.namespace,
        has.join(", "),
        files.join(", "),
        relationships.join(", ")
    )
}

/// The form of a document beside a jar of which the canonical form is always the same.
fn form(text: &str, jar: Option<&[u8]>) -> Canonical {
    let algorithms = [Algorithm::Sha1, Algorithm::Sha256];
    let beside = jar.map(|jar| {
        let sums = Sums::of(jar, &algorithms).unwrap();
        Beside { size: jar.len() as u64, sums, canonical: sha256(b"canonical"), is_normalised: true }
    });
    let found = |name: &str| beside.as_ref().filter(|_| name == "demo-1.0.jar");
    crate::sbom::canonical(text.as_bytes(), Format::Json, found).unwrap().expect("a document of SPDX")
}

fn writings() -> impl Strategy<Value = Writing> {
    let order = Just(vec![0, 1, 2]).prop_shuffle();
    let texts = (
        prop::sample::select(&["2026-11-20T10:00:00Z", "2027-01-01T00:00:00Z", ""][..]),
        prop::sample::select(&["c0ffee00-1111-2222-3333-444455556666", "00000000-0000-0000-0000-00000000000A"][..]),
        prop::sample::select(JARS),
    );
    (texts, order, 1..90usize, any::<bool>()).prop_map(
        |((created, namespace, jar), order, first_number, are_relationships_turned)| Writing {
            created,
            namespace,
            jar,
            order,
            first_number,
            are_relationships_turned,
        },
    )
}

#[test]
fn each_pass_is_named_where_it_forgave_something() {
    let passes = |writing: &Writing, jar| form(&document(writing), jar).passes.names();
    let plain = Writing { created: "", namespace: "", ..Writing::default() };
    assert_eq!(passes(&plain, None), ["spdx-order"], "ids that were made up");
    assert_eq!(passes(&Writing { created: "2026", ..plain.clone() }, None), ["spdx-build-info", "spdx-order"]);
    assert_eq!(passes(&plain, Some(JAR)), ["spdx-order", "spdx-checksums"]);
    let named = document(&plain).replace("gnrtd", "");
    assert_eq!(form(&named, None).passes.names(), Vec::<&str>::new());
    let turned = document(&Writing { are_relationships_turned: true, ..plain }).replace("gnrtd", "");
    assert_eq!(form(&turned, None).passes.names(), ["spdx-order"]);
    assert_eq!(form(&turned, None).text, form(&named, None).text);
}

#[test]
fn a_checksum_of_other_bytes_counts() {
    let text = document(&Writing::default());
    assert_ne!(form(&text, Some(JAR)).text, form(&text, Some(b"other")).text, "a wrong one is compared");
    let other = document(&Writing { jar: b"other", ..Writing::default() });
    assert_ne!(form(&text, None).text, form(&other, None).text, "and one of a file that is not there");
    assert_ne!(form(&text, Some(JAR)).text, form(&other, Some(JAR)).text);
    assert_eq!(form(&text, Some(JAR)).text, form(&other, Some(b"other")).text);
}

#[test]
fn what_is_no_uuid_at_the_end_of_a_namespace_counts() {
    let text = |namespace: &'static str| form(&document(&Writing { namespace, ..Writing::default() }), None).text;
    assert_ne!(text("1"), text("2"));
    assert_ne!(text("c0ffee00-1111-2222-3333-444455556666#"), text("c0ffee00-1111-2222-3333-444455556667#"));
    assert_ne!(text("g0ffee00-1111-2222-3333-444455556666"), text("g0ffee00-1111-2222-3333-444455556667"));
    assert_ne!(text("c0ffee00-1111-2222-3333-444455556666"), text("x-c0ffee00-1111-2222-3333-444455556666"));
}

#[test]
fn elements_of_one_name_are_told_apart_by_what_they_say() {
    let same_name = |text: &str| {
        let names = ["1", "2", "3"].into_iter().zip(FILES);
        names.fold(text.to_owned(), |text, (comment, name)| {
            text.replace(&format!("\"fileName\" : \"{name}\""), &format!("\"fileName\" : \"x\", \"comment\" : \"{comment}\""))
        })
    };
    let text =
        |order: [usize; 3]| form(&same_name(&document(&Writing { order: order.to_vec(), ..Writing::default() })), None).text;
    assert_eq!(text([0, 1, 2]), text([2, 0, 1]));
    let one = String::from_utf8(text([0, 1, 2])).unwrap();
    assert!(one.contains("file(x), ") && one.contains("file(x).1, ") && one.contains("file(x).2, "), "{one}");
}

/// Where two readers could take ids for other elements, they are compared as they are written.
#[test]
fn ids_that_are_in_doubt_are_compared() {
    let writing = |order: [usize; 3]| document(&Writing { order: order.to_vec(), ..Writing::default() });
    let (one, other) = (writing([0, 1, 2]), writing([1, 0, 2]));
    assert_eq!(form(&one, None).text, form(&other, None).text);
    type Doubt = fn(&str) -> String;
    let doubts: [Doubt; 6] = [
        |text| text.replace("Tool: t", "see SPDXRef-gnrtd1"),
        |text| text.replace("Tool: t", "SPDXRef\\u002dgnrtd1"),
        |text| text.replace("Tool: t", "SPDXRef-gnrtd7"),
        |text| text.replace("\"creators\"", "\"SPDXRef-gnrtd1\""),
        |text| FILES.iter().fold(text.to_owned(), |text, name| text.replace(name, "./src/A.java")),
        |text| text.replace("\"fileName\" : \"./src/C.java\"", "\"fileDependencies\" : [ \"SPDXRef-gnrtd1\" ]"),
    ];
    for doubt in doubts {
        let text = String::from_utf8(form(&doubt(&one), None).text).unwrap();
        assert!((0..4).all(|number| text.contains(&format!("SPDXRef-gnrtd{number}"))), "{text}");
    }
    let seen = |text: &str| form(&doubts[0](text), None).text;
    assert_ne!(seen(&one), seen(&other), "the file that is spoken of is another one");
}

#[test]
fn what_is_no_document_of_this_version_is_compared_as_it_is() {
    let canonical = |text: &str| crate::sbom::canonical(text.as_bytes(), Format::Json, |_| None);
    let text = document(&Writing::default());
    for other in [text.replace("SPDX-2.3", "SPDX-3.0"), text.replace("spdxVersion", "version"), "[]".into(), "1".into()] {
        assert_eq!(canonical(&other), Ok(None));
    }
    // Fields of other types than theirs.
    for (field, value) in [("\"SPDX-2.3\"", "2"), ("[ \"Tool: t\" ]", "null"), ("\"demo-1.0.jar\"", "[]"), ("\"CONTAINS\"", "{}")]
    {
        assert!(canonical(&text.replace(field, value)).is_ok(), "{field}");
    }
    for text in [text.replace("\"files\"", "\"packages\""), text.replace("]", ""), format!("{text}{text}"), "[".repeat(1_000)] {
        assert!(canonical(&text).is_err(), "{text:.80}");
    }
}

/// Every list as long as it can be: refused or read, with work that is bounded.
#[test]
fn a_huge_document_is_read_or_refused_with_the_reason() {
    let head = "{\"spdxVersion\":\"SPDX-2.3\",\"files\":[";
    let many = |element: &str| {
        let count = (BYTES_MAX as usize - head.len() - 2) / (element.len() + 1);
        format!("{head}{}]}}", vec![element; count].join(","))
    };
    let canonical = |text: &str| crate::sbom::canonical(text.as_bytes(), Format::Json, |_| None);
    for element in ["{}", "{\"SPDXID\":\"SPDXRef-gnrtd1\"}"] {
        assert!(canonical(&many(element)).unwrap_err().0.contains("more than"), "{element}");
    }
    assert!(canonical(&many(&format!("{{\"fileName\":\"{}\"}}", "x".repeat(1_000)))).unwrap().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_writing_has_one_form(writing in writings()) {
        let expected = form(&document(&Writing::default()), Some(JAR));
        prop_assert_eq!(form(&document(&writing), Some(writing.jar)).text, expected.text);
    }

    #[test]
    fn a_changed_byte_is_found_under_any_two_writings(
        one in writings(),
        other in writings(),
        at in any::<prop::sample::Index>(),
        mask in 1u8..,
    ) {
        let text = document(&other);
        let at = at.index(text.len());
        let forgiven = [other.created, other.namespace].iter().filter(|word| !word.is_empty()).any(|word| {
            let start = text.find(*word).unwrap();
            (start..start + word.len()).contains(&at)
        });
        // A number that is made up can become another one of its kind, which says the same where every mention is changed.
        prop_assume!(!forgiven);
        let mut changed = text.into_bytes();
        changed[at] ^= mask;
        let expected = form(&document(&one), Some(one.jar)).text;
        let beside = Beside {
            size: 1,
            sums: Sums::of(other.jar, &[Algorithm::Sha1]).unwrap(),
            canonical: sha256(b"canonical"),
            is_normalised: true,
        };
        let found = crate::sbom::canonical(&changed, Format::Json, |name| (name == "demo-1.0.jar").then_some(&beside));
        if let Ok(Some(found)) = found {
            prop_assert_ne!(String::from_utf8_lossy(&found.text), String::from_utf8_lossy(&expected));
        }
    }
}
