"""Bad input (the bar of the engines): whatever is done to a message, nobody crashes, nothing moves but counters, and no two
sides ever hold different keys.

A whole run is played datagram by datagram. Before each one is delivered, every variant of it is handed to a copy of its
receiver; cells are frozen, so a copy is two dictionaries. Where the protocol must take an unauthenticated variant in
(a HELLO, a JOIN or an A1 may come from anybody), the whole world is forked and played to its end with the variant.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.engine.context import RegistrarPolicy
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CloseSession,
    KeyReady,
    Opened,
    RevokeSession,
    session_of,
)
from keymote.engine.pairwise.states import Open
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram, Host, passive
from keymote.lab.simulator.witness import WitnessedSuite

pytestmark = pytest.mark.timeout(240)
UNGUARDED = RegistrarPolicy(joins_per_source_per_min=10**9, cookie_above_per_s=10**9)
"""No rate limits: else the thousandth variant would be refused for its number, not for what it is."""
HELLO, JOIN, OFFER, COOKIE, A1, FIN1 = 1, 2, 3, 8, 20, 26
FROM_ANYBODY = {HELLO, JOIN, OFFER, COOKIE, A1}
"""Types that change something before anything in them is authenticated; a wrong OFFER tag ends the run (EN-11)."""
ONE_IN = 10
"""Of the variants that are taken in, one in so many is played to the end: such a play costs as much as all its copies."""
ROOM = 48
"""Bytes by which an insider's plaintext may grow: what is longer would not fit the insider's own record either."""
IDENTITY = {1: bytes(32), 17: bytes(33)}
INVALID_POINT = {1: b"\xff" * 32, 17: b"\x02" + b"\xff" * 32}


# ------------------------------------------------------------------ variants of a message


def flips(wire: bytes) -> Iterator[bytes]:
    """Yield `wire` with each byte xored with 0x01 and with 0x80."""
    for at, octet in enumerate(wire):
        for mask in (0x01, 0x80):
            yield wire[:at] + bytes([octet ^ mask]) + wire[at + 1 :]


def truncations(wire: bytes) -> Iterator[bytes]:
    for length in range(len(wire)):
        yield wire[:length]
    yield wire + b"\x00"


def bad_values(value: Any, suite: int) -> Iterator[Any]:
    """Yield what stands in for one field: identity, invalid point, other lengths, huge, other types."""
    match value:
        case bytes():
            yield IDENTITY[suite]
            yield INVALID_POINT[suite]
            yield bytes(len(value))
            yield b"\xff" * len(value)
            yield value[:-1]
            yield value + b"\x00"
            yield b""
            yield b"\x00" * 1500
            yield value.hex()
        case int():
            yield from (0, value + 1, 23, 24, 255, 256, (1 << 32) - 1, 1 << 32, (1 << 64) - 1, -1)
            yield bool(value & 1)
        case list():
            yield []
            yield value[:-1]
            yield [*value, 0]
            yield [value, value]
            for at, inner in enumerate(value):
                for bad in bad_values(inner, suite):
                    yield [*value[:at], bad, *value[at + 1 :]]
        case dict():
            yield {}
            yield {**value, 99: b""}
    yield None
    yield [[[[[[[]]]]]]]


def changed_fields(wire: bytes, suite: int, first: int = 0) -> Iterator[bytes]:
    """Yield the CBOR array `wire` with each element replaced by each bad value, left out or repeated."""
    items: list[Any] = cbor.decode(wire, max_size=4096)
    for at in range(first, len(items)):
        yield cbor.encode([*items[:at], *items[at + 1 :]])
        yield cbor.encode([*items[: at + 1], *items[at:]])
        for bad in bad_values(items[at], suite):
            if bad != items[at] or type(bad) is not type(items[at]):
                yield cbor.encode([*items[:at], bad, *items[at + 1 :]])


def variants(wire: bytes, suite: int) -> Iterator[bytes]:
    """Yield every variant of a datagram once, never the datagram itself."""
    seen = {wire}
    for source in (flips(wire), truncations(wire), changed_fields(wire, suite)):
        for variant in source:
            if variant not in seen:
                seen.add(variant)
                yield variant


# ------------------------------------------------------------------ what must hold


BESIDE = {"bad": 0, "failures": 0, "seen": (None, None)}
"""Fields that count bad tags and forged records, and a relay's memory of the addresses that it heard."""


