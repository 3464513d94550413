"""The device as an application sees it: real sockets, real engines, the manager in the same event loop."""

import asyncio
import subprocess
import sys
import textwrap
from contextlib import aclosing

import pytest
from street import Router, Street

from keymote.device import Device, Expired, NotReady, Replayed, Revoked, State, SyncDevice
from keymote.device.config import PSK_FORMS
from keymote.engine.exports import PskForm
from keymote.engine.faces import RevokeDevice, SuspendDevice
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy, Unavailable
from keymote.lab.scene_founding import two_operators

D1, D2 = f"{1:016x}", f"{2:016x}"


async def first(sessions):
    async with asyncio.timeout(5), aclosing(sessions):
        async for session in sessions:
            return session
    raise AssertionError("the device was closed")


@pytest.fixture
async def street(tmp_path):
    scene = two_operators(b"street", homes={"d1": "nm1"}, enrolled=False)
    street = await Street(tmp_path, scene.managers["nm1"]).start()
    async with street.stack:
        yield street


@pytest.fixture
async def pair(street):
    a, b = await street.device(1), await street.device(2)
    session = await a.pair(D2)
    return session, await first(b.incoming())


async def test_two_devices_pair_and_talk(street) -> None:
    a, b = await street.device(1), await street.device(2)
    ours = await a.pair(D2)
    theirs = await first(b.incoming())
    assert (ours.key_id, ours.psid, ours.peer, theirs.peer) == (theirs.key_id, theirs.psid, D2, D1)
    assert ours.initiator
    assert not theirs.initiator
    record = ours.protect(b"21.5 C")
    assert b"21.5" not in record
    assert theirs.unprotect(record) == b"21.5 C"
    assert ours.unprotect(theirs.protect(b"thanks")) == b"thanks"
    assert a.sessions() == (ours,)


async def test_fast_and_compact_sessions_pair_too(street) -> None:
    a = await street.device(1)
    b = Device.open(await street.label(2, accept_compact=True))
    await street.stack.enter_async_context(b)
    await b.enrolled(5)
    assert (await b.pair(D1, fast=True)).state is State.ACTIVE
    assert len(a.sessions()) == 1


async def test_each_misuse_has_its_error(pair) -> None:
    ours, theirs = pair
    record = ours.protect(b"x")
    theirs.unprotect(record)
    with pytest.raises(Replayed) as replayed:
        theirs.unprotect(record)
    assert replayed.value.code is ErrorCode.E_REPLAY
    forged = bytearray(ours.protect(b"y"))
    forged[-1] ^= 1
    with pytest.raises(PeerFault) as refused:
        theirs.unprotect(bytes(forged))
    assert refused.value.code is ErrorCode.E_AUTH
    for junk in (b"", b"\x00", ours.protect(b"z")[:-3], b"\x84\x18\x1f\x48" + bytes(8) + b"\x00\x41\x00"):
        with pytest.raises(PeerFault):
            theirs.unprotect(junk)
    with pytest.raises(PeerFault):
        ours.unprotect(ours.protect(b"my own"))
    with pytest.raises(CallerFault, match="1024"):
        ours.protect(bytes(1025))
    assert theirs.unprotect(ours.protect(bytes(1024))) == bytes(1024)


async def test_the_devices_own_link_carries_records(pair) -> None:
    ours, theirs = pair
    await ours.send(b"one")
    await ours.send(b"two")
    messages = theirs.messages()
    async with asyncio.timeout(5):
        assert {await anext(messages), await anext(messages)} == {b"one", b"two"}
    await ours.close()
    async with asyncio.timeout(5):
        await theirs.ended()
        assert [message async for message in messages] == []


async def test_a_closed_session_is_over_on_both_sides(pair) -> None:
    ours, theirs = pair
    record = ours.protect(b"late")
    await theirs.close()
    async with asyncio.timeout(5):
        await ours.ended()
    for session, call in ((ours, lambda: ours.protect(b"x")), (theirs, lambda: theirs.unprotect(record))):
        assert session.state is State.CLOSED
        with pytest.raises(Expired):
            call()
    await theirs.close()  # twice is once


async def test_a_session_that_one_side_revokes_ends_on_the_other(pair) -> None:
    ours, theirs = pair
    await ours.revoke(2)
    async with asyncio.timeout(5):
        await theirs.ended()
    for session in pair:
        assert session.state is State.REVOKED
        with pytest.raises(Revoked):
            session.protect(b"x")
    with pytest.raises(Revoked):
        await ours.revoke()
    with pytest.raises(CallerFault):
        await ours.revoke(9)


async def test_a_revoked_device_loses_its_sessions_at_once_and_gets_none(street) -> None:
    a, b = await street.device(1), await street.device(2)
    ours = await a.pair(D2)
    theirs = await first(b.incoming())
    await street.order(D1, RevokeDevice(2))
    async with asyncio.timeout(5):  # some milliseconds; `keymote demo` says how many between processes
        await theirs.ended()
        await ours.ended()
    with pytest.raises(Revoked):
        await b.pair(D1)
    with pytest.raises(Revoked):
        await a.pair(D2)


