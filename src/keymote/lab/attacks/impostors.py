"""Parties of an enrolment that keep to the protocol until they lie: a newcomer at a real manager, a manager at a real device.

They compute with the product's schedule and speak its messages; what an insider would know (a code) they are given, what
an outsider lacks they guess.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from keymote.crypto import dleq
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import Transcript
from keymote.crypto.secret import Secret
from keymote.crypto.sign import SigningKey
from keymote.crypto.suite import Point, Suite
from keymote.engine.enrolment.registrar_cell import AwaitBind, AwaitDone, AwaitRegistration, RegistrarCell
from keymote.engine.enrolment.schedule import Run, generator, opening
from keymote.engine.faces import GATE, HelloIs, SayHello, enrolment_of
from keymote.lab.attacks.stage import Mallory, Reaction, type_of
from keymote.lab.scenes import identity
from keymote.wire.credential import Claims, SignedCredential
from keymote.wire.enrolment import (
    Bind,
    BindBody,
    Hello,
    Join,
    Offer,
    Share,
    ShareBody,
    Vpt,
    VptBody,
)
from keymote.wire.fields import Sizes, sizes_of

ADDRESS: Final = "mallory"


def hello_of(mallory: Mallory, manager: str) -> bytes:
    """Return the HELLO that a manager announces to everybody."""
    said = mallory.scene.sim.command(manager, GATE, SayHello())
    return next(report.wire for report in said if isinstance(report, HelloIs))


def answer_of(reaction: Reaction, mt: int) -> bytes | None:
    """Return the answer of this type, None when there was none."""
    return next((data for data in reaction.sent if type_of(data) == mt), None)


@dataclass(slots=True)
class Newcomer:
    """Somebody who joins `manager` as `dev_id` with the code `prs`, right or wrong, from an address of her own."""

    mallory: Mallory
    manager: str
    dev_id: bytes
    prs: Secret
    entropy: Entropy
    run: Run | None = None
    e_NM: Point | None = None
    V: bytes = b""
    d: Secret = field(default_factory=lambda: Secret(bytes(32)))
    e_D: bytes = b""
    W: bytes = b""
    address: str = ADDRESS
    wire: bytes = b""
    signing: SigningKey | None = None

    @property
    def suite(self) -> Suite:
        return self.mallory.scene.suite

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.suite.id)

    def keys(self) -> SigningKey:
        """Return the key pair that she enrols."""
        self.signing = self.signing or self.suite.generate_signing_key(self.entropy)
        return self.signing

    def join(self) -> Reaction:
        """Send JOIN and take OFFER, whatever its tag says."""
        suite = self.suite
        hello_wire = hello_of(self.mallory, self.manager)
        hello = Hello.decode(hello_wire, self.sizes)
        y_D = suite.random_scalar(self.entropy)
        Y_D = suite.mul(y_D, generator(suite, self.prs, self.dev_id, hello))
        join = Join(suite.id, self.dev_id, hello.hello_n[:8], Y_D)
        self.wire = join.encode()
        reaction = self.mallory.send(self.address, self.manager, self.wire)
        answer = answer_of(reaction, Offer.mt)
        if answer is not None:
            offer = Offer.decode(answer, self.sizes)
            self.e_NM = suite.check(offer.e_NM)
            Y_N = suite.check(offer.Y_N)
            T = opening(suite, hello, hello_wire, join)
            self.run = Run.start(suite, T, self.prs, join, hello, suite.mul(y_D, Y_N), Y_N, self.e_NM)
        return reaction

    def share(self, *, W: bytes | None = None, e_D: bytes | None = None, sig_pk: bytes | None = None) -> Reaction:
        """Send SHARE, with her own lies in place of what the protocol says."""
        assert self.run is not None
        assert self.e_NM is not None
        suite = self.suite
        if W is None:
            self.d = suite.random_scalar(self.entropy)
            W = suite.mul(self.d, self.e_NM)
        self.W = W
        self.e_D = suite.random_point(self.entropy) if e_D is None else e_D
        body = ShareBody(W, self.e_D, self.keys().public if sig_pk is None else sig_pk)
        wire = Share(self.run.seal("A/k4", body.encode())).encode()
        self.run = self.run.add(wire)
        reaction = self.mallory.send(self.address, self.manager, wire)
        answer = answer_of(reaction, Vpt.mt)
        if answer is not None:
            opened = self.run.open("A/k5", Vpt.decode(answer, self.sizes).ct)
            self.V = VptBody.decode(opened, self.sizes).V
            self.run = self.run.add(answer)
        return reaction

    def bind(self, *, E2: bytes | None = None, pop: bytes | None = None) -> Reaction:
        """Send BIND with a proof for the scalar that she has."""
        assert self.run is not None
        assert self.e_NM is not None
        suite = self.suite
        V, W = Point(self.V), Point(self.W)
        E1 = suite.add(self.e_NM, V)
        if E2 is None:
            E2 = suite.add(suite.mul(self.d, V), W)
        T = self.run.T.value
        c, s = dleq.prove(suite, self.d, self.e_NM, W, E1, Point(E2), "A/dleq", T, self.entropy)
        signature = self.keys().sign(self.run.to_be_possessed()) if pop is None else pop
        wire = Bind(self.run.seal("A/k6", BindBody(E2, c, s, signature).encode())).encode()
        return self.mallory.send(self.address, self.manager, wire)

    def cell(self) -> RegistrarCell | None:
        """Return what the manager holds of this enrolment."""
        cell = self.mallory.scene.sim.hosts[self.manager].cells.get(enrolment_of(self.dev_id))
        assert cell is None or isinstance(cell, RegistrarCell)
        return cell

    def registered(self) -> Claims | None:
        """Return the claims of the credential that the manager has issued in this run; None for none."""
        cell = self.cell()
        match cell and cell.phase:
            case AwaitRegistration(credential=credential):
                return SignedCredential.decode(credential).claims
            case AwaitDone() if cell is not None and cell.member is not None:
                return SignedCredential.decode(cell.member.credential).claims
            case _:
                return None

    def waits_for_bind(self) -> AwaitBind | None:
        """Return the manager's state after a SHARE that it accepted."""
        cell = self.cell()
        phase = None if cell is None else cell.phase
        return phase if isinstance(phase, AwaitBind) else None