def without_counters(cell: Any) -> Any:
    """Return a cell as if it had counted and remembered nothing."""
    if is_dataclass(cell) and not isinstance(cell, type):
        return replace(cell, **{entry.name: BESIDE[entry.name] for entry in fields(cell) if entry.name in BESIDE})
    return cell


def moved(before: Host, after: Host) -> list[str]:
    """Return the kinds of cells that differ by more than counters, and `disk` when a record differs."""
    keys = before.cells.keys() | after.cells.keys()
    kinds = {
        key.kind
        for key in keys
        if (old := before.cells.get(key)) is not (new := after.cells.get(key))
        and without_counters(old) != without_counters(new)
    }
    return sorted(kinds) + (["disk"] if before.disk != after.disk else [])


def assert_keys_agree(scene: Scene) -> None:
    """No psid is open with two keys, at whichever devices, and no application was told different keys."""
    keys: dict[bytes, set[bytes]] = {}
    for name in scene.homes:
        for (kind, psid), cell in scene.sim.hosts[name].cells.items():
            if kind == "session" and isinstance(cell, Open):
                keys.setdefault(psid, set()).add(cell.key_id)
        for ready in scene.sim.heard(name, KeyReady):
            keys.setdefault(ready.psid + b"heard", set()).add(ready.keys.dtls_psk.expose())
    assert all(len(ids) == 1 for ids in keys.values())


def assert_members_agree(scene: Scene) -> None:
    """Whoever is enrolled has the credential that its manager has, and both ends of its link have one key."""
    for name, home in scene.homes.items():
        own = scene.sim.hosts[name].cells.get(OWN_ENROLMENT)
        if isinstance(own, Registered):
            (theirs,) = (
                cell.member for key, cell in scene.sim.hosts[home].cells.items() if key == ("enrolment", identity(name))
            )
            assert own.membership.credential.raw == theirs.credential


# ------------------------------------------------------------------ the play


@dataclass
class Play:
    """A world whose air waits in `queue` until the test lets the next datagram through."""

    scene: Scene
    cases: Counter[int] = field(default_factory=Counter)
    taken_in: Counter[int] = field(default_factory=Counter)
    forks: int = 0
    queue: deque[Datagram] = field(default_factory=deque)
    played: list[Datagram] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sim = self.scene.sim
        self.sim.adversary = self.hold
        self.entropy = SeededEntropy(b"bad input")

    def hold(self, datagram: Datagram) -> list[Datagram]:
        self.queue.append(datagram)
        return []

    def run(self, examine: Callable[[Datagram], None]) -> None:
        """Deliver what waits, one by one, each after `examine` has seen it."""
        while self.queue:
            datagram = self.queue.popleft()
            examine(datagram)
            self.played.append(datagram)
            self.sim.inject(datagram.source, datagram.target, datagram.data)
            self.sim.run_for(0.05)

    @contextmanager
    def counters_kept(self) -> Iterator[None]:
        """Put the counters beside the cells back afterwards: copies and forks share them with this world."""
        counters = [counter for tally in self.scene.tallies.values() for counter in (tally.half_open, tally.alarms)]
        old = [dict(counter) for counter in counters]
        mark = self.scene.witness.mark()
        self.forks += 1
        try:
            yield
        finally:
            self.scene.witness.take_back(mark)
            for counter, values in zip(counters, old, strict=True):
                counter.clear()
                counter.update(values)

    def try_variant(self, datagram: Datagram, variant: bytes) -> None:
        """Hand `variant` to its receiver in place of `datagram`."""
        mt = datagram.data[1] if datagram.data[1] < 24 else datagram.data[2]
        self.cases[mt] += 1
        with self.counters_kept():
            host = self.sim.hosts[datagram.target].copy(self.entropy.fork(f"{self.forks}"))
            done = host.receive(datagram.source, variant, self.sim.now)
            kinds = moved(self.sim.hosts[datagram.target], host)
            speaks = [effect for _, effect in done.effects if type(effect).__name__ in {"Send", "Ask"}]
        if not kinds:
            assert mt in FROM_ANYBODY or not speaks, f"a variant of message {mt} was answered: {variant.hex()}"
            return
        early = mt == FIN1 and type(self.session(datagram)).__name__ == "AwaitShares"
        assert mt in FROM_ANYBODY or early, f"a variant of message {mt} moved {kinds}: {variant.hex()}"
        self.taken_in[mt] += 1
        if self.taken_in[mt] % ONE_IN == 1:
            self.play_to_the_end(datagram, variant)

    def session(self, datagram: Datagram) -> Any:
        psid = datagram.data[4:12]
        return self.sim.hosts[datagram.target].cells.get(session_of(psid))

    def play_to_the_end(self, datagram: Datagram, variant: bytes) -> None:
        """Fork the world, deliver the variant instead of the datagram, let everything run and look at the keys."""
        with self.counters_kept():
            twin = self.scene.fork(f"{self.forks}")
            twin.sim.adversary = passive
            twin.sim.inject(datagram.source, datagram.target, variant)
            for waiting in self.queue:
                twin.sim.inject(waiting.source, waiting.target, waiting.data)
            twin.sim.run_for(30.0)
            assert_keys_agree(twin)
            assert_members_agree(twin)


