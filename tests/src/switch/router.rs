//! A router at home: between a node and the switch, with the node's address on the outside and one that only the home knows inside.
//!
//! ```text
//!   node n  10.n.0.2 ── 10.n.0.1  router  198.19.X.n+1 ── switch
//! ```
//!
//! It translates addresses (masquerading, ports kept where they are free) and lets in only answers to what went out, as those that people have
//! at home do. Needs `nft`.

use super::{Switch, ip, port, run};
use std::io::Write as _;
use std::process::Stdio;

/// `peers` is the wire to the switch. Whoever knocks is not answered at all: a refusal would end what the node begins at the same moment.
const RULES: &str = r#"
table ip home {
    chain translate {
        type nat hook postrouting priority srcnat;
        oifname "peers" masquerade
    }
    chain knock {
        type filter hook input priority filter;
        iifname "peers" ct state new drop
    }
    chain pass {
        type filter hook forward priority filter;
        iifname "peers" ct state new drop
        oifname "peers" jump fence
    }
    chain fence {
    }
}
"#;

impl Switch {
    /// Puts a node behind a router of its own; before the node starts. An error says what this machine lacks.
    pub fn put_behind_router(&mut self, number: usize) -> Result<(), String> {
        let (switch, node) = (&self.namespace, &self.sockets[number]);
        let (router, node_namespace) = (format!("{switch}r{number}"), &node.namespace);
        let (outside, home) = (format!("{}/24", node.peer_address), format!("10.{number}.0"));
        run(&["netns", "add", &router])?;
        self.routers.push(router.clone());
        run(&["-n", node_namespace, "link", "delete", "peers"])?;
        run(&["-n", switch, "link", "add", &port(number), "type", "veth", "peer", "name", "peers", "netns", &router])?;
        run(&["-n", switch, "link", "set", &port(number), "master", "together", "up"])?;
        run(&["-n", &router, "link", "add", "home", "type", "veth", "peer", "name", "peers", "netns", node_namespace])?;
        for (namespace, device, address) in [
            (&router, "peers", outside.as_str()),
            (&router, "home", &format!("{home}.1/24")),
            (node_namespace, "peers", &format!("{home}.2/24")),
        ] {
            run(&["-n", namespace, "addr", "add", address, "dev", device])?;
            run(&["-n", namespace, "link", "set", device, "up"])?;
        }
        run(&["-n", node_namespace, "route", "add", "default", "via", &format!("{home}.1")])?;
        run(&["netns", "exec", &router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        rule(&router, RULES)?;
        self.sockets[number].peer_address = format!("{home}.2");
        Ok(())
    }

    /// Has the router of one node let nothing pass but to and from another one, which has no router.
    pub fn fence(&self, number: usize, only: usize) {
        let only = &self.sockets[only].peer_address;
        self.set_fence(number, &format!("add rule ip home fence ip daddr != {only} drop"));
    }

    pub fn unfence(&self, number: usize) {
        self.set_fence(number, "flush chain ip home fence");
    }

    fn set_fence(&self, number: usize, ruling: &str) {
        let set = rule(&format!("{}r{number}", self.namespace), ruling);
        set.unwrap_or_else(|error| panic!("the router of node {number} takes no rule: {error}"));
    }
}

fn rule(router: &str, rules: &str) -> Result<(), String> {
    let mut command = ip(&["netns", "exec", router, "nft", "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut nft = command.spawn().map_err(|error| format!("nft does not start: {error}"))?;
    let written = nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
    let output = nft.wait_with_output().map_err(|error| format!("nft does not end: {error}"))?;
    match written {
        Some(Ok(())) if output.status.success() => Ok(()),
        _ => Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
