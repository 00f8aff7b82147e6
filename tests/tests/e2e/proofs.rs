//! Proofs of publication as people use them, beside other scenarios whose networks they share: written by a node, or out of its
//! ledger, and verified where there is neither.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pyrsia_tests::clients::{lacking, present};
use pyrsia_tests::engine::Engine;
use pyrsia_tests::fleet::Fleet;
use pyrsia_tests::network::Cli;
use pyrsia_tests::program::{Ended, run, succeed};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What comes before the 32 bytes of an ed25519 key in DER (RFC 8410), and in the bytes of a peer id.
const DER_START: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[track_caller]
fn refused(ended: &Ended, code: i32, reason: &str) {
    assert!(ended.code == code && ended.stderr.contains(reason), "{reason}: {ended:?}");
    assert!(!ended.stdout.contains("Verified"), "{ended:?}");
}

/// The file with one byte changed, `back` bytes before its end.
fn changed(folder: &Path, name: &str, back: usize) -> String {
    let mut bytes = fs::read(folder.join(name)).expect("a file");
    let at = bytes.len() - back;
    bytes[at] ^= 1;
    let other = format!("changed-{name}");
    fs::write(folder.join(&other), bytes).expect("a file");
    other
}

/// `docs/check-proof.py` comes to the same answers about the proof, and about changes of what it claims and of what it shows.
fn read_without_code_of_ours(folder: &Path, network: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check-proof.py");
    let check = |proof: &str, network: &str| run(Command::new("python3").current_dir(folder).arg(&script).args([proof, network]));
    let has_python = present("docs/check-proof.py", &["python3"]);
    if !has_python || run(Command::new("python3").args(["-c", "import cryptography"])).code != 0 {
        return lacking("docs/check-proof.py", "python3 with its package cryptography");
    }
    let good = check("demo.proof", network);
    assert!(good.code == 0 && good.stdout.contains("org.example:demo:1.0"), "{good:?}");
    assert_ne!(check("demo.proof", &"0".repeat(64)).code, 0, "of another network");
    let proof = fs::read(folder.join("demo.proof")).expect("the proof");
    let begin = |part: &str| proof.windows(part.len()).rposition(|bytes| bytes == part.as_bytes()).expect("a part of the proof");
    let events = begin("\"events\"");
    for place in [begin("\"request\"") + 100, events + 200, events + (proof.len() - events) / 2, proof.len() - 200] {
        let back = (1..).map(|step| proof.len() - place + step).find(|back| proof[proof.len() - back].is_ascii_alphanumeric());
        let other = changed(folder, "demo.proof", back.expect("a letter or digit"));
        assert_ne!(check(&other, network).code, 0, "byte {place} is another one");
    }
}

