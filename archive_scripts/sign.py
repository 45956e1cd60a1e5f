"""The key that signs archives: made at the first build, kept in a folder of its own.

`archives.pem` is the private key and stays where archives are built. Of a serving machine the same folder holds public
keys alone: each file `*.pub` in it is trusted (server/archive.py).
"""

import contextlib
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from imagetrust.files import replace_bytes
from server.archive import keys_folder

PRIVATE_KEY = "archives.pem"
PUBLIC_KEY = "archives.pub"


def signing_key(folder: Path | None = None) -> Ed25519PrivateKey:
    """Return the private key in a folder; it is made, for the owner's eyes alone, where there is none.

    Raises ValueError where the file holds no Ed25519 key, or others than its owner may read it.
    """
    folder = folder or keys_folder()
    path = folder / PRIVATE_KEY
    if not path.exists():
        _make(folder)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"others than its owner may read {path}: chmod 600 it, or make a new key")
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key")
    if not (folder / PUBLIC_KEY).exists():
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        replace_bytes(folder / PUBLIC_KEY, public)
    return key


def _make(folder: Path) -> None:
    """Write a new private key. Where two builds do so at once, the first one's stays."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{PRIVATE_KEY}.") as file:  # its mode is 600
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, folder / PRIVATE_KEY)
