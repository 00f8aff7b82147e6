//! What the CLI says of a ledger without a node: audit, export, import, replay and show, with their exit codes.

use crate::fixture::{Ended, PYRSIA, PYRSIA_NODE, run};
use crate::lone_node::{LoneNode, succeeded};
use std::fs;
use std::path::Path;

fn fails(home: &Path, line: &str, code: i32, hint: &str) -> Ended {
    let ended = run(PYRSIA, home, line);
    assert_eq!(ended.code, Some(code), "{line}: {} {}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(hint), "{line}: {}", ended.stderr);
    ended
}

#[test]
#[cfg(unix)]
fn a_ledger_is_taken_from_a_running_node_and_checked_without_one() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let node = LoneNode::start(home);
    succeeded(home, &format!("config -e --host 127.0.0.1 --port {}", node.port));
    fails(home, "audit pyrsia", 2, "pyrsia log export --node FILE");
    let found = succeeded(home, "search --operation NetworkFounded --json").stdout;
    let nothing = fails(home, "search docker alpine:3.16.0", 1, "");
    assert!(nothing.stdout.starts_with("Nothing was found in the ledger up to block "), "{}", nothing.stdout);
    fails(home, "search --sha256 nothing", 2, "sha256: a sha256 digest is 64");
    succeeded(home, "log export --node taken.log");
    assert_eq!(node.stop(), Some(0));

    for ledger in [".", "pyrsia", "pyrsia/blockchain", "taken.log"] {
        let audit = succeeded(home, &format!("audit {ledger}"));
        assert!(audit.stdout.contains("\nClean: "), "{}", audit.stdout);
    }
    let report: serde_json::Value = serde_json::from_str(&succeeded(home, "audit . --json").stdout).unwrap();
    let network = report["summary"]["network"].as_str().unwrap();
    assert_eq!((&report["clean"], &report["findings_total"]), (&true.into(), &0.into()));
    succeeded(home, &format!("audit . --network {network}"));
    let other = network.chars().rev().collect::<String>();
    let refused = fails(home, &format!("audit . --network {other}"), 1, "finding");
    assert!(refused.stdout.contains("network  "), "{}", refused.stdout);
    fails(home, "audit . --network nonsense", 2, "a network id is");
    let unpinned = succeeded(home, "audit .").stdout;
    assert!(unpinned.contains("whether this is the one you mean was not checked"), "{unpinned}");
    for ledger in ["pyrsia", "taken.log"] {
        let first = succeeded(home, &format!("audit {ledger} --resume rest-{ledger}")).stdout;
        let second = succeeded(home, &format!("audit {ledger} --resume rest-{ledger}")).stdout;
        assert!(!first.contains("gone on") && second.contains("were read by an earlier run, not by this one"), "{second}");
        fails(home, &format!("audit {ledger} --resume rest-{ledger} --network {network}"), 2, "with no network pinned");
    }
    fs::write(home.join("rest-pyrsia"), "something else").unwrap();
    fails(home, "audit pyrsia --resume rest-pyrsia", 2, "it is no audit at rest");
    fails(home, "audit taken.log --deep", 2, "there are no stored artifacts beside taken.log");
    let deep = succeeded(home, "audit . --deep").stdout;
    assert!(deep.contains("0 of 0 judged again"), "{deep}");
    fails(home, "audit nowhere", 2, "nowhere does not exist");
    fails(home, "audit config", 2, "holds no ledger");

    for ledger in ["pyrsia", "taken.log"] {
        assert_eq!(succeeded(home, &format!("search --operation networkfounded --json --ledger {ledger}")).stdout, found);
        assert_eq!(fails(home, &format!("search docker alpine:3.16.0 --ledger {ledger}"), 1, "").stdout, nothing.stdout);
    }
    let shown = succeeded(home, "search --from 0 --to 0 --ledger taken.log").stdout;
    assert!(shown.contains("  NetworkFounded  -\n") && shown.contains("\nOne event: all there is up to block "), "{shown}");
    fails(home, &format!("search --from 0 --ledger . --network {other}"), 2, "this is the log of network");
    fails(home, "search alpine --ledger nowhere", 2, "nowhere does not exist");

    succeeded(home, "log export pyrsia exported.log");
    let bytes = fs::read(home.join("taken.log")).unwrap();
    assert_eq!(fs::read(home.join("exported.log")).unwrap(), bytes, "the node gives what is on its disk");
    fails(home, "log export pyrsia exported.log", 1, "exists already");
    succeeded(home, "log import exported.log copy");
    fails(home, "log import exported.log copy", 1, "never written over another");
    let replayed = |ledger: &str| succeeded(home, &format!("log replay {ledger} --json")).stdout;
    assert_eq!(replayed("copy"), replayed("pyrsia"));
    let founded: serde_json::Value = serde_json::from_str(&succeeded(home, "log replay copy --to 0 --json").stdout).unwrap();
    assert_eq!((&founded["height"], &founded["events"]), (&0.into(), &1.into()));
    let shown = succeeded(home, "log show copy --height 0").stdout;
    assert!(shown.starts_with("Block 0 of ") && shown.contains(" founded the network "), "{shown}");
    fails(home, "log replay copy --to 9999", 1, "block 9999 is not in it");

    let mut damaged = bytes;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(home.join("damaged.log"), damaged).unwrap();
    let audit = fails(home, "audit damaged.log", 1, "finding");
    assert!(audit.stdout.contains("storage  "), "{}", audit.stdout);
    fails(home, "log import damaged.log refused", 1, "pyrsia audit damaged.log");
    assert!(!home.join("refused").exists());

    // A node whose ledger lost its end does not start, and says how to see what is wrong.
    fs::remove_dir_all(home.join("pyrsia/blockchain/db")).unwrap();
    let node = run(PYRSIA_NODE, home, "--port 0 --listen /ip4/127.0.0.1/tcp/0 --listen-only");
    assert_eq!(node.code, Some(1), "{}", node.stderr);
    assert!(node.stderr.contains("its end is lost") && node.stderr.contains("pyrsia audit pyrsia/blockchain"), "{}", node.stderr);
    let audit = fails(home, "audit pyrsia", 1, "finding");
    assert!(audit.stdout.contains("though block "), "{}", audit.stdout);
}