/// A package in files: `jar` is one of them, and `network` publishes it.
pub(crate) fn a_served_package_is_proved(cli: &Cli, folder: &Path, jar: &Path, network: &str) {
    let verify = |subject: &str, rest: &[&str]| cli.run(&[&["verify", subject, "--proof", "demo.proof"], rest].concat());
    let prove = |rest: &[&str]| cli.run(&[&["prove", "maven", "--gav", "org.example:demo:1.0"], rest].concat());
    let written = prove(&["--output", "demo.proof"]);
    assert!(written.code == 0 && written.stderr.contains("demo.proof has the proof of "), "{written:?}");
    assert!(written.stdout.is_empty() && !written.stderr.contains("at risk"), "{written:?}");
    let proof = fs::read_to_string(folder.join("demo.proof")).expect("the proof");
    assert_eq!(prove(&[]).stdout, proof, "the same on stdout");
    fs::copy(jar, folder.join("renamed.jar")).expect("a copy of the jar");

    // Nobody is trusted until somebody says so.
    refused(&verify("renamed.jar", &[]), 1, &format!("pyrsia config -e --network {network}"));
    let unpinned = verify("renamed.jar", &["--any-network"]);
    assert!(unpinned.code == 0 && unpinned.stdout.contains("NOT pinned"), "{unpinned:?}");
    refused(&verify("renamed.jar", &["--network", &"0".repeat(64)]), 1, &format!("this is a proof for network {network}"));
    refused(&cli.run(&["config", "-e", "--network", "x"]), 1, "Invalid pyrsia config");
    cli.succeed(&["config", "-e", "--network", network]);
    assert!(cli.succeed(&["config", "--show"]).contains(&format!("network = \"{network}\"\n")));
    let verified = verify("renamed.jar", &[]);
    for words in
        ["renamed.jar is published", "org.example:demo:1.0", network, "1 of 1 build nodes", "commit ", "1 of 1 validators"]
    {
        assert!(verified.code == 0 && verified.stdout.contains(words), "{words}: {verified:?}");
    }
    let answer: Value = serde_json::from_str(&verify("renamed.jar", &["--json"]).stdout).expect("JSON");
    assert_eq!((&answer["verified"], &answer["subject"]["kind"]), (&Value::Bool(true), &"file".into()));

    let other = changed(folder, "renamed.jar", 1);
    refused(&verify(&other, &[]), 1, "which no artifact of the proof has");
    let answer: Value = serde_json::from_str(&verify(&other, &["--json"]).stdout).expect("JSON");
    assert!(answer["verified"] == false && answer["reason"].is_string(), "{answer}");
    let other = changed(folder, "demo.proof", proof.len() / 2);
    refused(&cli.run(&["verify", "renamed.jar", "--proof", &other]), 1, "proves nothing here");
    refused(&cli.run(&["verify", "renamed.jar", "--proof", "absent.proof"]), 2, "absent.proof cannot be read");

    read_without_code_of_ours(folder, network);

    // By one of its files, and what is not published.
    let sha256 = answer_sha256(&verified.stdout);
    assert_eq!(cli.succeed(&["prove", "--sha256", &sha256]), proof);
    refused(&prove(&["--artifact", "org.example/demo/1.0/none.jar"]), 1, "has no artifact org.example/demo/1.0/none.jar");
    refused(
        &cli.run(&["prove", "maven", "org.example:demo:2.0"]),
        1,
        "ask for a build with `pyrsia build maven org.example:demo:2.0`",
    );
    let tlog = cli.succeed(&["prove", "--sha256", &sha256, "--format", "tlog-proof"]);
    assert!(tlog.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{tlog}");
    attestations_are_signed(&prove(&["--format", "slsa"]).stdout, folder);
}

/// The digest in what `verify` says of a file.
fn answer_sha256(printed: &str) -> String {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix("sha256 ")).expect("the digest");
    line.trim().to_owned()
}

/// Each envelope by the word of openssl, over the encoding of DSSE v1.
fn attestations_are_signed(bundle: &str, folder: &Path) {
    assert_eq!(bundle.lines().count(), 2, "one builder and their majority: {bundle}");
    for line in bundle.lines() {
        let envelope: Value = serde_json::from_str(line).expect("an envelope");
        let decoded = |value: &Value| STANDARD.decode(value.as_str().expect("text")).expect("base64");
        let (payload, signature) = (decoded(&envelope["payload"]), &envelope["signatures"][0]);
        let statement: Value = serde_json::from_slice(&payload).expect("a statement");
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("is written");
        write("key", &[DER_START.as_slice(), &public_key(signature["keyid"].as_str().expect("a peer id"))].concat());
        write("signature", &decoded(&signature["sig"]));
        let kind = envelope["payloadType"].as_str().expect("a type");
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
        let check = |message: &[u8]| {
            write("message", message);
            let arguments = "pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in message -sigfile signature";
            run(Command::new("openssl").args(arguments.split(' ')).current_dir(folder)).code == 0
        };
        assert!(check(&[head.as_bytes(), &payload].concat()) && !check(&payload), "{statement:#}");
    }
}

/// The key in a peer id: base58 (bitcoin's alphabet) of six bytes and the key.
fn public_key(peer_id: &str) -> Vec<u8> {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0_u8; 38];
    for digit in peer_id.chars() {
        let mut carry = ALPHABET.find(digit).expect("a digit of base58");
        for byte in bytes.iter_mut().rev() {
            carry += 58 * usize::from(*byte);
            *byte = carry as u8;
            carry >>= 8;
        }
    }
    bytes[6..].to_vec()
}

/// The same without the node: out of its folder and of its exported log.
pub(crate) fn the_package_is_proved_without_its_node(cli: &Cli, folder: &Path) {
    let proof = fs::read_to_string(folder.join("demo.proof")).expect("the proof");
    for ledger in ["node", "taken.log"] {
        let made = cli.succeed(&["prove", "maven", "org.example:demo:1.0", "--ledger", ledger]);
        assert_eq!(made, proof, "{ledger}");
        refused(&cli.run(&["prove", "maven", "org.example:demo:2.0", "--ledger", ledger]), 1, "is not published, as of block ");
    }
    refused(&cli.run(&["prove", "maven", "org.example:demo:1.0"]), 1, "the publication cannot be proved");
    refused(&cli.run(&["prove", "maven", "g:a:1", "--ledger", "node", "--format", "slsa"]), 2, "signed by the node");
    assert_eq!(cli.run(&["verify", "renamed.jar", "--proof", "demo.proof"]).code, 0);
    cli.succeed(&["config", "-e", "--network", ""]);
}

