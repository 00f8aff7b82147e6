#!/bin/sh
# Builds the cases in cases/ anew: packages that npm and tar made of one small project under different circumstances, and archives that neither
# makes. Needs node with npm, GNU tar and Python 3. The bytes may differ from run to run; what is expected of them does not.
set -eu
cases=$(cd "$(dirname "$0")" && pwd)/cases
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work" npm_config_update_notifier=false

case_of() { # NAME: begins a case, which its description follows on standard input
    rm -rf "${cases:?}/$1"
    mkdir -p "$cases/$1/a" "$cases/$1/b"
    cat > "$cases/$1/expected.toml"
}

project() { # FOLDER NAME WORD
    mkdir -p "$1/lib" "$1/bin"
    cat > "$1/package.json" <<E
{
  "name": "$2",
  "version": "1.0.0",
  "description": "Says $3.",
  "main": "lib/index.js",
  "bin": { "demo": "bin/demo.js" },
  "dependencies": { "left": "^1.0.0" },
  "scripts": { "postinstall": "node lib/index.js" }
}
E
    printf 'module.exports = () => "%s";\n' "$3" > "$1/lib/index.js"
    printf '#!/usr/bin/env node\nconsole.log(require("../lib")());\n' > "$1/bin/demo.js"
    printf '# Demo\n\nSays %s.\n' "$3" > "$1/README.md"
}

pack() { # FOLDER INTO
    (cd "$1" && npm pack --silent --ignore-scripts --pack-destination "$2" > /dev/null)
}

# --- npm, by two users with two umasks, in two time zones and two folders, at two times: it leaves all of that out, but the umask.
case_of packed-twice <<'E'
coordinate = "demo@1.0.0"

[check]
verdict = "accepted"
artifacts = ["demo/-/demo-1.0.0.tgz"]

[compare]
verdict = "same-after"
passes = ["archive-form", "entry-order", "entry-times", "file-modes"]
E
twice=$cases/packed-twice
(umask 022 && project "$work/one" demo hello && TZ=UTC LC_ALL=C pack "$work/one" "$twice/a")
(umask 077 && project "$work/another-folder" demo hello && sleep 1 && TZ=Asia/Tokyo pack "$work/another-folder" "$twice/b")

case_of packed-alike <<'E'
[compare]
verdict = "identical"
E
mkdir "$work/elsewhere"
(umask 022 && project "$work/elsewhere/demo" demo hello && touch -d '2001-02-03 04:05:06' "$work/elsewhere/demo/README.md")
pack "$work/elsewhere/demo" "$cases/packed-alike/a"
cp "$twice/a/demo-1.0.0.tgz" "$cases/packed-alike/b"

# --- The same files from npm and from tar, which writes folders, owners and times, in another order.
case_of npm-and-tar <<'E'
coordinate = "demo@1.0.0"

[check]
verdict = "accepted"

[compare]
verdict = "same-after"
passes = ["archive-form", "entry-order", "entry-times", "entry-owners", "file-modes", "folder-entries"]
E
cp "$twice/a/demo-1.0.0.tgz" "$cases/npm-and-tar/a"
mkdir "$work/unpacked"
tar -xzf "$twice/a/demo-1.0.0.tgz" -C "$work/unpacked"
chmod -R g+w "$work/unpacked"
(cd "$work/unpacked" && tar --format=posix --owner=one:1000 --group=two:1001 --no-recursion -cf - package/README.md package package/package.json \
    package/lib package/lib/index.js package/bin package/bin/demo.js | gzip -1 > "$cases/npm-and-tar/b/demo-1.0.0.tgz")

case_of scoped <<'E'
coordinate = "@demo/left@1.0.0"

[check]
verdict = "accepted"
artifacts = ["@demo/left/-/left-1.0.0.tgz"]
E
rmdir "$cases/scoped/b"
project "$work/scoped" @demo/left hello
pack "$work/scoped" "$cases/scoped/a"

# --- The nearest things that are not forgiven.
case_of other-source <<'E'
[compare]
verdict = "different"
mentions = ["package/lib/index.js", "package/package.json", "description", "Says hello.", "Says bye."]
E
project "$work/bye" demo bye
pack "$work/bye" "$cases/other-source/b"
cp "$twice/a/demo-1.0.0.tgz" "$cases/other-source/a"

case_of other-script <<'E'
[compare]
verdict = "different"
mentions = ["package/package.json", "postinstall", "node lib/steal.js"]
E
cp -r "$work/one" "$work/script"
sed -i 's,node lib/index.js,node lib/steal.js,' "$work/script/package.json"
pack "$work/script" "$cases/other-script/b"
cp "$twice/a/demo-1.0.0.tgz" "$cases/other-script/a"

