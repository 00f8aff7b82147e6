//! Building from source with the embedded builder.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use pyrsia_pipeline::{BuildStatus, SourceKind};
use serde_json::{Value, json};

use super::fixture::{COMMITTED_AT, Fixture, Repository, digest_of, docker};
use super::upstream::{Content, Upstream};

/// `(path, mode, mtime)` of a gzipped tar.
fn entries(layer: &[u8]) -> Vec<(String, u32, u64)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer));
    let entry = |entry: tar::Entry<'_, _>| {
        let header = entry.header();
        (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.mtime().unwrap())
    };
    archive.entries().unwrap().map(|found| entry(found.unwrap())).collect()
}

fn layers(artifacts: &BTreeMap<String, Vec<u8>>) -> Vec<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&artifacts["manifest"]).unwrap();
    let digests = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap().to_owned());
    digests.map(|digest| artifacts[&format!("{digest}.blob")].clone()).collect()
}

fn image_config(artifacts: &BTreeMap<String, Vec<u8>>) -> Value {
    let manifest: Value = serde_json::from_slice(&artifacts["manifest"]).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let digest = manifest["config"]["digest"].as_str().unwrap();
    serde_json::from_slice(&artifacts[&format!("{digest}.blob")]).unwrap()
}

const HELLO: &[(&str, &str)] = &[
    (
        "Dockerfile",
        "ARG BASE=scratch\nFROM ${BASE}\nARG NAME=world\nENV GREETING=\"hello $NAME\" LANG=C\nLABEL org.example.name=$NAME\n\
         WORKDIR /srv/app\nCOPY --chown=10:20 app.sh data/ ./\nCOPY app.sh /bin/app\nEXPOSE 80 53/udp\nVOLUME /data\nUSER 10:20\n\
         ENTRYPOINT [\"/bin/app\"]\nCMD serve --all\n",
    ),
    ("app.sh*", "#!/bin/sh\necho hello\n"),
    ("data/a.txt", "a"),
    ("data/sub/b.txt", "b"),
    ("data/skipped.log", "no"),
    (".dockerignore", "**/*.log\n"),
];

#[tokio::test]
async fn a_dockerfile_becomes_an_image_with_everything_it_says() {
    let fixture = Fixture::start(|_| {}).await;
    let repository = Repository::new(fixture.folder.path(), HELLO);
    let id = fixture.request(repository.request("hello:1.0")).await;
    let view = fixture.wait(&id).await;
    let source = view.source.unwrap();
    assert_eq!((source.kind, &source.revision), (SourceKind::Git, &repository.commit));
    assert_eq!(source.location, repository.path.to_str().unwrap());
    assert_eq!(source.tree.unwrap().len(), 40);

    let artifacts = fixture.build(repository.request("hello:1.0")).await;
    assert_eq!(artifacts.len(), 5);
    let config = image_config(&artifacts);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
    assert_eq!(
        config["config"],
        json!({
            "Cmd": ["/bin/sh", "-c", "serve --all"],
            "Entrypoint": ["/bin/app"],
            "Env": ["GREETING=hello world", "LANG=C"],
            "ExposedPorts": { "53/udp": {}, "80/tcp": {} },
            "Labels": { "org.example.name": "world" },
            "User": "10:20",
            "Volumes": { "/data": {} },
            "WorkingDir": "/srv/app",
        })
    );
    let layers = layers(&artifacts);
    let paths: Vec<Vec<(String, u32)>> = layers
        .iter()
        .map(|layer| {
            entries(layer)
                .into_iter()
                .map(|(path, mode, mtime)| {
                    assert_eq!(mtime, COMMITTED_AT);
                    (path, mode)
                })
                .collect()
        })
        .collect();
    let list = |entries: &[(&str, u32)]| entries.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect::<Vec<_>>();
    assert_eq!(paths[0], list(&[("srv/", 0o755), ("srv/app/", 0o755)]));
    assert_eq!(
        paths[1],
        list(&[
            ("srv/", 0o755),
            ("srv/app/", 0o755),
            ("srv/app/a.txt", 0o644),
            ("srv/app/app.sh", 0o755),
            ("srv/app/sub/", 0o755),
            ("srv/app/sub/b.txt", 0o644),
        ])
    );
    assert_eq!(paths[2], list(&[("bin/", 0o755), ("bin/app", 0o755)]));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&layers[0][..]).read_to_end(&mut tar).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest_of(&tar));
    assert_eq!(config["history"].as_array().unwrap().iter().filter(|line| line["empty_layer"].is_null()).count(), 3);
}