@dataclass(slots=True)
class FalseManager:
    """Somebody who plays the manager of the real device `device` with the code `prs`, right or wrong."""

    mallory: Mallory
    device: str
    prs: Secret
    entropy: Entropy
    suite: Suite
    sizes: Sizes
    hello: Hello | None = None
    hello_wire: bytes = b""
    join: Join | None = None
    y_N: Secret | None = None
    T: Transcript | None = None
    run: Run | None = None

    def greet(self, suites: tuple[int, ...] | None = None) -> Reaction:
        """Send HELLO in the name of the device's manager, and take its JOIN."""
        home = self.mallory.scene.homes[self.device]
        nc_id = self.mallory.scene.managers[home].nc_id
        offered = (self.suite.id,) if suites is None else suites
        self.hello = Hello(identity(home), nc_id, offered, self.entropy.draw(16), 0)
        self.hello_wire = self.hello.encode()
        reaction = self.mallory.send(ADDRESS, self.device, self.hello_wire)
        answer = answer_of(reaction, Join.mt)
        if answer is not None:
            self.join = Join.decode(answer, self.sizes)
        return reaction

    def opened_run(self, e_NM: bytes) -> Offer:
        """Return OFFER with a tag that holds if the code does; the run goes on from it."""
        assert self.hello is not None
        assert self.join is not None
        suite = self.suite
        self.y_N = suite.random_scalar(self.entropy)
        Y_N = suite.mul(self.y_N, generator(suite, self.prs, self.join.dev_id, self.hello))
        K = suite.mul(self.y_N, Point(self.join.Y_D))
        T = opening(suite, self.hello, self.hello_wire, replace(self.join, cookie=None))
        self.run = Run.start(suite, T, self.prs, self.join, self.hello, K, Y_N, Point(e_NM))
        return Offer(Y_N, e_NM, self.run.offer_tag())

    def offer(self, e_NM: bytes) -> tuple[Reaction, ShareBody | None]:
        """Send OFFER with this e_NM; return what the device puts into SHARE, if it answers."""
        reaction = self.mallory.send(ADDRESS, self.device, self.opened_run(e_NM).encode())
        answer = answer_of(reaction, Share.mt)
        if answer is None or self.run is None:
            return reaction, None
        body = ShareBody.decode(self.run.open("A/k4", Share.decode(answer, self.sizes).ct), self.sizes)
        self.run = self.run.add(answer)
        return reaction, body

    def vpt(self, V: bytes) -> Reaction:
        """Send VPT with this V."""
        assert self.run is not None
        wire = Vpt(self.run.seal("A/k5", VptBody(V).encode())).encode()
        self.run = self.run.add(wire)
        return self.mallory.send(ADDRESS, self.device, wire)