case_of executable-file <<'E'
[compare]
verdict = "different"
mentions = ["package/lib/index.js", "mode", "755", "644"]
E
cp -r "$work/one" "$work/executable"
chmod 755 "$work/executable/lib/index.js"
pack "$work/executable" "$cases/executable-file/b"
cp "$twice/a/demo-1.0.0.tgz" "$cases/executable-file/a"

# --- What no two systems unpack alike.
written() { # FILE: writes a package with what the Python code on standard input adds to it
    cat > "$work/adds.py"
    python3 - "$1" "$work/adds.py" <<'E'
import gzip, io, sys, tarfile
tar_bytes = io.BytesIO()
with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as archive:
    def add(path, content=b"", **more):
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(content), 0o644
        for name, value in more.items():
            setattr(entry, name, value)
        archive.addfile(entry, io.BytesIO(content))
    manifest = b'{"name":"demo","version":"1.0.0"}'
    exec(open(sys.argv[2]).read())
    add("package/package.json", manifest)
with open(sys.argv[1], "wb") as file:
    file.write(gzip.compress(tar_bytes.getvalue(), mtime=0))
E
}

odd() { # NAME WORD: a case of an archive and itself; WORD is in what is said about it
    case_of "$1" <<E
[compare]
verdict = "undecidable"
mentions = ["$2"]
E
    written "$cases/$1/a/demo-1.0.0.tgz"
    cp "$cases/$1/a/demo-1.0.0.tgz" "$cases/$1/b/"
}

odd file-twice "occurs twice" <<'E'
add("package/index.js", b"one")
add("package/index.js", b"other")
E
odd names-in-two-cases "one path on some" <<'E'
add("package/index.js", b"one")
add("package/INDEX.js", b"other")
E
odd accent-in-two-forms "one path on some" <<'E'
add("package/caf\u00e9.js", b"one")
add("package/cafe\u0301.js", b"other")
E
odd path-in-a-time "cannot be one" <<'E'
archive.format = tarfile.PAX_FORMAT
add("package/index.js", b"x", pax_headers={"atime": "1\n25 path=package/other.js"})
E
odd path-in-an-attribute "several lines" <<'E'
archive.format = tarfile.PAX_FORMAT
add("package/index.js", b"x", pax_headers={"SCHILY.xattr.user.note": "1\n25 path=package/other.js"})
E
odd bytes-behind-a-name "followed by bytes" <<'E'
add("package/index.js\0\nand-more", b"x")
E
odd file-as-folder "is a file and the folder" <<'E'
add("package/lib", b"x")
add("package/lib/index.js", b"x")
E
odd path-upwards "more than one meaning" <<'E'
add("package/../../../.bashrc", b"x")
E
odd absolute-path "more than one meaning" <<'E'
add("/package/index.js", b"x")
E
odd path-of-windows "read differently" <<'E'
add("package/..\\..\\index.js", b"x")
E
odd other-folder "not below" <<'E'
add("demo/index.js", b"x")
E
odd symbolic-link "symbolic link" <<'E'
add("package/index.js", type=tarfile.SYMTYPE, linkname="/etc/passwd")
E
odd hard-link "hard link" <<'E'
add("package/index.js", type=tarfile.LNKTYPE, linkname="package/package.json")
E
odd device "device" <<'E'
add("package/index.js", type=tarfile.CHRTYPE)
E
odd two-manifests "occurs twice" <<'E'
manifest = b'{"name":"demo","version":"1.0.0","scripts":{},"scripts":{"postinstall":"x"}}'
E
odd bytes-behind "bytes follow" <<'E'
E
printf 'behind' >> "$cases/bytes-behind/a/demo-1.0.0.tgz"
cp "$cases/bytes-behind/a/demo-1.0.0.tgz" "$cases/bytes-behind/b/"
odd second-stream "bytes follow" <<'E'
E
cat "$cases/second-stream/b/demo-1.0.0.tgz" >> "$cases/second-stream/a/demo-1.0.0.tgz"
cp "$cases/second-stream/a/demo-1.0.0.tgz" "$cases/second-stream/b/"

# --- What a check refuses.
refused() { # NAME CODE COORDINATE
    case_of "$1" <<E
coordinate = "$3"

[check]
verdict = "refused"
code = "$2"
E
    rmdir "$cases/$1/b"
    cp "$twice/a/demo-1.0.0.tgz" "$cases/$1/a"
}

refused another-package wrong-name left@1.0.0
refused another-version wrong-coordinate demo@1.0.1
mv "$cases/another-version/a/demo-1.0.0.tgz" "$cases/another-version/a/demo-1.0.1.tgz"
refused file-beside file-count demo@1.0.0
printf 'x' > "$cases/file-beside/a/demo-1.0.0.tgz.sig"
refused no-manifest unreadable demo@1.0.0
mkdir -p "$work/bare/package" && printf 'x' > "$work/bare/package/index.js"
tar -C "$work/bare" -czf "$cases/no-manifest/a/demo-1.0.0.tgz" package/index.js
