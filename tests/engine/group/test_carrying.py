"""Records on their way: from a member to the ring, through a gateway that cannot read them, and what is refused."""

from collections.abc import Sequence

import pytest

from keymote.engine.base import MULTICAST, Refused, Report
from keymote.engine.group.faces import Amend, Rekey
from keymote.engine.group.payload_faces import (
    GroupOpened,
    GroupProtected,
    RecordHeld,
    RecordPassed,
    RecordRefused,
    SendToGroup,
)
from keymote.engine.group.relaying import RECORDS_PER_S
from keymote.errors import ErrorCode
from keymote.lab.simulator import Datagram
from keymote.lab.street import GW, Street, street
from keymote.wire.group import EDGE, RELAY, Commit
from keymote.wire.group_record import GroupRecord, read
from keymote.wire.registry import peek

METER, SHED = "telemetry/power", "load/shed"
ways = pytest.mark.parametrize(("multicast", "mode"), [(True, RELAY), (True, EDGE), (False, RELAY), (False, EDGE)])


def agreed(n: int = 3, **more: object) -> Street:
    made = street(n, **more)
    assert made.run(10.0)
    return made


def say(made: Street, name: str, text: bytes, resource: str = METER, *, signed: bool = False) -> Sequence[Report]:
    return made.tell(name, SendToGroup(text, resource, signed))


def opened(made: Street, name: str) -> list[bytes]:
    return [report.plaintext for report in made.sim.heard(name, GroupOpened)]


def records(made: Street) -> list[Datagram]:
    return [datagram for datagram in made.sim.air if peek(datagram.data)[0] == GroupRecord.mt]


@ways
@pytest.mark.parametrize("suite", [1, 17])
def test_GF02_all_others_open_what_one_sends_once(multicast: bool, mode: int, suite: int) -> None:
    made = agreed(4, multicast=multicast, mode=mode, suite=suite)
    (protected,) = say(made, "m1", b"3.2 kW")
    assert isinstance(protected, GroupProtected)
    made.sim.run_for(1.0)
    assert {name: opened(made, name) for name in made.members()} == {
        name: [] if name == "m1" else [b"3.2 kW"] for name in made.members()
    }
    gateway = made.sim.heard(GW, GroupOpened)
    assert len(gateway) == (1 if mode == EDGE else 0)


@pytest.mark.parametrize("multicast", [True, False])
def test_GF02_the_gateway_speaks_to_its_ring_in_edge_mode(multicast: bool) -> None:
    made = agreed(3, multicast=multicast, mode=EDGE)
    say(made, GW, b"shed 2 kW", SHED)
    made.sim.run_for(1.0)
    for name in ("m0", "m1", "m2"):
        (report,) = made.sim.heard(name, GroupOpened)
        assert (report.plaintext, report.signed, report.kid) == (b"shed 2 kW", True, made.people[GW].kid)


def test_GF02_by_unicast_each_other_member_gets_one_copy_unchanged_and_the_sender_none() -> None:
    made = agreed(4, multicast=False)
    say(made, "m1", b"x")
    made.sim.run_for(1.0)
    up, *down = records(made)
    assert (up.source, up.target) == ("m1", GW)
    assert {(copy.source, copy.target) for copy in down} == {(GW, name) for name in ("m0", "m2", "m3")}
    assert len(down) == 3
    assert {copy.data for copy in down} == {up.data}


@pytest.mark.parametrize("multicast", [True, False])
def test_GF05_the_gateways_application_gets_every_members_record_as_it_came(multicast: bool) -> None:
    made = agreed(4, multicast=multicast)
    (protected,) = say(made, "m1", b"3.2 kW")
    made.sim.run_for(1.0)
    assert isinstance(protected, GroupProtected)
    passed = RecordPassed(made.gid, made.people["m1"].kid, METER, protected.record)
    assert made.sim.heard(GW, RecordPassed) == [passed]
    made.sim.inject("nobody", GW, records(made)[0].data)
    made.sim.run_for(1.0)
    assert made.sim.heard(GW, RecordPassed) == [passed]
    for at in range(2 * RECORDS_PER_S):
        say(made, "m2", bytes((at,)))
    made.sim.run_for(0.5)
    assert len(made.sim.heard(GW, RecordPassed)) == 1 + RECORDS_PER_S


def test_GF02_by_multicast_the_gateway_repeats_nothing() -> None:
    made = agreed(4, multicast=True, mode=EDGE)
    say(made, "m1", b"x")
    made.sim.run_for(1.0)
    assert [(copy.source, copy.target) for copy in records(made)] == [("m1", MULTICAST)]


def test_GF02_a_member_that_was_left_out_gets_no_copies() -> None:
    made = agreed(4, multicast=False)
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=4))
    assert made.sim.run_until(lambda: made.agreed("m0", "m1", "m2"), 20.0)
    say(made, "m0", b"without m3")
    made.sim.run_for(1.0)
    assert "m3" not in {copy.target for copy in records(made)}
    assert opened(made, "m1") == [b"without m3"]


