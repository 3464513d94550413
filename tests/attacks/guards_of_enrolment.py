"""Guards of enrolment: suites, elements, points, the AEAD, the proof, the code, the register."""
# ruff: noqa: SLF001  # a guard is private by its nature

from dataclasses import replace
from typing import Any

import pytest

from keymote.crypto import dleq
from keymote.crypto.aead import Aead
from keymote.crypto.group import Point
from keymote.crypto.p256 import P256
from keymote.crypto.pake import Pake
from keymote.crypto.ristretto255 import Ristretto255
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine import hybrid as hybrid_profile
from keymote.engine.context import RegistrarContext
from keymote.engine.enrolment import device, registrar, registrar_orders
from keymote.engine.enrolment.registrar_cell import AwaitDone, Code, RegistrarCell
from keymote.engine.faces import ExpectDevice
from keymote.engine.pairwise import introduction, manager
from keymote.engine.queries import Receipt
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.attacks.curves import AIR_SIZES, AIR_SUITE, decompressed_carelessly
from keymote.lab.published.weierstrass import P256 as EQUATION
from keymote.lab.published.weierstrass import Affine
from keymote.lab.simulator.registry import Coordinator, Entry
from keymote.wire.enrolment import Bind
from keymote.wire.fields import SIZES, Sizes
from keymote.wire.message import Body
from keymote.wire.registry import peek


def suite_from_hello(patch: pytest.MonkeyPatch) -> None:
    """Let a device compute in whatever suite HELLO names, as EP(a, b) was announced in the paper."""
    refusing = device._Steps._hello

    def hello(self: Any, cell: Any, peer: str, data: bytes, *rest: Any) -> Any:
        heard, _ = device._heard(data)
        if AIR_SUITE.id in heard.suites:
            self.context = replace(self.context, suite=AIR_SUITE)
        return refusing(self, cell, peer, data, *rest)

    patch.setattr(device._Steps, "_hello", hello)
    patch.setitem(SIZES, AIR_SUITE.id, AIR_SIZES)


def any_number_of_elements(patch: pytest.MonkeyPatch) -> None:
    """Read the elements that are known and leave out the rest."""
    strict = Body.from_items.__func__

    def lenient(cls: type[Body], items: list[Any], sizes: Sizes) -> Any:
        return strict(cls, items[: len(cls._head) + len(cls._types)], sizes)

    patch.setattr(Body, "from_items", classmethod(lenient))


class _Loose(bytes):
    """An encoding with whatever point a decoder without checks makes of it."""

    affine: Affine

    @classmethod
    def of(cls, P: Affine) -> Point:
        x, y = (0, 0) if P is None else P
        made = cls((b"\x03" if y & 1 else b"\x02") + x.to_bytes(32, "big"))
        made.affine = P
        return Point(made)


def _affine(P: bytes) -> Affine:
    return P.affine if isinstance(P, _Loose) else decompressed_carelessly(P)


def careless_decompression(patch: pytest.MonkeyPatch) -> None:
    """Take any x for a point, and add and multiply by formulas that do not know the curve."""
    patch.setattr(P256, "check", lambda _self, encoding: _Loose.of(decompressed_carelessly(encoding)))
    patch.setattr(
        P256, "mul", lambda _self, k, P: _Loose.of(EQUATION.mul(int.from_bytes(k.expose(), "big"), _affine(P)))
    )
    patch.setattr(P256, "add", lambda _self, P, Q: _Loose.of(EQUATION.add(_affine(P), _affine(Q))))
    patch.setattr(P256, "sub", lambda _self, P, Q: _Loose.of(EQUATION.sub(_affine(P), _affine(Q))))


