"""What the models are asked: the scenarios in which nothing must be found, and the checks without which something is.

    python tools/model_catalogue.py          print the tables of docs/protocols/models.md

Tests run every line of it; docs/protocols/models.md shows it.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world in which every check is in place and nothing must be found; `states` is the size of its search."""

    model: str
    name: str
    world: str
    states: int
    completes: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """A check, the rules that demand it, and what the search finds without it: a property violated after `steps`."""

    model: str
    name: str
    rules: str
    what: str
    scenario: str
    violated: str
    steps: int


SCENARIOS: Final = (
    Scenario("pairwise", "pair", "one session of a and b; all long-term secrets leak after it", 26),
    Scenario("pairwise", "two", "two sessions of a and b at once", 6015),
    Scenario("pairwise", "lowe", "a calls an insider and b, the insider calls b", 1272),
    Scenario("pairwise", "kci", "d of a is known; somebody answers a in b's name", 27),
    Scenario("pairwise", "revocation", "b is revoked at any moment of the session", 48),
    Scenario("pairwise", "rogue-manager", "the intruder runs the manager of a, and a knows whose device b is", 155),
    Scenario("pairwise", "colluding", "she runs the manager of a and a's peer, which is revoked", 16, completes=False),
    Scenario("enrolment", "enrol", "a enrols; code and long-term keys leak afterwards", 21),
    Scenario("enrolment", "short-code", "the code is short enough to try all", 19),
    Scenario("enrolment", "insider", "an insider enrols while a does", 551),
    Scenario("enrolment", "clone", "an insider has two labels with one name", 281, completes=False),
    Scenario("enrolment", "waste", "the label of a is found after its enrolment", 265),
)

CHECKS: Final = (
    Check("pairwise", "tagR", "PW-11", "I verifies tagR", "pair", "authentic-R", 3),
    Check("pairwise", "nonceI", "PW-11", "tagR depends on N_I", "pair", "authentic-R", 3),
    Check("pairwise", "nonceR", "PW-12", "PRK depends on N_R", "pair", "authentic-I", 4),
    Check("pairwise", "openA3", "PW-12", "R opens A3 before it goes on", "pair", "authentic-I", 4),
    Check("pairwise", "dh", "PW-12", "PRK depends on x_I x_R", "pair", "forward-secrecy", 12),
    Check("pairwise", "erase", "CM-34", "x is erased with KS", "pair", "forward-secrecy", 12),
    Check("pairwise", "psid", "PW-10", "T depends on psid", "two", "authentic-R", 6),
    Check("pairwise", "kids", "PW-10", "T depends on both credentials", "rogue-manager", "authentic-R", 5),
    Check("pairwise", "fin1", "PW-23", "R waits for FIN1", "pair", "agreement-R", 8),
    Check("pairwise", "fin2", "PW-23", "I waits for FIN2", "pair", "agreement-I", 9),
    Check("pairwise", "roles", "PW-23", "FIN1 and FIN2 have labels of their own", "revocation", "agreement-I", 9),
    Check("pairwise", "revoked", "PW-19", "managers refuse a revoked device", "revocation", "authorised", 12),
    Check("pairwise", "chain", "PW-04", "the device verifies the chain of PEERCRED", "rogue-manager", "named", 6),
    Check("pairwise", "signed", "PW-14", "the foreign manager signs its share", "colluding", "authorised", 6),
    Check("pairwise", "context", "PW-15", "its share is bound to this session", "colluding", "authorised", 6),
    Check("enrolment", "pake", "EN-07, EN-10", "a short code goes through CPace", "short-code", "authentic-D", 3),
    Check("enrolment", "hello", "EN-01, EN-02", "T depends on HELLO", "enrol", "downgraded", 3),
    Check("enrolment", "tag", "EN-11", "the device verifies the tag of OFFER", "enrol", "authentic-N", 2),
    Check("enrolment", "openShare", "EN-14", "the manager opens SHARE before it goes on", "enrol", "authentic-D", 2),
    Check("enrolment", "dleq", "EN-16", "BIND proves one d behind W and E2", "insider", "possession", 9),
    Check("enrolment", "pop", "EN-17", "BIND proves the signature key", "insider", "possession", 3),
    Check("enrolment", "unique", "EN-18", "the coordinator registers a name once", "clone", "unambiguous", 6),
    Check("enrolment", "once", "EN-22", "the code is used up", "waste", "authentic-D", 11),
    Check("enrolment", "done", "EN-22", "the manager waits for DONE", "enrol", "agreement-N", 7),
)

LIMITS: Final = (Check("pairwise", "home", "-", "a knows that b is a device of n2", "rogue-manager", "named", 6),)
"""What Triad-1 does not have, and what the search finds because of that: known limits, not attacks on a missing check."""


def table_of_scenarios() -> list[str]:
    """Return the lines of the table of worlds."""
    rows = [f"| {each.model} | {each.name} | {each.world} | {each.states} |" for each in SCENARIOS]
    return ["| model | scenario | world | states |", "|---|---|---|---|", *rows]


def table_of_checks(checks: tuple[Check, ...] = CHECKS) -> list[str]:
    """Return the lines of a table of checks."""
    rows = [
        f"| {each.model} | {each.what} | {each.rules} | `{each.scenario} {each.name}` | {each.violated} | {each.steps} |"
        for each in checks
    ]
    return ["| model | check | rule | taken away in | then violated | steps |", "|---|---|---|---|---|---|", *rows]


def main() -> None:
    print("\n".join([*table_of_scenarios(), "", *table_of_checks(), "", *table_of_checks(LIMITS)]))


if __name__ == "__main__":
    main()
