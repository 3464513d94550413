"""The page of state machines shows what the engines do, and the recorder sees what it should."""

import pytest

import state_diagrams
from state_diagrams import MACHINES, NOTHING, PAGE, record

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def edges() -> dict[tuple[str, str], set[state_diagrams.Edge]]:
    return record()


def test_the_page_is_what_the_engines_do(
    edges: dict[tuple[str, str], set[state_diagrams.Edge]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_diagrams, "record", lambda: edges)
    assert PAGE.read_text() == state_diagrams.page(), "renew it: python tools/state_diagrams.py --write"


def test_every_state_of_a_session_is_reached_and_left(edges: dict[tuple[str, str], set[state_diagrams.Edge]]) -> None:
    waiting = {"AwaitPeer", "AwaitA1", "AwaitA2", "AwaitA3", "AwaitA4", "AwaitShares", "AwaitFin", "Open"}
    waiting |= {"AwaitMessage2", "AwaitMessage3", "AwaitMessage4"}
    of_device = edges["device", "session"]
    assert {before for before, _, _ in of_device} - {NOTHING} == waiting
    assert {after for _, _, after in of_device} - {NOTHING} == waiting
    silent = {before for before, item, after in of_device if item == "Due" and after == NOTHING}
    assert silent == waiting - {"Open"}  # PW-30, PW-38: every wait ends by itself, an open session never does


def test_every_machine_has_a_beginning(edges: dict[tuple[str, str], set[state_diagrams.Edge]]) -> None:
    for role, kind, _ in MACHINES:
        assert any(before == NOTHING for before, _, _ in edges[role, kind])
