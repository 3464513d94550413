"""`keymote bench handover`: all its figures from a few moves, and goals that hold but for time, which depends on the machine."""

import json
import subprocess
import sys

import pytest

from keymote.bench.handover import public_key_calls


def test_WD07_a_motes_side_of_a_hand_over_calls_nothing_about_public_keys() -> None:
    assert public_key_calls() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_WD07_a_few_moves_on_real_sockets_lose_nothing_and_need_no_trusted_system() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "keymote.cli", "bench", "handover", "-o", "json", "--motes", "2", "--moves", "8"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    found = {each["name"]: each for each in json.loads(ran.stdout)["metrics"]}
    assert found["handover.time_ratio"]["goal"] == 0.2
    for name in ("lost", "duplicates", "out_of_order", "public_key_operations"):
        assert found[f"handover.{name}"]["value"] == 0 and found[f"handover.{name}"]["holds"] is True
    assert found["handover.mote_messages"]["value"] <= 2
    assert found["handover.readings"]["value"] > 20 and found["handover.moves"]["value"] >= 2 + 4
    assert found["handover.opened_ms"]["value"] < found["handover.power_on_ms"]["value"]
