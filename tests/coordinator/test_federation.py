"""Look-ups across coordinators: one hop, verified, bounded, and honest about who did not answer."""

import asyncio
from dataclasses import dataclass, field

import pytest
from office import Issuer, Office

from keymote.coordinator.federation import ANSWER_LIFE_S, Federation
from keymote.coordinator.registry import Registry
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.host.register import DeviceState, RevocationKind
from keymote.wire import signed
from keymote.wire.credential import Role

D1 = b"device-1"


@dataclass
class Peer:
    """Another coordinator, asked as its own register answers; `says` replaces the answer."""

    registry: Registry | None = None
    says: KeymoteError | DeviceFound | ManagerFound | None = None
    silent: bool = False
    asked: list[bytes] = field(default_factory=list)

    async def find(self, dev_id: bytes) -> DeviceFound:
        self.asked.append(dev_id)
        if self.silent:
            await asyncio.Event().wait()
        if isinstance(self.says, KeymoteError):
            raise self.says
        if isinstance(self.says, DeviceFound):
            return self.says
        assert self.registry is not None
        return await self.registry.find(dev_id)

    async def find_manager(self, nm_id: bytes) -> ManagerFound:
        self.asked.append(nm_id)
        if isinstance(self.says, KeymoteError):
            raise self.says
        if isinstance(self.says, ManagerFound):
            return self.says
        assert self.registry is not None
        return await self.registry.find_manager(nm_id)


UNKNOWN = PeerFault(ErrorCode.E_UNKNOWN_ID, "not here")
NOSHARE = PeerFault(ErrorCode.E_NOSHARE, "revoked")
DOWN = Unavailable("no answer")


async def with_device(office: Office) -> Issuer:
    manager = await office.manager(b"manager2")
    await office.registry.register_device(manager.id, office.device(manager, D1).raw, None)
    return manager


def federation(office: Office, *peers: Peer, now: list[float] | None = None, timeout_s: float = 5.0) -> Federation:
    clock = now or [0.0]
    return Federation(office.desk, office.registry, peers, timeout_s=timeout_s, mono=lambda: clock[0])


async def test_a_device_of_another_coordinator_is_found_with_its_whole_chain(
    office: Office, other_office: Office
) -> None:
    await with_device(other_office)
    found = await federation(office, Peer(says=UNKNOWN), Peer(other_office.registry)).find(D1)
    chain = [found.credential, found.cred_NM, found.cred_NC]
    assert office.desk.identity.trust.verify(chain, Role.DEVICE, office.desk.now).claims.sub == D1
    assert found.manager.startswith("coap://")


async def test_the_own_register_is_asked_first_and_alone(office: Office) -> None:
    await with_device(office)
    peer = Peer(says=DOWN)
    await federation(office, peer).find(D1)
    assert peer.asked == []


async def test_an_own_device_that_is_suspended_is_not_looked_for_elsewhere(office: Office) -> None:
    await with_device(office)
    await office.revocations.change_state(D1, DeviceState.SUSPENDED)
    peer = Peer(says=UNKNOWN)
    with pytest.raises(PeerFault) as fault:
        await federation(office, peer).find(D1)
    assert (fault.value.code, peer.asked) == (ErrorCode.E_NOSHARE, [])


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((UNKNOWN, UNKNOWN), ErrorCode.E_UNKNOWN_ID),
        ((UNKNOWN, NOSHARE), ErrorCode.E_NOSHARE),
        ((NOSHARE, DOWN), ErrorCode.E_NOSHARE),
        ((UNKNOWN, DOWN), None),
        ((DOWN, DOWN), None),
    ],
)
async def test_of_several_refusals_the_one_that_says_most_is_reported(
    office: Office, answers: tuple[KeymoteError, ...], expected: ErrorCode | None
) -> None:
    with pytest.raises((PeerFault, Unavailable)) as fault:
        await federation(office, *(Peer(says=answer) for answer in answers)).find(D1)
    assert (fault.value.code if isinstance(fault.value, PeerFault) else None) is expected


async def test_a_peer_that_is_silent_is_given_up(office: Office, other_office: Office) -> None:
    await with_device(other_office)
    found = await federation(office, Peer(silent=True), Peer(other_office.registry)).find(D1)
    assert found.manager
    with pytest.raises(Unavailable):
        await federation(office, Peer(silent=True), timeout_s=0.01).find(D1)


