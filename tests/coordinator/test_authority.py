"""The root certifies coordinators and nothing else."""

import pytest

from keymote.coordinator.authority import Root, new_request
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.engine.chain import Trust
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import Role

NOW = 1_800_000_000
NC_ID = b"coord--A"


def keys(suite: int = 1):
    return SUITES[suite].generate_signing_key(SeededEntropy(b"nc"))


@pytest.mark.parametrize("root_suite", [1, 17])
@pytest.mark.parametrize("suite", [1, 2, 17])
def test_CR02_a_certified_coordinator_chains_to_the_pinned_root(root_suite: int, suite: int) -> None:
    root = Root.create(root_suite, SeededEntropy(b"root"))
    key = keys(suite)
    credential = root.certify(new_request(key, NC_ID, NOW), NOW, b"serial01")
    trust = Trust((Root.load(root_suite, root.key.seed).pin,), SUITES)
    found = trust.verify([credential.raw], Role.COORDINATOR, NOW)
    assert (found.claims.sub, found.claims.sig_pk, found.claims.suite) == (NC_ID, key.public, suite)
    assert (found.claims.E1, found.claims.E2, found.claims.nc_id) == (None, None, NC_ID)
    with pytest.raises(PeerFault) as fault:
        Trust((Root.create(root_suite, SeededEntropy(b"other")).pin,), SUITES).verify(
            [credential.raw], Role.COORDINATOR, NOW
        )
    assert fault.value.code is ErrorCode.E_CRED


def test_a_request_that_its_own_key_did_not_sign_is_refused() -> None:
    root = Root.create(1, SeededEntropy(b"root"))
    other = SUITES[1].generate_signing_key(SeededEntropy(b"other"))
    stolen = signed.write(keys(), signed.CoordinatorRequest(NC_ID, 1, other.public, NOW))
    with pytest.raises(PeerFault) as fault:
        root.certify(stolen, NOW, b"serial01")
    assert fault.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize(("made", "days"), [(NOW - 31 * 86400, 730), (NOW + 301, 730)])
def test_a_request_of_another_time_is_refused(made: int, days: int) -> None:
    with pytest.raises(PeerFault) as fault:
        Root.create(1, SeededEntropy(b"root")).certify(new_request(keys(), NC_ID, made), NOW, b"serial01", days=days)
    assert fault.value.code is ErrorCode.E_CRED


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_the_life_of_a_credential_is_bounded(days: int) -> None:
    with pytest.raises(CallerFault):
        Root.create(1, SeededEntropy(b"root")).certify(new_request(keys(), NC_ID, NOW), NOW, b"serial01", days=days)


def test_an_unknown_suite_is_refused() -> None:
    request = signed.write(keys(), signed.CoordinatorRequest(NC_ID, 99, keys().public, NOW))
    with pytest.raises(PeerFault) as fault:
        Root.create(1, SeededEntropy(b"root")).certify(request, NOW, b"serial01")
    assert fault.value.code is ErrorCode.E_SUITE
