"""Curves and points that nobody checked (A-05, A-06)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from math import prod
from typing import ClassVar, Final

from keymote.crypto.aead import CHACHA20_POLY1305
from keymote.crypto.ed25519 import Ed25519
from keymote.crypto.entropy import Entropy
from keymote.crypto.group import Point
from keymote.crypto.pake import psk_dh
from keymote.crypto.secret import Secret, equal
from keymote.crypto.suite import Suite
from keymote.engine.pairwise.schedule import Handshake
from keymote.engine.pairwise.states import AwaitA1, AwaitA2
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.impostors import FalseManager, answer_of
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.stage import Mallory, Reaction, label, meeting
from keymote.lab.published.pairwise import Letter, enrol
from keymote.lab.published.weierstrass import P256, Affine, Curve
from keymote.wire.enrolment import Share
from keymote.wire.fields import Sizes
from keymote.wire.pairwise import Auth1, Auth2

# ------------------------------------------------------------------ a curve that is none

CUSP: Final = Curve(P256.p, 0, 0)
"""y² = x³: its "points" are the additive group of the field, (x, y) -> x/y, where a logarithm is a division."""


def _cusp_point(t: int) -> Affine:
    return pow(t, 2, CUSP.p), pow(t, 3, CUSP.p)


def logarithm_on_the_cusp(base: Affine, product: Affine) -> int:
    """Return d mod p with product = d·base."""
    assert base is not None
    assert product is not None
    p = CUSP.p
    return product[0] * pow(product[1], -1, p) * base[1] * pow(base[0], -1, p) % p


def _announced_cusp(effort: Effort) -> Outcome:
    """Answer the joining message with a = b = 0 and a point (t², t³); read d_D off W."""
    world = paper(effort, "A-05", enrolled=False)
    e = _cusp_point(3)

    def tamper(letter: Letter) -> Letter:
        if letter.name != "Selection":
            return letter
        return replace(letter, fields={"curve": CUSP, "e_NM": e})

    world.tampered(tamper)
    enrol(world.one, world.nm1, world.air)
    found = logarithm_on_the_cusp(e, world.air.point("Points", "W"))
    if found != world.one.d % CUSP.p:
        return held("the logarithm is another number")
    return Succeeds("all 256 bits of d_D from one message, by one division")


class CuspGroup:
    """The cusp as a group of a suite: what a device would compute in if it took a curve from the air."""

    point_size: ClassVar[int] = 32
    order: ClassVar[int] = CUSP.p
    generator: ClassVar[Point] = Point(bytes(31) + b"\x02")

    @staticmethod
    def affine(P: bytes) -> Affine:
        """Return the point (t², t³) whose encoding is t."""
        return _cusp_point(int.from_bytes(P, "big"))

    @staticmethod
    def encoded(P: Affine) -> Point:
        """Return t = y/x."""
        return Point(bytes(32) if P is None else (P[1] * pow(P[0], -1, CUSP.p) % CUSP.p).to_bytes(32, "big"))

    def check(self, encoding: bytes) -> Point:
        return Point(encoding)

    def check_scalar(self, encoding: bytes) -> bytes:
        return encoding

    def random_scalar(self, entropy: Entropy) -> Secret:
        return Secret(entropy.draw(32))

    def random_point(self, entropy: Entropy) -> Point:
        return self.encoded(_cusp_point(int.from_bytes(entropy.draw(32), "big")))

    def base_mul(self, k: Secret) -> Point:
        return self.mul(k, self.generator)

    def mul(self, k: Secret, P: Point) -> Point:
        return self.encoded(CUSP.mul(int.from_bytes(k.expose(), "big"), self.affine(P)))

    def add(self, P: Point, Q: Point) -> Point:
        return self.encoded(CUSP.add(self.affine(P), self.affine(Q)))

    def sub(self, P: Point, Q: Point) -> Point:
        return self.encoded(CUSP.sub(self.affine(P), self.affine(Q)))

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]:
        return [P := self.add(P, self.check(Q)) for Q in received]

    def hash_to_scalar(self, data: bytes) -> Secret:
        return Secret(data[:32])

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        c_, d_, k_ = (int.from_bytes(each.expose(), "big") for each in (c, d, k))
        return Secret(((c_ * d_ + k_) % self.order).to_bytes(32, "big"))


AIR_SUITE: Final = Suite(
    99,
    "a curve from the air",
    CuspGroup(),
    Ed25519(),
    CHACHA20_POLY1305,
    CHACHA20_POLY1305,
    psk_dh(CuspGroup.generator),
)
AIR_SIZES: Final = Sizes(32)


def _suite_from_the_air(effort: Effort) -> Outcome:
    """Offer a real device a suite number that stands for Mallory's curve; she is an insider and knows its code."""
    scene = meeting(effort, enrolled=False)
    mallory = Mallory(scene)
    prs = label(scene, "d1")
    manager = FalseManager(mallory, "d1", prs, effort.entropy("A-05"), AIR_SUITE, AIR_SIZES)
    reaction = manager.greet((AIR_SUITE.id,))
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], stopped[1])
    e = CuspGroup.encoded(_cusp_point(3))
    reaction, body = manager.offer(e)
    if body is None:
        return Fails("nothing", "the device does not answer")
    d = logarithm_on_the_cusp(CuspGroup.affine(e), CuspGroup.affine(body.W))
    return Succeeds(f"d_D has {d.bit_length()} bits and was read off SHARE")


