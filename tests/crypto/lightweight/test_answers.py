"""The ciphers against their published answers, which also travel through `selftest --vectors`."""

import json
from pathlib import Path

import pytest

from keymote.crypto.aead import ASCON_AEAD128
from keymote.crypto.lightweight.ascon import AsconAead128
from keymote.crypto.lightweight.block import BLOCK_CIPHERS
from keymote.crypto.secret import Secret
from keymote.errors import PeerFault
from keymote.selftest import examine_files

VECTORS = Path(__file__).parents[2] / "vectors"
FILES = ("ascon-aead128", *BLOCK_CIPHERS)


def cases(alg: str) -> list[dict[str, bytes]]:
    found = json.loads((VECTORS / f"{alg}.json").read_text())["cases"]
    return [{name: bytes.fromhex(value) for name, value in case.items()} for case in found]


def test_TK01_ascon_gives_the_1089_answers_of_its_designers() -> None:
    found = cases("ascon-aead128")
    assert len(found) == 1089
    for case in found:
        cipher = AsconAead128(case["key"])
        assert cipher.encrypt(case["nonce"], case["pt"], case["ad"]) == case["ct"]
        assert cipher.decrypt(case["nonce"], case["ct"], case["ad"]) == case["pt"]


@pytest.mark.parametrize("alg", BLOCK_CIPHERS)
def test_TK02_block_ciphers_give_the_answers_of_their_papers(alg: str) -> None:
    """Where the answers come from, and who else gives them, stands in tests/vectors/README.md."""
    for case in cases(alg):
        assert BLOCK_CIPHERS[alg].encrypt(case["key"], case["pt"]) == case["ct"]


@pytest.mark.parametrize("alg", FILES)
def test_TK01_TK02_selftest_reads_the_files(alg: str) -> None:
    report = examine_files([VECTORS / f"{alg}.json"])
    assert report.ok
    (part,) = report.parts
    assert part.part == alg
    assert part.checks > len(cases(alg))


@pytest.mark.parametrize("alg", FILES)
def test_TK01_TK02_selftest_sees_every_changed_value(alg: str, tmp_path: Path) -> None:
    content = json.loads((VECTORS / f"{alg}.json").read_text())
    path = tmp_path / "changed.json"
    tried = 0
    for number in {0, len(content["cases"]) // 2, len(content["cases"]) - 1}:
        for name, value in content["cases"][number].items():
            for other in (value[:-1] + chr(ord(value[-1]) ^ 1) if value else "00", value + "00", value[2:], None):
                if other == value:
                    continue
                changed = [dict(case) for case in content["cases"]]
                changed[number][name] = other
                path.write_text(json.dumps(content | {"cases": changed[number : number + 1]}))
                assert not examine_files([path]).ok, (name, other)
                tried += 1
    assert tried >= 12


@pytest.mark.parametrize(
    "change",
    [{"cases": []}, {"cases": {}}, {"cases": None}, {"alg": "hight"}, {"alg": "twine-128"}, {"more": 1}],
    ids=str,
)
def test_a_cipher_file_of_another_form_fails(change: dict[str, object], tmp_path: Path) -> None:
    content = json.loads((VECTORS / "rectangle-80.json").read_text())
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content | change))
    report = examine_files([path])
    assert [part.failed for part in report.parts] == [1]
    assert not report.ok


# ------------------------------------------------------------------ what no answer shows


def test_I09_ascon_is_not_the_version_before_the_standard() -> None:
    """Ascon-128 of 2019 gives another tag for the same empty message."""
    assert (
        AsconAead128(bytes(range(16))).encrypt(bytes(range(16)), b"", b"").hex() != "e355159f292911f794cb1432a0103a8a"
    )


def test_CM20_ascon_uses_the_first_16_bytes_of_a_derived_key() -> None:
    key = Secret(bytes(range(32)))
    assert ASCON_AEAD128.seal_once(key, b"aad", b"pt") == AsconAead128(bytes(range(16))).encrypt(
        bytes(16), b"pt", b"aad"
    )
    with pytest.raises(PeerFault, match="E_AUTH"):
        ASCON_AEAD128.open_once(key, b"aad", bytes(15))


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_ascon_takes_keys_and_nonces_of_16_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="key of 16 bytes"):
        AsconAead128(bytes(length))
    with pytest.raises(ValueError, match="nonce of 16 bytes"):
        AsconAead128(bytes(16)).encrypt(bytes(length), b"", None)
    with pytest.raises(ValueError, match="nonce of 16 bytes"):
        AsconAead128(bytes(16)).decrypt(bytes(length), bytes(16), None)


@pytest.mark.parametrize("alg", BLOCK_CIPHERS)
def test_block_ciphers_take_their_own_lengths_only(alg: str) -> None:
    cipher = BLOCK_CIPHERS[alg]
    key = bytes(cipher.key_size)
    for other in (b"", key[1:], key + b"\0"):
        with pytest.raises(ValueError, match="keys of"):
            cipher.encrypt(other, bytes(8))
        with pytest.raises(ValueError, match="keys of"):
            cipher.xor(other, bytes(4), b"")
    for block in (b"", bytes(7), bytes(9), bytes(16)):
        with pytest.raises(ValueError, match="block of 8 bytes"):
            cipher.encrypt(key, block)