def no_tags(patch: pytest.MonkeyPatch) -> None:
    """Send plaintexts with zeros for a tag, and look at no tag."""

    def seal(self: Aead, _key: Secret, *rest: Any) -> bytes:
        return rest[-1] + bytes(self.tag_size)

    def open_(self: Aead, _key: Secret, *rest: Any) -> bytes:
        return rest[-1][: -self.tag_size]

    for name in ("seal_once", "seal_record"):
        patch.setattr(Aead, name, seal)
    for name in ("open_once", "open_record"):
        patch.setattr(Aead, name, open_)


def no_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dleq, "verify", lambda *_: None)


def no_tags_no_proof(patch: pytest.MonkeyPatch) -> None:
    """Without the AEAD an outsider is where an insider was: the proof is the second line, and goes too."""
    no_tags(patch)
    no_proof(patch)


def diffie_hellman_for_cpace(patch: pytest.MonkeyPatch) -> None:
    """Use the group's own generator: the code enters the key derivation only."""
    base = Ristretto255().base_mul(Secret(b"\x01" + bytes(31)))
    patch.setattr(Pake, "start", lambda *_: base)


def short_codes_everywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Suite, "pake", property(lambda _self: True))


def short_codes_in_the_profile(patch: pytest.MonkeyPatch) -> None:
    """Let the post-quantum profile stand on codes of any length."""

    def lenient(context: RegistrarContext, *, hybrid: bool, weak: bool = False) -> str:
        return hybrid_profile.refuses(context, hybrid=hybrid)

    for room in (registrar_orders, manager, introduction):
        patch.setattr(room, "refuses", lenient)


def register_without_uniqueness(patch: pytest.MonkeyPatch) -> None:
    def register(self: Coordinator, manager: str, credential: bytes, _replaces: bytes) -> Receipt:
        self.devices[credential[:16]] = Entry(credential, manager)
        return Receipt()

    patch.setattr(Coordinator, "register", register)


def codes_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Keep a code after its use, and let a JOIN with it begin anew in any state."""
    codes: dict[bytes, Code] = {}
    ordered, join = registrar_orders.ordered, registrar._Steps._join

    def remembering(cell: Any, command: Any) -> Any:
        if isinstance(command, ExpectDevice):
            codes[command.dev_id] = Code(command.prs, command.weak)
        return ordered(cell, command)

    def forgiving(self: Any, cell: RegistrarCell, *rest: Any) -> Any:
        if cell.code is None or isinstance(cell.phase, AwaitDone):
            serial = registrar.SignedCredential.decode(cell.member.credential).claims.serial
            cell = replace(cell, code=replace(codes[cell.dev_id], replaces=serial), phase=None)
        return join(self, cell, *rest)

    patch.setattr(registrar_orders, "ordered", remembering)
    patch.setattr(registrar._Steps, "_join", forgiving)


def forgotten_credential(patch: pytest.MonkeyPatch) -> None:
    """Forget CRED as soon as it was sent."""
    datagram = registrar._Steps._datagram

    def forgetful(self: Any, cell: RegistrarCell, peer: str, data: bytes, *rest: Any) -> Any:
        if peek(data)[0] == Bind.mt and isinstance(cell.phase, AwaitDone):
            raise PeerFault(ErrorCode.E_STATE, "BIND was answered before")
        return datagram(self, cell, peer, data, *rest)

    patch.setattr(registrar._Steps, "_datagram", forgetful)


def repeated_by_encrypting(patch: pytest.MonkeyPatch) -> None:
    """Make SHARE anew when it has to be repeated, instead of keeping its bytes."""
    offered, due = device._Steps._offer, device._Steps._due
    before: dict[int, tuple[Any, ...]] = {}

    def offer(self: Any, *given: Any) -> Any:
        before[id(self)] = given
        return offered(self, *given)

    def again(self: Any, cell: Any, now: Any) -> Any:
        if isinstance(cell, device.AwaitVpt):
            return offered(self, *before[id(self)])
        return due(self, cell, now)

    patch.setattr(device._Steps, "_offer", offer)
    patch.setattr(device._Steps, "_due", again)
