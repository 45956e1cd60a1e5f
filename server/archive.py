"""An archive before TorchServe gets it: whole, signed by a key that this server trusts, and unpacked once.

Registering an unpacked archive takes TorchServe a moment; of a .mar, which it unpacks in the thread that answers other
callers too, seconds.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import yaml
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from imagetrust.contents import CONTENTS, SIGNATURE, check_folder, read_contents
from imagetrust.files import file_sha256
from server.settings import ROOT

KEYS = "IMAGETRUST_KEYS"  # the environment's variable that names another folder of keys
MANIFEST = "MAR-INF/MANIFEST.json"
SETTINGS = "model-config.yaml"
_MAX_LIST = 4 << 20  # bytes of CONTENTS; ours has 10 kB
_LARGE = 1 << 20  # bytes of a file from which on sharing it is worth a link


class ArchiveError(Exception):
    """An archive does not stand; the message says why, and which it is."""


@dataclass(frozen=True)
class Archive:
    """An archive that stands, unpacked into `folder`.

    contents: the SHA-256 of its list of contents, which names these bytes and no others.
    tasks: that the model answers. settings: TorchServe's of this model, as the archive fixes them.
    """

    name: str
    version: str
    tasks: tuple[str, ...]
    contents: str
    folder: Path
    settings: Mapping[str, Any]


def keys_folder() -> Path:
    """Return the folder of the keys: that of the variable IMAGETRUST_KEYS, or `.keys` beside the server's package."""
    return Path(os.environ.get(KEYS, ROOT / ".keys"))


def trusted_keys(folder: Path | None = None) -> list[Ed25519PublicKey]:
    """Return the public keys in a folder. Raises ArchiveError where there is none, or one cannot be read."""
    folder = folder or keys_folder()
    keys = []
    for path in sorted(folder.glob("*.pub")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise ArchiveError(f"{path} is no public key: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ArchiveError(f"{path} holds no Ed25519 key")
        keys.append(key)
    if not keys:
        raise ArchiveError(f"{folder} holds no public key (*.pub): build the archives here, or copy the builder's key")
    return keys


def folder_name(name: str, version: str, contents: str) -> str:
    """Return the name of the folder that an archive is unpacked into. contents: see `Archive`."""
    return f"{name}-{version}-{contents[:12]}"


def admit(path: Path, store: Path) -> Archive:
    """Check an archive, unpack it into a folder of `store` named after its bytes, and describe it.

    An archive that is there already is compared with its list and taken as it is.
    Raises ArchiveError where the file is no whole zip, is not signed by a trusted key, or holds anything else than the
    signed list says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listed = _signed_list(archive)
            read = read_contents(listed)
            digest = hashlib.sha256(listed).hexdigest()
            folder = store / folder_name(read["model"]["name"], read["model"]["version"], digest)
            if not _stands(folder):
                _unpack(archive, read["files"], folder)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path.name} is not in {path.parent}") from error
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"{path.name} does not stand: {error}") from error
    return describe(folder)


def describe(folder: Path) -> Archive:
    """Describe an archive that `admit` unpacked. Raises ArchiveError where it is none, or its two names differ."""
    try:
        listed = (folder / CONTENTS).read_bytes()
        model = read_contents(listed)["model"]
        manifest = json.loads((folder / MANIFEST).read_bytes())["model"]
        settings = yaml.safe_load((folder / SETTINGS).read_bytes()) if (folder / SETTINGS).exists() else {}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ArchiveError(f"{folder.name} is no archive: {error}") from error
    named = manifest.get("modelName"), manifest.get("modelVersion")
    if named != (model["name"], model["version"]):
        raise ArchiveError(f"{folder.name}: {MANIFEST} names {named}, {CONTENTS} {model['name']} {model['version']}")
    digest = hashlib.sha256(listed).hexdigest()
    return Archive(model["name"], model["version"], tuple(model["tasks"]), digest, folder, settings or {})


def _signed_list(archive: zipfile.ZipFile) -> bytes:
    """Return the bytes of the list of contents. Raises ValueError where no trusted key signed them."""
    names = archive.namelist()
    for name in (CONTENTS, SIGNATURE):
        if names.count(name) != 1:
            raise ValueError(f"it holds no {name}, so nobody signed it")
    if archive.getinfo(CONTENTS).file_size > _MAX_LIST or archive.getinfo(SIGNATURE).file_size > 1024:
        raise ValueError(f"{CONTENTS} is too large")
    listed, signature = archive.read(CONTENTS), bytes.fromhex(archive.read(SIGNATURE).decode("ascii"))
    for key in trusted_keys():
        with contextlib.suppress(InvalidSignature):
            key.verify(signature, listed)
            return listed
    raise ValueError("it is signed by none of the keys that this server trusts")


def _unpack(archive: zipfile.ZipFile, digests: Mapping[str, str], folder: Path) -> None:
    """Unpack what the list names, whole or not at all. Raises ValueError for a file that is not as listed."""
    names = [name for name in archive.namelist() if name not in (CONTENTS, SIGNATURE)]
    if sorted(names) != sorted(digests):
        differ = sorted(set(names) ^ digests.keys()) or names
        raise ValueError(f"{differ[0]} is listed and missing, not listed, or there twice")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as scratch:
        staging = Path(scratch) / folder.name
        for name in (*names, CONTENTS, SIGNATURE):
            parts = PurePosixPath(name)
            if parts.is_absolute() or ".." in parts.parts or "\\" in name:
                raise ValueError(f"{name!r} leads out of the archive")
            target = staging / parts
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as copy:
                digest = _copy(source, copy)
            if name in digests and digest != digests[name]:
                raise ValueError(f"{name} has SHA-256 {digest}, {CONTENTS} says {digests[name]}")
        _share(staging, digests, folder.parent)
        if folder.exists():  # it does not stand, or it would have been taken
            shutil.rmtree(folder)
        staging.rename(folder)


def _share(staging: Path, digests: Mapping[str, str], store: Path) -> None:
    """Replace large files by links to the same ones of archives that are unpacked in `store`.

    Workers map weights, and all that map one file share its memory.
    """
    large = {digest: name for name, digest in digests.items() if (staging / name).stat().st_size >= _LARGE}
    for listed in store.glob(f"*/{CONTENTS}"):
        with contextlib.suppress(OSError, ValueError):
            others = read_contents(listed.read_bytes())["files"]
            for other, digest in others.items():
                file = listed.parent.parent / other
                if digest in large and file_sha256(file) == digest:
                    own = staging / large.pop(digest)
                    link = own.with_name(f"{own.name}.link")
                    link.hardlink_to(file)
                    link.replace(own)


def _copy(source: Any, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        target.write(block)
    return digest.hexdigest()


def _stands(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        check_folder(folder)
    except (OSError, ValueError):
        return False
    return True