async def test_a_suspended_device_gets_no_session(street) -> None:
    a, _ = await street.device(1), await street.device(2)
    await street.order(D2, SuspendDevice())
    with pytest.raises(Revoked):
        await a.pair(D2)


async def test_a_handed_over_key_is_not_used_by_us_again(pair) -> None:
    ours, _ = pair
    keys = ours.hand_over()
    assert keys.key_id.hex() == ours.key_id
    assert ours.state is State.HANDED_OVER
    for use in (ours.hand_over, ours.keys, lambda: ours.protect(b"x")):
        with pytest.raises(Expired):
            use()
    await ours.close()


@pytest.mark.long
async def test_a_device_that_cannot_be_reached_fetches_what_waits_for_it(street) -> None:
    a = await street.device(1)
    router = await Router.between(street.endpoint.address)
    hidden = Device.open(await street.label(2, manager=router.address, poll_s=0.05))
    try:
        await street.stack.enter_async_context(hidden)
        await hidden.enrolled(20)  # CRED rides on the repetition of BIND, five seconds later
        ours = await a.pair(D2)
        theirs = await first(hidden.incoming())
        assert ours.key_id == theirs.key_id
        assert theirs.unprotect(ours.protect(b"x")) == b"x"
        assert router.held_back > 0
    finally:
        router.close()


async def test_an_unknown_peer_and_an_id_that_is_none(street) -> None:
    a = await street.device(1)
    with pytest.raises((PeerFault, NotReady)):
        await a.pair("ff" * 8)
    with pytest.raises(CallerFault):
        await a.pair("meter two")


async def test_a_device_without_manager_is_not_ready_and_says_why(street) -> None:
    device = Device.open(await street.label(1, manager="coap://127.0.0.1:9"))
    async with device:
        with pytest.raises(NotReady, match="no manager was heard"):
            await device.enrolled(0.2)
        with pytest.raises(NotReady):
            await device.pair(D2, timeout_s=1)
    with pytest.raises(NotReady, match="not open"):
        await device.pair(D2)


async def test_an_enrolment_outlives_a_restart_and_sessions_do_not(street) -> None:
    config = await street.label(1)
    await street.device(2)
    async with Device.open(config) as a:
        await a.enrolled(5)
        session = await a.pair(D2)
    with pytest.raises(Expired, match="stopped"):
        session.protect(b"x")
    async with Device.open(config) as again:
        assert again.is_enrolled
        assert again.sessions() == ()
        assert (await again.pair(D2)).key_id != session.key_id


async def test_a_new_label_lets_a_device_enrol_again(street) -> None:
    config = await street.label(1)
    async with Device.open(config) as a:
        before = (await a.enrolled(5)).credential
    config = await street.label(1, again=True)
    device = Device.open(config)
    await device.start(rejoin=True)
    try:
        assert (await device.enrolled(5)).credential != before
    finally:
        await device.close()


async def test_what_is_missing_is_named(street, tmp_path) -> None:
    config = await street.label(1)
    open_to_all = tmp_path / "1.code"
    open_to_all.chmod(0o644)
    with pytest.raises(CallerFault, match=r"1\.code"):
        async with Device.open(config):
            pass
    open_to_all.unlink()
    with pytest.raises(CallerFault, match=r"1\.code"):
        async with Device.open(config):
            pass


async def test_a_program_without_a_loop_has_the_same_device(street) -> None:
    first_config, second = await street.label(1), await street.device(2)

    def program() -> tuple[str, bytes]:
        with SyncDevice.open(first_config) as device:
            device.enrolled(5)
            session = device.pair(D2)
            assert [known.psid for known in device.sessions()] == [session.psid]
            return session.key_id, session.protect(b"from a thread")

    key_id, record = await asyncio.to_thread(program)
    theirs = await first(second.incoming())
    assert theirs.key_id == key_id
    assert theirs.unprotect(record) == b"from a thread"


def test_the_configuration_knows_every_form_of_a_psk() -> None:
    assert tuple(PskForm) == PSK_FORMS


@pytest.mark.parametrize(
    ("error", "root"),
    [(Replayed, PeerFault), (Revoked, RefusedByPolicy), (Expired, CallerFault), (NotReady, Unavailable)],
)
def test_every_error_stands_below_one_of_the_four_roots(error, root) -> None:
    assert issubclass(error, root)


def test_the_device_part_imports_quickly_and_alone() -> None:
    script = """
        import sys, time
        began = time.process_time()
        import keymote.device
        spent = time.process_time() - began
        heavy = ("sqlalchemy", "aiocoap", "litestar", "httpx", "msgspec", "cryptography", "keymote.engine", "typer")
        print([name for name in heavy if name in sys.modules], spent)
    """
    spent = []
    while not spent or (min(spent) >= 0.15 and len(spent) < 5):  # what else the machine does can only add to it
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        loaded, seconds = done.stdout.rsplit(" ", 1)
        assert loaded == "[]"
        spent.append(float(seconds))
    assert min(spent) < 0.15
