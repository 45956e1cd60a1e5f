"""The signing key is made once, for its owner's eyes."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from archive_scripts.build import ROOT
from archive_scripts.sign import PRIVATE_KEY, PUBLIC_KEY, signing_key
from server.archive import trusted_keys


def test_the_first_build_makes_a_key_that_later_ones_use(tmp_path):
    folder = tmp_path / "keys"
    signature = signing_key(folder).sign(b"list")
    assert (folder / PRIVATE_KEY).stat().st_mode & 0o777 == 0o600
    assert signing_key(folder).sign(b"list") == signature
    (key,) = trusted_keys(folder)
    key.verify(signature, b"list")
    assert {path.name for path in folder.iterdir()} == {PRIVATE_KEY, PUBLIC_KEY}


def test_builds_at_once_sign_with_one_key(tmp_path):
    program = (
        "import pathlib, sys; from archive_scripts import sign; "
        "print(sign.signing_key(pathlib.Path(sys.argv[1])).sign(b'list').hex())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "keys")]
    builds = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    signatures = {build.communicate()[0] for build in builds}
    assert len(signatures) == 1 and len(signatures.pop()) == 129


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    signing_key(tmp_path)
    (tmp_path / PRIVATE_KEY).chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        signing_key(tmp_path)


def test_another_kind_of_key_is_refused(tmp_path):
    key = generate_private_key(65537, 2048)
    path = tmp_path / PRIVATE_KEY
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(ValueError, match="Ed25519"):
        signing_key(tmp_path)
