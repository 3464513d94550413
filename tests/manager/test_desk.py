"""What an operator may ask of a manager, on the manager's real cells."""

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import CellKey, Now
from keymote.engine.label import new_code
from keymote.engine.node import registrar_node
from keymote.errors import CallerFault, RefusedByPolicy
from keymote.host.async_host import AsyncHost
from keymote.host.driver import Driver
from keymote.lab.scene_founding import two_operators
from keymote.manager.desk import MAX_ROWS, Desk
from keymote.storage.memory import MemoryStore

ENTROPY = SeededEntropy(b"desk")
DEVICE = "00000000000000a1"


class Silence:
    reliable = True

    def send(self, *_: object) -> None:
        pass


class Still:
    @staticmethod
    def now() -> Now:
        return Now(0.0, 1_800_000_000)


class Cells:
    """The manager's cells as the desk sees them."""

    def __init__(self) -> None:
        context = two_operators(b"desk", homes={"d1": "nm1"}, enrolled=False).managers["nm1"]
        driver = Driver(
            registrar_node(context), MemoryStore(), Silence(), Still(), SeededEntropy(b"manager"), lambda *_: None,
            lambda *_: None,
        )  # fmt: skip
        self.host = AsyncHost(driver, Still())
        self.host.start()

    async def command(self, key: CellKey, command):
        return await self.host.command(key, command)

    def peek(self, key: CellKey):
        return self.host.driver.peek(key)


@pytest.fixture
async def ask():
    cells = Cells()
    handlers = Desk(cells, lambda: {"nm_id": "x"}).handlers()

    async def asked(do: str, **arguments):
        return await handlers[do]({"do": do, **arguments})

    yield asked
    await cells.host.close()


async def test_labels_are_taken_row_by_row_and_the_same_again_changes_nothing(ask) -> None:
    good, other = new_code(ENTROPY).printed(), new_code(ENTROPY).printed()
    rows = [[DEVICE, good], ["00000000000000a2", "12345678"], ["not an id", good], ["00000000000000a3", good[:-1]]]
    assert (await ask("labels.add", rows=rows))[:2] == [None, None]
    again = await ask("labels.add", rows=rows)
    assert again[:2] == [None, None]
    assert "16 hex digits" in again[2]
    assert good[:-1] not in again[3]
    (refused,) = await ask("labels.add", rows=[[DEVICE, other]])
    assert "rejoin" in refused
    assert other not in refused


async def test_too_many_rows_at_once_are_refused_whole(ask) -> None:
    with pytest.raises(CallerFault):
        await ask("labels.add", rows=[[DEVICE, "12345678"]] * (MAX_ROWS + 1))


async def test_the_doctors_question_is_answered_without_the_code(ask) -> None:
    assert await ask("device.examine", dev_id=DEVICE) == {"known": False}
    code = new_code(ENTROPY).printed()
    await ask("labels.add", rows=[[DEVICE, code]])
    examined = await ask("device.examine", dev_id=DEVICE)
    assert examined == {"known": True, "code": "waits", "failures": 0, "state": "pending"}


async def test_a_device_that_is_not_enrolled_cannot_be_revoked_or_suspended(ask) -> None:
    for do in ("device.revoke", "device.suspend", "device.resume"):
        with pytest.raises(CallerFault, match="not enrolled here"):
            await ask(do, dev_id=DEVICE)
    for reason in (-1, 5, "2", True):
        with pytest.raises(CallerFault, match="reason"):
            await ask("device.revoke", dev_id=DEVICE, reason=reason)


async def test_a_new_label_replaces_one_that_was_never_used(ask) -> None:
    first, second = new_code(ENTROPY).printed(), new_code(ENTROPY).printed()
    await ask("labels.add", rows=[[DEVICE, first]])
    assert await ask("device.rejoin", dev_id=DEVICE, code=second) == {"dev_id": DEVICE, "state": "pending"}
    assert (await ask("labels.add", rows=[[DEVICE, second]])) == [None]
    assert RefusedByPolicy.exit_code == 4


async def test_status_is_what_the_service_says(ask) -> None:
    assert await ask("status") == {"nm_id": "x"}
