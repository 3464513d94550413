"""GSEC: records of a group, who can make them, and what a restart, a splice or an insider gets out of them."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Now, Refused, Report
from keymote.engine.faces import Alarm
from keymote.engine.group.epoch import GroupEpoch, SenderMaterial
from keymote.engine.group.payload import (
    GRACE_S,
    MOST_EARLY,
    REKEY_AT,
    Early,
    Payload,
    activate,
    deadline,
    due,
    durable,
    expect,
    resume,
    same_durable,
    step,
)
from keymote.engine.group.payload_faces import (
    GroupOpened,
    GroupProtected,
    ProtectForGroup,
    RekeyWanted,
    UnprotectForGroup,
)
from keymote.engine.group.traffic import BLOCK, HEARD_BLOCK, WINDOW
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.gsec import Encrypt0, countersign, enc_structure, external_aad, read, write

SUITES = (1, 2, 17)
every_suite = pytest.mark.parametrize("suite", SUITES)
GID = b"street-7"
MK = hashlib.sha256(b"the ring's key").digest()
METER = "telemetry/power"
SHED = "load/shed"


@dataclass
class Member:
    """A member as its node holds it: steps change `payload`, a restart keeps what was durable."""

    signing: SigningKey
    epoch: GroupEpoch
    payload: Payload
    now: float = 0.0

    def protect(self, plaintext: bytes, resource: str = METER, *, signed: bool = False) -> bytes:
        report = self.step(ProtectForGroup(plaintext, resource, signed))[0]
        assert isinstance(report, GroupProtected)
        return report.record

    def open(self, record: bytes, resource: str = METER) -> GroupOpened:
        (report,) = self.step(UnprotectForGroup("peer", record, resource))
        assert isinstance(report, GroupOpened), report
        return report

    def refuses(self, record: bytes, resource: str = METER) -> ErrorCode:
        before = self.payload
        with pytest.raises(PeerFault) as fault:
            self.open(record, resource)
        assert self.payload is before
        return fault.value.code

    def step(self, command: ProtectForGroup | UnprotectForGroup) -> Sequence[Report]:
        self.payload, reports = step(self.payload, command, self.signing, Now(self.now, 0))
        return reports

    def next(self, epoch: GroupEpoch, *, compromised: bool = False) -> Sequence[Report]:
        self.payload, reports = activate(self.payload, epoch, Now(self.now, 0), compromised=compromised)
        self.epoch = epoch
        return reports

    def restart(self, generation: int = 0, saved: bytes | None = None) -> None:
        kept = durable(self.payload, 0) if saved is None else saved
        self.payload = resume(Payload(GID, self.payload.policy), self.epoch, kept, generation)


def ring(suite_id: int, n: int = 5, *, epoch: int = 7, gid: bytes = GID, key: bytes = MK) -> list[Member]:
    suite, entropy = suite_by_id(suite_id), SeededEntropy(b"a street")
    keys = [suite.generate_signing_key(entropy) for _ in range(n)]
    senders = sorted((hashlib.sha256(one.public).digest()[:8], one.public) for one in keys)
    signers = {one.public: one for one in keys}
    members = []
    for kid, public in senders:
        seen = GroupEpoch.of(suite, gid, epoch, Secret(key), senders, kid)
        payload, reports = activate(Payload(gid), seen, Now(0.0, 0))
        assert reports == []
        members.append(Member(signers[public], seen, payload))
    return members


def later(member: Member, epoch: int, key: bytes = b"another key".ljust(32)) -> GroupEpoch:
    return replace(member.epoch, epoch=epoch, key=Secret(key))


def refused(call: Callable[[], object]) -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        call()
    return fault.value.code


def forged(reports: Sequence[Report]) -> ErrorCode:
    report = reports[0]
    assert isinstance(report, Refused)
    return report.code


def unauthentic(member: Member, record: bytes, resource: str = METER) -> bool:
    """Tell whether the record fails its tag or countersignature, and nothing but a counter changed."""
    before = member.payload
    try:
        reports = member.step(UnprotectForGroup("peer", record, resource))
    except PeerFault as fault:
        return fault.code is ErrorCode.E_AUTH and member.payload is before
    return forged(reports) is ErrorCode.E_AUTH and same_durable(before, member.payload)


# ------------------------------------------------------------------ the bytes, by hand


def expanded(prk: bytes, label: str, ctx: bytes, length: int) -> bytes:
    """HKDF-Expand-SHA256 with the info of Triad-1 1.3, by the formula."""
    info = cbor2.dumps([f"TRIAD1/{label}", ctx, length])
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def by_hand(
    suite: int, epoch: int, idx: int, kid: bytes, seq: int, resource: str, plaintext: bytes
) -> tuple[bytes, bytes]:
    """Return external_aad and ciphertext of an unsigned record as Triad-1 3.8 and 8 spell them."""
    made = expanded(MK, "B/snd", cbor2.dumps([GID, epoch, kid]), 48)
    size = 12 if suite == 1 else 13
    nonce = bytes(a ^ b for a, b in zip(made[32 : 32 + size], seq.to_bytes(size, "big"), strict=True))
    cipher = ChaCha20Poly1305(made[:32]) if suite == 1 else AESCCM(made[:16], tag_length=8)
    aad = cbor2.dumps(["TRIAD1", 44, suite, [GID, epoch, kid, seq, resource, False]])
    return aad, cipher.encrypt(nonce, plaintext, cbor2.dumps(["Encrypt0", b"", aad]))


@every_suite
def test_GP01_a_record_is_the_bytes_of_the_text(suite: int) -> None:
    member = ring(suite, epoch=0x1_0007)[3]
    for seq in range(3):
        _, ciphertext = by_hand(suite, 0x1_0007, 3, member.epoch.senders[3][0], seq, METER, b"21.5 kWh")
        partial_iv = b"\0" if seq == 0 else bytes([seq])
        assert member.protect(b"21.5 kWh") == cbor2.dumps(
            [44, [b"", {4: b"\x03", 6: partial_iv, 10: b"\x00\x07"}, ciphertext]]
        )


@every_suite
def test_GP02_header_6_is_shortest_and_numbers_stay_below_2_20(suite: int) -> None:
    member = ring(suite)[0]
    assert member.payload.current is not None
    for seq, header in ((0, b"\0"), (255, b"\xff"), (256, b"\1\0"), (65535, b"\xff\xff"), (65536, b"\1\0\0")):
        member.payload = replace(member.payload, current=member.payload.current._replace(tx_next=seq))
        record = member.protect(b"x")
        assert cbor2.loads(record)[1][1][6] == header
        assert read(record).seq == seq


@every_suite
def test_GP03_the_countersignature_is_that_of_rfc9338(suite: int) -> None:
    controller, meter = ring(suite)[:2]
    record = controller.protect(b"off", SHED)
    _, (protected, header, ciphertext) = cbor2.loads(record)
    kid = controller.epoch.senders[0][0]
    aad = cbor2.dumps(["TRIAD1", 44, suite, [GID, 7, kid, 0, SHED, True]])
    signed = cbor2.dumps(["CounterSignature0", b"", aad, ciphertext])
    assert (protected, list(header)) == (b"", [4, 6, 10, 12])
    suite_by_id(suite).verify_key(controller.signing.public).verify(signed, header[12])
    opened = meter.open(record, SHED)
    assert (opened.plaintext, opened.kid, opened.signed, opened.epoch, opened.seq) == (b"off", kid, True, 7, 0)


def test_GP02_senders_are_named_by_idx_in_a_ring_and_by_kid_in_a_root_group() -> None:
    suite, entropy = suite_by_id(1), SeededEntropy(b"roots")
    keys = [suite.generate_signing_key(entropy) for _ in range(2)]
    senders = [(hashlib.sha256(key.public).digest()[:8], key.public) for key in keys]
    members = []
    for (kid, _), key in zip([*senders, (b"listener", b"")], [*keys, keys[0]], strict=True):
        epoch = GroupEpoch.of(suite, b"the-root", 3, Secret(MK), senders, kid, by_kid=True)
        members.append(Member(key, epoch, activate(Payload(b"the-root"), epoch, Now(0.0, 0))[0]))
    record = members[1].protect(b"new tariff")  # under a resource that takes unsigned records in a ring
    assert cbor2.loads(record)[1][1][4] == senders[1][0]
    assert 12 in cbor2.loads(record)[1][1], "records of a root group are always signed"
    for member in (members[0], members[2]):
        assert member.open(record).kid == senders[1][0]
    assert refused(lambda: members[2].protect(b"I only listen")) is ErrorCode.E_STATE
    material = members[0].epoch.material(1)
    aad = external_aad(material.bound, 9, METER, signed=False)
    ct = suite.seal_group(material.key, material.base_iv.expose(), 9, enc_structure(aad), b"x")
    assert members[0].refuses(write(Encrypt0(senders[1][0], 9, 3, None, ct))) is ErrorCode.E_AUTH
    ringlike = write(read(record)._replace(sender=b"\x01"))
    assert members[0].refuses(ringlike) is ErrorCode.E_FORMAT
    stranger = write(read(record)._replace(sender=b"stranger"))
    assert members[0].refuses(stranger) is ErrorCode.E_UNKNOWN_ID


def test_GP02_no_more_than_32_senders_and_no_place_beyond_them() -> None:
    meter = ring(1, 32)[0]
    too_many = [*meter.epoch.senders, (bytes(8), bytes(32))]
    with pytest.raises(CallerFault):
        GroupEpoch.of(meter.epoch.suite, GID, 7, Secret(MK), too_many, bytes(8))
    record = read(ring(1, 32)[1].protect(b"x"))
    for place in (32, 255):
        outside = write(record._replace(sender=bytes([place])))
        assert meter.refuses(outside) is ErrorCode.E_UNKNOWN_ID


# ------------------------------------------------------------------ commands and insiders


def test_GP04_what_is_no_telemetry_is_signed_without_being_asked() -> None:
    controller, meter = ring(1)[:2]
    for resource in ("", SHED, "telemetryx", "tariff", "/telemetry", "Telemetry"):
        record = controller.protect(b"command", resource)
        assert read(record).countersignature is not None
        assert meter.open(record, resource).signed
    for resource in ("telemetry", METER):
        assert read(controller.protect(b"reading", resource)).countersignature is None
        wanted = controller.protect(b"evidence", resource, signed=True)
        assert meter.open(wanted, resource).signed


@every_suite
def test_GP05_B12_another_member_cannot_command_in_the_controllers_name(suite: int) -> None:
    controller, meter, insider = ring(suite)[:3]
    material = insider.epoch.material(0)  # every member can compute every sender's key
    assert insider.epoch.suite.id == suite

    def as_controller(resource: str, *, signed: bool, by: SigningKey | None) -> bytes:
        aad = external_aad(material.bound, 5, resource, signed=signed)
        ct = insider.epoch.suite.seal_group(material.key, material.base_iv.expose(), 5, enc_structure(aad), b"off")
        return write(Encrypt0(b"\0", 5, 7, None if by is None else countersign(by, aad, ct), ct))

    assert unauthentic(meter, as_controller(SHED, signed=False, by=None), SHED)
    assert unauthentic(meter, as_controller(SHED, signed=True, by=insider.signing), SHED)
    assert unauthentic(meter, as_controller(METER, signed=True, by=insider.signing))
    assert meter.open(as_controller(METER, signed=False, by=None)).kid == controller.epoch.senders[0][0], (
        "telemetry only"
    )


def test_GP05_a_countersignature_does_not_fit_another_record() -> None:
    controller, meter, insider = ring(1)[:3]
    genuine = read(controller.protect(b"on", SHED))
    material = insider.epoch.material(0)
    aad = external_aad(material.bound, genuine.seq, SHED, signed=True)
    ct = insider.epoch.suite.seal_group(material.key, material.base_iv.expose(), 0, enc_structure(aad), b"of")
    assert unauthentic(meter, write(genuine._replace(ciphertext=ct)), SHED)
    assert meter.open(write(genuine), SHED).plaintext == b"on"


def test_GP07_an_insider_who_spends_the_controllers_numbers_does_not_silence_its_commands() -> None:
    controller, meter, insider = ring(1)[:3]
    material, highest = insider.epoch.material(0), (1 << 20) - 1
    aad = external_aad(material.bound, highest, METER, signed=False)
    ct = insider.epoch.suite.seal_group(material.key, material.base_iv.expose(), highest, enc_structure(aad), b"spent")
    meter.open(write(Encrypt0(b"\0", highest, 7, None, ct)))
    assert meter.refuses(controller.protect(b"reading")) is ErrorCode.E_REPLAY
    assert meter.open(controller.protect(b"off", SHED), SHED).plaintext == b"off"
    meter.restart()
    assert meter.open(controller.protect(b"on", SHED), SHED).plaintext == b"on"


# ------------------------------------------------------------------ splices, replays, bad input


@every_suite
def test_GP06_B22_a_record_is_bound_to_group_epoch_sender_number_resource_and_signing(suite: int) -> None:
    sender, meter = ring(suite)[:2]
    elsewhere = ring(suite, gid=b"street-8")[1]
    same_key_later = ring(suite, epoch=8)[1]
    plain, signed = read(sender.protect(b"reading")), read(sender.protect(b"reading", signed=True))
    assert unauthentic(elsewhere, write(plain)) and unauthentic(elsewhere, write(signed))
    assert unauthentic(same_key_later, write(plain._replace(epoch16=8)))
    for record in (plain, signed):
        assert unauthentic(meter, write(record), "telemetry/water")
        assert unauthentic(meter, write(record._replace(sender=b"\x02")))
        assert unauthentic(meter, write(record._replace(seq=record.seq + 1)))
        assert unauthentic(meter, write(record._replace(ciphertext=bytes(len(record.ciphertext)))))
    assert unauthentic(meter, write(signed._replace(countersignature=None))), "the signed bit, cleared"
    assert unauthentic(meter, write(plain._replace(countersignature=signed.countersignature))), "the signed bit, set"
    assert unauthentic(meter, write(signed._replace(countersignature=bytes(64))))
    assert meter.open(write(plain)).plaintext == meter.open(write(signed)).plaintext == b"reading"


@every_suite
def test_GP06_every_changed_bit_is_refused(suite: int) -> None:
    sender, meter = ring(suite, 3)[:2]
    for record in (sender.protect(b"r"), sender.protect(b"c", SHED)):
        resource = METER if read(record).countersignature is None else SHED
        for at in range(8 * len(record)):
            changed = bytearray(record)
            changed[at // 8] ^= 1 << at % 8
            before = meter.payload
            try:
                assert forged(meter.step(UnprotectForGroup("peer", bytes(changed), resource))) is ErrorCode.E_AUTH
            except PeerFault:
                assert meter.payload is before
            assert same_durable(before, meter.payload)
        meter.open(record, resource)


def test_GP07_a_record_is_opened_once_within_64_and_never_below() -> None:
    sender, meter = ring(1)[:2]
    records = [sender.protect(bytes([n])) for n in range(WINDOW + 3)]
    meter.open(records[0])
    meter.open(records[-1])
    assert [meter.refuses(data) for data in (records[0], records[1], records[-1])] == [ErrorCode.E_REPLAY] * 3
    for data in reversed(records[2:-1]):
        assert meter.open(data).seq == read(data).seq
    assert all(meter.refuses(data) is ErrorCode.E_REPLAY for data in records)


def test_GP07_windows_are_per_sender_and_own_records_are_refused() -> None:
    one, other, meter = ring(1)[:3]
    assert meter.open(one.protect(b"a")).seq == meter.open(other.protect(b"b")).seq == 0
    echo = meter.protect(b"mine")
    assert meter.refuses(echo) is ErrorCode.E_REPLAY
    meter.restart()
    assert meter.refuses(echo) is ErrorCode.E_REPLAY


# ------------------------------------------------------------------ restarts


@every_suite
def test_GP08_B21_no_number_comes_twice_in_a_thousand_restarts(suite: int) -> None:
    meter, spent = ring(suite, 2)[0], set[int]()
    for boot in range(1000):
        for _ in range(boot % 4):
            seq = read(meter.protect(b"x")).seq
            assert seq not in spent
            spent.add(seq)
        meter.restart()
    assert max(spent) < 1001 * BLOCK


def test_GP08_what_is_on_disk_covers_every_number_before_it_leaves() -> None:
    meter = ring(1, 2)[0]
    saved, writes = durable(meter.payload, 0), 0
    for n in range(3 * BLOCK):
        before = meter.payload
        seq = read(meter.protect(b"x")).seq
        writes += not same_durable(before, meter.payload)
        assert same_durable(before, meter.payload) == (saved == durable(meter.payload, 0))
        saved = durable(meter.payload, 0)
        revived = Member(meter.signing, meter.epoch, meter.payload)
        revived.restart(saved=saved)
        assert read(revived.protect(b"y")).seq > seq == n
    assert writes == 2, "a write per block, and the first with the epoch"


@pytest.mark.parametrize("resource", [METER, SHED])
def test_GP09_what_was_opened_before_a_restart_is_not_opened_after_it(resource: str) -> None:
    for count in (1, HEARD_BLOCK - 1, HEARD_BLOCK, HEARD_BLOCK + 1, 2 * WINDOW):
        sender, meter = ring(1)[:2]
        records = [sender.protect(b"x", resource) for _ in range(count)]
        for data in reversed(records[-WINDOW:]):
            meter.open(data, resource)
        for _ in range(2):
            meter.restart()
            for data in records:
                assert meter.refuses(data, resource) is ErrorCode.E_REPLAY


def test_GP09_a_restart_costs_no_command_and_at_most_a_block_of_readings() -> None:
    sender, meter = ring(1)[:2]
    meter.open(sender.protect(b"r"))
    meter.open(sender.protect(b"c", SHED), SHED)
    meter.restart()
    assert meter.open(sender.protect(b"next command", SHED), SHED).plaintext == b"next command"
    for lost in range(HEARD_BLOCK - 3):
        assert meter.refuses(sender.protect(b"r")) is ErrorCode.E_REPLAY, lost
    assert meter.open(sender.protect(b"r")).seq == HEARD_BLOCK


def test_GP10_a_node_restored_from_a_backup_is_mute_and_deaf_until_the_next_epoch() -> None:
    sender, meter = ring(1)[:2]
    backup = durable(meter.payload, 0)
    meter.protect(b"after the backup")
    heard = sender.protect(b"heard before", SHED)
    meter.open(heard, SHED)
    meter.restart(generation=1, saved=backup)
    assert refused(lambda: meter.protect(b"again")) is ErrorCode.E_STATE
    assert meter.refuses(heard, SHED) is ErrorCode.E_EPOCH
    meter.next(later(meter, 8))
    meter.protect(b"in the next epoch")


def test_GP11_a_restart_before_the_first_epoch_leaves_none() -> None:
    member = ring(1)[0]
    assert durable(Payload(GID), 0) == b""
    assert resume(Payload(GID), member.epoch, b"", 0).current is None


def test_GP15_the_durable_part_has_at_most_205_bytes_and_the_whole_at_most_16_kib() -> None:
    members = ring(17, 32, epoch=2**32 - 1)
    meter = members[0]
    assert meter.payload.current is not None
    for place in range(1, 32):
        sender = members[place]
        assert sender.payload.current is not None
        sender.payload = replace(sender.payload, current=sender.payload.current._replace(tx_next=(1 << 20) - 2))
        meter.open(sender.protect(b"r"))
        meter.open(sender.protect(b"c", SHED), SHED)
    meter.payload = replace(meter.payload, current=meter.payload.current._replace(tx_reserved=(1 << 20) + 63))
    saved = durable(meter.payload, 2**32 - 1)
    assert len(saved) <= 205
    meter.payload = expect(meter.payload, 5)
    largest = write(Encrypt0(b"\1", 0, 5, bytes(64), bytes(1024 + 8)))
    for _ in range(MOST_EARLY):
        meter.step(UnprotectForGroup("x" * 50, largest, "r" * 60))
    assert content(meter.payload) <= 16 << 10


def content(value: object) -> int:
    """Return the bytes of information in a state: strings by length, numbers by size, 8 for what is only referred to."""
    match value:
        case bytes() | str() | Secret():
            return len(value)
        case bool() | None:
            return 1
        case int():
            return (value.bit_length() + 7) // 8 or 1
        case float():
            return 8
        case tuple():
            return sum(map(content, value))
        case Payload() | GroupEpoch():
            return sum(content(getattr(value, name)) for name in value.__slots__)
        case SenderMaterial() | Early():
            return sum(content(getattr(value, name)) for name in value.__slots__)
    return 8


# ------------------------------------------------------------------ epochs


def test_GP11_nothing_is_sent_before_an_epoch_is_confirmed() -> None:
    member = ring(1)[0]
    member.payload = expect(Payload(GID), 7)
    assert refused(lambda: member.protect(b"too early")) is ErrorCode.E_STATE


def test_GP11_up_to_eight_early_records_wait_for_the_commit() -> None:
    sender, meter = ring(1)[:2]
    sender.next(later(sender, 9))
    records = [sender.protect(bytes([n])) for n in range(MOST_EARLY + 1)]
    assert refused(lambda: meter.step(UnprotectForGroup("p", records[0], METER))) is ErrorCode.E_EPOCH, "no run is on"
    meter.payload = expect(meter.payload, 9)
    for data in records[:-1]:
        assert meter.step(UnprotectForGroup("p", data, METER)) == ()
    assert refused(lambda: meter.step(UnprotectForGroup("p", records[-1], METER))) is ErrorCode.E_LIMIT
    opened = meter.next(later(meter, 9))
    assert [report.plaintext for report in opened if isinstance(report, GroupOpened)] == [
        bytes([n]) for n in range(MOST_EARLY)
    ]
    assert meter.payload.early == () and meter.payload.expected is None
    assert meter.refuses(records[0]) is ErrorCode.E_REPLAY
    assert meter.open(records[-1]).plaintext == bytes([MOST_EARLY])


def test_GP11_early_records_of_a_run_that_failed_or_was_forged_are_dropped() -> None:
    sender, meter = ring(1)[:2]
    sender.next(later(sender, 9))
    meter.payload = expect(meter.payload, 9)
    meter.step(UnprotectForGroup("p", sender.protect(b"lost"), METER))
    meter.payload = expect(meter.payload, 10)
    assert meter.payload.early == ()
    junk = write(read(sender.protect(b"x"))._replace(epoch16=10, ciphertext=bytes(24)))
    meter.step(UnprotectForGroup("p", junk, METER))
    assert forged(meter.next(later(meter, 10))) is ErrorCode.E_AUTH


def test_GP12_the_epoch_before_is_received_for_60_seconds_and_never_sent() -> None:
    sender, meter = ring(1)[:2]
    before, command = sender.protect(b"sent before"), sender.protect(b"shed", SHED)
    late = sender.protect(b"too late")
    meter.now = 100.0
    meter.next(later(meter, 8))
    assert read(meter.protect(b"x")).epoch16 == 8
    assert deadline(meter.payload) == 100.0 + GRACE_S == 160.0
    assert meter.open(before).epoch == 7
    assert meter.open(command, SHED).epoch == 7
    assert meter.refuses(before) is ErrorCode.E_REPLAY
    meter.now = 160.0
    assert meter.refuses(late) is ErrorCode.E_EPOCH
    assert due(meter.payload, Now(159.9, 0)).previous is not None
    meter.payload = due(meter.payload, Now(160.0, 0))
    assert meter.payload.previous is None and deadline(meter.payload) is None


def test_GP12_after_a_compromise_the_epoch_before_is_over_at_once() -> None:
    sender, meter = ring(1)[:2]
    before = sender.protect(b"by the thief")
    meter.next(later(meter, 8), compromised=True)
    assert meter.payload.previous is None
    assert meter.refuses(before) is ErrorCode.E_EPOCH


def test_GP12_the_epoch_before_does_not_survive_a_restart() -> None:
    sender, meter = ring(1)[:2]
    before = sender.protect(b"x")
    meter.next(later(meter, 8))
    meter.restart()
    assert meter.refuses(before) is ErrorCode.E_EPOCH
    assert meter.payload.previous is None


def test_GP12_an_epoch_never_goes_back() -> None:
    meter = ring(1)[0]
    for epoch in (6, 7):
        assert refused(lambda epoch=epoch: meter.next(later(meter, epoch))) is ErrorCode.E_EPOCH


# ------------------------------------------------------------------ limits


def test_GP13_a_million_records_are_sent_and_a_new_epoch_is_asked_for_in_time() -> None:
    sender, meter = ring(1)[:2]

    def wound_to(seq: int) -> None:
        assert sender.payload.current is not None
        sender.payload = replace(sender.payload, current=sender.payload.current._replace(tx_next=seq, tx_reserved=seq))

    wound_to(REKEY_AT - 2)
    assert [type(report) for report in sender.step(ProtectForGroup(b"x", METER))] == [GroupProtected]
    _, wanted = sender.step(ProtectForGroup(b"x", METER))
    assert isinstance(wanted, RekeyWanted)
    assert (wanted.gid, wanted.epoch) == (GID, 7)
    assert len(sender.step(ProtectForGroup(b"x", METER))) == 1, "asked once"
    wound_to((1 << 20) - 1)
    assert meter.open(sender.protect(b"last")).seq == (1 << 20) - 1
    assert refused(lambda: sender.protect(b"one too many")) is ErrorCode.E_LIMIT
    beyond = write(read(ring(1)[0].protect(b"x"))._replace(seq=1 << 20))
    assert meter.refuses(beyond) is ErrorCode.E_LIMIT
    sender.restart()
    assert refused(lambda: sender.protect(b"still too many")) is ErrorCode.E_LIMIT


@pytest.mark.parametrize(("suite", "most"), [(1, 1 << 20), (2, 1 << 16), (17, 1 << 16)])
def test_GP14_forgeries_give_up_a_senders_key_and_ask_for_a_new_epoch(suite: int, most: int) -> None:
    sender, other, meter = ring(suite)[:3]
    forgery = write(read(sender.protect(b"x"))._replace(ciphertext=bytes(24)))
    meter.step(UnprotectForGroup("p", forgery, METER))
    assert meter.payload.current is not None
    channel = meter.payload.current.channels[0]
    assert channel is not None and channel.failures == 1
    channels = (channel._replace(failures=most - 2), *meter.payload.current.channels[1:])
    meter.payload = replace(meter.payload, current=meter.payload.current._replace(channels=channels))
    assert [type(report) for report in meter.step(UnprotectForGroup("p", forgery, METER))] == [Refused]
    meter_open = meter.step(UnprotectForGroup("p", forgery, METER))
    assert [type(report) for report in meter_open] == [Refused, RekeyWanted, Alarm]
    assert meter.refuses(sender.protect(b"genuine")) is ErrorCode.E_LIMIT
    assert meter.open(other.protect(b"others are heard")).seq == 0
    meter.next(later(meter, 8))
    sender.next(later(sender, 8))
    assert meter.open(sender.protect(b"heard again")).epoch == 8


@pytest.mark.parametrize("size", [0, 1, 1024])
def test_records_take_0_to_1024_bytes(size: int) -> None:
    sender, meter = ring(17)[:2]
    assert meter.open(sender.protect(bytes(size))).plaintext == bytes(size)


def test_a_record_of_more_than_1024_bytes_is_refused_before_a_number_is_spent() -> None:
    sender = ring(1)[0]
    assert refused(lambda: sender.protect(bytes(1025))) is ErrorCode.E_LIMIT
    assert read(sender.protect(b"x")).seq == 0


@pytest.mark.parametrize("data", [b"", b"\x82\x18\x2c", b"\x82\x18\x2c\x83\x40\xa3\x04\x41", bytes(50), b"\xff" * 50])
def test_bytes_that_are_no_record_are_refused_unread(data: bytes) -> None:
    assert ring(1)[0].refuses(data) is ErrorCode.E_FORMAT


# ------------------------------------------------------------------ whatever happens


class StreetTraffic(RuleBasedStateMachine):
    """Three members send, lose, repeat and reorder records, restart and change epochs, each at its own time.

    A step is durable before its output leaves, so a crash takes both or neither.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, str, bytes, int, int]] = []
        self.numbers: set[tuple[int, int, int]] = set()
        self.opened: dict[int, set[int]] = {}
        self.clock = 0.0

    @initialize(suite=st.sampled_from([1, 17]))
    def street(self, suite: int) -> None:
        self.members = ring(suite, 3)
        self.opened = {place: set() for place in range(3)}

    @rule(who=st.integers(0, 2), resource=st.sampled_from([METER, SHED]), crash=st.booleans())
    def send(self, who: int, resource: str, crash: bool) -> None:
        member = self.members[who]
        before, plaintext = member.payload, len(self.sent).to_bytes(4, "big")
        record = member.protect(plaintext, resource)
        if crash:  # before the commit: neither the state nor the record got out
            member.restart(saved=durable(before, 0))
            return
        number = (member.epoch.epoch, who, read(record).seq)
        assert number not in self.numbers, "a nonce came twice"
        self.numbers.add(number)
        self.sent.append((record, resource, plaintext, who, member.epoch.epoch))

    @precondition(lambda self: self.sent)
    @rule(who=st.integers(0, 2), which=st.integers(0, 10_000), crash=st.booleans())
    def deliver(self, who: int, which: int, crash: bool) -> None:
        at = which % len(self.sent)
        record, resource, plaintext, sender, epoch = self.sent[at]
        member = self.members[who]
        member.now = self.clock
        before = member.payload
        try:
            opened = member.open(record, resource)
        except PeerFault as fault:
            assert member.payload is before
            newest = at == len(self.sent) - 1 and at not in self.opened[who]
            if newest and resource == SHED and sender != who and epoch == member.epoch.epoch:
                raise AssertionError(f"a fresh command was refused: {fault}") from fault
            return
        if crash:
            member.restart(saved=durable(before, 0))
            return
        assert at not in self.opened[who], "a record was opened twice"
        self.opened[who].add(at)
        assert sender != who
        assert (opened.plaintext, opened.epoch) == (plaintext, epoch)
        assert opened.kid == member.epoch.senders[sender][0]

    @rule(who=st.integers(0, 2))
    def restart(self, who: int) -> None:
        self.members[who].restart()

    @rule(who=st.integers(0, 2))
    def rekey(self, who: int) -> None:
        member = self.members[who]
        member.now = self.clock
        epoch = member.epoch.epoch + 1
        member.next(later(member, epoch, hashlib.sha256(bytes([epoch])).digest()))

    @rule(seconds=st.floats(0.5, 40))
    def wait(self, seconds: float) -> None:
        self.clock += seconds
        for member in self.members:
            member.payload = due(member.payload, Now(self.clock, 0))

    @invariant()
    def the_epoch_before_is_gone_in_time(self) -> None:
        for member in getattr(self, "members", ()):
            until = deadline(member.payload)
            assert until is None or self.clock < until <= self.clock + GRACE_S


TestStreetTraffic = StreetTraffic.TestCase
TestStreetTraffic.settings = settings(max_examples=20, stateful_step_count=40)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_GP07_GP08_GP09_hold_over_long_histories() -> None:
    run_state_machine_as_test(StreetTraffic, settings=settings(max_examples=200, stateful_step_count=100))