async def test_an_answer_that_does_not_chain_to_the_authority_is_refused(office: Office, other_office: Office) -> None:
    manager = await with_device(other_office)
    honest = await other_office.registry.find(D1)
    stranger = Issuer(manager.id, other_office.issuer.key, manager.entropy)
    forged = stranger.vouch(D1, Role.DEVICE, other_office.nc_id)
    swapped = other_office.device(manager, b"device-2")
    for credential in (forged, swapped):
        lie = DeviceFound(credential.raw, honest.cred_NM, honest.cred_NC, honest.manager)
        with pytest.raises(PeerFault) as fault:
            await federation(office, Peer(says=lie)).find(D1)
        assert fault.value.code is ErrorCode.E_CRED


async def test_answers_are_kept_for_two_seconds_only(office: Office, other_office: Office) -> None:
    await with_device(other_office)
    now, peer = [100.0], Peer(other_office.registry)
    looking = federation(office, peer, now=now)
    await looking.find(D1)
    await looking.find(D1)
    assert len(peer.asked) == 1
    await other_office.revocations.change_state(D1, DeviceState.SUSPENDED)
    now[0] += ANSWER_LIFE_S + 0.001
    with pytest.raises(PeerFault) as fault:
        await looking.find(D1)
    assert fault.value.code is ErrorCode.E_NOSHARE


# ------------------------------------------------------------------ managers


async def test_a_manager_of_another_coordinator_is_found_and_refused_when_revoked_at_once(
    office: Office, other_office: Office
) -> None:
    manager = await other_office.manager(b"manager2")
    looking = federation(office, Peer(says=UNKNOWN), Peer(other_office.registry))
    found = await looking.find_manager(b"manager2")
    assert manager.credential is not None
    assert found.cred_NM == manager.credential.raw
    await other_office.revocations.revoke(RevocationKind.MANAGER, b"manager2", 2)
    with pytest.raises(PeerFault) as fault:
        await looking.find_manager(b"manager2")
    assert fault.value.code is ErrorCode.E_CRED


async def test_a_pending_manager_is_unknown_and_a_swapped_one_refused(office: Office, other_office: Office) -> None:
    await other_office.manager(b"manager2")
    await other_office.manager(b"manager3", enrol=False)
    looking = federation(office, Peer(other_office.registry))
    with pytest.raises(PeerFault) as unknown:
        await looking.find_manager(b"manager3")
    assert unknown.value.code is ErrorCode.E_UNKNOWN_ID
    lie = await other_office.registry.find_manager(b"manager2")
    with pytest.raises(PeerFault) as swapped:
        await federation(office, Peer(says=lie)).find_manager(b"manager4")
    assert swapped.value.code is ErrorCode.E_CRED


# ------------------------------------------------------------------ the signed question


def test_a_question_is_answered_for_whom_it_was_signed(office: Office, other_office: Office) -> None:
    asking, asked = office.desk.identity, other_office.desk.identity
    now = office.desk.now
    request = asking.lookup(asked.nc_id, D1, now)
    who, dev_id = asked.asked_by(request, asking.credential.raw, now)
    assert (who.claims.sub, dev_id) == (asking.nc_id, D1)


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ("other coordinator", ErrorCode.E_CRED),
        ("old", ErrorCode.E_CRED),
        ("future", ErrorCode.E_CRED),
        ("name", ErrorCode.E_CRED),
        ("key", ErrorCode.E_AUTH),
        ("kid", ErrorCode.E_CRED),
        ("manager", ErrorCode.E_CRED),
    ],
)
async def test_a_question_of_a_stranger_another_time_or_place_is_refused(
    office: Office, other_office: Office, lie: str, code: ErrorCode
) -> None:
    asking, asked, now = office.desk.identity, other_office.desk.identity, office.desk.now
    to, ts = (b"coord--C" if lie == "other coordinator" else asked.nc_id), now
    ts += {"old": -301, "future": 301}.get(lie, 0)
    nc_id = asked.nc_id if lie == "name" else asking.nc_id
    key = asked.key if lie == "key" else asking.key
    kid = asked.credential.kid if lie == "kid" else asking.credential.kid
    request = signed.write(key, signed.Lookup(nc_id, to, D1, ts), kid=kid)
    credential = asking.credential.raw
    if lie == "manager":
        manager = await office.manager(b"manager1")
        assert manager.credential is not None
        credential = manager.credential.raw
    with pytest.raises(PeerFault) as fault:
        asked.asked_by(request, credential, now)
    assert fault.value.code is code
