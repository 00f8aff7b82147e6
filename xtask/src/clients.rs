//! The programs of others that tests run against, and which of them this machine lacks.

use std::path::PathBuf;

/// A program, the Debian package it comes in, and what is not tested without it.
const CLIENTS: [(&str, &str, &str); 9] = [
    ("dockerd", "docker.io", "pulls with the real docker engine"),
    ("docker", "docker.io", "pulls with the real docker engine"),
    ("docker-registry", "docker-registry", "imports from a real registry"),
    ("busybox", "busybox-static", "images that run as containers"),
    ("skopeo", "skopeo", "pulls with a second client"),
    ("git", "git", "builds from source and the demo"),
    ("npm", "npm, or nodejs where that brings it", "npm packages from source to their client"),
    ("node", "nodejs", "npm packages from source to their client"),
    ("ip", "iproute2", "networks that are parted by network namespaces"),
];

/// Where distributions put programs that are no user's everyday tools.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// One line for each client that is missing.
pub(crate) fn missing() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from)).collect();
    let here = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing = CLIENTS.iter().filter(|(program, ..)| !here(program));
    missing.map(|(program, package, what)| format!("{program} (Debian package {package}): {what}")).collect()
}
