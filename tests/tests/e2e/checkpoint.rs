//! The checkpoint that a node serves, read as its specifications say (c2sp.org: signed-note, tlog-checkpoint, tlog-cosignature,
//! tlog-policy) and checked by a program that is not ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pyrsia_tests::clients;
use pyrsia_tests::network::{Cli, Node, get_json};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::process::Command;

/// What comes before the 32 bytes of an ed25519 key in DER (RFC 8410).
const DER_START: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A verifier key: its name, and the type and bytes of the key.
struct Key {
    name: String,
    id: [u8; 4],
    kind: u8,
    bytes: Vec<u8>,
}

impl Key {
    fn read(text: &str) -> Self {
        let [name, id, key] = text.splitn(3, '+').collect::<Vec<_>>()[..] else { panic!("no verifier key: {text}") };
        let key = STANDARD.decode(key).expect("base64");
        let digest = Sha256::digest([name.as_bytes(), b"\n", &key].concat());
        assert_eq!(hex::encode(&digest[..4]), id, "the id of {name}");
        let id = digest[..4].try_into().expect("four bytes");
        Self { name: name.into(), id, kind: key[0], bytes: key[1..].to_vec() }
    }

    /// The line of this key under a note: whether it is there, and the signature holds in the eyes of openssl.
    fn signed(&self, folder: &Path, text: &str, lines: &str) -> bool {
        let start = format!("\u{2014} {} ", self.name);
        let Some(line) = lines.lines().find_map(|line| line.strip_prefix(&start)) else { return false };
        let line = STANDARD.decode(line).expect("base64");
        assert_eq!(line[..4], self.id, "{}", self.name);
        let (message, signature) = match self.kind {
            1 => (text.to_owned(), &line[4..]),
            4 => {
                let time = u64::from_be_bytes(line[4..12].try_into().expect("eight bytes"));
                (format!("cosignature/v1\ntime {time}\n{text}"), &line[12..])
            }
            kind => panic!("signature type {kind}"),
        };
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("is written");
        write("key", &[DER_START.as_slice(), &self.bytes].concat());
        write("message", message.as_bytes());
        write("signature", signature);
        let arguments = "pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in message -sigfile signature";
        let checked = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
        checked.status.success()
    }
}

async fn text(node: &Node, path: &str) -> String {
    let answer = reqwest::get(node.url(path)).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    answer.text().await.expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_finds_every_checkpoint_signed_by_the_log_and_a_quorum() {
    if !clients::present("openssl_finds_every_checkpoint_signed_by_the_log_and_a_quorum", &["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let cli = Cli::new(folder);
    let mut first = Node::start(folder, "first", &["--listen-only", "--init-blockchain"]).await;
    let founding = text(&first, "/log/checkpoint").await;
    cli.authorize(&first, &first).await;
    let second = Node::start(folder, "second", &["--peer", &first.address().await]).await;
    second.wait_until_synced(&first).await;
    cli.authorize(&first, &second).await;
    second.wait_until_synced(&first).await;
    // From here on two sign: the block that authorizes the third is the first one.
    let third = Node::start(folder, "third", &["--peer", &first.address().await]).await;
    third.wait_until_synced(&first).await;
    cli.authorize_by(&[&first, &second], &third).await;

    for node in [&first, &second, &third] {
        node.wait_until_synced(&first).await;
        let note = text(node, "/log/checkpoint").await;
        let policy = text(node, "/log/policy").await;
        let keys = get_json(&node.url("/api/v1/log/keys")).await.expect("the keys");
        let network = node.network().await;
        let (body, lines) = note.rsplit_once("\n\n").expect("a signed note");
        let body = format!("{body}\n");
        let root = STANDARD.encode(hex::decode(network["tree_root"].as_str().expect("a root")).expect("hexadecimal"));
        let origin = format!("pyrsia/{}", network["network"].as_str().expect("an id"));
        assert!(
            body.starts_with(&format!("{origin}\n{}\n{root}\npyrsia/block {} ", network["tree_size"], network["height"])),
            "{body}"
        );
        assert!(body.ends_with(&format!(" {}\n", network["tip"].as_str().expect("a hash"))));
        let earlier = founding.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("a size");
        assert!(earlier < network["tree_size"].as_u64().expect("a number") && founding.starts_with(&format!("{origin}\n")));

        let log = Key::read(policy.lines().find_map(|line| line.strip_prefix("log ")).expect("a log"));
        assert_eq!((log.name.as_str(), log.kind), (origin.as_str(), 1));
        assert!(lines.starts_with(&format!("\u{2014} {origin} ")), "the log signs first");
        assert!(log.signed(folder, &body, lines));
        let witness = |line: &str| Some(Key::read(line.strip_prefix("witness ")?.split_once(' ')?.1));
        let cosigners: Vec<Key> = policy.lines().filter_map(witness).collect();
        let cosigned = cosigners.iter().filter(|key| key.signed(folder, &body, lines)).count() as u64;
        assert!(cosigned >= keys["quorum"].as_u64().expect("a number"), "{cosigned}: {policy}\n{note}");
        assert!(policy.contains(&format!("\ngroup validators {} ", keys["quorum"])) && policy.ends_with("\nquorum validators\n"));
        assert_eq!(keys["cosigners"].as_array().expect("a list").len(), cosigners.len());

        let larger = body.replacen(&format!("\n{}\n", network["tree_size"]), "\n99\n", 1);
        assert!(!log.signed(folder, &larger, lines) && cosigners.iter().all(|key| !key.signed(folder, &larger, lines)));
    }
}
