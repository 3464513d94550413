"""Chains of credentials: the way up to a pinned key, and every way that must not lead there."""

import dataclasses
from typing import Any

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.sign import SigningKey
from keymote.crypto.suites import SUITES
from keymote.engine.chain import CLOCK_SKEW_S, MAY_ISSUE, Pin, Trust
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, Credential, Role, SignedCredential, issue

IAT, EXP = 1_700_000_000, 1_800_000_000
NOW = 1_750_000_000


@dataclasses.dataclass(frozen=True)
class Node:
    id: bytes
    key: SigningKey
    role: Role


def node(name: bytes, role: Role, suite: int = 1) -> Node:
    return Node(name.ljust(8, b"-"), SUITES[suite].generate_signing_key(SeededEntropy(name)), role)


ROOT = node(b"root", Role.AUTHORITY)
NC, OTHER_NC = node(b"nc", Role.COORDINATOR), node(b"nc2", Role.COORDINATOR)
NM, OTHER_NM = node(b"nm", Role.MANAGER), node(b"nm2", Role.MANAGER)
DEVICE, OTHER_DEVICE = node(b"dev", Role.DEVICE), node(b"dev2", Role.DEVICE)
POINT = SUITES[1].base_mul(SUITES[1].hash_to_scalar(b"E1"))


def certify(issuer: Node, subject: Node, **other: Any) -> bytes:
    suite = subject.key.suite_id
    point = POINT if suite != 17 else subject.key.public
    claims = Claims(
        issuer.id, subject.id, EXP, IAT, b"serial--", suite, NC.id, point, point, subject.key.public, 1, subject.role
    )
    return issue(issuer.key, dataclasses.replace(claims, **other)).raw


def trust(*pins: Node, suites: tuple[int, ...] = (1, 2, 17)) -> Trust:
    return Trust(
        tuple(Pin(pin.id, pin.key.suite_id, pin.key.public, pin.role) for pin in pins),
        {suite: SUITES[suite] for suite in suites},
    )


CRED_D, CRED_NM, CRED_NC = certify(NM, DEVICE), certify(NC, NM), certify(ROOT, NC)


def refused(
    chain: list[bytes],
    *pins: Node,
    role: Role = Role.DEVICE,
    wall: int | None = NOW,
    code: ErrorCode = ErrorCode.E_CRED,
) -> str:
    with pytest.raises(PeerFault) as fault:
        trust(*(pins or (NC,))).verify(chain, role, wall)
    assert fault.value.code is code
    return str(fault.value)


def test_CR02_a_chain_leads_to_the_pinned_coordinator() -> None:
    found = trust(NC).verify([CRED_D, CRED_NM], Role.DEVICE, NOW)
    assert isinstance(found, Credential)
    assert (found.raw, found.claims.sub) == (CRED_D, DEVICE.id)


def test_CR02_a_chain_leads_to_the_pinned_authority() -> None:
    assert trust(ROOT).verify([CRED_D, CRED_NM, CRED_NC], Role.DEVICE, NOW).raw == CRED_D
    assert trust(ROOT).verify([CRED_NM, CRED_NC], Role.MANAGER, NOW).raw == CRED_NM
    assert trust(ROOT).verify([CRED_NC], Role.COORDINATOR, NOW).raw == CRED_NC


def test_CR02_a_device_of_the_pinned_manager_needs_no_more_than_its_own() -> None:
    assert trust(NM).verify([CRED_D], Role.DEVICE, NOW).raw == CRED_D


def test_CR02_the_nearest_pin_ends_the_chain() -> None:
    """What lies above a pinned issuer is not looked at: it may be missing, foreign or broken."""
    for above in ([], [CRED_NC], [certify(OTHER_NC, OTHER_NC)]):
        assert trust(NC).verify([CRED_D, CRED_NM, *above], Role.DEVICE, NOW).raw == CRED_D


def test_CR02_CR08_a_chain_that_ends_below_the_pin_is_refused() -> None:
    assert "not pinned" in refused([CRED_D])
    refused([CRED_D, CRED_NM], ROOT)
    refused([CRED_D, CRED_NM, CRED_NC], OTHER_NC)
    refused([])


def test_CR02_no_pin_trusts_nobody() -> None:
    with pytest.raises(PeerFault) as fault:
        trust().verify([CRED_D, CRED_NM, CRED_NC], Role.DEVICE, NOW)
    assert fault.value.code is ErrorCode.E_CRED


def test_CR02_a_link_that_is_missing_or_out_of_order_is_refused() -> None:
    refused([CRED_D, CRED_NC], ROOT)
    refused([CRED_NM, CRED_D, CRED_NC], ROOT)
    refused([CRED_D, CRED_NC, CRED_NM], ROOT)
    refused([CRED_D, CRED_D, CRED_NM])
    refused([CRED_D, certify(NC, OTHER_NM)])


