//! A network that can be cut: each node in a Linux network namespace of its own, all of them on one switch.
//!
//! ```text
//!   this host                       switch (a namespace)
//!   198.18.X.4n+1 ── 198.18.X.4n+2  [together]──────[apart]
//!   test, pipeline    node n  198.19.X.n+1 ── on one of the two bridges
//! ```
//!
//! The wire to the host carries HTTP only: a node has no route over it to another one, and listens for peers on its other
//! address alone. Needs root and `ip`; [`Switch::plug_in`] says whether that is to be had.

mod router;

use crate::clients;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many nodes a switch takes: a subnet of four addresses for each wire to the host.
const NODES_MAX: usize = 60;
/// Third octets of the addresses of one switch, tried in turn.
const SUBNETS: u32 = 250;
const PEER_PORT: u16 = 44_000;

/// Where one node is plugged in.
#[derive(Clone, Debug)]
pub struct Socket {
    namespace: String,
    host: String,
    pipeline_host: String,
    peer_address: String,
}

impl Socket {
    /// The program, to be run in the namespace. It takes the place of `ip`, so signals reach it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = ip(&["netns", "exec", &self.namespace]);
        command.arg(program).args(["-H", &self.host]);
        command.args(["-L", &format!("/ip4/{}/tcp/{PEER_PORT}", self.peer_address)]);
        command
    }

    /// The node's address for HTTP.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address of this host as the node sees it.
    pub fn pipeline_host(&self) -> &str {
        &self.pipeline_host
    }

    pub(crate) fn peer_address(&self) -> &str {
        &self.peer_address
    }
}

pub struct Switch {
    namespace: String,
    sockets: Vec<Socket>,
    /// Namespaces between the switch and a node.
    routers: Vec<String>,
}

impl Switch {
    /// A switch with this many nodes plugged in; none, and a line that says why, where this process may not have one.
    pub fn plug_in(nodes: usize) -> Option<Self> {
        assert!(nodes <= NODES_MAX, "a switch takes up to {NODES_MAX} nodes");
        match Self::try_plug_in(nodes) {
            Ok(switch) => Some(switch),
            Err(why) => {
                println!("no network namespaces: {why}");
                None
            }
        }
    }

    fn try_plug_in(nodes: usize) -> Result<Self, String> {
        if clients::find("ip").is_none() {
            return Err("ip is not installed".to_owned());
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let begin = std::process::id().wrapping_mul(31);
        for _ in 0..SUBNETS {
            let subnet = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % SUBNETS;
            // The name is the lock: it can be made once.
            let namespace = format!("pyrsia{subnet}");
            match run(&["netns", "add", &namespace]) {
                Ok(()) => {
                    let mut switch = Self { namespace, sockets: vec![], routers: vec![] };
                    switch.connect(subnet, nodes)?;
                    return Ok(switch);
                }
                Err(error) if error.contains("File exists") => {}
                Err(error) => return Err(error),
            }
        }
        Err("every name for a switch is taken".to_owned())
    }

    fn connect(&mut self, subnet: u32, nodes: usize) -> Result<(), String> {
        let switch = self.namespace.clone();
        for bridge in ["together", "apart"] {
            run(&["-n", &switch, "link", "add", bridge, "type", "bridge"])?;
            run(&["-n", &switch, "link", "set", bridge, "up"])?;
        }
        for number in 0..nodes {
            let namespace = format!("{switch}n{number}");
            run(&["netns", "add", &namespace])?;
            let wire = 4 * number;
            let socket = Socket {
                host: format!("198.18.{subnet}.{}", wire + 2),
                pipeline_host: format!("198.18.{subnet}.{}", wire + 1),
                peer_address: format!("198.19.{subnet}.{}", number + 1),
                namespace,
            };
            self.sockets.push(socket.clone());
            let Socket { namespace, host, pipeline_host, peer_address } = &socket;
            let (outside, port) = (format!("py{subnet}n{number}"), port(number));
            run(&["-n", namespace, "link", "set", "lo", "up"])?;
            run(&["link", "add", &outside, "type", "veth", "peer", "name", "host", "netns", namespace])?;
            run(&["addr", "add", &format!("{pipeline_host}/30"), "dev", &outside])?;
            run(&["link", "set", &outside, "up"])?;
            run(&["-n", namespace, "addr", "add", &format!("{host}/30"), "dev", "host"])?;
            run(&["-n", namespace, "link", "set", "host", "up"])?;
            run(&["-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "peers", "netns", namespace])?;
            run(&["-n", &switch, "link", "set", &port, "master", "together", "up"])?;
            run(&["-n", namespace, "addr", "add", &format!("{peer_address}/24"), "dev", "peers"])?;
            run(&["-n", namespace, "link", "set", "peers", "up"])?;
        }
        Ok(())
    }

    pub fn socket(&self, number: usize) -> &Socket {
        &self.sockets[number]
    }

    /// Parts these nodes from all others; among themselves they stay connected.
    pub fn part(&self, nodes: &[usize]) {
        self.move_to("apart", nodes);
    }

    /// Connects these nodes with all others again.
    pub fn rejoin(&self, nodes: &[usize]) {
        self.move_to("together", nodes);
    }

    fn move_to(&self, bridge: &str, nodes: &[usize]) {
        for number in nodes {
            let moved = run(&["-n", &self.namespace, "link", "set", &port(*number), "master", bridge]);
            moved.unwrap_or_else(|error| panic!("node {number} cannot be moved to the bridge {bridge}: {error}"));
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // The wires go with the namespaces they end in.
        for namespace in self.sockets.iter().map(|socket| &socket.namespace).chain(&self.routers) {
            drop(run(&["netns", "delete", namespace]));
        }
        drop(run(&["netns", "delete", &self.namespace]));
    }
}

fn port(number: usize) -> String {
    format!("port{number}")
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new(clients::find("ip").unwrap_or_else(|| "ip".into()));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let output = ip(arguments).stdin(Stdio::null()).output().map_err(|error| format!("ip does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// How long a wire that was plugged in again may take to carry something.
    const REACH_DEADLINE: Duration = Duration::from_secs(30);

    /// Whether node `from` reaches the address for peers of node `to`.
    fn reaches(switch: &Switch, from: usize, to: usize) -> bool {
        let script = format!("exec 3<>/dev/tcp/{}/{PEER_PORT}", switch.socket(to).peer_address);
        let mut command = ip(&["netns", "exec", &switch.socket(from).namespace, "timeout", "1", "bash", "-c", &script]);
        // A refusal is an answer: nobody listens there, and the way is open.
        let output = command.output().expect("runs");
        String::from_utf8_lossy(&output.stderr).contains("refused")
    }

    /// Neighbours that did not answer a moment ago are asked again only after a while.
    fn comes_to_reach(switch: &Switch, from: usize, to: usize) -> bool {
        let deadline = Instant::now() + REACH_DEADLINE;
        while Instant::now() < deadline {
            if reaches(switch, from, to) {
                return true;
            }
        }
        false
    }

    #[test]
    fn nodes_that_are_parted_reach_only_each_other() {
        let Some(switch) = Switch::plug_in(3) else { return };
        assert!(comes_to_reach(&switch, 0, 1) && comes_to_reach(&switch, 1, 2));
        switch.part(&[1, 2]);
        assert!(!reaches(&switch, 0, 1) && !reaches(&switch, 2, 0) && comes_to_reach(&switch, 1, 2));
        switch.rejoin(&[1, 2]);
        assert!(comes_to_reach(&switch, 0, 1) && comes_to_reach(&switch, 2, 0));
    }
}
