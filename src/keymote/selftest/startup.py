"""The short examination before a service starts: published answers and library traps of the suites that it runs."""

from collections.abc import Iterable
from typing import Final

from keymote.crypto.suites import suite_by_id
from keymote.errors import Incompatible
from keymote.selftest.report import EXAMINERS, examine_part, examine_traps, published_answers

_RISTRETTO: Final = ("aead", "hkdf", "ristretto255", "ed25519", "cpace")
_P256: Final = ("aead", "hkdf", "p256", "esp256")
_SOUND: Final[set[int]] = set()
"""Suites that were examined in this process."""


def startup_once(suites: Iterable[int]) -> None:
    """Do `startup` for those of `suites` that this process has not examined yet; for processes that start many nodes.

    Raises:
        Incompatible: as `startup`; the next call examines anew.
    """
    new = [suite for suite in suites if suite not in _SOUND]
    if new:
        startup(new)
        _SOUND.update(new)


def startup(suites: Iterable[int]) -> None:
    """Return if the algorithms under `suites` answer as published and our guards stand; some 15 ms a suite.

    Raises:
        Incompatible: a check failed; nothing computed by this installation can be trusted.
    """
    answers = published_answers()
    examiners = EXAMINERS[answers.format]
    failures: list[str] = []
    for suite in map(suite_by_id, suites):
        parts = _RISTRETTO if suite.point_size == 32 else _P256
        reports = [examine_part(answers, part, examiners[part], {suite.id: suite}) for part in parts]
        reports.append(examine_traps(suite))
        failures += [f"suite {suite.id}: {report.part}: {what}" for report in reports for what in report.failures]
    if failures:
        raise Incompatible(
            f"self-test failed: {'; '.join(failures)}", do="stop using this installation and install it anew"
        )
