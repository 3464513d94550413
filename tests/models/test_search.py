"""Every line of the catalogue: nothing is found with all checks in place, an attack is found without any one of them."""

import subprocess
import sys

import pytest

import model_search
from model_catalogue import CHECKS, LIMITS, PUBLISHED, SCENARIOS, SECOND_LINES, Attack, Check, Scenario, tables
from model_search import MODELS, Exploration, Step, model, model_names


def name(each: Scenario | Check) -> str:
    return f"{each.model}-{each.name}"


def found(check: Check) -> Exploration:
    return model(check.model).explore(check.scenario, check.name, until=check.violated)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if not each.long], ids=name)
def test_nothing_is_found_with_every_check_in_place(scenario: Scenario) -> None:
    search(scenario)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.long], ids=name)
def test_nothing_is_found_in_larger_worlds(scenario: Scenario) -> None:
    search(scenario)


def search(scenario: Scenario) -> None:
    seen = model(scenario.model).explore(scenario.name)
    print(seen.render())
    assert seen.exhausted
    assert not seen.faults, seen.render()
    assert seen.states == scenario.states
    assert (seen.complete > 0) == scenario.completes, "an honest run ends well, or the world has no honest pair"


@pytest.mark.parametrize("check", [*CHECKS, *LIMITS], ids=name)
def test_an_attack_is_found_without_this_one_check(check: Check) -> None:
    seen = found(check)
    print(seen.render())
    assert check.violated in seen.faults, f"nothing in {seen.states} states"
    assert len(seen.faults[check.violated]) == check.steps


@pytest.mark.parametrize("line", SECOND_LINES, ids=name)
def test_another_check_holds_without_this_one(line: Scenario) -> None:
    seen = model(line.model).explore(line.world, line.name)
    print(seen.render())
    assert seen.exhausted and not seen.faults
    assert seen.states == line.states


@pytest.mark.parametrize("attack", PUBLISHED, ids=lambda attack: attack.id)
def test_the_attacks_on_the_printed_schemes_are_found(attack: Attack) -> None:
    seen = model(attack.model).explore(attack.scenario)
    print(seen.render())
    assert seen.exhausted
    if attack.violated:
        assert len(seen.faults[attack.violated]) == attack.steps
    else:
        assert not seen.complete and seen.states > 1


def test_every_scenario_is_in_the_catalogue() -> None:
    listed = {(each.model, each.name) for each in SCENARIOS} | {(each.model, each.scenario) for each in PUBLISHED}
    assert {(each, scenario) for each in model_names() for scenario in model(each).scenarios()} == listed


def test_every_check_is_in_the_catalogue() -> None:
    listed = {(each.model, each.name) for each in (*CHECKS, *LIMITS, *SECOND_LINES)}
    assert {(each, check) for each in model_names() for check in model(each).checks()} == listed


def test_a_trace_says_who_heard_what() -> None:
    check = next(each for each in CHECKS if each.name == "nonceR")
    *_, answer, taken = found(check).faults["authentic-I"]
    assert answer == Step(
        "A2",
        "b (R1) hears PEERCRED with n1's credential for a (keys of a), takes A1 = g^i, challenge nI by the intruder, "
        "for p_I1: A2 = g^x_R1, challenge n_R1, tagR",
    )
    assert taken.label == "A4"


def test_a_misspelt_scenario_or_check_is_no_success() -> None:
    for scenario, check in (("pear", "tagR"), ("pair", "tagQ")):
        with pytest.raises(ValueError, match="no scenario"):
            model("pairwise").explore(scenario, check)


def test_a_search_that_was_cut_short_says_so() -> None:
    seen = model("pairwise").explore("pair", limit=5)
    assert not seen.exhausted
    assert "stopped" in seen.render()


def test_every_statement_of_a_model_is_understood() -> None:
    """Maude goes on without a statement that it cannot parse, and says so on stderr only."""
    listed = subprocess.run([sys.executable, model_search.__file__], capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    assert listed.stdout.splitlines() == [" ".join([each, *model(each).scenarios()]) for each in model_names()]


def test_the_page_shows_the_catalogue() -> None:
    page = (MODELS.parent / "docs" / "protocols" / "models.md").read_text()
    of_models = page.index("| model | protocol |"), page.index("The properties, and")
    shown = [line for line in (page[: of_models[0]] + page[of_models[1] :]).splitlines() if line.startswith("|")]
    assert shown == tables()