#[tokio::test]
async fn the_same_commit_gives_the_same_bytes_anywhere_and_any_time() {
    let one = Fixture::start(|_| {}).await;
    let other = Fixture::start(|_| {}).await;
    let first = Repository::new(one.folder.path(), HELLO);
    let second = Repository::new(&other.folder.path().join("some/deeper/folder"), HELLO);
    assert_eq!(first.commit, second.commit);
    // Other modes on disk and another way of fetching, as another umask and another server would have.
    std::fs::set_permissions(second.path.join("data/a.txt"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut by_commit = second.request("hello:1.0");
    by_commit["source_repository"] =
        json!({ "Git": { "url": format!("file://{}", second.path.display()), "commit": second.commit } });
    let first = one.build(first.request("hello:1.0")).await;
    let second = other.build(by_commit).await;
    assert!(first == second, "two builds of one commit differ");
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_by_line() {
    let fixture = Fixture::start(|_| {}).await;
    for (number, (text, sentence)) in [
        ("FROM scratch\n\nRUN make\n", "line 3: RUN: commands are not run by the embedded builder"),
        ("FROM scratch AS a\nFROM scratch\n", "line 2: FROM: builds of more than one stage"),
        ("FROM scratch\nADD https://files.example/x /x\n", "line 2: ADD: ADD of"),
        ("FROM scratch\nCOPY missing /\n", "line 2: COPY: \"missing\" is not in the build context"),
        ("FROM scratch\nCOPY ../../etc/passwd /\n", "line 2: COPY: \"../../etc/passwd\" is outside"),
        ("FROM scratch\nCOPY out /\n", "through a symbolic link"),
        ("FROM scratch\nEXPOSE none\n", "line 2: EXPOSE: \"none\" is no port"),
        ("FROM scratch\nENV A=${B\n", "line 2: ENV: a ${ is not closed"),
        ("FROM alpine\n", "has no tag and no digest"),
        ("FROM registry.example/a:1\n", "leave the host out"),
        ("FROM alpine:3\n", "this pipeline has no upstream registry"),
        ("", "the file has no FROM"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = fixture.folder.path().join(number.to_string());
        let repository = Repository::new(&folder, &[("Dockerfile", text)]);
        std::os::unix::fs::symlink("/etc", repository.path.join("out")).unwrap();
        for arguments in
            [&["add", "out"][..], &["-c", "user.name=T", "-c", "user.email=t@example", "commit", "-qm2"], &["tag", "-f", "v1"]]
        {
            let git = std::process::Command::new("git").current_dir(&repository.path).args(arguments).output().unwrap();
            assert!(git.status.success());
        }
        let reason = fixture.fail(repository.request("a:1")).await;
        assert!(reason.contains(sentence), "{text:?}: {reason}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_there_is_named() {
    let fixture = Fixture::start(|_| {}).await;
    let repository = Repository::new(fixture.folder.path(), &[("Dockerfile", "FROM scratch\n")]);
    let source = |git: Value, options: Value| {
        let mut body = docker("a:1");
        body["source_repository"] = json!({ "Git": git });
        body["docker"] = options;
        body
    };
    let url = repository.path.to_str().unwrap();
    for (git, options, sentence) in [
        (json!({ "url": url, "tag": "v9" }), json!({}), "has no tag v9"),
        (json!({ "url": url, "commit": "0".repeat(40) }), json!({}), "cannot fetch commit 0000"),
        (json!({ "url": format!("{url}/none"), "tag": "v1" }), json!({}), "cannot fetch tag v1"),
        (json!({ "url": url, "tag": "v1" }), json!({ "dockerfile": "Other" }), "Other: the repository has no such file"),
        (json!({ "url": url, "tag": "v1" }), json!({ "context": "none" }), "none: the repository has no such file"),
    ] {
        let reason = fixture.fail(source(git, options)).await;
        assert!(reason.contains(sentence), "{sentence}: {reason}");
    }
}

/// A base image with a link, a folder of its own mode, and a config that is inherited.
fn base(content: &mut Content) {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(0);
        match link {
            Some(link) => tar.append_link(&mut header, name, link).unwrap(),
            None => tar.append_data(&mut header, name, std::io::empty()).unwrap(),
        }
    };
    add("usr/", tar::EntryType::Directory, 0o755, None);
    add("usr/bin/", tar::EntryType::Directory, 0o711, None);
    add("bin", tar::EntryType::Symlink, 0o777, Some("usr/bin"));
    let gzip = tar.into_inner().unwrap().finish().unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
        "config": { "Env": ["PATH=/bin", "A=base"], "Cmd": ["sh"], "WorkingDir": "/usr", "Hostname": "builder" },
        "history": [{ "created": "2020-01-01T00:00:00Z", "created_by": "base" }],
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&plain)] },
    });
    let config = content.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let layer = content.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip);
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut child = content.manifest(None, super::upstream::OCI_MANIFEST, &manifest);
    child["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let other = json!({ "mediaType": super::upstream::OCI_MANIFEST, "size": 2, "digest": digest_of(b"{}"),
        "platform": { "os": "linux", "architecture": "s390x" } });
    let index = json!({ "schemaVersion": 2, "manifests": [other, child] });
    content.manifest(Some("1"), super::upstream::OCI_INDEX, &index);
}

