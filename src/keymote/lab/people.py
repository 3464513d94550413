"""People of the lab's worlds: keys and credentials that are simply there, without enrolment, and nodes that have them."""

from dataclasses import dataclass
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import Node
from keymote.engine.chain import Trust
from keymote.engine.context import DeviceContext, Membership, RegistrarContext
from keymote.engine.node import device_node, registrar_node
from keymote.lab.scenes import YEARS, identity
from keymote.lab.simulator import EPOCH, Build
from keymote.wire.credential import Claims, Credential, Role, issue
from keymote.wire.group_fields import Entry

AUTHORITY: Final = "authority"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key and a credential."""

    name: str
    id: bytes
    signing: SigningKey
    credential: Credential

    @property
    def kid(self) -> bytes:
        return self.credential.kid

    @property
    def entry(self) -> Entry:
        return Entry(self.credential.kid, self.signing.public)


def certified(
    name: str, suite: Suite, issuer: "Person | None", entropy: SeededEntropy, root: SigningKey | None = None
) -> Person:
    """Return somebody with a fresh key whom `issuer` vouches for: a device; or, without an issuer, `root` for a gateway."""
    signing = suite.generate_signing_key(entropy)
    signer = root if issuer is None else issuer.signing
    assert signer is not None
    claims = Claims(
        iss=identity(AUTHORITY) if issuer is None else issuer.id,
        sub=identity(name),
        exp=EPOCH + YEARS,
        iat=EPOCH - 86400,
        serial=sha256(name.encode())[:8],
        suite=suite.id,
        nc_id=identity(AUTHORITY),
        E1=None,
        E2=None,
        sig_pk=signing.public,
        status_epoch=0,
        role=Role.GATEWAY if issuer is None else Role.DEVICE,
    )
    return Person(name, identity(name), signing, issue(signer, claims))


def gateway_node(person: Person, trust: Trust) -> Build:
    """Return what makes a manager's node at each boot."""
    membership = Membership(Secret(bytes(32)), b"", person.credential, ())

    def build() -> Node:
        suites = dict(trust.suites)
        context = RegistrarContext(
            person.id, identity(AUTHORITY), Role.MANAGER, person.signing, suites, (), trust, membership
        )
        return registrar_node(context)

    return build


def meter_node(person: Person, trust: Trust) -> Build:
    """Return what makes a device's node at each boot."""

    def build() -> Node:
        return device_node(DeviceContext(person.id, trust.suite(person.signing.suite_id), person.signing, trust))

    return build
