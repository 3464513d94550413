"""An agent from a backup: the same broker to the others, and nothing that was good for a client in its former life."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hospital import CLIENT, NM_ID, RIGHTS, Hospital
from test_agents import connects

from keymote.agent.app.backup import backup, restore
from keymote.agent.app.directory import Directory
from keymote.agent.app.identity import Identity
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.secret import Secret
from keymote.device.broker_access import AgentDenied
from keymote.engine.handover.faces import home_of
from keymote.engine.topic.admission import connect, issue_ticket
from keymote.errors import CallerFault, ErrorCode
from keymote.storage.backup import read_backup
from keymote.storage.broker_files import GivenFile
from keymote.storage.private_files import write_private
from keymote.wire.topic import TicketBody

ENTROPY = SystemEntropy()
PASSPHRASE = Secret(b"correct horse battery")
AT = "127.0.0.1:1"


@pytest.mark.long
def test_BA18_a_backup_has_the_agents_keys_and_nothing_of_clients(tmp_path: Path) -> None:
    folder = tmp_path / "ward-7"
    folder.mkdir()
    identity = Identity("ward-7", "", AT, AT, AT, "mosquitto", AT)
    with closing(Directory.create(folder, identity, ENTROPY, 1)) as made:
        before = made.card, made.tls[2], made.desk().sealing.public, made.broker_passwords
        said, size = backup(folder, tmp_path / "b", PASSPHRASE, ENTROPY)  # while it is open
    assert (said.broker_id, size) == (made.identity.broker_id, (tmp_path / "b").stat().st_size)
    names = {"agent.json", "card", "tls.pem", "tls.key", "own.cells", "key"}
    assert set(read_backup(tmp_path / "b", PASSPHRASE)) == names, "no cells.db, no list, no accounts"
    moved = tmp_path / "moved"
    moved.mkdir()
    with closing(restore(tmp_path / "b", moved, PASSPHRASE, ENTROPY)) as there:
        assert (there.card, there.tls[2], there.desk().sealing.public, there.broker_passwords) == before
        assert f"persistence_location {moved}/" in (moved / "mosquitto.conf").read_text()
    assert (moved / "dynsec.json").stat().st_mode & 0o077 == 0
    with pytest.raises(CallerFault, match="holds an agent already"):
        restore(tmp_path / "b", moved, PASSPHRASE, ENTROPY)


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    made = Hospital(tmp_path)
    made.prepare("A", "B")
    async with made.stack:
        await made.start("A", "B")
        yield made


async def put_back(hospital: Hospital, name: str) -> Path:
    """Restore an agent from a backup of now; return the directory of its former life."""
    await hospital.stop(name)
    folder, former = hospital.folder / name, hospital.folder / f"former {name}"
    backup(folder, hospital.folder / f"{name}.backup", PASSPHRASE, ENTROPY)
    folder.rename(former)
    folder.mkdir()
    restore(hospital.folder / f"{name}.backup", folder, PASSPHRASE, ENTROPY).close()
    return former


def given(hospital: Hospital, name: str) -> GivenFile:
    broker_id = bytes.fromhex(Identity.of(hospital.folder / name).broker_id)
    return GivenFile(broker_id, NM_ID, 1, hospital.key.public, hospital.shared[name], hospital.list())


@pytest.mark.long
async def test_BA19_a_home_broker_from_a_backup_takes_nothing_of_its_former_life(hospital: Hospital) -> None:
    body = TicketBody(CLIENT, hospital.K_home.expose(), RIGHTS, 3600, b"ticket-1")
    ticket = issue_ticket(hospital.shared["A"], hospital.broker_id("A"), body, hospital.entropy)
    asked = connect(hospital.K_home, CLIENT, ticket, hospital.entropy)
    assert await connects(hospital.agents["A"].broker.address, CLIENT.hex(), asked)
    await hospital.move("A", "B")
    await hospital.quiet()
    former = await put_back(hospital, "A")
    directory = hospital.folder / "A"
    with pytest.raises(CallerFault, match="belongs to no trusted system yet"):
        await hospital.start("A")
    with closing(Directory(directory, ENTROPY)) as opened:
        with pytest.raises(CallerFault, match="of before the backup was put back"):
            opened.enrol(given(hospital, "A"))
        write_private(directory / "federation.json", (former / "federation.json").read_bytes())
        with pytest.raises(CallerFault, match="belongs to no trusted system yet"):
            opened.listed()
        hospital.shared["A"] = Secret(ENTROPY.draw(32))
        opened.enrol(given(hospital, "A"))
    await hospital.start("A")
    assert not await connects(hospital.agents["A"].broker.address, CLIENT.hex(), asked), "a CONNAUTH of then"
    fresh = connect(hospital.K_home, CLIENT, ticket, hospital.entropy)
    assert not await connects(hospital.agents["A"].broker.address, CLIENT.hex(), fresh), "a ticket of then"
    with pytest.raises(AgentDenied) as denied:
        await hospital.move("A", "B")
    assert denied.value.code is ErrorCode.E_TICKET
    assert hospital.agents["A"].peek(home_of(CLIENT)) is None
    await hospital.connect("A", b"ticket-2")
    assert (await hospital.move("A", "B")).broker_id == hospital.broker_id("B")


@pytest.mark.long
async def test_BA19_a_visited_broker_from_a_backup_is_asked_anew(hospital: Hospital) -> None:
    await hospital.connect("A")
    access = await hospital.move("A", "B")
    await hospital.quiet()
    await put_back(hospital, "B")
    hospital.shared["B"] = Secret(ENTROPY.draw(32))
    with closing(Directory(hospital.folder / "B", ENTROPY)) as opened:
        opened.enrol(given(hospital, "B"))
    await hospital.start("B")
    with pytest.raises(CallerFault, match="refuses"):
        await hospital.mqtt(access)
    again = await hospital.move("A", "B")
    await hospital.quiet()
    await hospital.mqtt(again)