#[tokio::test]
async fn an_image_can_be_built_on_a_published_one() {
    let mut content = Content::new("library/base");
    base(&mut content);
    let upstream = Upstream::start(move |request, _| content.answer(request)).await;
    let fixture = Fixture::importing_from(&upstream.url).await;
    let dockerfile = "FROM base:1\nENV A=$A-own B=$PATH\nCOPY tool /bin/\nCOPY tool rel\nENTRYPOINT [\"/bin/tool\"]\n";
    let repository = Repository::new(fixture.folder.path(), &[("Dockerfile", dockerfile), ("tool*", "t")]);
    let artifacts = fixture.build(repository.request("a:1")).await;
    let config = image_config(&artifacts);
    assert_eq!(
        config["config"],
        json!({ "Entrypoint": ["/bin/tool"], "Env": ["PATH=/bin", "A=base-own", "B=/bin"], "WorkingDir": "/usr" })
    );
    let layers = layers(&artifacts);
    assert_eq!(layers.len(), 3);
    assert_eq!(artifacts.len(), 5, "the base's own config is no part of the image");
    let names = |layer: &[u8]| entries(layer).into_iter().map(|(path, mode, _)| format!("{mode:o} {path}")).collect::<Vec<_>>();
    assert_eq!(names(&layers[1]), ["755 usr/", "711 usr/bin/", "755 usr/bin/tool"]);
    assert_eq!(names(&layers[2]), ["755 usr/", "755 usr/rel"]);
    assert_eq!(config["history"].as_array().unwrap().len(), 5);

    let mut other = repository.request("a:1");
    other["docker"] = json!({ "platforms": ["linux/riscv64"] });
    let reason = fixture.fail(other).await;
    assert!(reason.contains("the image library/base:1 does not exist for linux/riscv64"), "{reason}");
}

#[tokio::test]
async fn a_mapping_file_decides_what_is_built_from_source() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), &[("images/Dockerfile", "FROM scratch\nCOPY f /\n"), ("images/f", "f")]);
    let rules = format!(
        "[[rules]]\npackage_type = \"Docker\"\npackage_specific_id = \"tool:*\"\ndocker = {{ context = \"images\" }}\n\
         source_repository = {{ Git = {{ url = \"{}\", tag = \"v{{tag}}\" }} }}\n",
        repository.path.display()
    );
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, rules).unwrap();
    let fixture = Fixture::start(|config| config.mapping = pyrsia_pipeline::MappingLocation::File(path)).await;
    assert_eq!(fixture.build(docker("tool:1")).await.len(), 3);
    let unmapped = fixture.put(docker("other:1").to_string()).await;
    assert_eq!(unmapped.status(), 422);
}

#[tokio::test]
async fn a_mapping_service_is_asked_under_the_prototypes_paths() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let (mapped, mut wrong) = (repository.request("team/tool:1"), repository.request("other:1"));
    wrong["package_specific_id"] = json!("someone/else:1");
    let service = Upstream::start(move |request, _| {
        use super::upstream::Reply;
        match request.path.as_str() {
            "/maps/Docker/team/tool/1/tool-1.mapping" => Reply::new(200, "application/json", mapped.to_string()),
            "/maps/Docker/library/other/1/other-1.mapping" => Reply::new(200, "application/json", wrong.to_string()),
            "/maps/Docker/library/html/1/html-1.mapping" => Reply::new(200, "text/html", "<html>"),
            "/maps/Docker/library/down/1/down-1.mapping" => Reply::new(500, "text/plain", ""),
            _ => Reply::new(404, "text/plain", ""),
        }
    })
    .await;
    let url = format!("{}/maps/", service.url).parse().unwrap();
    let fixture = Fixture::start(|config| config.mapping = pyrsia_pipeline::MappingLocation::Service(url)).await;
    let id = fixture.request(docker("team/tool:1")).await;
    assert!(matches!(fixture.wait(&id).await.status, BuildStatus::Success { .. }));
    for (image, status, part) in [
        ("none:1", 422, "no mapping found for package library/none:1"),
        ("other:1", 502, "someone/else:1"),
        ("html:1", 502, "cannot be used"),
        ("down:1", 502, "status 500"),
    ] {
        let response = fixture.put(docker(image).to_string()).await;
        assert_eq!(response.status(), status, "{image}");
        let text = response.text().await.unwrap();
        assert!(text.contains(part), "{text}");
    }
}
