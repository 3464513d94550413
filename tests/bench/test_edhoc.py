"""The bench prints what the issue names; a figure is never asserted here, only that it was measured."""

import json
import subprocess
import sys

GOALS = {"edhoc.m3s2.vs_lakers": 1 / 2, "edhoc.m3s0.vs_lakers": 1 / 3}


def test_the_bench_prints_the_metrics_with_goal_and_spread() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "keymote.cli", "bench", "edhoc", "--rounds", "2", "-o", "json"],
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr.decode()
    said = json.loads(ran.stdout)
    metrics = {metric["name"]: metric for metric in said["metrics"]}
    for name, goal in GOALS.items():
        measured = metrics[name]
        assert measured["value"] > 0
        assert measured["goal"] == goal
        assert measured["holds"] is (measured["value"] <= goal)
        assert measured["spread"][0] <= measured["value"] <= measured["spread"][1]
    for name in ("edhoc.m0s2", "edhoc.m0s0"):
        assert metrics[f"{name}.vs_lakers"]["goal"] is None
        assert metrics[f"{name}.initiator_us"]["value"] > 0
    for peer in ("lakers", "m3s2", "m3s0"):
        assert metrics[f"edhoc.{peer}.bytes"]["value"] == 101  # 37 + 45 + 19, whoever wrote them
    assert (ran.returncode == 0) is all(metric["holds"] is not False for metric in metrics.values())