def _curve_beside_the_offer(effort: Effort) -> Outcome:
    """Append a and b of the cusp to an otherwise sound OFFER."""
    scene = meeting(effort, enrolled=False)
    mallory = Mallory(scene)
    prs = label(scene, "d1")
    manager = FalseManager(mallory, "d1", prs, effort.entropy("A-05"), scene.suite, Sizes(32))
    manager.greet()
    offer = manager.opened_run(scene.suite.random_point(effort.entropy("e")))
    wire = _with_curve(offer.encode())
    reaction = mallory.send("mallory", "d1", wire)
    stopped = reaction.stopped()
    if stopped is not None:
        return Fails(stopped[0], stopped[1])
    if answer_of(reaction, Share.mt) is not None:
        return Succeeds("OFFER with curve parameters was taken")
    return Fails("nothing", "no answer")


def _with_curve(offer: bytes) -> bytes:
    """Return OFFER with two more elements, a = 0 and b = 0."""
    return bytes([offer[0] + 2]) + offer[1:] + b"\x00\x00"


# ------------------------------------------------------------------ points of small order


def _family(n: int, t: int, p: int) -> tuple[int, int]:
    """Return (b, c) of Tate's form y² + (1 - c)xy - by = x³ - bx², where (0, 0) has order n (Kubert's families)."""
    match n:
        case 5:
            return t, t
        case 7:
            return (t**3 - t**2) % p, (t**2 - t) % p
        case 8:
            b = (2 * t - 1) * (t - 1)
            return b % p, b * pow(t, -1, p) % p
        case 9:
            c = t**2 * (t - 1)
            return c * (t * (t - 1) + 1) % p, c % p
        case _:
            raise ValueError(f"no family for order {n}")


