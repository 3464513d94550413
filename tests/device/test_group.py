"""A group as an application sees it: real sockets, real engines, the gateway in the same event loop."""

import asyncio
import json
import re
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import pytest
from ring import GID, Ring, ready
from street import DEADLINE_S, Street

from keymote.device import Device, Group, NotReady, SyncDevice
from keymote.device.group import MAX_KEPT, Kept
from keymote.device.group_agent import GroupAgent
from keymote.device.groups import Stand
from keymote.engine.faces import Enrolled
from keymote.errors import CallerFault
from keymote.lab.scene_founding import two_operators
from keymote.wire.admin import to_base64url
from keymote.wire.group_record import GroupRecord


@pytest.fixture
async def made(tmp_path):
    scene = two_operators(b"ring", homes={"d1": "nm1"}, enrolled=False)
    street = await Street(tmp_path, scene.managers["nm1"]).start()
    async with street.stack:
        yield street, scene.operators["nc1"]


async def next_of(group: Group):
    async with asyncio.timeout(5), aclosing(group.messages()) as messages:
        return await anext(messages)


@pytest.mark.parametrize("by", ["multicast", "unicast"])
async def test_GF07_members_talk_and_each_hears_all_others(made, free_udp_port, by: str) -> None:
    street, nc = made
    a, b, c = devices = [await street.device(number) for number in (1, 2, 3)]
    ring = Ring(street, nc, free_udp_port if by == "multicast" else 0)
    ours, theirs, third = await ring.form(*devices)
    assert ours.epoch == 1
    assert len({group.key_id for group in (ours, theirs, third)}) == 1
    assert len(ours.key_id) == 16
    sent = await ours.send("telemetry/power", b"3.2 kW")
    assert (sent.epoch, sent.seq, sent.signed) == (1, 0, False)
    for group in (theirs, third):
        message = await next_of(group)
        assert (message.plaintext, message.resource, message.signed) == (b"3.2 kW", "telemetry/power", False)
        assert message.kid == ring.entry(a).kid
    command = await theirs.send("load/shed", b"2 kW")
    assert command.signed, "what is no telemetry is a command"
    assert (await theirs.send("telemetry/power", b"1", signed=True)).signed
    for group in (ours, third):
        message = await next_of(group)
        assert (message.plaintext, message.signed, message.kid) == (b"2 kW", True, ring.entry(b).kid)
    assert a.groups() == (ours,)
    assert c.group() is third is c.group(GID.hex()) is c.group(GID.hex()[:4])


async def test_GF07_each_misuse_has_its_error(made) -> None:
    street, nc = made
    a = await street.device(1)
    with pytest.raises(NotReady, match="not invited"):
        a.group()
    with pytest.raises(NotReady, match="not invited"):
        await a.invited(0.01)
    await Ring(street, nc).invite(a)
    group = a.group()
    assert await a.invited(0.01) is group
    assert (group.state, group.epoch, group.key_id) == (Stand.INVITED, 0, "")
    with pytest.raises(NotReady, match="no epoch"):
        await group.send("telemetry", b"x")
    with pytest.raises(NotReady, match="no epoch"):
        await group.ready(0.01)
    with pytest.raises(CallerFault, match="1024"):
        await group.send("telemetry", bytes(1025))
    for resource in ("/telemetry", "a//b", "x" * 101):
        with pytest.raises(CallerFault):
            await group.send(resource, b"x")
    await Ring(street, nc, gid=b"\x67\xa0" + b"\1" * 6).invite(a)
    with pytest.raises(CallerFault, match="2 groups"):
        a.group()
    with pytest.raises(NotReady):
        a.group("ff")


async def test_GF07_who_is_removed_opens_nothing_after_and_knows_it(made) -> None:
    street, nc = made
    *_, c = devices = [await street.device(number) for number in (1, 2, 3)]
    ring = Ring(street, nc)
    ours, theirs, out = await ring.form(*devices)
    await ring.remove(c)
    await ready([ours, theirs], epoch=2)
    await ours.send("telemetry", b"after")
    assert (await next_of(theirs)).plaintext == b"after"
    async with asyncio.timeout(DEADLINE_S):
        while out.state is not Stand.OUT:
            await out.changes.beyond(out.changes.following)
    assert (out.epoch, out.key_id, out.opened.following) == (0, "", 0)
    with pytest.raises(NotReady):
        await out.send("telemetry", b"x")