/// An image that `engine` pulled as `name` from a node, by what the engine says and by what it saves.
pub(crate) fn a_pulled_image_is_verified(cli: &Cli, engine: &Engine, folder: &Path, (name, network): (&str, &str)) {
    cli.succeed(&["prove", "docker", "--image", "hello:1.0", "--output", "hello.proof"]);
    let verify = |subject: &str| {
        let mut command = cli.command(&["verify", subject, "--proof", "hello.proof", "--network", network]);
        run(command.env("DOCKER_HOST", &engine.socket))
    };
    let by_name = verify(name);
    assert!(by_name.code == 0 && by_name.stdout.contains("by the word of docker"), "{by_name:?}");
    refused(&verify("alpine:3.16.0"), 1, "docker knows it as sha256:");
    refused(&verify("nobody-has-it:1"), 2, "no engine of this machine has such an image");
    let saved = folder.join("hello.tar");
    engine.succeed(&["save", "--output", saved.to_str().expect("a path in UTF-8"), name]);
    let archive = verify("hello.tar");
    assert!(archive.code == 0 && archive.stdout.contains("the image in hello.tar is published"), "{archive:?}");

    // One byte of a layer.
    let other = folder.join("other");
    fs::create_dir(&other).expect("a folder");
    succeed(Command::new("tar").arg("--extract").arg("--file").arg(&saved).arg("--directory").arg(&other));
    assert_eq!(verify("other").code, 0, "the folder is as good as the archive");
    let manifest: Value = serde_json::from_slice(&fs::read(other.join("manifest.json")).expect("the manifest")).expect("JSON");
    let layer = other.join(manifest[0]["Layers"][0].as_str().expect("a layer"));
    let mut bytes = fs::read(&layer).expect("the layer");
    bytes[600] ^= 1;
    fs::write(&layer, bytes).expect("the layer");
    refused(&verify("other"), 1, "the image in other is not what is proven");
}

/// An image as skopeo copies it from the node at `source`, in the OCI layout: one platform, and all of them.
pub(crate) fn a_copied_image_is_verified(cli: &Cli, folder: &Path, source: &str, (image, network): (&str, &str)) {
    cli.succeed(&["prove", "docker", "--image", image, "--output", "image.proof"]);
    let verify = |subject: &str| cli.run(&["verify", subject, "--proof", "image.proof", "--network", network]);
    for (target, name, all) in [("oci-archive", "one.tar", None), ("oci", "all", Some("--all"))] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false"]).args(all);
        succeed(skopeo.arg(format!("docker://{source}")).arg(format!("{target}:{}:it", folder.join(name).display())));
        let verified = verify(name);
        assert!(verified.code == 0 && verified.stdout.contains("have their digests"), "{verified:?}");
    }
    let blobs = folder.join("all/blobs/sha256");
    let sizes = fs::read_dir(&blobs).expect("the blobs").map(|blob| blob.expect("a blob"));
    let largest = sizes.max_by_key(|blob| blob.metadata().expect("its size").len()).expect("a blob").path();
    let mut bytes = fs::read(&largest).expect("the layer");
    bytes[600] ^= 1;
    fs::write(&largest, bytes).expect("the layer");
    refused(&verify("all"), 1, "has the sha256");
}

/// A build that three of four judges stood for, until the key of one turned out to have been in other hands.
pub(crate) async fn what_is_at_risk_is_proved_and_not_attested(fleet: &Fleet, folder: &Path, image: &str, manifest: &str) {
    let prove = |rest: &[&str]| fleet.run_at(0, &[&["prove", "docker", "--image", image], rest].concat());
    let proved = prove(&["--output", "risk.proof"]);
    assert!(proved.code == 0 && proved.stderr.contains("warning: the build is at risk since block "), "{proved:?}");
    assert!(folder.join("risk.proof").is_file(), "{proved:?}");
    let network = fleet.nodes[0].status().await["network"].as_str().expect("the id of the network").to_owned();
    let verified = fleet.cli.succeed(&["verify", manifest, "--proof", "risk.proof", "--network", &network]);
    for words in ["3 of 4 build nodes, of whom it takes 3", "built something else", "there were no bytes to look at"] {
        assert!(verified.contains(words), "{words}: {verified}");
    }
    refused(&prove(&["--format", "slsa"]), 1, "this node attests nothing of it");
}