def point_of_order(n: int) -> Affine:
    """Return a point of order n on a curve y² = x³ - 3x + b′ over P-256's field, made from Kubert's family for n."""
    p = P256.p
    for t in count(3):
        b, c = _family(n, t, p)
        half, third = pow(2, -1, p), pow(3, -1, p)
        # complete the square, then the cube: y² = x³ + a2 x² + a4 x + a6, shifted by a2/3
        a2 = ((1 - c) * (1 - c) * half * half - b) % p
        a4, a6 = -b * (1 - c) * half % p, b * b * half * half % p
        shift = a2 * third % p
        A = (a4 - a2 * shift) % p
        scale = -3 * pow(A, -1, p) % p if A else 0
        if scale == 0 or pow(scale, (p - 1) // 2, p) != 1:
            continue
        square = pow(scale, (p + 1) // 4, p)  # u²; of ±u² one is a square, as p = 3 mod 4
        if pow(square, (p - 1) // 2, p) != 1:
            square = -square % p
        u = pow(square, (p + 1) // 4, p)
        P = shift * square % p, -b * half * u * square % p
        if P256.mul(n, P) is None and (a6, u) != (0, 0):
            return P
    raise AssertionError("unreachable")


_ORDERS: Final = (5, 7, 8, 9)


def _residues(answers: Iterator[tuple[int, int]]) -> tuple[int, int]:
    """Return (d, m): what residues by coprime moduli say about d."""
    d, m = 0, 1
    for residue, n in answers:
        d += m * ((residue - d) * pow(m, -1, n) % n)
        m *= n
    return d, m


def _small_orders(effort: Effort) -> Outcome:
    """Send challenges (P, O) with P of small order: the returned nonce is -d_D·P, one of few points."""
    world = paper(effort, "A-06")

    def ask(n: int) -> tuple[int, int]:
        P = point_of_order(n)
        nonce = world.one.recovers(P, None)
        return next(k for k in range(n) if P256.mul(-k, P) == nonce), n

    d, m = _residues(ask(n) for n in _ORDERS)
    if d != world.one.d % m:
        return held("the residues do not fit d_D")
    return Succeeds(f"d_D mod {m} from {len(_ORDERS)} queries; further orders give the rest")


DECOMPRESSED_TO_SMALL_ORDER: Final = {
    5: 0x29A688594523480DB59A245C39B23EE443B18612F52C60E7D392987C65990C26,
    7: 0xD9D4DC641DAAA4C8F091BAB99149A5D54B763B2E662CB9C18AF69F54427EEE2A,
    13: 0xAA3D6DF2F40A5F4C7578A066DAEFE15A5F4163EABD6B0393F9941C098C3FA4FF,
}
"""x of no point of P-256. Whoever computes y = (x³ - 3x + b)^((p + 1)/4) without squaring it again lands on
y² = x³ - 3x + b′ with b′ = -2x³ + 6x - b, there on a point of order 5, 7 or 13: roots of the division polynomials."""


def decompressed_carelessly(encoding: bytes) -> Affine:
    """Decompress a SEC 1 point as code does that forgets to square its root again."""
    p, x = P256.p, int.from_bytes(encoding[1:], "big")
    y = pow((x**3 - 3 * x + P256.b) % p, (p + 1) // 4, p)
    return x, y if y % 2 == encoding[0] & 1 else p - y


def _residue_by_tag(
    mallory: Mallory, psid: bytes, n: int, cell: AwaitA2, X_I: Point, entropy: Entropy
) -> tuple[Reaction, int | None]:
    """Ask the responder with a C1 of order n; of n candidates for N_I its tag fits one, which is d mod n."""
    suite, parties = mallory.scene.suite, cell.parties
    C1 = b"\x02" + DECOMPRESSED_TO_SMALL_ORDER[n].to_bytes(32, "big")
    C2 = suite.base_mul(suite.random_scalar(entropy))
    a1 = Auth1(psid, suite.id, X_I, C1, C2).encode()
    reaction = mallory.send("d1", "d2", a1)
    answer = answer_of(reaction, Auth2.mt)
    if answer is None:
        return reaction, None
    a2 = Auth2.decode(answer, Sizes(33))
    started = Handshake.start(suite, "A/auth", psid, parties.digest_I, parties.digest_R, a1).answered(a2)
    DH = suite.mul(cell.x_I, suite.check(a2.X_R))
    small, Q = decompressed_carelessly(C1), decompressed_carelessly(C2)
    for k in range(n):
        N_I = P256.sub(Q, P256.mul(k, small))
        assert N_I is not None
        encoded = Point((b"\x03" if N_I[1] & 1 else b"\x02") + N_I[0].to_bytes(32, "big"))
        if equal(started.tag(encoded, DH), a2.tagR):
            return reaction, k
    return reaction, None


def _small_orders_by_tag(effort: Effort) -> Outcome:
    """Insider D1 calls D2 with points of small order in suite 17, one for each of the contexts that D2 allows."""
    scene = meeting(effort, suite=17)
    mallory, entropy = Mallory(scene), effort.entropy("A-06")
    mallory.hold(Auth1.mt, source="d1")
    psid = scene.ask("d1", "d2")
    X_I = Auth1.decode(mallory.take(Auth1.mt), Sizes(33)).X_I
    cell = scene.session("d1", psid)
    assert isinstance(cell, AwaitA2)
    assert isinstance(scene.session("d2", psid), AwaitA1)
    residues = {}
    for n in DECOMPRESSED_TO_SMALL_ORDER:
        reaction, k = _residue_by_tag(mallory, psid, n, cell, Point(X_I), entropy)
        stopped = reaction.stopped()
        if stopped is not None:
            return Fails(stopped[0], f"point of order {n}: {stopped[1]}")
        if k is not None:
            residues[n] = k
    member = scene.membership("d2")
    assert member is not None
    d = int.from_bytes(member.d.expose(), "big")
    if any(d % n != k for n, k in residues.items()) or not residues:
        return Fails("nothing", "the residues do not fit d_D")
    return Succeeds(f"d_D mod {prod(residues)} from {len(residues)} calls, read off the tags")


ATTACKS = (
    Attack(
        "A-05",
        "Curve from the air",
        "M",
        _announced_cusp,
        (
            Attempt("suite number for a cusp", "E_SUITE", _suite_from_the_air),
            Attempt("curve beside the OFFER", "E_FORMAT", _curve_beside_the_offer),
        ),
    ),
    Attack(
        "A-06",
        "Points of small order",
        "M",
        _small_orders,
        (Attempt("small orders by tagR", "E_POINT", _small_orders_by_tag),),
    ),
)