@pytest.fixture(params=[1, pytest.param(17, marks=pytest.mark.long)])
def play(request: pytest.FixtureRequest) -> Play:
    return Play(two_operators(suite=request.param, policy=UNGUARDED, enrolled=False))


def every_message(play: Play, examine: Callable[[Datagram], None]) -> bytes:
    """Play enrolment of both devices, NMAUTH, a session, records both ways, a revocation; return the psid."""
    scene, sim = play.scene, play.sim
    for name in scene.homes:
        scene.label(name)
        scene.greet(name)
        play.run(examine)
        assert scene.membership(name) is not None
    psid = scene.ask("d1", "d2")
    play.run(examine)
    assert scene.ready("d1", psid) is not None
    assert scene.ready("d2", psid) is not None
    for one, other in (("d1", "d2"), ("d2", "d1")):
        scene.say(one, other, psid, b"sixteen bytes ok")
        play.run(examine)
    assert len(sim.heard("d1", Opened)) == len(sim.heard("d2", Opened)) == 1
    closed = scene.ask("d1", "d2", fast=True)
    play.run(examine)
    sim.command("d1", session_of(closed), CloseSession())
    play.run(examine)
    revoked = scene.ask("d2", "d1", fast=True)
    play.run(examine)
    sim.command("d2", session_of(revoked), RevokeSession(2))
    play.run(examine)
    for name in scene.homes:
        assert scene.session(name, closed) is scene.session(name, revoked) is None
    return psid


# ------------------------------------------------------------------ the cases


def test_CM12_DR02_no_variant_of_any_message_moves_anything_but_counters(
    play: Play,
) -> None:
    examined: set[tuple[int, str, str]] = set()

    def examine(datagram: Datagram) -> None:
        mt = datagram.data[1] if datagram.data[1] < 24 else datagram.data[2]
        way = (mt, datagram.source, datagram.target)
        if way not in examined:
            examined.add(way)
            for variant in variants(datagram.data, play.scene.suite.id):
                play.try_variant(datagram, variant)

    every_message(play, examine)
    assert_keys_agree(play.scene)
    total = sum(play.cases.values())
    taken_in = sum(play.taken_in.values())
    print(f"suite {play.scene.suite.id}: {total} variants of {len(play.cases)} message types, {taken_in} taken in")
    assert set(play.cases) == {1, 2, 3, 4, 5, 6, 7, 9, 18, 20, 21, 22, 23, 26, 27, 29, 31}
    assert total > 15_000


@dataclass
class Insider:
    """Changes the plaintext of one encryption: a sender who holds the keys and says what it likes."""

    seen: list[bytes] = field(default_factory=list)
    at: int = -1
    instead: bytes = b""

    def plaintext(self, genuine: bytes) -> bytes:
        self.seen.append(genuine)
        if len(self.seen) - 1 == self.at:
            self.at = -1
            return self.instead
        return genuine


@pytest.fixture
def insider(monkeypatch: pytest.MonkeyPatch) -> Insider:
    made = Insider()
    seal_once, seal_record = WitnessedSuite.seal_once, WitnessedSuite.seal_record
    monkeypatch.setattr(WitnessedSuite, "seal_once", lambda s, k, a, p: seal_once(s, k, a, made.plaintext(p)))
    monkeypatch.setattr(WitnessedSuite, "seal_record", lambda s, k, n, a, p: seal_record(s, k, n, a, made.plaintext(p)))
    return made