async def test_GF07_a_device_that_leaves_is_out_and_one_that_joins_is_in_again(made) -> None:
    street, nc = made
    devices = [await street.device(number) for number in (1, 2, 3)]
    groups = await Ring(street, nc).form(*devices)
    agent = GroupAgent(devices[2]).handlers()
    left = await agent["group.leave"]({"group": GID.hex(), "timeout_s": DEADLINE_S})
    assert (left["state"], left["epoch"]) == ("out", 0)
    await ready(groups[:2], epoch=2)


async def test_GF08_what_was_refused_is_counted_and_explained(made) -> None:
    street, nc = made
    a, b = [await street.device(number) for number in (1, 2)]
    ours, theirs = await Ring(street, nc).form(a, b)
    await ours.send("telemetry/power", b"1")
    await next_of(theirs)

    def say(data: bytes) -> None:
        b.node.runtime.receive(street.endpoint.address, data)

    await ours.send("telemetry/power", b"2")
    await next_of(theirs)
    protected = (await ours._order(_protect(b"3")))[0].record  # noqa: SLF001  a record that no carrier brings
    forged = protected[:-1] + bytes((protected[-1] ^ 1,))
    gid = GID
    say(GroupRecord(gid, "telemetry/other", protected).encode())
    say(GroupRecord(gid, "telemetry/power", forged).encode())
    say(GroupRecord(gid, "load/shed", protected).encode())
    say(GroupRecord(gid, "telemetry/power", protected).encode())
    say(GroupRecord(gid, "telemetry/power", protected).encode())
    assert (await next_of(theirs)).plaintext == b"3"
    assert theirs.rejects == {"E_AUTH": 3, "E_REPLAY": 1}
    tail = GroupAgent(b).handlers()["group.tail"]
    answer = await tail({"group": GID.hex(), "last": 10, "rejects": True})
    assert [message["text"] for message in answer["messages"]] == ["1", "2", "3"]
    assert [(reject["code"], reject["resource"]) for reject in answer["rejects"]] == [
        ("E_AUTH", "telemetry/other"),
        ("E_AUTH", "telemetry/power"),
        ("E_AUTH", "load/shed"),
        ("E_REPLAY", "telemetry/power"),
    ]
    assert {reject["seq"] for reject in answer["rejects"]} == {2}
    assert all(reject["why"] for reject in answer["rejects"])
    listed = await GroupAgent(b).handlers()["group.list"]({})
    assert [(row["gid"], row["n"], row["rejects"]) for row in listed] == [(GID.hex(), 2, {"E_AUTH": 3, "E_REPLAY": 1})]


def _protect(plaintext: bytes):
    from keymote.engine.group.payload_faces import ProtectForGroup

    return ProtectForGroup(plaintext, "telemetry/power")


async def test_a_tail_waits_and_goes_on_where_it_was(made) -> None:
    street, nc = made
    a, b = [await street.device(number) for number in (1, 2)]
    await Ring(street, nc).form(a, b)
    send, tail = GroupAgent(a).handlers()["group.send"], GroupAgent(b).handlers()["group.tail"]
    first = await tail({"group": GID.hex()})
    assert (first["messages"], first["after"]) == ([], 0)
    waiting = asyncio.ensure_future(tail({"group": GID.hex(), "after": 0, "after_rejects": 0, "timeout_s": 10}))
    await asyncio.sleep(0)
    sent = await send({"group": GID.hex(), "resource": "telemetry", "payload": to_base64url(b"\xffbinary")})
    async with asyncio.timeout(5):
        answer = await waiting
    (message,) = answer["messages"]
    assert (message["payload"], message["text"], message["seq"]) == (to_base64url(b"\xffbinary"), None, sent["seq"])
    assert (await tail({"group": GID.hex(), "after": answer["after"]}))["messages"] == []
    with pytest.raises(CallerFault):
        await send({"group": GID.hex(), "resource": "telemetry", "payload": "not base64!"})
    assert (await tail({"group": GID.hex(), "last": 5}))["messages"] == [message]


async def test_GF09_a_restarted_device_goes_on_in_the_epoch_and_repeats_no_number(made, free_udp_port) -> None:
    street, nc = made
    a = Device.open(await street.label(1, listen=("127.0.0.1", free_udp_port)))
    await a.start()
    await a.enrolled(DEADLINE_S)
    b = await street.device(2)
    ours, theirs = await Ring(street, nc).form(a, b)
    before = [await ours.send("telemetry", b"%d" % n) for n in range(3)]
    for _ in before:
        await next_of(theirs)
    key_id = ours.key_id
    await a.close()
    await asyncio.sleep(0)  # the loop closes the socket
    with pytest.raises(NotReady):
        _ = ours.epoch
    async with Device.open(a.config) as again:
        group = again.group()
        assert (await group.ready(DEADLINE_S), group.key_id) == (1, key_id)
        after = await group.send("telemetry", b"again")
        assert after.epoch == 1
        assert after.seq > max(sent.seq for sent in before)
        assert (await next_of(theirs)).plaintext == b"again"
        await theirs.send("telemetry", b"welcome back")
        assert (await next_of(group)).plaintext == b"welcome back"


