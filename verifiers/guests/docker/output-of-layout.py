"""An OCI layout with one image, or a folder of skopeo's, as the output of a build: `manifest`, and every other object as `sha256:HEX.blob`."""

import json
import pathlib
import sys

layout, output = map(pathlib.Path, sys.argv[1:])
if (layout / "index.json").exists():
    blobs = layout / "blobs/sha256"
    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    top = blobs / descriptor["digest"].removeprefix("sha256:")
else:
    blobs, top = layout, layout / "manifest.json"
manifest = json.loads(top.read_bytes())
(output / "manifest").write_bytes(top.read_bytes())
for descriptor in [manifest["config"], *manifest["layers"]]:
    digest = descriptor["digest"]
    (output / f"{digest}.blob").write_bytes((blobs / digest.removeprefix("sha256:")).read_bytes())
