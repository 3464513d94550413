"""Streets to attack groups in, and what an adversary can do there: rewrite, inject, or play places of a ring by hand.

An insider is a meter whose words are rewritten with her own keys on their way out; a gateway that lies likewise. A
`Puppeteer` goes further and speaks for members that are silent: with an x, a point or a signature of her choice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, SigningKey
from keymote.engine.base import MULTICAST, Refused
from keymote.engine.group import ring
from keymote.engine.group.faces import Rekey, RunFailed
from keymote.engine.group.states import AwaitCommit, AwaitR2
from keymote.errors import CallerFault
from keymote.lab.attacks.catalogue import Effort
from keymote.lab.simulator import Datagram
from keymote.lab.street import GW, Street, street
from keymote.wire.fields import sizes_of
from keymote.wire.group import (
    Bundle,
    Commit,
    Round1,
    Round1Claims,
    Round1Compact,
    Round2,
    Round2Claims,
    Round3,
    Start,
    StartClaims,
)
from keymote.wire.group_signed import read, write
from keymote.wire.message import Body
from keymote.wire.registry import peek

START, R1, R1C, R2, R3, COMMIT, BUNDLE = (
    kind.mt for kind in (Start, Round1, Round1Compact, Round2, Round3, Commit, Bundle)
)
SIZES: Final = sizes_of(1)
Meddling = Callable[[Datagram], list[Datagram]]


# ------------------------------------------------------------------ streets


def settled(effort: Effort, n: int, **options: Any) -> Street:
    """Return a street whose first epoch is agreed on and whose gateway may start another one at once."""
    made = street(n, seed=effort.seed, **options)
    if not made.run(60.0):
        raise CallerFault("the street does not agree even without an adversary")
    made.sim.run_for(15.0)
    return made


def unformed(effort: Effort, n: int, **options: Any) -> Street:
    """Return a street in which nothing runs yet."""
    return street(n, seed=effort.seed, formed=False, **options)


def in_ring_order(made: Street) -> list[str]:
    """Return the meters in the order of the ring, which is that of their kids."""
    return sorted(made.names, key=lambda name: made.people[name].kid)


def rekeyed(made: Street, meddling: Meddling, for_s: float = 60.0) -> None:
    """Let the gateway begin a run while the adversary meddles with what is said."""
    made.sim.adversary = meddling
    made.ring(Rekey())
    made.sim.run_for(for_s)


def signing(made: Street, name: str) -> SigningKey:
    """Return the key of a node that she owns."""
    return made.people[name].signing


def type_of(sent: Datagram) -> int:
    return peek(sent.data)[0]


def inject(made: Street, data: bytes, *names: str, source: str = GW) -> None:
    """Send a message in somebody's name to some meters, or all, and let them take it."""
    for name in names or made.names:
        made.sim.inject(source, name, data)
    made.sim.run_for(0.1)


# ------------------------------------------------------------------ what she reads


def stopped(made: Street, *names: str) -> tuple[str, str]:
    """Return the first error by which one of these nodes refused something or gave a run up, and what it said."""
    for name in names:
        for _, _, report in made.sim.hosts[name].reports:
            match report:
                case Refused(_, code, what):
                    return code.name, f"{name}: {what}"
                case RunFailed(_, epoch, attempt, code, _):
                    return code.name, f"{name}: run {epoch}.{attempt} given up"
    return "nothing", f"{', '.join(names)} refused nothing"


def different_keys(made: Street) -> int:
    """Return the greatest number of different keys under which members are active in one epoch."""
    return max((len(keys) for keys in made.keys().values()), default=0)


def run_of(made: Street, name: str) -> Any:
    """Return the run and th1 of a member that she owns, or whose position she shares in the same run."""
    cell = made.cell(name)
    assert cell is not None and isinstance(cell.phase, AwaitR2 | AwaitCommit)
    return cell.phase


def said(made: Street, mt: int, source: str) -> bytes:
    """Return the newest recorded message of a type by a node."""
    return [d.data for d in made.sim.air if d.source == source and type_of(d) == mt][-1]


# ------------------------------------------------------------------ places of a ring played by hand


@dataclass(frozen=True, slots=True)
class Part:
    """How a place is played: `x` if she knows one, else X alone (and for R2 a Y and a proof of somebody else's).

    `sign`: (claims, ctx) -> message; what she signs with, or a recorded signature round other claims.
    """

    X: Point
    sign: Callable[[Body, bytes], bytes]
    x: Secret | None = None
    Y: Callable[["Puppeteer"], tuple[bytes, bytes]] | None = None


def known(made: Street, x: Secret, key: SigningKey) -> Part:
    """Return a part with an x of hers and a key of hers."""
    return Part(made.suite.base_mul(x), lambda claims, ctx: write(key, claims, ctx), x)


