"""Groups at a real coordinator: an operator at the command line, a gateway over mutual TLS; the gateway itself is played."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from coordinators import Authority, Coordinator, Manager, keymote
from typer.testing import CliRunner

from keymote.cli.device import app as device_app
from keymote.cli.group import app
from keymote.engine.queries import RegisterCredential
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy
from keymote.wire import admin
from keymote.wire.admin_groups import EpochReport, LeftReport
from keymote.wire.credential import kid_of


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    made = Coordinator.make(tmp_path_factory.mktemp("coordinators") / "north", Authority.make()).start()
    yield made
    assert made.stop() == 0


def group(north: Coordinator, *args: str, table: bool = False) -> object:
    """Return what `keymote group` prints, in this process: starting another for each takes longer than all they do."""
    where = ("--coordinator", str(north.folder), "--url", north.url)
    ran = CliRunner().invoke(app, [*args, *where, *(() if table else ("-o", "json"))])
    if ran.exception is not None:
        raise ran.exception
    return ran.stdout if table else [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.long
async def test_a_group_from_the_command_line_to_the_gateway_and_back(north: Coordinator, tmp_path: Path) -> None:
    manager = await Manager(north, north.label("gw-7"), tmp_path / "manager").ready()
    cards = [manager.vouch(os.urandom(7) + bytes([number])) for number in range(4)]
    for card in cards:
        await manager.client.register(RegisterCredential(card.raw, None))
    devices = [card.claims.sub.hex() for card in cards]

    async def cli(*args: str, **more: bool) -> object:
        return await asyncio.to_thread(group, north, *args, **more)

    members = [word for device in devices[:3] for word in ("--member", device)]
    where = ("--coordinator", str(north.folder), "--url", north.url)
    made = json.loads(
        (
            await asyncio.to_thread(
                keymote,
                "group",
                "create",
                "street-7",
                "--gateway",
                "gw-7",
                *members,
                "--allow",
                devices[3],
                "--wake",
                "06:30",
                *where,
                "-o",
                "json",
            )
        ).stdout
    )
    assert (made["state"], made["n"], made["policy"]["wake"]) == ("active", 3, [23400])
    gid = bytes.fromhex(made["gid"])

    charter = await manager.client.charter(gid)
    assert [each.dev_id for each in charter.members] == sorted(devices[:3])
    assert kid_of(admin.from_base64url(charter.credential)) == bytes.fromhex(_signer(charter.delegation))
    kids = sorted(card.kid.hex() for card in cards[:3])
    epoch = EpochReport(1, charter.rev + 1, 1, 1, 1, "00" * 7 + "01", kids, 0, 1)
    assert (await manager.client.report_groups(gid, [epoch])).upto == 1
    assert (await manager.client.report_groups(gid, [epoch])).upto == 1

    (listed,) = (await cli("list"))[0]["groups"]  # type: ignore[index]
    assert (listed["name"], listed["epoch"], listed["waiting"], listed["gateway"]) == ("street-7", 1, 0, "gw-7")
    (evicted,) = await cli("evict", "street-7", devices[0], "--reason", "4")  # type: ignore[misc]
    assert [(each["dev_id"], each["safe_after_ms"]) for each in evicted["removals"]] == [(devices[0], None)]
    looks = await cli("show", made["gid"], "--watch", "--times", "2", "--every", "0.1")
    assert [look["rev"] for look in looks] == [2, 2]  # type: ignore[union-attr]
    text = await cli("show", "street-7", table=True)
    assert all(word in str(text) for word in ("street-7", "leaving", "not yet", devices[1], "06:30"))
    assert [each.reason for each in (await manager.client.charter(gid)).gone] == [4]

    left = LeftReport(2, 2, devices[1])
    assert (await manager.client.report_groups(gid, [left])).refused == []
    assert (await cli("conflicts")) == [{"conflicts": []}]
    with pytest.raises(RefusedByPolicy, match="at least 2") as refused:
        await cli("evict", "street-7", devices[2])
    assert "keymote group close" in refused.value.do
    retired = await asyncio.to_thread(_retire, north, devices[3])
    assert (retired["state"], (await cli("show", "street-7"))[0]["allowed"]) == ("retired", [])  # type: ignore[index]
    with pytest.raises(CallerFault, match="no group is called 'nowhere'"):
        await cli("show", "nowhere")
    with pytest.raises(PeerFault) as fault:
        await manager.client.charter(b"nowhere!")
    assert fault.value.code is ErrorCode.E_UNKNOWN_ID
    await manager.client.close()


def _retire(north: Coordinator, device: str) -> dict[str, str]:
    where = ["--coordinator", str(north.folder), "--url", north.url]
    ran = CliRunner().invoke(device_app, ["retire", device, *where, "-o", "json"])
    assert ran.exception is None, ran.exception
    return dict(json.loads(ran.stdout))


def _signer(message: str) -> str:
    from keymote.wire.fields import SIZES
    from keymote.wire.group import DelegationClaims
    from keymote.wire.group_signed import read

    return read(admin.from_base64url(message), DelegationClaims, SIZES[1]).kid.hex()