def test_CR02_each_link_is_signed_by_the_key_above() -> None:
    """The names fit everywhere; one key in the chain does not."""
    impostor_NM = Node(NM.id, OTHER_NM.key, Role.MANAGER)
    impostor_NC = Node(NC.id, OTHER_NC.key, Role.COORDINATOR)
    refused([certify(impostor_NM, DEVICE), CRED_NM])
    refused([CRED_D, certify(NC, impostor_NM)])
    refused([CRED_D, certify(impostor_NC, NM)])
    refused([CRED_D, CRED_NM], impostor_NC)
    refused([CRED_D, CRED_NM, certify(impostor_NC, NC)], ROOT)
    refused([certify(DEVICE, DEVICE), CRED_NM])


def test_CR02_a_chain_is_judged_anew_by_another_pin() -> None:
    """What one trust remembers of an issuer does not speak for another."""
    chain = [CRED_D, CRED_NM]
    assert trust(NC).verify(chain, Role.DEVICE, NOW)
    refused(chain, Node(NC.id, OTHER_NC.key, Role.COORDINATOR))
    assert trust(NC).verify(chain, Role.DEVICE, NOW)


def test_CR02_what_is_remembered_of_an_issuer_is_bound_to_its_bytes() -> None:
    one = trust(NC)
    assert one.verify([CRED_D, CRED_NM], Role.DEVICE, NOW)
    changed = CRED_NM[:-1] + bytes([CRED_NM[-1] ^ 1])
    for chain in ([CRED_D, changed], [CRED_D[:-1] + bytes([CRED_D[-1] ^ 1]), CRED_NM]):
        with pytest.raises(PeerFault) as fault:
            one.verify(chain, Role.DEVICE, NOW)
        assert fault.value.code is ErrorCode.E_CRED
    late = EXP + 1
    with pytest.raises(PeerFault):
        one.verify([CRED_D, CRED_NM], Role.DEVICE, late)


def test_CR02_every_changed_byte_of_a_chain_is_refused() -> None:
    for at in range(0, len(CRED_NM), 3):
        for chain in (
            [CRED_D[:at] + bytes([CRED_D[at] ^ 1]) + CRED_D[at + 1 :], CRED_NM],
            [CRED_D, CRED_NM[:at] + bytes([CRED_NM[at] ^ 1]) + CRED_NM[at + 1 :]],
        ):
            with pytest.raises(PeerFault) as fault:
                trust(NC).verify(chain, Role.DEVICE, NOW)
            assert fault.value.code in {
                ErrorCode.E_CRED,
                ErrorCode.E_FORMAT,
                ErrorCode.E_SUITE,
                ErrorCode.E_POINT,
            }


# ------------------------------------------------------------------ roles


def test_CR03_the_table_is_that_of_the_text() -> None:
    assert {
        Role.AUTHORITY: {Role.COORDINATOR},
        Role.COORDINATOR: {Role.MANAGER, Role.GATEWAY, Role.ROSTER_AUTHORITY, Role.BROKER},
        Role.MANAGER: {Role.DEVICE},
        Role.GATEWAY: {Role.DEVICE},
    } == MAY_ISSUE


@pytest.mark.parametrize("issuer_role", Role, ids=lambda role: f"by {role.name}")
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.AUTHORITY], ids=lambda role: role.name)
def test_CR03_a_role_vouches_for_what_the_table_allows(issuer_role: Role, role: Role) -> None:
    issuer, subject = node(b"issuer", issuer_role), node(b"subject", role)
    raw = certify(issuer, subject)
    if role in MAY_ISSUE.get(issuer_role, ()):
        assert trust(issuer).verify([raw], role, NOW).claims.role is role
    else:
        assert "may not vouch" in refused([raw], issuer, role=role)


def test_CR03_a_device_cannot_vouch_for_another() -> None:
    refused([certify(DEVICE, OTHER_DEVICE), CRED_D, CRED_NM])


def test_CR03_a_manager_cannot_make_managers() -> None:
    refused([certify(OTHER_NM, DEVICE), certify(NM, OTHER_NM), CRED_NM])


def test_CR03_a_coordinator_cannot_make_coordinators() -> None:
    refused([certify(OTHER_NM, DEVICE), certify(OTHER_NC, OTHER_NM), certify(NC, OTHER_NC), CRED_NC], ROOT)


@pytest.mark.parametrize("role", [role for role in Role if role not in {Role.DEVICE, Role.AUTHORITY}])
def test_CR03_AU03_a_credential_is_good_for_its_own_role_only(role: Role) -> None:
    refused([CRED_D, CRED_NM], role=role)
    refused([CRED_NM], role=Role.DEVICE)


# ------------------------------------------------------------------ time