@dataclass(slots=True)
class Puppeteer:
    """Plays `parts` (name -> part) in every run: an adversary for the simulator. The true owners are not heard.

    `mk`: the master key of the newest run, once she could derive it.
    """

    made: Street
    parts: Mapping[str, Part]
    mk: Secret | None = None
    secret: Callable[["Puppeteer"], Secret | None] | None = None
    start: Any = None
    sid: bytes = b""
    th1: bytes = b""
    round1: dict[int, bytes] = field(default_factory=dict)
    round2: dict[int, bytes] = field(default_factory=dict)
    _spoken: set[tuple[bytes, int]] = field(default_factory=set)

    @property
    def places(self) -> dict[str, int]:
        held = self.made.lead().lasting.held
        return {name: idx for name in self.parts if (idx := held.position(self.made.people[name].kid)) is not None}

    @property
    def n(self) -> int:
        return len(self.made.lead().lasting.held.entries)

    def X(self) -> list[Point]:
        """Return everybody's X of the run, in ring order."""
        claims = (Round1Claims.decode(self.round1[idx], SIZES) for idx in range(self.n))
        return [self.made.suite.check(each.X) for each in claims]

    def others_Y(self) -> dict[int, Point]:
        """Return the Y of those who have sent R2 already."""
        claims = {idx: Round2Claims.decode(data, SIZES) for idx, data in self.round2.items()}
        return {idx: self.made.suite.check(each.Y) for idx, each in claims.items() if each.Y is not None}

    def __call__(self, sent: Datagram) -> list[Datagram]:
        if sent.source in self.parts:
            return []
        return [sent, *self._answers(sent)]

    def _answers(self, sent: Datagram) -> list[Datagram]:
        mt = type_of(sent)
        if mt == START:
            claimed = read(sent.data, StartClaims, SIZES)
            if claimed.claims.gid == self.made.gid and ring.sid_of(claimed.payload) != self.sid:
                self.start, self.sid = claimed.claims, ring.sid_of(claimed.payload)
                self.round1, self.round2, self.mk = {}, {}, None
        elif mt == R1:
            claimed1 = read(sent.data, Round1Claims, SIZES)
            if claimed1.claims.sid8 == self.sid[:8]:
                self.round1[claimed1.claims.idx] = claimed1.payload
                return self._speak1(sent)
        elif mt == R2:
            claimed2 = read(sent.data, Round2Claims, SIZES)
            if claimed2.claims.sid8 == self.sid[:8]:
                self.round2[claimed2.claims.idx] = claimed2.payload
                return self._speak2(sent)
        return []

    def _once(self, round_: int) -> bool:
        fresh = (self.sid, round_) not in self._spoken
        self._spoken.add((self.sid, round_))
        return fresh

    def _voices(self, sent: Datagram, messages: Mapping[str, bytes]) -> list[Datagram]:
        return [replace(sent, source=name, target=MULTICAST, data=data) for name, data in messages.items()]

    def _speak1(self, sent: Datagram) -> list[Datagram]:
        """Answer with R1 of all puppets as soon as the last of the others' is on the air."""
        if len(self.round1) < self.n - len(self.places) or not self._once(1):
            return []
        messages = {}
        for name, idx in self.places.items():
            claims = Round1Claims(self.sid[:8], idx, self.parts[name].X, bytes(8), 0)
            self.round1[idx] = claims.encode()
            messages[name] = self.parts[name].sign(claims, self.sid)
        self.th1 = ring.th1_of(self.sid, [self.round1[idx] for idx in range(self.n)])
        return self._voices(sent, messages)

    def _speak2(self, sent: Datagram) -> list[Datagram]:
        """Answer with R2 and R3 of all puppets as soon as the last of the others' R2 is on the air."""
        if len(self.round2) < self.n - len(self.places) or len(self.round1) < self.n or not self._once(2):
            return []
        messages = {}
        for name, idx in self.places.items():
            claims = Round2Claims(self.sid[:8], idx, *self._contribution(idx, self.parts[name]))
            self.round2[idx] = claims.encode()
            messages[name] = self.parts[name].sign(claims, self.th1)
        answers = self._voices(sent, messages)
        self.mk = self._derive()
        return answers + self._confirmations(sent)

    def _contribution(self, idx: int, part: Part) -> tuple[bytes | None, bytes | None]:
        if part.Y is not None:
            return part.Y(self)
        assert part.x is not None
        entropy = self.made.entropy.fork(f"puppet {self.sid.hex()} {idx}")
        return ring.contribute(self.made.suite, idx, part.x, self.X(), self.th1, entropy)

    def _derive(self) -> Secret | None:
        """Return MK by an x that she knows, or by her own way to the ring's secret."""
        th2 = ring.th2_of(self.th1, [self.round2[idx] for idx in range(self.n)])
        if self.secret is not None:
            found = self.secret(self)
            return None if found is None else ring.master_key(found, th2)
        name, x = next((name, part.x) for name, part in self.parts.items() if part.x is not None)
        Y = [self.others_Y().get(idx) for idx in range(self.n)]
        return ring.master_key(ring.group_secret(self.made.suite, self.places[name], x, self.X(), Y), th2)

    def _confirmations(self, sent: Datagram) -> list[Datagram]:
        if self.mk is None:
            return []
        th2 = ring.th2_of(self.th1, [self.round2[idx] for idx in range(self.n)])
        tags = ring.tags(self.mk, self.sid, th2, self.made.lead().lasting.held.kids)
        return [
            replace(sent, source=name, target=GW, data=Round3(self.sid[:8], idx, tags[idx]).encode())
            for name, idx in self.places.items()
        ]

    def knows_key_of(self, *names: str) -> bool:
        """Return whether somebody honest is active under the key that she derived."""
        epochs = [self.made.active(name) for name in names]
        return self.mk is not None and any(each is not None and each.group.key == self.mk for each in epochs)
