"""`keymote topic publish|subscribe --broker coap://…`: whom the broker does not know is let in by its agent, by ticket."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coordinators import ENVIRONMENT, LAUNCH, free_port, keymote
from operators import Operator, Process, operators

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
TOPIC = "ward/7/hr"
END_S = 60


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Operator]:
    with operators(tmp_path, 1) as (operator,):
        yield operator


@pytest.fixture
def agent(ward: Operator) -> Iterator[Process]:
    """An embedded broker with its agent, taken into the federation as docs/how-to/agents.md has it."""
    data, given = ward.folder / "ward-7", ward.folder / "ward-7.given"
    mqtt, coap, other = (f"127.0.0.1:{free_port()}" for _ in range(3))
    places = ("--mqtt", mqtt, "--coap", coap, "--agent", other)
    keymote("agent", "init", "--name", "ward-7", "--data", str(data), *places)
    keymote("manager", "broker", "add", str(data / "card"), "--out", str(given), "--data", str(ward.folder / "nm"))
    keymote("agent", "enrol", str(given), "--data", str(data))
    process = Process(("agent", "run", "--data", str(data)), ward.folder / "ward-7.log").start()
    yield process
    process.stop()


def client(ward: Operator, name: str) -> tuple[str, Path]:
    """Return a new client of a provisioning file: its id, and the file."""
    path = ward.folder / f"{name}.client"
    made = keymote(
        "manager", "client", "add", name, "--out", str(path), "--data", str(ward.folder / "nm"), "-o", "json"
    )
    return json.loads(made.stdout)["client_id"], path


def test_TQ45_an_agent_lets_commands_into_its_broker_and_no_stranger(ward: Operator, agent: Process) -> None:
    (mote, mote_file), (nurse, nurse_file), (_, stranger) = (client(ward, name) for name in ("bed-7", "nurse", "other"))
    there = ("--coordinator", str(ward.coordinator.folder), "--url", ward.coordinator.url)
    (role,) = ward.add_devices(1)
    role.enrolled()
    role.process.stop()
    may = ("--publish", mote, "--publish", role.id, "--subscribe", nurse)
    keymote("topic", "create", "ward/#", "--manager", "nm", *may, "--cipher", "aes-ccm-8", *there)
    at = ("--broker", agent.address, "-o", "json")
    words = ("topic", "subscribe", "ward/#", TOPIC, "--count", "2", "--client", str(nurse_file), *at)
    heard = subprocess.Popen(
        [*LAUNCH, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert heard.stderr is not None
        said = heard.stderr.readline()
        assert "subscribed" in said, said + heard.stderr.read()
        for who in (("--client", str(mote_file)), ("--config", str(role.config))):
            sent = json.loads(keymote("topic", "publish", TOPIC, "-m", "72", *who, *at).stdout)
            assert sent["published"] == 1
        said, complained = heard.communicate(timeout=END_S)
    finally:
        heard.kill()
    assert (heard.returncode, complained) == (0, "")
    readings = [json.loads(line) for line in said.splitlines()]
    assert [(each["topic"], each["text"]) for each in readings] == [(TOPIC, "72")] * 2
    assert len({each["snd"] for each in readings}) == 2
    refused = keymote("topic", "publish", TOPIC, "-m", "72", "--client", str(stranger), *at, check=False)
    assert refused.returncode == 4 and "ask the operator for a grant" in refused.stderr
    agent.stop(signal.SIGKILL)
    unheard = keymote("topic", "publish", TOPIC, "-m", "72", "--client", str(mote_file), *at, check=False)
    assert unheard.returncode == 3 and "agent does not answer" in unheard.stderr

    def brokers(verb: str, *words: str) -> dict[str, Any]:
        ran = keymote("manager", "broker", verb, *words, "--data", str(ward.folder / "nm"), "-o", "json")
        return dict(json.loads(ran.stdout))

    (listed,) = brokers("list")["brokers"]
    assert brokers("moves") == brokers("moves", "--client", mote) == {"moves": []}, "nobody has gone anywhere"
    wrong = keymote("manager", "broker", "moves", "--client", "bed-7", "--data", str(ward.folder / "nm"), check=False)
    assert wrong.returncode != 0 and "16 hex digits" in wrong.stderr
    assert brokers("remove", listed["broker_id"])["state"] == "removed"
    assert brokers("list")["brokers"] == []
