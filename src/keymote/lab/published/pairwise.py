"""Paper 000, section 3: pairwise keys through network managers, word by word and nothing added.

Equations (1) to (9) carry their numbers. What the paper leaves open is filled in the least inventive way, and each such
place says so. Every value travels in the clear through an `Air`, on which an adversary may listen and rewrite.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.lab.published.weierstrass import ORDER, P256, Affine, Curve

SCALAR_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: `fields` by the names that the paper uses."""

    sender: str
    receiver: str
    name: str
    fields: Mapping[str, object]

    def point(self, name: str) -> Affine:
        """Return a field that is a point; nothing says which curve it lies on."""
        value = self.fields[name]
        assert value is None or isinstance(value, tuple)
        return value


Tamper = Callable[[Letter], Letter]
"""What an active adversary does to a message on its way."""


@dataclass(slots=True)
class Air:
    """The medium: everything that was said, after the adversary had it."""

    tamper: Tamper = lambda letter: letter
    heard: list[Letter] = field(default_factory=list)

    def carry(self, sender: str, receiver: str, name: str, /, **fields: object) -> Letter:
        """Deliver a message and return what arrives."""
        letter = self.tamper(Letter(sender, receiver, name, fields))
        self.heard.append(letter)
        return letter

    def point(self, name: str, field_name: str) -> Affine:
        """Return a point of the latest message of that name, as an eavesdropper reads it."""
        return next(letter for letter in reversed(self.heard) if letter.name == name).point(field_name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a coordinator registers for an identity: EP(a, b), E1, E2 (3.2.1, last paragraph)."""

    curve: Curve
    E1: Affine
    E2: Affine


@dataclass(frozen=True, slots=True)
class Coordinator:
    """A web service with a register; "to avoid any node replication attacks" (4.1) it keeps one row per identity.

    The paper defines no check at registration and no exchange of registers between coordinators.
    """

    register: dict[str, Credentials] = field(default_factory=dict)


@dataclass(slots=True)
class Manager:
    """A network manager."""

    name: str
    code: bytes
    coordinator: Coordinator
    entropy: Entropy
    curve: Curve = P256
    codes: dict[str, bytes] = field(default_factory=dict)
    W: dict[str, Affine] = field(default_factory=dict)
    sessions: set[frozenset[str]] = field(default_factory=set)

    def welcomes(self, name: str, code: object) -> bool:
        """Return whether a joining message shows the code of this device: a comparison, nothing more."""
        return self.codes.get(name) == code

    def selects(self) -> tuple[Curve, Affine]:
        """Return EP(a, b) and a point e_NM on it."""
        return self.curve, random_point(self.curve, self.entropy)

    def contributes(self, e_NM: Affine, e_D: Affine) -> tuple[Affine, Affine]:
        """Return V (2) and E1 (3)."""
        d_NM = random_scalar(self.entropy)
        V = self.curve.mul(d_NM, e_D)  # (2)
        return V, self.curve.add(e_NM, V)  # (3)

    def registers(self, name: str, E1: Affine, E2: Affine, W: Affine) -> None:
        """Register EP(a, b), E1 and E2 of a device with the coordinator; keep W for the shares."""
        self.coordinator.register[name] = Credentials(self.curve, E1, E2)
        self.W[name] = W

    def hears_revocation(self, letter: Letter) -> None:
        """End a session because a key revocation message says so (3.4.4); nothing in it shows who sent it."""
        names = letter.fields["names"]
        assert isinstance(names, tuple)
        self.sessions.discard(frozenset(names))

    def share(self, name: str) -> Affine:
        """Return b·W of a device: this manager's share of a key."""
        return self.curve.mul(random_scalar(self.entropy), self.W[name])


@dataclass(slots=True)
class Device:
    """An IoT device; `d` is d_D."""

    name: str
    code: bytes
    entropy: Entropy
    curve: Curve = P256
    d: int = 0
    V: Affine = None
    peer: Credentials | None = None

    def answers_selection(self, curve: Curve, e_NM: Affine) -> tuple[Affine, Affine]:
        """Take the curve that was announced; return W (1) and a random point e_D."""
        self.curve = curve
        self.d = random_scalar(self.entropy)
        return curve.mul(self.d, e_NM), random_point(curve, self.entropy)  # (1)

    def binds(self, V: Affine, W: Affine) -> Affine:
        """Return E2 (4)."""
        self.V = V
        return self.curve.add(self.curve.mul(self.d, V), W)  # (4)

    def challenges(self, peer: Credentials) -> tuple[Affine, Affine, Affine]:
        """Return C1 (5), C2 (6) and the Nonce that only the owner of the credentials should recover."""
        r = random_scalar(self.entropy)
        nonce = random_point(peer.curve, self.entropy)
        C1 = peer.curve.mul(r, peer.E1)  # (5)
        return C1, peer.curve.add(nonce, peer.curve.mul(r, peer.E2)), nonce  # (6)

    def recovers(self, C1: Affine, C2: Affine) -> Affine:
        """Return Nonce (7). Printed is `d_NC1`; only d_D·C1 makes the equation true."""
        return self.curve.sub(C2, self.curve.mul(self.d, C1))  # (7)

    def share(self) -> Affine:
        """Return a·V: this device's share of a key."""
        return self.curve.mul(random_scalar(self.entropy), self.V)


# ------------------------------------------------------------------ the phases


def enrol(device: Device, manager: Manager, air: Air) -> bool:
    """Generate the authentication material (3.2.1); return whether the manager registered it."""
    me, nm = device.name, manager.name
    air.carry(nm, "*", "Hello", code=manager.code)
    joining = air.carry(me, nm, "Joining", name=me, code=device.code)
    if not manager.welcomes(str(joining.fields["name"]), joining.fields["code"]):
        return False
    curve, e_NM = manager.selects()
    selection = air.carry(nm, me, "Selection", curve=curve, e_NM=e_NM)
    announced = selection.fields["curve"]
    assert isinstance(announced, Curve)
    W, e_D = device.answers_selection(announced, selection.point("e_NM"))
    points = air.carry(me, nm, "Points", W=W, e_D=e_D)
    V, E1 = manager.contributes(e_NM, points.point("e_D"))
    contribution = air.carry(nm, me, "Contribution", V=V)
    binding = air.carry(me, nm, "Binding", E2=device.binds(contribution.point("V"), W))
    manager.registers(me, E1, binding.point("E2"), points.point("W"))
    return True


def introduce(one: Device, two: Device, manager1: Manager, manager2: Manager, air: Air) -> None:
    """Fetch credentials and hand them to both devices (3.2.2).

    The managers authenticate each other by the same procedure as devices; how the last message to each device is
    protected is not said, so it is not.
    """
    for device, other, own, foreign in ((one, two, manager1, manager2), (two, one, manager2, manager1)):
        found = foreign.coordinator.register[other.name]
        letter = air.carry(own.name, device.name, "Credentials", E1=found.E1, E2=found.E2)
        device.peer = Credentials(found.curve, letter.point("E1"), letter.point("E2"))
    for manager in (manager1, manager2):
        manager.sessions.add(frozenset((one.name, two.name)))


def authenticate(verifier: Device, prover: Device, air: Air) -> bool:
    """Let `prover` show to `verifier` that it owns its credentials (3.2.2); return what `verifier` concludes."""
    assert verifier.peer is not None
    C1, C2, nonce = verifier.challenges(verifier.peer)
    challenge = air.carry(verifier.name, prover.name, "Challenge", C1=C1, C2=C2)
    recovered = prover.recovers(challenge.point("C1"), challenge.point("C2"))
    return air.carry(prover.name, verifier.name, "Nonce", nonce=recovered).point("nonce") == nonce


@dataclass(frozen=True, slots=True)
class Held:
    """The shares that a device holds at the end of 3.3, by their names in (9)."""

    shares: Mapping[str, Affine]

    def key(self, curve: Curve) -> Affine:
        """Return the sum of what is there: (9) if all four are."""
        return curve.sum(*self.shares.values())


SHARES: Final = ("aD1V1", "aD2V2", "bNM1W1", "bNM2W2")


def exchange_shares(
    one: Device, two: Device, manager1: Manager, manager2: Manager, air: Air, *, mended: bool = False
) -> tuple[Held, Held]:
    """Run 3.3 and return what each device holds.

    As printed, device 1 gets NM2's share and device 2 gets NM1's: each holds three of the four terms of (9). `mended`
    adds the least that makes the phase end in a key: what one device received, the other is sent as well.
    """
    a1 = air.carry(one.name, two.name, "Key request", share=one.share()).point("share")
    a2 = air.carry(two.name, one.name, "Key response", share=two.share()).point("share")
    b2 = air.carry(manager2.name, one.name, "Share of NM2", share=manager2.share(two.name)).point("share")
    b1 = air.carry(manager1.name, two.name, "Share of NM1", share=manager1.share(one.name)).point("share")
    held1 = {"aD1V1": a1, "aD2V2": a2, "bNM2W2": b2}
    held2 = {"aD1V1": a1, "aD2V2": a2, "bNM1W1": b1}
    if mended:
        held1["bNM1W1"] = air.carry(two.name, one.name, "Share of NM1, forwarded", share=b1).point("share")
        held2["bNM2W2"] = air.carry(one.name, two.name, "Share of NM2, forwarded", share=b2).point("share")
    return Held(held1), Held(held2)


def random_scalar(entropy: Entropy) -> int:
    """Return an additive factor: uniform below the order of P-256, not zero."""
    while (k := int.from_bytes(entropy.draw(SCALAR_SIZE + 16), "big") % ORDER) == 0:
        pass
    return k


def random_point(curve: Curve, entropy: Entropy) -> Affine:
    """Return a random point of the curve."""
    while (P := curve.lift(int.from_bytes(entropy.draw(SCALAR_SIZE), "big") % curve.p)) is None:
        pass
    return P
