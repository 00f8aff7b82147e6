use super::super::layers;
use super::super::setting;
use super::*;
use proptest::prelude::*;

fn read_text(text: &str) -> Layer {
    parse(text.as_bytes(), Path::new("etc/node.toml"), &setting::all(&layers::command()))
}

fn said(text: &str) -> Vec<String> {
    read_text(text).findings.iter().map(ToString::to_string).collect()
}

#[test]
fn each_type_is_read_in_its_own_words() {
    let layer = read_text(
        "[http]\nport = 0x1ed1\n[network]\nlisten_only = true\npeer = ['/ip4/192.0.2.1/tcp/1', \"/ip4/192.0.2.2/tcp/2\"]\nprobe = []\n\
         [artifact_store]\nartifact_budget = '2 GB'\nscrub_rate = 1_000\n[folders]\nartifact_path = 'data'\nkeypair = '/keys/node'\n",
    );
    assert_eq!(layer.findings, []);
    let words = |id: &str| layer.given[id].words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((words("port"), words("listen_only"), words("probe")), (vec!["7889"], vec!["true"], vec![]));
    assert_eq!(words("peer"), ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/2"]);
    assert_eq!((words("artifact_budget"), words("scrub_rate")), (vec!["2 GB"], vec!["1000"]));
    assert_eq!((words("artifact_path"), words("keypair")), (vec!["etc/data"], vec!["/keys/node"]));
    assert_eq!(read_text("http.port = 7889").given["port"].words, ["7889"]);
    assert_eq!(read_text("http = { port = 7889 }").given["port"].words, ["7889"]);
    assert_eq!(read_text("\u{feff}[http]\nport = 7889").given["port"].words, ["7889"]);
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let text = "\
port = 1
[http]
prot = 7889
port = '7889'
host = 'nowhere'
peer = []
[netwrok]
peer = '/ip4/192.0.2.1/tcp/1'
[network]
peer = '/ip4/192.0.2.1/tcp/1'
probe = ['/ip4/192.0.2.1/tcp/1', 'here']
listen = []
listen_only = 1
[ledger]
rejoin_without_journal = true
nonsense = 1979-05-27
[builds]
build_timeout = ['1h']
[logging]
log_format = 'xml'
[[folders]]
";
    assert_eq!(
        said(text),
        [
            "etc/node.toml:1:1: port: there is no such setting\n  hint: did you mean port in [http]?",
            "etc/node.toml:3:1: http.prot: there is no such setting\n  hint: did you mean port?",
            "etc/node.toml:4:8: http.port: is an integer, and string stands here",
            "etc/node.toml:5:8: http.host: \"nowhere\" cannot be used: not an IPv4 or IPv6 address such as 127.0.0.1 or ::1",
            "etc/node.toml:6:1: http.peer: there is no such setting\n  hint: did you mean peer in [network]?",
            "etc/node.toml:7:2: netwrok: there is no such section\n  hint: did you mean [network]?",
            "etc/node.toml:10:8: network.peer: takes several values, and one stands here without an array around it\n  hint: write peer = ['/ip4/192.0.2.1/tcp/1']",
            "etc/node.toml:11:34: network.probe: \"here\" cannot be used: invalid multiaddr",
            "etc/node.toml:12:10: network.listen: needs a value at least\n  hint: without the key, its default holds",
            "etc/node.toml:13:15: network.listen_only: is true or false, and integer stands here",
            "etc/node.toml:15:1: ledger.rejoin_without_journal: there is no such setting\n  hint: this cannot stand in a file: it holds for one start, and is given by the flag --rejoin-without-journal alone",
            "etc/node.toml:16:1: ledger.nonsense: there is no such setting\n  hint: 'pyrsia_node config example' shows every setting",
            "etc/node.toml:18:17: builds.build_timeout: takes one value, and an array stands here",
            "etc/node.toml:20:14: logging.log_format: \"xml\" cannot be used: it is one of text, json",
            "etc/node.toml:21:3: folders: is a section, and array stands here\n  hint: write [folders] on a line of its own and its settings below",
        ]
    );
}

#[test]
fn what_is_no_toml_is_said_beside_what_else_is_wrong() {
    let said = said("[http]\nport = = 1\nhost = 'nowhere'\nport = 2\n");
    assert!(said[0].starts_with("etc/node.toml:2:"), "{said:#?}");
    assert!(said.iter().any(|finding| finding.contains(":3:8: http.host")), "{said:#?}");
    assert!(read_text("a = 1\na = 2").findings.iter().any(|finding| finding.problem.contains("duplicate")));
}

#[test]
fn a_file_that_is_missing_too_large_or_no_text_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let settings = setting::all(&layers::command());
    let problem = || read(&path, &settings).findings.remove(0).to_string();
    assert!(problem().contains("cannot be read"), "{}", problem());
    let fits = " ".repeat(FILE_BYTES_MAX);
    std::fs::write(&path, &fits).unwrap();
    assert!(read(&path, &settings).findings.is_empty());
    std::fs::write(&path, format!("{fits} ")).unwrap();
    assert!(problem().contains("more than 256 KiB"), "{}", problem());
    std::fs::write(&path, b"[http]\nport = \xff").unwrap();
    assert!(problem().contains("node.toml:2:8: this is not UTF-8"), "{}", problem());
    assert!(read(folder.path(), &settings).findings[0].problem.contains("cannot be read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_much_for_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&bytes, Path::new("node.toml"), &setting::all(&layers::command()));
    }

    #[test]
    fn no_pieces_of_a_file_are_too_much_for_it(pieces in prop::collection::vec(prop::sample::select(vec![
        "[http]", "[[http]]", "[", "]", "{", "}", "=", "port", "peer", ".", "\n", "\"", "'", "'''", "1", "-1", "1.5", "0x", "true",
        "[network]", ",", "1979-05-27", "\\u0000", "#", "é", "\r\n", "artifact_path", "99999999999999999999999999999999999999999",
    ]), 0..40)) {
        parse(pieces.concat().as_bytes(), Path::new("node.toml"), &setting::all(&layers::command()));
    }
}