@pytest.mark.parametrize(
    ("wall", "good"),
    [
        (IAT - CLOCK_SKEW_S - 1, False),
        (IAT - CLOCK_SKEW_S, True),
        (IAT, True),
        (EXP, True),
        (EXP + 1, False),
        (0, False),
        (None, True),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_CR04_dates_bind_whoever_has_a_clock(which: int, wall: int | None, good: bool) -> None:
    lasting = {"iat": 0, "exp": 2**32 - 1}
    chain = [certify(NM, DEVICE, **({} if which == 0 else lasting)), certify(NC, NM, **({} if which == 1 else lasting))]
    if good:
        assert trust(NC).verify(chain, Role.DEVICE, wall).raw == chain[0]
    else:
        assert ("expired on 2027-" if wall > IAT else "is valid from") in refused(chain, wall=wall)


def test_CR05_the_status_epoch_inside_a_credential_is_not_judged() -> None:
    for status_epoch in (0, 1, 2**32 - 1):
        chain = [certify(NM, DEVICE, status_epoch=status_epoch), CRED_NM]
        assert trust(NC).verify(chain, Role.DEVICE, NOW).claims.status_epoch == status_epoch


# ------------------------------------------------------------------ suites and keys


@pytest.mark.parametrize("suites", [(1, 17, 1), (17, 1, 17), (2, 1, 17), (17, 17, 17)])
def test_CR10_issuers_and_subjects_may_have_different_suites(suites: tuple[int, int, int]) -> None:
    nc, nm, device = (
        node(name, role, suite)
        for name, role, suite in zip(
            (b"c", b"m", b"d"), (Role.COORDINATOR, Role.MANAGER, Role.DEVICE), suites, strict=True
        )
    )
    chain = [certify(nm, device), certify(nc, nm)]
    assert trust(nc).verify(chain, Role.DEVICE, NOW).claims.suite == suites[2]


def test_CM24_a_chain_through_a_suite_that_is_not_run_here_is_refused() -> None:
    nm = node(b"m", Role.MANAGER, 17)
    with pytest.raises(PeerFault) as fault:
        trust(NC, suites=(1, 2)).verify([certify(nm, DEVICE), certify(NC, nm)], Role.DEVICE, NOW)
    assert fault.value.code is ErrorCode.E_SUITE


def test_CM09_an_issuer_with_a_key_of_small_order_vouches_for_nobody() -> None:
    """Under the identity key one constant signature holds for everything (A-12); the chain must stop before it."""
    identity = b"\1" + bytes(31)
    weak = dataclasses.replace(SignedCredential.decode(CRED_NM).claims, sig_pk=identity)
    above = issue(NC.key, weak).raw
    envelope = SignedCredential.decode(CRED_D).envelope
    forged = dataclasses.replace(envelope, signature=identity + bytes(32)).encode()
    refused([forged, above], code=ErrorCode.E_POINT)


def test_CM25_a_suite_17_signature_under_a_suite_1_issuer_is_refused() -> None:
    stranger = Node(NM.id, node(b"p", Role.MANAGER, 17).key, Role.MANAGER)
    refused([certify(stranger, DEVICE), CRED_NM], code=ErrorCode.E_FORMAT)


def test_a_pin_that_two_nodes_share_by_name_is_the_first_one() -> None:
    twin = Node(NC.id, OTHER_NC.key, Role.COORDINATOR)
    assert trust(NC, twin).verify([CRED_D, CRED_NM], Role.DEVICE, NOW)
    with pytest.raises(PeerFault):
        trust(twin, NC).verify([CRED_D, CRED_NM], Role.DEVICE, NOW)


# ------------------------------------------------------------------ a pinned key that rolls


NEW_NC = dataclasses.replace(node(b"nc, second key", Role.COORDINATOR), id=NC.id)
LAST_NC = dataclasses.replace(node(b"nc, third key", Role.COORDINATOR), id=NC.id)
HANDOVER, SECOND = certify(NC, NEW_NC), certify(NEW_NC, LAST_NC)


def test_CR11_a_pinned_key_hands_over_to_the_next_and_that_to_the_one_after() -> None:
    for chain in (
        [CRED_D, CRED_NM],
        [CRED_D, certify(NEW_NC, NM), HANDOVER],
        [CRED_D, certify(LAST_NC, NM), SECOND, HANDOVER],
    ):
        assert trust(NC).verify(chain, Role.DEVICE, NOW).raw == CRED_D
    assert trust(ROOT).verify([CRED_D, certify(NEW_NC, NM), certify(ROOT, NEW_NC)], Role.DEVICE, NOW).raw == CRED_D


def test_CR11_nothing_else_hands_a_pinned_key_over() -> None:
    newer = certify(NEW_NC, NM)
    assert "not signed by its issuer" in refused([CRED_D, newer])
    assert "not signed by its issuer" in refused([CRED_D, newer, certify(NEW_NC, NEW_NC)])
    assert "not signed by its issuer" in refused(
        [CRED_D, newer, certify(dataclasses.replace(OTHER_NC, id=NC.id), NEW_NC)]
    )
    assert "not signed by its issuer" in refused([CRED_D, certify(LAST_NC, NM), SECOND])
    assert "only a coordinator" in refused([CRED_D, newer, certify(NC, dataclasses.replace(NEW_NC, role=Role.MANAGER))])
    assert "expired on" in refused([CRED_D, newer, certify(NC, NEW_NC, exp=NOW - 1)])
    assert "not signed by its issuer" in refused([CRED_D, CRED_NM, HANDOVER]), "the old key signs no more beside it"


def test_CR11_a_root_does_not_roll() -> None:
    second = dataclasses.replace(node(b"root, second key", Role.COORDINATOR), id=ROOT.id)
    assert "only a coordinator" in refused([CRED_NC, certify(ROOT, second)], ROOT, role=Role.COORDINATOR)
