use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    rootfs: Rootfs,
}

impl Fixture {
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        Self { folder, rootfs: Rootfs::default() }
    }

    /// Copies and tells each entry as `mode uid path`.
    fn copy(&mut self, words: &str) -> Result<Vec<String>, CopyError> {
        let (mut chown, mut chmod, mut keyword) = (None, None, CopyKeyword::Copy);
        let mut paths = Vec::new();
        for word in words.split(' ') {
            match word.split_once('=') {
                Some(("--chown", value)) => chown = Some(value),
                Some(("--chmod", value)) => chmod = Some(value),
                _ if word == "ADD" => keyword = CopyKeyword::Add,
                _ => paths.push(word.to_owned()),
            }
        }
        let destination = paths.pop().unwrap();
        let files = ContextFiles::open(self.folder.path(), Path::new("Dockerfile")).unwrap();
        let plan = CopyPlan { keyword, sources: &paths, destination: &destination, workdir: "/w", chown, chmod };
        let entries = plan.entries(&files, &mut self.rootfs)?;
        Ok(entries.iter().map(|(path, entry)| format!("{:o} {} {path}", entry.mode, entry.owner.uid)).collect())
    }
}

#[test]
fn files_land_where_docker_puts_them() {
    let check = |words: &str, expected: &[&str]| {
        let mut fixture = Fixture::new(&["a", "b", "d/x", "d/e/y"]);
        assert_eq!(fixture.copy(words).unwrap(), expected, "{words}");
    };
    check("a /c", &["644 0 c"]);
    check("a /c/", &["755 0 c", "644 0 c/a"]);
    check("a .", &["755 0 w", "644 0 w/a"]);
    check("a c/d", &["755 0 w", "755 0 w/c", "644 0 w/c/d"]);
    check("a b /", &["644 0 a", "644 0 b"]);
    check("d /c", &["755 0 c", "755 0 c/e", "644 0 c/e/y", "644 0 c/x"]);
    check("d /", &["755 0 e", "644 0 e/y", "644 0 x"]);
    check("--chown=7 --chmod=0500 a /c/d", &["755 7 c", "500 7 c/d"]);
}

#[test]
fn folders_and_links_of_the_base_stay_as_they_are() {
    let mut fixture = Fixture::new(&["a", "d/bin/x"]);
    fixture.rootfs.insert("tmp", Node::Directory { mode: 0o1777, owner: Owner { uid: 3, gid: 3 } });
    fixture.rootfs.insert("usr", Node::Directory { mode: 0o755, owner: ROOT });
    fixture.rootfs.insert("usr/bin", Node::Directory { mode: 0o711, owner: ROOT });
    fixture.rootfs.insert("bin", Node::Symlink("usr/bin".into()));
    assert_eq!(fixture.copy("--chown=9 a /tmp/").unwrap(), ["1777 3 tmp", "644 9 tmp/a"]);
    assert_eq!(fixture.copy("a /bin").unwrap(), ["755 0 usr", "711 0 usr/bin", "644 0 usr/bin/a"]);
    assert_eq!(fixture.copy("d /").unwrap(), ["755 0 usr", "711 0 usr/bin", "644 0 usr/bin/x"]);
}

#[test]
fn what_docker_would_not_do_is_refused() {
    let mut fixture = Fixture::new(&["a", "b", "d/x"]);
    fs::write(fixture.folder.path().join("t.tar.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    fixture.rootfs.insert("file", Node::File);
    fixture.rootfs.insert("folder", Node::Directory { mode: 0o755, owner: ROOT });
    fixture.rootfs.insert("folder/a", Node::Directory { mode: 0o755, owner: ROOT });
    for (words, problem) in [
        ("a b /c", "has to end with /"),
        ("a /file/x", "cannot become a folder"),
        ("a /folder/", "cannot become a file"),
        ("d /file", "cannot become a folder"),
        ("--chown=me a /c", "only numbers"),
        ("--chmod=u+x a /c", "octal"),
        ("ADD https://files.example/x /c", "would fetch"),
        ("ADD t.tar.gz /c", "would unpack"),
        ("none /c", "not in the build context"),
    ] {
        let error = fixture.copy(words).unwrap_err().to_string();
        assert!(error.contains(problem), "{words}: {error}");
    }
    assert_eq!(fixture.copy("t.tar.gz /c").unwrap(), ["644 0 c"]);
    assert_eq!(fixture.copy("ADD a /e").unwrap(), ["644 0 e"]);
}
