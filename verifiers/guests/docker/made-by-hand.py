"""The cases that no tool gives: CASES is the folder of cases, WORK has the OCI layouts that `make-cases.sh` built."""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

cases, work = map(pathlib.Path, sys.argv[1:])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Output:
    """One output under construction."""

    def __init__(self):
        self.blobs = {}

    def blob(self, media_type, content):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def image_of(self, layout, architecture):
        """The image of an OCI layout as if built for an architecture, as a descriptor."""
        read = lambda digest: (work / layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
        (top,) = json.loads((work / layout / "index.json").read_text())["manifests"]
        manifest = json.loads(read(top["digest"]))
        config = json.loads(read(manifest["config"]["digest"])) | {"architecture": architecture}
        manifest["config"] = self.blob(manifest["config"]["mediaType"], config)
        for layer in manifest["layers"]:
            self.blob(layer["mediaType"], read(layer["digest"]))
        platform = {"os": "linux", "architecture": architecture}
        return self.blob(top["mediaType"], manifest) | {"platform": platform}

    def image(self, *layers):
        """An image of layers, each the bytes of a tar or a pair of the tar and its compressed bytes."""
        pairs = [layer if isinstance(layer, tuple) else (layer, gzip.compress(layer, mtime=0)) for layer in layers]
        diff_ids = ["sha256:" + hashlib.sha256(tar).hexdigest() for tar, _ in pairs]
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        config = self.blob(CONFIG, config)
        layers = [self.blob(LAYER, compressed) for _, compressed in pairs]
        return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}

    def write(self, folder, top):
        folder.mkdir(parents=True)
        (folder / "manifest").write_bytes(json.dumps(top).encode())
        for digest, content in self.blobs.items():
            (folder / f"{digest}.blob").write_bytes(content)


def case(name, expected):
    shutil.rmtree(cases / name, ignore_errors=True)
    (cases / name).mkdir(parents=True)
    (cases / name / "expected.toml").write_text(expected)
    return cases / name


def compared(name, verdict, *mentions):
    words = ", ".join(json.dumps(word) for word in mentions)
    return case(name, f'[compare]\nverdict = "{verdict}"\nmentions = [{words}]\n')


def tar(*members, mode=0o644, attributes={}):
    """Each a name and its content, or a name alone for a folder."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as writer:
        for name, *content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = (tarfile.REGTYPE, mode) if content else (tarfile.DIRTYPE, 0o755)
            info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in attributes.items()}
            info.size = len(content[0]) if content else 0
            writer.addfile(info, io.BytesIO(*content) if content else None)
    return archive.getvalue()


def one(folder, *layers, edit=lambda manifest: None):
    output = Output()
    manifest = output.image(*layers)
    edit(manifest)
    output.write(folder, manifest)


def index(folder, layouts, statement, arm="arm64"):
    output = Output()
    children = [output.image_of(layout, architecture) for layout, architecture in zip(layouts, ["amd64", arm])]
    about = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": output.blob(CONFIG, {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}),
        "layers": [output.blob("application/vnd.in-toto+json", statement)],
    }
    about = output.blob(MANIFEST, about) | {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": children[0]["digest"]},
    }
    top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children + [about]}
    output.write(folder, top)


# Two platforms, each built twice, with the builder's statement about the first.
name = "index-built-twice"
folder = case(
    name,
    'coordinate = "demo:1"\n\n[check]\nverdict = "accepted"\n\n[compare]\nverdict = "same-after"\n'
    'passes = ["tar-time", "created", "attestations", "references"]\n',
)
index(folder / "a", ["first", "first"], {"finished": "2026-01-01T00:00:00Z"})
index(folder / "b", ["second", "second"], {"finished": "2026-01-02T00:00:00Z", "builder": "other"})
folder = compared("index-of-another-platform", "different", "platform", "arm64", "riscv64")
index(folder / "a", ["first", "first"], {})
index(folder / "b", ["first", "first"], {}, arm="riscv64")
folder = compared("index-with-another-image", "different", "linux/arm64", "layer 1", "app/greeting", "content")
index(folder / "a", ["first", "first"], {})
index(folder / "b", ["first", "other"], {})

# A statement that is listed on both sides, and of which one side lacks the config.
folder = case(
    "statement-incomplete",
    '[compare]\nverdict = "same-after"\npasses = ["tar-time", "created", "attestations", "references"]\n',
)
index(folder / "a", ["first", "first"], {})
index(folder / "b", ["first", "second"], {})
listed = json.loads((folder / "b/manifest").read_text())["manifests"]
about = json.loads((folder / "b" / (listed[2]["digest"] + ".blob")).read_text())
(folder / "b" / (about["config"]["digest"] + ".blob")).unlink()

# What a layer removes of those below.
below = tar(["etc"], ["etc/greeting", b"hello\n"], ["etc/secret", b"x\n"])
folder = compared("whiteout", "different", "layer 2", "etc/.wh.secret", "only in A")
one(folder / "a", below, tar(["etc"], ["etc/.wh.secret", b""]))
one(folder / "b", below, tar(["etc"]))
folder = compared("opaque-folder", "different", "layer 2", "etc/.wh..wh..opq", "only in A")
one(folder / "a", below, tar(["etc"], ["etc/.wh..wh..opq", b""]))
one(folder / "b", below, tar(["etc"]))

# What the classic builder loses when it copies a file, and others keep.
program = ["ping", b"\x7fELF"]
folder = compared("setuid", "different", "layer 1", "ping", "mode", "0755", "4755")
one(folder / "a", tar(program, mode=0o755))
one(folder / "b", tar(program, mode=0o4755))
folder = compared("capability", "different", "layer 1", "ping", "attribute security.capability", "none")
one(folder / "a", tar(program, mode=0o755))
one(folder / "b", tar(program, mode=0o755, attributes={"security.capability": "\1\0\0\2\0\x20" + "\0" * 14}))

# What programs read in more than one way is undecided as soon as a bit differs.
plain = tar(["a", b"1"])
odd = {
    "entry-twice": (tar(["a", b"1"], ["a", b"2"]), "occurs twice"),
    "entry-upwards": (tar(["../a", b"1"]), "more than one meaning"),
    "hidden-and-there": (tar(["a", b"1"], [".wh.a", b""]), "hides what the same layer has"),
    "second-gzip-member": ((plain, gzip.compress(plain, mtime=0) + gzip.compress(b"", mtime=0)), "gzip"),
    "bytes-behind-the-layer": (plain + b"behind".ljust(512, b"\0"), "follows the end"),
}
for name, (layer, words) in odd.items():
    folder = compared(name, "undecidable", words)
    one(folder / "a", plain)
    one(folder / "b", layer)

# What a check refuses.
def refused(name, code, edit):
    folder = case(name, f'coordinate = "demo:1"\n\n[check]\nverdict = "refused"\ncode = "{code}"\n')
    one(folder / "a", plain)
    edit(folder / "a")


def layer_of(folder):
    manifest = json.loads((folder / "manifest").read_text())
    return folder / (manifest["layers"][0]["digest"] + ".blob")


refused("layer-missing", "missing-layer", lambda folder: layer_of(folder).unlink())
refused("digest-wrong", "wrong-digest", lambda folder: layer_of(folder).write_bytes(b"other"))
refused("file-of-nothing", "unreferenced-file", lambda folder: (folder / f"sha256:{hashlib.sha256(b'x').hexdigest()}.blob").write_bytes(b"x"))
