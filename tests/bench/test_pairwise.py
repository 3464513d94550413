"""The bench prints what the issue names; a figure is never asserted here, only that it was measured."""

import json
import subprocess
import sys

NAMED = (
    "pairwise.session.cpu_ratio",
    "pairwise.enrolment.cpu_ratio",
    "pairwise.device.vs_dtls_mutual_cert",
    "pairwise.device.bytes_vs_dtls",
)


def test_the_bench_prints_the_metrics_with_goal_and_spread() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "keymote.cli", "bench", "pairwise", "--rounds", "1", "-o", "json"],
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr.decode()
    said = json.loads(ran.stdout)
    metrics = {metric["name"]: metric for metric in said["metrics"]}
    for name in NAMED:
        assert metrics[name]["value"] > 0
        assert metrics[name]["goal"] is not None
        assert metrics[name]["holds"] is (metrics[name]["value"] <= metrics[name]["goal"])
    assert metrics["pairwise.suite17.session.cpu_ratio"]["goal"] is None
    assert (
        metrics["pairwise.peer.edhoc.bytes"]["value"] == 101
    )  # what PERFORMANCE of the peers says, so it is the real one
    assert said["machine"]["cores"] >= 1
