"""The bench of groups prints what the issue names; no time is asserted, only that it was measured, and what was counted."""

import json
import subprocess
import sys

import pytest

from keymote.bench import operations
from keymote.bench.group import Size, parts, run
from keymote.bench.group_member import counted
from keymote.bench.operations import Counts
from keymote.bench.ring import Terms
from keymote.crypto.suites import suite_by_id
from keymote.engine.group.faces import Level
from keymote.errors import CallerFault
from keymote.wire.group import EDGE, RELAY

both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])


@pytest.mark.long
def test_the_bench_prints_the_metrics_with_goal_and_spread() -> None:
    tiny = ["--rounds", "1", "--suite", "1", "--largest", "4", "--street", "3", "--part", "member", "--part", "coap"]
    command = ["bench", "group", *tiny, "-o", "json"]
    ran = subprocess.run([sys.executable, "-m", "keymote.cli", *command], capture_output=True, timeout=200, check=False)
    assert ran.returncode in (0, 1), ran.stderr.decode()
    said = json.loads(ran.stdout)
    metrics = {metric["name"]: metric for metric in said["metrics"]}
    for name in ("group.member.cpu_ratio", "group.member.v0_growth", "group.n3.wall_ratio"):
        assert metrics[name]["value"] > 0
        assert metrics[name]["holds"] is (metrics[name]["value"] <= metrics[name]["goal"])
    phases = [metrics[f"group.n3.member.{phase}_us"]["value"] for phase in ("start", "round1", "round2", "commit")]
    assert sum(phases) == pytest.approx(metrics["group.n3.member.cpu_us"]["value"], rel=1e-3)


def test_a_part_that_is_not_there_is_named() -> None:
    assert {"member", "coap"} <= parts().keys()
    with pytest.raises(CallerFault, match="no part"):
        list(run(Size(), lambda *_: None, ["weather"]))


@both_suites
@pytest.mark.parametrize("n", [3, 6])
def test_GR12_a_member_at_V0_verifies_twice_and_multiplies_five_times_whatever_n(suite: int, n: int) -> None:
    counts = counted(Terms(suite, n, EDGE, Level.V0))["m0"]
    assert counts["verify"] == 2
    assert counts["mul"] + counts["base_mul"] == 5


@both_suites
@pytest.mark.parametrize("n", [3, 6])
def test_a_run_computes_no_more_than_the_text_prescribes(suite: int, n: int) -> None:
    called = counted(Terms(suite, n, RELAY, Level.V1))
    for role, name in (("member", "m0"), ("member", f"m{n - 1}"), ("gateway", "gw")):
        prescribed = operations.as_metered(operations.group(n)[role], has_map=suite_by_id(suite).pake)
        excess = {
            operation: f"{number}, prescribed {prescribed[operation]}"
            for operation, number in called[name].items()
            if number > prescribed[operation]
        }
        assert excess == {}, role
        assert called[name] >= Counts(verify=2, sign=2)