def inner_variants(plaintext: bytes, suite: int) -> Iterator[bytes]:
    """Yield what an insider may put in place of a plaintext: a raw point, or an array with each field replaced."""
    yield b""
    yield plaintext[:-1]
    yield plaintext + b"\x00"
    if len(plaintext) in (0, len(IDENTITY[suite])):  # nothing, or a raw point
        yield IDENTITY[suite]
        yield INVALID_POINT[suite]
        return
    first = 1 if plaintext[1] < 0x20 else 0  # the type of a LINK body stays; that of another is another body
    yield from changed_fields(plaintext, suite, first)


def test_EN14_PW22_CM14_an_insider_with_the_keys_gets_a_clean_refusal(play: Play, insider: Insider) -> None:
    suite = play.scene.suite.id
    turns, bodies = 0, 0

    def examine(datagram: Datagram) -> None:
        nonlocal turns, bodies
        with play.counters_kept():
            insider.seen.clear()
            host = play.sim.hosts[datagram.target].copy(play.entropy.fork(f"{play.forks}"))
            host.receive(datagram.source, datagram.data, play.sim.now)
            plaintexts = list(insider.seen)
        for at, plaintext in enumerate(plaintexts):
            bodies += 1
            for variant in inner_variants(plaintext, suite):
                if len(variant) > len(plaintext) + ROOM:
                    continue
                turns += 1
                if turns % ONE_IN == 1:
                    insider.seen.clear()
                    insider.at, insider.instead = at, variant
                    play.play_to_the_end(datagram, datagram.data)
                    insider.at = -1

    every_message(play, examine)
    print(f"suite {suite}: {turns} variants of {bodies} plaintexts, one in {ONE_IN} played to the end")
    assert bodies > 40
    assert turns > 1000


def replayed(play: Play, name: str, old: Datagram, wire: bytes) -> tuple[list[str], list[str]]:
    """Return what a datagram moves at a copy of node `name`, and the reports that it causes."""
    with play.counters_kept():
        host = play.sim.hosts[name].copy(play.entropy.fork(f"{play.forks}"))
        done = host.receive(old.source, wire, play.sim.now)
        reports = [type(effect).__name__ for _, effect in done.effects]
        return moved(play.sim.hosts[name], host), reports


def test_PW28_LK04_LK06_replays_here_elsewhere_in_another_session_and_after_a_reboot(play: Play) -> None:
    psid = every_message(play, lambda _: None)
    scene, sim = play.scene, play.sim
    other = scene.ask("d1", "d2", fast=True)
    play.run(lambda _: None)
    assert scene.ready("d2", other) is not None
    cases = 0
    told = {"KeyReady", "Opened", "Enrolled", "SessionClosed", "DeviceRevoked", "SessionRevoked"}
    for rebooted in (False, True):
        for old in play.played:
            mt = old.data[1] if old.data[1] < 24 else old.data[2]
            wires = [old.data] + ([old.data.replace(psid, other)] if psid in old.data else [])
            for name, wire in ((name, wire) for name in sim.hosts for wire in wires):
                cases += 1
                kinds, reports = replayed(play, name, old, wire)
                assert not told & set(reports), f"message {mt} replayed to {name}: {reports}"
                if mt == 18 and rebooted:  # one that may be new is answered by a step of the epoch, its body by nobody
                    assert set(kinds) <= {"link", "disk"}
                elif mt not in FROM_ANYBODY:
                    assert kinds == [], f"message {mt} replayed to {name} moved {kinds}"
        if not rebooted:
            for name in sim.hosts:
                sim.reboot(name)
    print(f"suite {scene.suite.id}: {cases} replays of {len(play.played)} datagrams")
    assert cases > 500


def test_PW25_a_whole_recording_played_back_to_rebooted_nodes_opens_nothing(play: Play) -> None:
    every_message(play, lambda _: None)
    scene, sim = play.scene, play.sim
    for name in sim.hosts:
        sim.reboot(name)
    before = {name: len(sim.heard(name, KeyReady)) + len(sim.heard(name, Opened)) for name in scene.homes}
    sim.adversary = passive
    for order, old in enumerate(play.played * 2):
        sim.inject(old.source, old.target, old.data, after_s=0.01 * order)
    sim.run_for(60.0)
    assert {name: len(sim.heard(name, KeyReady)) + len(sim.heard(name, Opened)) for name in scene.homes} == before
    assert scene.witness.reused == []
    scene.open("d1", "d2")
    assert_keys_agree(scene)
