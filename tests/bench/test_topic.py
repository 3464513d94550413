"""The bench prints what the issue names; a figure is never asserted here, only that it was measured."""

import json
import subprocess
import sys

import pytest

from keymote.bench import topic, topic_mqtt
from keymote.bench.topic import NAMES, OWN_CODE
from keymote.crypto.lightweight import ascon
from keymote.crypto.lightweight.kernel import PLAIN


def test_the_bench_measures_every_cipher_and_the_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "SLICE_NS", 50_000)
    monkeypatch.setattr(topic, "TRIES", 1)
    monkeypatch.setattr(topic, "compile_all", lambda: False)
    metrics = {metric.name: metric for metric in topic.run(2, lambda *_: None)}
    for what in ("protect", "unprotect"):
        assert metrics[f"topic.{what}.cpu_ratio"].goal == 12
        assert metrics[f"topic.{what}.cpu_ratio"].holds is not None
        for cs, name in NAMES.items():
            row = metrics[f"topic.{name}.{'plain.' if cs in OWN_CODE else ''}{what}.cpu_ratio"]
            assert row.value > 1
        assert metrics[f"topic.keys.{what}.cpu_ratio"].goal == 12
    assert metrics["topic.aes_ccm.bare_us"].value > 0
    assert not any(".numba." in name for name in metrics)
    assert ascon.KERNEL.form is PLAIN


def test_without_mosquitto_the_rows_say_so_and_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_mqtt.shutil, "which", lambda _: None)
    monkeypatch.setattr(topic_mqtt, "_BELOW_PATH", "/nonexistent")
    rows = [row.as_json() for row in topic_mqtt.run(1, lambda *_: None)]
    assert [(row["name"], row["goal"]) for row in rows] == [
        ("topic.mqtt_qos1.rate_ratio", 0.9),
        ("topic.mqtt_qos1.paho_rate_ratio", 0.75),
    ]
    for row in rows:
        assert (row["value"], row["holds"], row["note"]) == (None, False, "mosquitto is not installed")


@pytest.mark.peers
def test_both_libraries_are_measured_through_mosquitto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_mqtt, "PAIRS", 1)
    monkeypatch.setattr(topic_mqtt, "COUNT", {"aiomqtt": 40, "paho": 40})
    rows = {row.name: row for row in topic_mqtt.run(1, lambda *_: None)}
    for prefix in ("", "paho_"):
        assert rows[f"topic.mqtt_qos1.{prefix}rate_ratio"].value > 0
        assert rows[f"topic.mqtt_qos1.{prefix}rate"].value > 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_prints_compiled_ciphers_with_their_goal() -> None:
    pytest.importorskip("numba", reason="the extra `fast` is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", "keymote.cli", "bench", "topic", "--rounds", "1", "-o", "json"],
        capture_output=True,
        timeout=540,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr.decode()
    metrics = {metric["name"]: metric for metric in json.loads(ran.stdout)["metrics"]}
    for what in ("protect", "unprotect"):
        assert metrics[f"topic.ascon-aead128.numba.{what}.cpu_ratio"]["goal"] == 16
        assert metrics[f"topic.hight.numba.{what}.cpu_ratio"]["value"] > 1
