"""When a running manager looks at its credential again."""

from dataclasses import replace

import pytest

from keymote.engine.renewal import again_s, due_at
from keymote.lab.scene_founding import two_operators
from keymote.manager.app.renewal import pause_s

DAY = 86400


@pytest.mark.parametrize(
    ("days", "pause"),
    [(0, 12 * 3600), (334, 12 * 3600), (334.75, DAY / 4 + 1), (335.5, 12 * 3600), (400, 12 * 3600)],
)
def test_RN01_a_year_is_looked_at_twice_a_day_and_when_it_is_due(days: float, pause: float) -> None:
    claims = two_operators(enrolled=False).managers["nm1"].membership.credential.claims
    claims = replace(claims, iat=0, exp=365 * DAY)
    assert due_at(claims) == 335 * DAY
    assert pause_s(claims, int(days * DAY), 12 * 3600.0) == pytest.approx(pause)


def test_RN01_a_minute_is_looked_at_more_often() -> None:
    claims = two_operators(enrolled=False).managers["nm1"].membership.credential.claims
    claims = replace(claims, iat=0, exp=60)
    assert pause_s(claims, 0, 12 * 3600.0) == due_at(claims) + 1
    assert pause_s(claims, 50, 12 * 3600.0) == again_s(claims) == 2