async def test_programs_without_a_loop_have_groups_too(made) -> None:
    street, nc = made
    a = await street.device(1)
    config = await street.label(2)

    def program(to_us: asyncio.Queue, loop: asyncio.AbstractEventLoop) -> None:
        with SyncDevice.open(config) as device:
            device.enrolled(DEADLINE_S)
            loop.call_soon_threadsafe(to_us.put_nowait, device)
            group = device.invited(DEADLINE_S)
            group.ready(DEADLINE_S)
            assert (group.epoch, len(group.key_id), group.state) == (1, 16, Stand.ACTIVE)
            assert group.send("telemetry", b"from a thread").seq == 0
            assert group.receive(DEADLINE_S).plaintext == b"to a thread"
            with pytest.raises(NotReady):
                group.receive(0.01)
            assert device.group().id == group.id
            group.leave()

    queue: asyncio.Queue[SyncDevice] = asyncio.Queue()
    running = asyncio.get_running_loop().run_in_executor(None, program, queue, asyncio.get_running_loop())
    async with asyncio.timeout(20):
        other = await queue.get()
        ring, theirs = Ring(street, nc), other._device  # noqa: SLF001  its face is the thread's
        await ring.invite(a)
        await ring.invite(theirs)
        await ring.lead(a, theirs)
        ours = a.group()
        assert (await next_of(ours)).plaintext == b"from a thread"
        await ours.send("telemetry", b"to a thread")
        await running


D1 = f"{1:016x}"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "groups.md"


async def toml_of(street: Street, number: int, port: int) -> Path:
    """Write a device's file, for programs that name one."""
    config, file = await street.label(number), street.folder / f"{number}.toml"
    named = {"root": config.root, "state": config.state, "key_uri": config.key_uri, "code_file": config.code_file}
    values = {
        "id": config.id.hex(),
        "listen": f"127.0.0.1:{port}",
        "manager": config.manager,
        **{name: str(value) for name, value in named.items()},
    }
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    return file


@pytest.mark.parametrize("which", [0, 1], ids=["with a loop", "without"])
async def test_GF07_the_programs_of_the_page_do_what_it_says(made, capsys, free_udp_port, which: int) -> None:
    street, nc = made
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    program = programs[which].replace("meter.toml", str(await toml_of(street, 1, free_udp_port)))
    ring, other = Ring(street, nc), await street.device(2)
    running = asyncio.get_running_loop().run_in_executor(None, exec, compile(program, PAGE.name, "exec"), {})
    async with asyncio.timeout(30):
        await street.told(Enrolled, lambda report: report.dev_id.hex() == D1)
        meter = Elsewhere(D1, f"coap://127.0.0.1:{free_udp_port}")
        await ring.invite(meter)
        await ring.invite(other)
        await ring.lead(meter, other)
        ours = other.group()
        assert (await next_of(ours)).plaintext == b"3.2 kW"
        await ours.send("load/shed", b"2 kW")
        await running
    expected = f"record 0 of epoch 1\n{ring.entry(other).kid.hex()} load/shed b'2 kW'\n" if which == 0 else "b'2 kW'\n"
    assert capsys.readouterr().out == expected


class Elsewhere(NamedTuple):
    """A device in another program."""

    id: str
    address: str


async def test_what_is_kept_has_its_number_and_the_oldest_gives_way() -> None:
    kept: Kept[int] = Kept()
    assert kept.first(0) is None
    for number in range(MAX_KEPT + 5):
        kept.put(number)
    assert kept.first(0) == (5, 5)
    assert kept.first(MAX_KEPT + 4) == (MAX_KEPT + 4, MAX_KEPT + 4)
    assert kept.first(MAX_KEPT + 5) is None
    await kept.beyond(3)
    waiting = asyncio.ensure_future(kept.beyond(kept.following))
    await asyncio.sleep(0)
    assert not waiting.done()
    kept.end()
    async with asyncio.timeout(5):
        await waiting
