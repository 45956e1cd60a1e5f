"""Build the archives: `python -m archive_scripts.build`.

Each .mar holds an endpoint's handler, the packages `handlers` and `imagetrust`, the model's serving folder and its
TorchServe settings: it runs on a bare TorchServe with the packages of the extra `serve` and no checkout of this
project.
The same input, signed with the same key (archive_scripts.sign), gives the same bytes, on any machine and at any time.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from archive_scripts.prepare import BuildError, prepare
from archive_scripts.sign import signing_key
from imagetrust.contents import CONTENTS, SIGNATURE, contents
from imagetrust.files import file_sha256
from imagetrust.models.config import ModelConfig
from imagetrust.predictor import QUESTIONS
from imagetrust.provenance import allowed_origins

ROOT = Path(__file__).resolve().parent.parent
ENDPOINTS = tuple(QUESTIONS)
MODEL_STORE = ROOT / "model_store"
MODEL = "model"  # the serving folder in an archive (handlers.torchserve)
PACKAGES = ("handlers", "imagetrust")  # that an archive carries


def current_releases(store: Path = MODEL_STORE) -> list[Path]:
    """Return the folders of the releases that `current` names, one a line; the first is served by default."""
    return [store / version for version in (store / "current").read_text().split()]


def build(serving: Path, endpoint: str, model_store: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Build `<model_store>/<endpoint>-<version>.mar` from a serving folder, signed, and return its path.

    serving: what archive_scripts.prepare makes of a release. settings: TorchServe settings that replace those of
    endpoints.yaml, such as deviceIds; those of "handler" one by one.
    Raises ValueError where the folder holds no model that can be served.
    """
    version = ModelConfig.read(serving).version
    model_store.mkdir(parents=True, exist_ok=True)
    target = model_store / f"{endpoint}-{version}.mar"
    temporary = model_store / f".{target.name}.{os.getpid()}"
    served = {f"{MODEL}/{path.relative_to(serving).as_posix()}": path for path in serving.rglob("*") if path.is_file()}
    files = served | packed_code(endpoint)
    try:
        write_archive(temporary, endpoint, version, _settings(endpoint, settings or {}), files, QUESTIONS[endpoint])
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def packed_code(endpoint: str) -> dict[str, Path]:
    """Return the files of the packages that an archive carries, and its handler, by their path in the archive."""
    found = {
        path.relative_to(ROOT): path
        for package in PACKAGES
        for kind in ("*.py", "*.json")
        for path in (ROOT / package).rglob(kind)
    }
    # Editors leave hidden copies.
    shown = {name.as_posix(): path for name, path in found.items() if not any(part[0] == "." for part in name.parts)}
    return shown | {f"{endpoint}.py": ROOT / "handlers" / f"{endpoint}.py"}


def _settings(endpoint: str, replaced: dict[str, object]) -> dict[str, object]:
    described = yaml.safe_load((ROOT / "archive_scripts" / "endpoints.yaml").read_text())
    every, own = described["every"], described[endpoint]
    handler = every["handler"] | own.get("handler", {}) | replaced.get("handler", {})
    return every | own | replaced | {"handler": handler}


def write_archive(
    target: Path,
    endpoint: str,
    version: str,
    settings: Mapping[str, object],
    files: Mapping[str, Path],
    tasks: Collection[str] = (),
) -> None:
    """Write the .mar of an endpoint: a zip of its files, settings and manifest, in a fixed order and without times.

    files: by their path in the archive; among them the handler, `<endpoint>.py`.
    tasks: that it answers. All models that answer one of them are promoted together (server/versions.py).
    """
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": endpoint,
            "modelVersion": version,
            "handler": f"{endpoint}.py",
            "configFile": "model-config.yaml",
        },
    }
    packed: dict[str, bytes | Path] = {
        **files,
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2, sort_keys=True).encode(),
        "model-config.yaml": yaml.safe_dump(dict(settings), sort_keys=True).encode(),
    }
    digests = {
        name: file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for name, content in packed.items()
    }
    listed = contents(endpoint, version, tasks, digests)
    packed |= {CONTENTS: listed, SIGNATURE: signing_key().sign(listed).hex().encode()}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(packed.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the earliest time that a zip can hold
            entry.external_attr = 0o644 << 16
            # Weights hardly shrink; storing them keeps building and loading quick.
            stored = name.endswith((".safetensors", ".bin", ".jpg"))
            archive.writestr(
                entry,
                content.read_bytes() if isinstance(content, Path) else content,
                zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED,
            )


def _pair(text: str) -> tuple[str, str]:
    endpoint, _, value = text.partition("=")
    if endpoint not in ENDPOINTS or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=VALUE with an endpoint of {', '.join(ENDPOINTS)}")
    return endpoint, value


def main() -> None:
    """Build all archives from the command line."""
    parser = argparse.ArgumentParser(description="Build the archives of a release.")
    parser.add_argument("--release", type=Path, help="a release's folder; those that model_store/current names")
    parser.add_argument("--model-store", type=Path, default=MODEL_STORE, help="where the archives go")
    parser.add_argument("--devices", type=_pair, action="append", default=[], metavar="ENDPOINT=IDS",
                        help="GPUs that an endpoint's workers take in turn, such as authenticity=0,1")  # fmt: skip
    parser.add_argument("--trust-anchors", type=Path, metavar="PEM",
                        help="authorities whose signers of Content Credentials count as trusted")  # fmt: skip
    parser.add_argument("--manifest-hosts", nargs="+", action="extend", default=[], metavar="HOST[:PORT]",
                        help="hosts from which Content Credentials kept elsewhere are fetched, by https; "
                             "http://HOST[:PORT] without encryption")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.trust_anchors and not arguments.trust_anchors.is_file():
        parser.error(f"{arguments.trust_anchors} is not a file")
    replaced: dict[str, dict[str, Any]] = {endpoint: {} for endpoint in ENDPOINTS}
    try:
        for endpoint, ids in arguments.devices:
            replaced[endpoint]["deviceIds"] = [int(number) for number in ids.split(",")]
    except ValueError as error:
        parser.error(f"numbers expected: {error}")
    try:
        allowed_origins(arguments.manifest_hosts)
    except ValueError as error:
        parser.error(str(error))
    if arguments.manifest_hosts:
        replaced["explanation"]["handler"] = {"manifest_hosts": arguments.manifest_hosts}
    releases = [arguments.release] if arguments.release else current_releases()
    for release in releases:
        with tempfile.TemporaryDirectory(prefix="imagetrust-build-") as folder:
            serving = Path(folder) / MODEL
            try:
                prepare(release, serving, arguments.trust_anchors)
                for endpoint in ENDPOINTS:
                    archive = build(serving, endpoint, arguments.model_store, replaced[endpoint])
                    size, digest = archive.stat().st_size / 1e6, file_sha256(archive)[:12]
                    print(f"built {archive}  {size:.1f} MB  sha256 {digest}")
            except (BuildError, ValueError) as error:
                sys.exit(f"error: {error}")
    print(f"They serve {', '.join(release.name for release in releases)}. Next: make serve")


if __name__ == "__main__":
    main()