def test_GF03_a_strangers_record_is_handed_to_nobody() -> None:
    made = agreed(3, multicast=False)
    say(made, "m0", b"x")
    made.sim.run_for(1.0)
    seen = len(records(made))
    made.sim.inject("stranger", GW, records(made)[0].data)
    made.sim.run_for(1.0)
    (refused,) = made.sim.heard(GW, Refused)
    assert (refused.peer, refused.code) == ("stranger", ErrorCode.E_UNKNOWN_ID)
    assert len(records(made)) == seen


def test_GF03_above_its_rate_a_members_records_wait_for_nobody() -> None:
    made = agreed(3, multicast=False)
    say(made, "m0", b"x")
    made.sim.run_for(2.0)
    up, *down = records(made)
    m0 = made.sim.hosts["m0"].address
    for _ in range(RECORDS_PER_S + 5):
        made.sim.inject(m0, GW, up.data)
    made.sim.run_for(0.1)
    assert len(records(made)) == 1 + len(down) * (1 + RECORDS_PER_S)
    assert [refused.code for refused in made.sim.heard(GW, Refused)] == [ErrorCode.E_LIMIT] * 5
    say(made, "m1", b"another member has a rate of its own")
    made.sim.run_for(1.0)
    say(made, "m0", b"the next second")
    made.sim.run_for(1.0)
    assert opened(made, "m2") == [b"x", b"another member has a rate of its own", b"the next second"]


def test_GF04_what_is_refused_says_what_it_claimed_to_be() -> None:
    made = agreed(3)
    say(made, "m0", b"x")
    made.sim.run_for(1.0)
    sender = made.active("m0").group.own
    (carried,) = {datagram.data for datagram in records(made)}
    whole = read(carried)
    forged = GroupRecord(whole.gid, METER, whole.record[:-1] + bytes((whole.record[-1] ^ 1,))).encode()
    moved = GroupRecord(whole.gid, "telemetry/other", whole.record).encode()
    command = GroupRecord(whole.gid, SHED, whole.record).encode()
    junk = GroupRecord(whole.gid, METER, b"\x80").encode()
    nobody = GroupRecord(b"nobody's", METER, whole.record).encode()
    for data in (carried, forged, moved, command, junk, nobody):
        made.sim.inject("m0", "m1", data)
    made.sim.run_for(1.0)
    told = made.sim.heard("m1", RecordRefused)
    code = ErrorCode
    assert [(refused.code, refused.resource) for refused in told] == [
        (code.E_REPLAY, METER),
        (code.E_REPLAY, METER),
        (code.E_REPLAY, "telemetry/other"),
        (code.E_AUTH, SHED),
        (code.E_FORMAT, METER),
    ]
    assert {(refused.gid, refused.sender, refused.seq) for refused in told[:4]} == {(made.gid, bytes((sender,)), 0)}
    assert (told[4].sender, told[4].seq) == (b"", -1)
    (unknown,) = [one for one in made.sim.heard("m1", Refused) if not isinstance(one, RecordRefused)]
    assert unknown.code is code.E_UNKNOWN_ID


def test_GF04_a_record_for_another_resource_fails_as_a_forged_one_does() -> None:
    made = agreed(3)
    made.sim.adversary = lambda datagram: [] if peek(datagram.data)[0] == GroupRecord.mt else [datagram]
    say(made, "m0", b"x")
    whole = read(records(made)[0].data)
    forged = GroupRecord(whole.gid, METER, whole.record[:-1] + bytes((whole.record[-1] ^ 1,)))
    moved = GroupRecord(whole.gid, "telemetry/other", whole.record)
    for carried in (forged, moved, whole):
        made.sim.inject("m0", "m1", carried.encode())
    made.sim.run_for(1.0)
    assert [(refused.code, refused.resource) for refused in made.sim.heard("m1", RecordRefused)] == [
        (ErrorCode.E_AUTH, METER),
        (ErrorCode.E_AUTH, "telemetry/other"),
    ]
    assert opened(made, "m1") == [b"x"]


def test_GF04_a_record_that_comes_early_is_held_reported_and_opened_with_the_key() -> None:
    made = agreed(3, multicast=False)
    m1 = made.sim.hosts["m1"].address
    late = True
    made.sim.adversary = lambda datagram: (
        [] if late and datagram.target == m1 and peek(datagram.data)[0] == Commit.mt else [datagram]
    )
    made.ring(Rekey())
    assert made.sim.run_until(lambda: made.newest() == 2 and made.agreed("m0", "m2"), 30.0)
    say(made, "m0", b"under the new key")
    made.sim.run_for(0.5)
    assert [held.resource for held in made.sim.heard("m1", RecordHeld)] == [METER]
    assert opened(made, "m1") == []
    late = False
    assert made.sim.run_until(lambda: made.agreed("m0", "m1", "m2"), 10.0)
    assert opened(made, "m1") == [b"under the new key"] == opened(made, "m2")
    assert made.sim.heard("m1", RecordRefused) == []


def test_a_text_that_is_no_resource_and_a_member_without_a_key_are_refused_before_anything_leaves() -> None:
    made = street(2, formed=False)
    (refused,) = say(made, "m0", b"x")
    assert isinstance(refused, Refused)
    assert refused.code is ErrorCode.E_STATE
    for resource in ("/a", "a//b", "x" * 101):
        (refused,) = say(made, "m0", b"x", resource)
        assert isinstance(refused, Refused)
        assert refused.code is ErrorCode.E_FORMAT
    assert records(made) == []
