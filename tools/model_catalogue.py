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
    long: bool = False


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
    Scenario("group", "ring", "three honest meters, a rogue gateway; signature keys leak afterwards", 750),
    Scenario("group", "stuffing", "a rogue gateway lists a stranger in place of c", 36, completes=False),
    Scenario("group", "insider", "c is corrupt, the gateway honest", 164),
    Scenario("group", "replay", "a rogue gateway says an old START again, and a new one", 743),
    Scenario("group", "eviction", "a rogue gateway and the evicted c use the old roster", 36, completes=False),
    Scenario("group", "collusion", "c is corrupt, the gateway rogue, and R3 is signed by all", 92),
    Scenario("topic", "keys", "a asks twice while the key expires, and is taken apart at last", 360),
    Scenario("topic", "members", "an insider asks for what it may have and for what it may not", 90),
    Scenario("topic", "publication", "two messages", 7),
    Scenario("topic", "forger", "two signed messages on a topic that the insider may read", 7),
    Scenario("pairwise", "rogue-crowd", "a rogue manager of a, an insider, three sessions", 12184, long=True),
    Scenario("enrolment", "crowd", "short code, insider and found label at once", 16119, long=True),
    Scenario("group", "crowd", "three STARTs of two epochs, one with a stranger", 5465, long=True),
    Scenario("topic", "crowd", "three requests for two topics, an insider, expiry", 49068, long=True),
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
    Check("group", "r2sig", "3.5", "a member verifies every R2 over its own th1", "ring", "secrecy", 4),
    Check("group", "erase", "3.6", "x is erased with MK", "ring", "forward-secrecy", 11),
    Check("group", "roster", "3.3", "the roster is signed by its authority", "stuffing", "unlisted", 6),
    Check("group", "commit", "3.6", "a member waits for COMMIT", "insider", "agreement", 8),
    Check("group", "commitsig", "3.4", "COMMIT is signed by the gateway", "insider", "agreement", 8),
    Check("group", "epoch", "3.6", "the epoch is above the persisted one", "replay", "stale", 10),
    Check("group", "version", "3.4, 8", "the roster is not older than the persisted one", "eviction", "evicted", 6),
    Check("topic", "kreq", "4.4", "the system verifies the tag of KREQ", "keys", "in-step", 1),
    Check("topic", "bind", "4.4", "the key of KRESP depends on KREQ", "keys", "fresh", 5),
    Check("topic", "topic", "4.4", "KREQ and its tag hold the topic", "keys", "right-topic", 3),
    Check("topic", "current", "4.4", "an answer holds the current key, also at one k", "keys", "fresh", 6),
    Check("topic", "acl", "4.4", "the system knows who may have which topic", "members", "secrecy", 1),
    Check("topic", "kack", "4.4", "the system steps for a valid KACK only", "keys", "in-step", 3),
    Check("topic", "step", "4.3", "CK_k is erased with the step", "keys", "forward-secrecy", 4),
    Check("topic", "once", "4.5", "a message number is accepted once", "publication", "replayed", 3),
    Check("topic", "signed", "4.5", "messages of a signed topic are verified", "forger", "source", 1),
)

LIMITS: Final = (
    Check("pairwise", "home", "-", "a knows that b is a device of n2", "rogue-manager", "named", 6),
    Check("group", "signedR3", "3.4", "every member signs th2 in R3", "collusion", "agreement", 8),
)
"""What Triad-1 does not have, and what the search finds because of that: known limits, not attacks on a missing check."""

SECOND_LINES: Final = (
    Scenario("pairwise", "openA4", "pair", 38),
    Scenario("group", "sum", "insider", 288),
)
"""Checks that can be taken away alone without an attack in these bounds: another one holds. `world`: where it was tried."""


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack of docs/attacks.md on a scheme as printed; without `violated`: no honest run ends with a common key."""

    model: str
    scenario: str
    id: str
    what: str
    violated: str = ""
    steps: int = 0


PUBLISHED: Final = (
    Attack("published-000", "forwarded", "A-01", "the sum of the shares is on the air", "secrecy", 2),
    Attack("published-000", "shares", "A-02", "no two devices hold the same shares"),
    Attack("published-000", "oracle", "A-03", "a device decrypts for everybody", "secrecy", 1),
    Attack("published-000", "relay", "A-04", "a challenge is answered by somebody else", "authentic", 3),
    Attack("published-000", "codes", "A-10", "the code is read from the air", "impersonation", 2),
    Attack("published-001", "walkthrough", "B-01", "no two meters derive the same key"),
    Attack("published-001", "substitution", "B-02", "public keys are exchanged on the way", "secrecy", 5),
    Attack("published-001", "replay", "B-05", "a public key of an old epoch is taken", "fresh", 3),
    Attack("published-002", "known-plaintext", "C-01", "a reading that can be guessed gives the key", "secrecy", 1),
    Attack("published-002", "flip", "C-02", "a changed message is taken", "source", 1),
    Attack("published-002", "flash", "C-05", "PSS opens what was recorded", "forward-secrecy", 2),
    Attack("published-002", "old-delivery", "C-08", "an old key is taken for a new one", "fresh", 1),
)


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


def table_of_second_lines() -> list[str]:
    """Return the lines of the table of checks that have a second behind them."""
    rows = [f"| {each.model} | `{each.world} {each.name}` | {each.states} |" for each in SECOND_LINES]
    return ["| model | taken away in | states |", "|---|---|---|", *rows]


def table_of_published() -> list[str]:
    """Return the lines of the table of attacks on the schemes as printed."""
    rows = [
        f"| {each.id} | {each.what} | `{each.model} {each.scenario}` | {each.violated or 'never completes'} | {each.steps or '-'} |"
        for each in PUBLISHED
    ]
    return ["| attack | what happens | scenario | violated | steps |", "|---|---|---|---|---|", *rows]


def tables() -> list[str]:
    """Return every line of every table of docs/protocols/models.md."""
    checks, limits = table_of_checks(), table_of_checks(LIMITS)
    return [*table_of_scenarios(), *checks, *table_of_second_lines(), *limits, *table_of_published()]


def main() -> None:
    print("\n".join(tables()))


if __name__ == "__main__":
    main()
