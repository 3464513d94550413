"""From the signed list of brokers to the federation that an agent acts on; only the trusted system's signature makes it one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import equal
from keymote.crypto.suite import Suite
from keymote.engine.handover.federation import Broker, Federation
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.cose import Verifier
from keymote.wire.federation import BrokerCard, FederationClaims, FederationList

_KID: Final = 8


@dataclass(frozen=True, slots=True)
class Listed:
    """A list in force, and the card of each of its brokers."""

    federation: Federation
    cards: Mapping[bytes, BrokerCard]


def kid_of(card: bytes) -> bytes:
    """Return the kid under which an agent signs: the first 8 bytes of the SHA-256 of its signed card."""
    return sha256(card)[:_KID]


def read_card(data: bytes, suite: Suite) -> BrokerCard:
    """Return a card after checking that its own key signed it; E_FORMAT, E_POINT, E_AUTH else."""
    card = signed.read(data, BrokerCard)
    return card.verified_by(suite.verify_key(card.claims.sig_pk))


def read_list(
    statement: bytes, content: bytes, nm_id: bytes, verifier: Verifier, suite: Suite, *, after: int = -1
) -> Listed:
    """Return the list that `statement` (type 245) makes of `content`.

    Raises:
        PeerFault: E_AUTH unless the trusted system `nm_id` signed it over this content, E_EPOCH for a version not above
            `after`, E_FORMAT; E_POINT or E_AUTH for a card that is unfit.
    """
    claims = signed.read(statement, FederationClaims).verified_by(verifier)
    if claims.nm_id != nm_id:
        raise PeerFault(ErrorCode.E_AUTH, "a list of brokers of another manager")
    if not equal(claims.digest, sha256(content)):
        raise PeerFault(ErrorCode.E_AUTH, "the list of brokers was changed after it was signed")
    if claims.version <= after:
        raise PeerFault(ErrorCode.E_EPOCH, f"list of brokers {claims.version} after {after}", do="fetch the newest one")
    content_list = FederationList.decode(content)
    cards = {card.broker_id: (raw, card) for raw, card in ((raw, read_card(raw, suite)) for raw in content_list.cards)}
    brokers = {
        broker_id: Broker(broker_id, kid_of(raw), suite.verify_key(card.sig_pk), card.kex_pk, card.agent)
        for broker_id, (raw, card) in cards.items()
    }
    federation = Federation(claims.version, brokers, content_list.emergency, frozenset(content_list.gone))
    return Listed(federation, {broker_id: card for broker_id, (_, card) in cards.items()})
