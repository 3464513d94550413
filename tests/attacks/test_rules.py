"""Rules whose test is an attack of the catalogue, and what a thief of memory finds afterwards (CM-34)."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest

from keymote.crypto.secret import Secret
from keymote.errors import ErrorCode
from keymote.lab.attacks import CATALOGUE, Effort, Fails, judge
from keymote.lab.attacks.catalogue import PROPERTY
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene


def stopped_by(attack_id: str, name: str) -> str:
    (attempt,) = (each for each in CATALOGUE.attacks[attack_id].attempts if each.name == name)
    outcome = attempt.run(Effort())
    assert isinstance(outcome, Fails)
    return outcome.by


def test_IM11_keys_exchanged_behind_a_json_mirror_are_refused() -> None:
    assert stopped_by("I-12", "keys exchanged behind the mirror") == "E_CRED"


def test_RV07_one_report_ends_a_session_and_no_credential() -> None:
    assert stopped_by("A-17", "lying report") == PROPERTY


@pytest.mark.parametrize(
    ("attack_id", "code"),
    [
        ("I-03", ErrorCode.E_FORMAT),
        ("A-05", ErrorCode.E_SUITE),
        ("A-08", ErrorCode.E_POINT),
        ("A-21", ErrorCode.E_COOKIE),
        ("A-22", ErrorCode.E_UNKNOWN_ID),
        ("A-23", ErrorCode.E_OTC_USED),
        ("A-18", ErrorCode.E_AUTH),
        ("A-09", ErrorCode.E_DLEQ),
        ("A-16", ErrorCode.E_CRED),
        ("A-19", ErrorCode.E_STATE),
        ("A-25", ErrorCode.E_NOSHARE),
    ],
)
def test_CM15_each_cause_has_its_one_code(attack_id: str, code: ErrorCode) -> None:
    verdict = judge(CATALOGUE.attacks[attack_id], Effort())
    assert verdict.by == code.name


def octets(value: object) -> Iterator[bytes]:
    """Yield every byte string inside a cell, secrets included."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Secret):
        yield value.expose()
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from octets(getattr(value, entry.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from octets(each)


def memory(scene: Scene) -> bytes:
    """Return everything that the cells of all nodes hold."""
    cells = [cell for host in scene.sim.hosts.values() for cell in host.cells.values()]
    return b"|".join(string for cell in cells for string in octets(cell))


@pytest.mark.parametrize("suite", [1, 17])
def test_CM34_after_an_enrolment_only_d_D_is_left_of_its_secrets(suite: int) -> None:
    scene = two_operators(suite=suite, enrolled=False)
    scene.witness.scalars.clear()
    scene.witness.points.clear()
    scene.enrol("d1", "d2")
    left = memory(scene)
    kept = [scalar for scalar in scene.witness.scalars if scalar in left]
    members = [scene.membership(name) for name in ("d1", "d2")]
    assert sorted(kept) == sorted(member.d.expose() for member in members if member is not None)
    assert not [point for point in scene.witness.points if point in left]
    assert not [code for code in scene.codes.values() if code.expose() in left]


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("fast", [False, True])
def test_CM34_an_open_session_has_forgotten_how_its_key_came_about(suite: int, fast: bool) -> None:
    scene = two_operators(suite=suite)
    scene.open("d1", "d2")
    scene.sim.run_for(5.0)
    scene.witness.scalars.clear()
    scene.witness.points.clear()
    scene.open("d1", "d2", fast=fast)
    scene.sim.run_for(5.0)
    left = memory(scene)
    drawn = [*scene.witness.scalars, *scene.witness.points]
    assert len(drawn) >= 10  # x, r, N and a of both devices, r of both managers' seals
    assert not [secret for secret in drawn if secret in left]
