"""The oracle of every attack: the published side falls, each attempt fails by its name, and only because of its guard."""

import pytest
from guards import GUARDS

from keymote.lab.attacks import CATALOGUE, Effort, Succeeds, judge

ATTEMPTS = [(attack.id, attempt.name) for attack in CATALOGUE.attacks.values() for attempt in attack.attempts]
EFFORT = Effort()


@pytest.mark.parametrize("attack_id", list(CATALOGUE.attacks))
def test_the_pair_is_as_the_catalogue_says(attack_id: str) -> None:
    verdict = judge(CATALOGUE.attacks[attack_id], EFFORT)
    assert verdict.ok, verdict.row()["evidence"]


@pytest.mark.long
@pytest.mark.parametrize("attack_id", [attack_id for attack_id in CATALOGUE.attacks if attack_id.startswith("C-")])
def test_the_long_form_of_the_pair_is_so_too(attack_id: str) -> None:
    verdict = judge(CATALOGUE.attacks[attack_id], Effort(full=True))
    assert verdict.ok, verdict.row()["evidence"]


def test_every_attempt_has_a_guard_to_take_away() -> None:
    assert set(GUARDS) == set(ATTEMPTS)


@pytest.mark.parametrize(("attack_id", "name"), ATTEMPTS)
def test_without_its_guard_the_same_attempt_succeeds(
    attack_id: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (attempt,) = (each for each in CATALOGUE.attacks[attack_id].attempts if each.name == name)
    GUARDS[attack_id, name](monkeypatch)
    outcome = attempt.run(EFFORT)
    assert isinstance(outcome, Succeeds), outcome
