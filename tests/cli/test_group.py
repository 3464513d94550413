"""What `keymote group` reads and says without a coordinator."""

import pytest

from keymote.cli.group_coordinator import moment, seconds_of_day
from keymote.errors import CallerFault


@pytest.mark.parametrize(("text", "seconds"), [("00:00", 0), ("06:30", 23400), ("23:59", 86340)])
def test_a_time_of_the_day_is_read(text: str, seconds: int) -> None:
    assert seconds_of_day(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "24:00", "06:60", "06:30:00", "-1:00", "06.30", "a:b"])
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(CallerFault, match="HH:MM"):
        seconds_of_day(text)


def test_times_are_said_in_utc() -> None:
    assert moment(1_800_000_000_000) == "2027-01-15 08:00:00Z"
    assert moment(None) is None
