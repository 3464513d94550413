"""`keymote doctor` at the directory of a broker's agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hospital import Hospital
from typer.testing import CliRunner

from keymote.agent.app.directory import Directory
from keymote.agent.app.identity import Identity, address_of
from keymote.cli.doctor import _role, doctor
from keymote.cli.doctor_checks import Finding
from keymote.crypto.entropy import SystemEntropy
from keymote.transports import tls_pinned


async def looked(folder: Path) -> dict[str, list[Finding]]:
    """Return what the doctor finds, by what it looked at."""
    found: dict[str, list[Finding]] = {}
    for finding in await asyncio.to_thread(lambda: list(_role(folder))):
        found.setdefault(finding.check, []).append(finding)
    return found


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    made = Hospital(tmp_path)
    made.prepare("A", "B")
    async with made.stack:
        yield made


async def test_BA22_a_healthy_agent_runs_or_finds_its_ports_free(hospital: Hospital) -> None:
    await hospital.start("B")
    for running in (False, True):
        if running:
            await hospital.start("A")
        found = await looked(hospital.folder / "A")
        assert all(finding.ok for each in found.values() for finding in each), found
        assert ("agent" in found, "port" in found) == (running, not running)
        assert "names 2 brokers, this one among them" in found["list of brokers"][0].what
        assert len(found["other agent"]) == 1


async def test_BA22_another_agent_that_is_down_or_not_the_one_of_the_list(hospital: Hospital) -> None:
    folder = hospital.folder / "A"
    (down,) = (await looked(folder))["other agent"]
    assert not down.ok and "does not answer" in down.what and down.do
    impostor = hospital.folder / "impostor"
    impostor.mkdir()
    theirs = Identity.of(hospital.folder / "B")
    Directory.create(impostor, replace(theirs, nm_id="", suite=0, sig_pk=""), SystemEntropy(), 1_700_000_000).close()
    for name in ("tls.pem", "tls.key", "own.cells", "key"):
        (hospital.folder / "B" / name).write_bytes((impostor / name).read_bytes())
    (own,) = (await looked(hospital.folder / "B"))["list of brokers"]
    assert not own.ok and "names another certificate" in own.what
    with closing(Directory(impostor, SystemEntropy())) as held:
        context = tls_pinned.server_context(*held.tls, ())
    async with await asyncio.start_server(lambda *_: None, *address_of(theirs.agent), ssl=context):
        (other,) = (await looked(folder))["other agent"]
    assert not other.ok and "does not show the certificate" in other.what


async def test_BA22_a_broker_that_the_list_does_not_name(hospital: Hospital) -> None:
    await hospital.start("A")
    await hospital.agents["A"].adopt(hospital.list(without="A"))
    (finding,) = (await looked(hospital.folder / "A"))["list of brokers"]
    assert not finding.ok and "does not name broker" in finding.what and "agent update" in finding.do


def test_BA22_an_agent_without_a_trusted_system_and_without_its_mosquitto(tmp_path: Path) -> None:
    at = "127.0.0.1:1"
    identity = Identity("ward-7", "", "127.0.0.1:5000", "127.0.0.1:5001", at, "mosquitto", at)
    with closing(Directory.create(tmp_path, identity, SystemEntropy(), 1_700_000_000)):
        pass
    command = typer.Typer()
    command.command()(doctor)
    ran = CliRunner().invoke(command, ["--data", str(tmp_path), "-o", "json"])
    assert ran.exit_code == 1
    for words in ("belongs to no trusted system yet", "keymote agent enrol FILE", "nobody answers at 127.0.0.1:1"):
        assert words in ran.stdout
