//! Whatever follows `/v2/`.

use super::path::{Digest, Name, Target};
use pyrsia_ledger::{ArtifactId, PackageId};

/// A path is refused, or names something in one way that is a name on the ledger as well.
pub(crate) fn image_path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let Ok(target) = Target::parse(path) else { return };
    let canonical = match &target {
        Target::Manifest { name, reference } => {
            let id = reference.id_in(name);
            assert!(PackageId::new(id.clone()).is_ok(), "{id:?} is no name on a ledger");
            format!("{name}/manifests/{}", &id[name.as_str().len() + 1..])
        }
        Target::Blob { name, digest } => format!("{name}/blobs/{}", written(name, digest)),
        Target::Referrers { name, digest } => format!("{name}/referrers/{}", written(name, digest)),
        Target::Tags { name } => format!("{name}/tags/list"),
        Target::Upload | Target::Catalog => return,
    };
    assert!(
        canonical.bytes().all(|byte| byte.is_ascii_graphic())
            && !canonical.split('/').any(|step| step == ".." || step.is_empty())
    );
    // Once a mirrored host is in front of a name, another one is a part of it.
    if !canonical.starts_with("docker.io/") {
        assert_eq!(Target::parse(&canonical), Ok(target), "{path:?}");
    }
}

fn written(name: &Name, digest: &Digest) -> String {
    let id = digest.id_in(name);
    assert!(matches!(digest, Digest::Other(_)) || ArtifactId::new(id.clone()).is_ok());
    id[name.as_str().len() + 1..].to_owned()
}

pub(crate) fn image_path_seeds() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "4ff3ca91".repeat(8));
    let paths = [
        "alpine/manifests/3.16.0".into(),
        "docker.io/library/alpine/manifests/latest".into(),
        format!("library/alpine/manifests/{digest}"),
        format!("a/b_c/d__e-f/blobs/{digest}"),
        format!("alpine/blobs/sha512:{}", "ab".repeat(64)),
        "alpine/blobs/uploads/".into(),
        "alpine/tags/list".into(),
        format!("alpine/referrers/{digest}"),
        "a%2Eb/manifests/sha256%3A00".into(),
        "_catalog".into(),
    ];
    paths.map(String::into_bytes).to_vec()
}
