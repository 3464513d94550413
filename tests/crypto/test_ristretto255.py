"""ristretto255 against RFC 9496, and each trap of the library: seen bare, then closed by our group."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rbcl

from keymote.crypto import libsodium
from keymote.crypto.group import Point
from keymote.crypto.ristretto255 import Ristretto255
from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode, PeerFault

RFC9496 = json.loads((Path(__file__).parents[1] / "vectors" / "ristretto255.json").read_text())
GROUP = Ristretto255()
IDENTITY = bytes(32)
INVALID = b"\xff" * 32


def scalar(value: int) -> Secret:
    return Secret(value.to_bytes(32, "little"))


def test_multiples_of_the_generator() -> None:
    multiples = [bytes.fromhex(text) for text in RFC9496["generator_multiples"]]
    assert [GROUP.base_mul(scalar(k)) for k in range(1, 16)] == multiples
    generator = GROUP.check(multiples[0])
    walk = generator
    for k, expected in enumerate(multiples[1:], start=2):
        walk = GROUP.add(walk, generator)
        assert walk == expected == GROUP.mul(scalar(k), generator)


@pytest.mark.parametrize("case", RFC9496["map"], ids=lambda case: case["point"][:8])
def test_one_way_map(case: dict[str, str]) -> None:
    assert GROUP.map_to_point(bytes.fromhex(case["uniform"])).hex() == case["point"]


@pytest.mark.parametrize("length", [0, 63, 65])
def test_the_map_takes_64_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        GROUP.map_to_point(bytes(length))


@pytest.mark.parametrize(
    ("why", "encoding"), [(why, encoding) for why, encodings in RFC9496["invalid"].items() for encoding in encodings]
)
def test_CM06_encodings_that_rfc9496_refuses(why: str, encoding: str) -> None:
    with pytest.raises(PeerFault) as fault:
        GROUP.check(bytes.fromhex(encoding))
    assert fault.value.code is ErrorCode.E_POINT, why


def test_IM01_the_library_calls_the_identity_valid_and_check_refuses_it() -> None:
    assert rbcl.crypto_core_ristretto255_is_valid_point(IDENTITY)
    with pytest.raises(PeerFault, match="E_POINT"):
        GROUP.check(IDENTITY)


def test_CM06_the_library_overlooks_the_top_bit_and_check_refuses_the_second_encoding() -> None:
    for text in RFC9496["generator_multiples"]:
        second = bytes.fromhex(text)[:31] + bytes([bytes.fromhex(text)[31] | 0x80])
        assert rbcl.crypto_core_ristretto255_is_valid_point(second)
        with pytest.raises(PeerFault, match="E_POINT"):
            GROUP.check(second)


@pytest.mark.parametrize("operation", ["add", "sub"])
def test_IM01_the_library_adds_an_invalid_encoding_to_the_identity_and_our_group_refuses(operation: str) -> None:
    honest = GROUP.base_mul(scalar(7))
    bare = getattr(rbcl, f"crypto_core_ristretto255_{operation}")
    assert bare(INVALID, honest) == bare(honest, INVALID) == IDENTITY
    with pytest.raises(PeerFault, match="E_POINT"):
        GROUP.check(INVALID)
    for P, Q in ((Point(INVALID), honest), (honest, Point(INVALID))):  # even past a check that somebody forgot
        with pytest.raises(PeerFault, match="E_POINT"):
            getattr(GROUP, operation)(P, Q)


def test_IM14_the_library_raises_a_bare_error_on_an_identity_product_and_ours_is_a_peer_fault() -> None:
    P = GROUP.base_mul(scalar(7))
    for k in (scalar(0), scalar(GROUP.order)):
        with pytest.raises(RuntimeError):
            rbcl.crypto_scalarmult_ristretto255(k.expose(), P)
        with pytest.raises(PeerFault, match="E_POINT"):
            GROUP.mul(k, P)
        with pytest.raises(PeerFault, match="E_POINT"):
            GROUP.base_mul(k)


def test_IM14_the_same_for_an_invalid_point() -> None:
    with pytest.raises(RuntimeError):
        rbcl.crypto_scalarmult_ristretto255(scalar(7).expose(), INVALID)
    with pytest.raises(PeerFault, match="E_POINT"):
        GROUP.mul(scalar(7), Point(INVALID))


def test_IM06_a_hash_to_scalar_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsodium, "scalar_reduce", lambda _: bytes(32))
    with pytest.raises(PeerFault, match="E_FORMAT"):
        GROUP.hash_to_scalar(b"")


def test_CM23_hash_to_scalar_is_little_endian(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    expected = int.from_bytes(hashlib.sha512(b"data").digest(), "little") % GROUP.order
    assert GROUP.hash_to_scalar(b"data") == scalar(expected)


def start(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )


def test_the_library_leaves_a_file_for_every_process_and_ours_does_not(tmp_path: Path) -> None:
    assert start("import rbcl", tmp_path).returncode == 0
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size > 100_000
    left.unlink()
    used = start(
        "from keymote.crypto.suites import suite_by_id; from keymote.crypto.secret import Secret;"
        "print(suite_by_id(1).base_mul(Secret(bytes([1]) + bytes(31))).hex())",
        tmp_path,
    )
    assert used.stdout.strip() == RFC9496["generator_multiples"][0], used.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_unavailable(tmp_path: Path) -> None:
    told = start(
        "import tempfile\n"
        "def full(*_, **__): raise OSError(28, 'No space left on device')\n"
        "tempfile.NamedTemporaryFile = full\n"
        "from keymote.errors import Unavailable\n"
        "try:\n    import keymote.crypto.libsodium\n"
        "except Unavailable as unavailable: print(unavailable)",
        tmp_path,
    )
    assert "free space" in told.stdout, told.stderr
