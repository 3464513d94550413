"""What selftest says of its own data, of foreign and of broken files, and of an installation that computes wrongly."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

import make_vectors
from keymote.crypto import ed25519, ristretto255
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.errors import Incompatible
from keymote.selftest import examine_files, examine_own, startup
from keymote.selftest.checks import Checks
from keymote.selftest.report import EXAMINERS, examine_part, published_answers
from keymote.selftest.traps import traps

VECTORS = Path(__file__).parents[1] / "vectors"


def keymote(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keymote.cli", *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


# ------------------------------------------------------------------ our own data


def test_own_data_are_recomputed_in_every_suite() -> None:
    report = examine_own()
    assert [(part.file, part.part, part.failures) for part in report.parts if part.failures] == []
    assert report.ok
    assert report.unknown == ()
    found = {(part.file, part.part) for part in report.parts}
    for suite in SUITES:
        parts = ("kdf", "transcript", "A_enrol", "A_session", "B_n2", "B_n4", "C")
        assert {(f"triad1-suite-{suite}.json", part) for part in parts} <= found
        assert ("libraries", f"traps under suite {suite}") in found
    assert {("known-answers.json", part) for part in EXAMINERS["known-answers"]} <= found


def test_own_vectors_are_what_their_program_writes() -> None:
    for name, content in make_vectors.files():
        assert (make_vectors.DATA / name).read_text() == content


def test_DR13_the_program_that_writes_vectors_draws_nothing_but_its_seed() -> None:
    assert make_vectors.vectors(SUITES[17]) == make_vectors.vectors(SUITES[17])


@pytest.mark.parametrize("part", EXAMINERS["known-answers"])
def test_a_changed_published_answer_fails(part: str) -> None:
    """Left out: where an answer comes from, and encodings to be refused, whose neighbours are to be refused as well."""
    document = published_answers()
    examiner = EXAMINERS["known-answers"][part]
    content = {name: value for name, value in document.parts[part].items() if name not in {"origin", "invalid"}}
    cases = 0
    for path, value in leaves(content, ()):
        if path[-1] in {"source", "label"} or value == "":
            continue
        cases += 1
        other = value + 1 if isinstance(value, int) else value[:-1] + chr(ord(value[-1]) ^ 1)
        changed = {**document.parts[part], **replaced(content, path, other)}
        parts = {**document.parts, part: changed}
        assert examine_part(dataclasses.replace(document, parts=parts), part, examiner, SUITES).failures, path
    assert cases >= 8


def leaves(item: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(item, dict | list):
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            yield from leaves(value, (*path, key))
    else:
        yield path, item


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


# ------------------------------------------------------------------ other files


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"format": "triad1", "kdf": NaN}', "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "holds no part"),
        ({"format": "triad1", "suite": 1}, "holds no part"),
        ({"format": 1, "kdf": {}}, "format is not a string"),
        ({"format": "triad1", "suite": "1", "kdf": {}}, "suite is not an integer"),
        ({"format": "triad1", "suite": 1.0, "kdf": {}}, "suite is not an integer"),
        ('{"format": "triad1", "kdf": {}, "kdf": {}}', "same key twice"),
        ('{"format": "triad1", "\\ud800": {}}', "has the key"),
    ],
)
def test_a_malformed_file_is_one_failed_check_that_says_why(content: object, says: str, tmp_path: Path) -> None:
    report = examine_files([write(tmp_path / "bad.json", content)])
    (part,) = report.parts
    assert (part.part, part.checks, part.failed) == ("file", 1, 1)
    assert says in part.failures[0]
    assert not report.ok


def test_a_file_that_is_not_there_or_not_text_is_a_failed_check(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    report = examine_files([tmp_path / "absent.json", tmp_path, binary])
    assert [part.failed for part in report.parts] == [1, 1, 1]


@pytest.mark.parametrize("part", EXAMINERS["triad1"])
@pytest.mark.parametrize("content", [None, [], {}, "", 7, True, {"inputs": {}, "values": {}, "messages": {}}])
def test_a_known_part_of_another_form_fails_and_never_crashes(part: str, content: object, tmp_path: Path) -> None:
    path = write(tmp_path / "odd.json", {"format": "triad1", "suite": 1, part: content})
    (report,) = examine_files([path]).parts
    assert report.part == part
    assert report.failed == 1


@pytest.mark.parametrize("alg", ["ascon-128", "present-80", "", None, 7])
def test_other_ciphers_are_named_as_unknown(alg: object, tmp_path: Path) -> None:
    path = write(tmp_path / "cipher.json", {"format": "cipher", "alg": alg, "cases": []})
    report = examine_files([path])
    assert report.unknown == (f"{path}: {alg}",)
    assert not report.ok


def test_parts_of_an_unknown_format_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "later.json", {"format": "triad9", "suite": 1, "kdf": {}, "D": 0.5})
    assert examine_files([path]).unknown == (f"{path}: kdf", f"{path}: D")


def test_no_file_at_all_proves_nothing() -> None:
    assert not examine_files([]).ok


# ------------------------------------------------------------------ the command


def test_the_command_reports_as_the_design_says() -> None:
    ran = keymote("selftest", "--vectors", str(VECTORS / "triad1.json"), "-o", "json")
    report = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert report.keys() == {"ok", "parts", "unknown"}
    assert report["ok"] is True
    assert [part["part"] for part in report["parts"]] == [
        "kdf", "transcript", "A_enrol", "A_session", "B_n2", "B_n3", "B_n5", "C",
    ]  # fmt: skip
    assert all(part.keys() == {"file", "part", "checks", "failed"} and not part["failed"] for part in report["parts"])
    assert report["unknown"] == []


def test_the_command_ends_with_0_only_if_all_is_well(tmp_path: Path) -> None:
    assert keymote("selftest").returncode == 0
    content = json.loads((VECTORS / "triad1.json").read_text())
    known = {key: value for key, value in content.items() if key in {"format", "suite", *EXAMINERS["triad1"]}}
    good = write(tmp_path / "good.json", known)
    ran = keymote("selftest", "--vectors", str(good))
    assert (ran.returncode, ran.stderr) == (0, "")
    known["A_session"]["values"]["kid"] = "00" * 8
    bad = write(tmp_path / "bad.json", known)
    ran = keymote("selftest", "--vectors", str(good), "--vectors", str(bad))
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [f"{bad}: A_session: kid is not the value that follows from the inputs"]


# ------------------------------------------------------------------ before a start


@pytest.mark.parametrize("suite", SUITES)
def test_startup_accepts_this_installation_in_less_than_50_ms(suite: int) -> None:
    suite_by_id(suite)  # what loading the libraries costs is not the examination's
    spent = []
    for _ in range(5):
        before = time.process_time()
        startup([suite])
        spent.append(time.process_time() - before)
    assert min(spent) < 0.05


def test_startup_examines_every_suite_of_a_service_in_one_call() -> None:
    startup(SUITES)


GUARDS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "IM01 check lets everything pass": lambda patch: patch.setattr(
        ristretto255.Ristretto255, "check", lambda _self, encoding: encoding
    ),
    "IM01 sums may be the identity": lambda patch: patch.setattr(
        ristretto255, "_not_identity", lambda encoding: encoding
    ),
    "IM02 small order keys are accepted": lambda patch: patch.setattr(
        ed25519.bindings, "crypto_core_ed25519_is_valid_point", lambda _encoding: True
    ),
    "CM08 scalars are not compared with the order": lambda patch: patch.setattr(
        ristretto255.Ristretto255, "check_scalar", lambda _self, encoding: encoding
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_IM01_IM02_CM08_startup_refuses_when_a_guard_is_gone(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    GUARDS[guard](monkeypatch)
    with pytest.raises(Incompatible, match="self-test failed: suite 1"):
        startup([1])


def test_IM04_startup_refuses_when_the_second_signature_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def either_s(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        try:
            public.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    monkeypatch.setattr("keymote.crypto.p256._accepts", either_s)
    with pytest.raises(Incompatible, match="the other s"):
        startup([17])


def test_startup_refuses_a_library_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ristretto255.libsodium, "add", lambda P, _Q: P)
    with pytest.raises(Incompatible, match="stop using this installation"):
        startup([1])


def test_traps_are_checked_under_every_suite() -> None:
    for suite in SUITES.values():
        checks = Checks()
        traps(suite, checks)
        assert checks.done >= 15
        assert checks.failed == []
