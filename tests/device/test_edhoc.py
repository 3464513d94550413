"""Devices that authenticate each other by EDHOC, on real sockets, as applications open them."""

from dataclasses import replace

import pytest
from street import DEADLINE_S, Street

from keymote.device import Device
from keymote.engine.context import Handshake
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.scene_founding import two_operators

D2 = f"{2:016x}"


@pytest.fixture
async def street(tmp_path):
    context = two_operators(b"street", homes={"d1": "nm1"}, enrolled=False).managers["nm1"]
    policy = replace(context.policy, handshakes=frozenset(Handshake))
    street = await Street(tmp_path, replace(context, policy=policy)).start()
    async with street.stack:
        yield street


async def device(street: Street, number: int, handshake: str) -> Device:
    made = Device.open(await street.label(number, handshake=handshake))
    await street.stack.enter_async_context(made)
    await made.enrolled(DEADLINE_S)
    return made


async def test_ED15_two_devices_pair_by_edhoc_and_talk(street) -> None:
    a, b = await device(street, 1, "edhoc"), await device(street, 2, "edhoc")
    for fast in (False, True):
        ours = await a.pair(D2, fast=fast)
        theirs = next(session for session in b.sessions() if session.psid == ours.psid)
        assert ours.key_id == theirs.key_id
        assert theirs.unprotect(ours.protect(b"21.5 C")) == b"21.5 C"
        assert ours.unprotect(theirs.protect(b"thanks")) == b"thanks"


async def test_ED17_a_device_that_runs_another_handshake_is_refused(street) -> None:
    a, _ = await device(street, 1, "edhoc"), await device(street, 2, "triad")
    with pytest.raises(PeerFault) as refused:
        await a.pair(D2)
    assert refused.value.code is ErrorCode.E_SUITE
