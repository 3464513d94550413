"""What a trusted system keeps of one topic: the keys of its present epoch and of those that are still owed, and to whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.policy.topic_charter import TopicRule
from keymote.engine.policy.topics import Known, Parties, Party
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.topic import KeyGrant, Publisher

MOST_RECORD: Final = 16 * 1024
"""Bytes: 256 subscribers, 16 publishers and 4 epochs with 16 chains each are below it (TC-25)."""
_DIGEST: Final = 8


class Terms(NamedTuple):
    """What a rule says of every epoch."""

    cs: int
    max_msgs: int
    life_s: int


class Epoch(NamedTuple):
    """An epoch's key, and whose chains it has, newest last."""

    number: int
    SK: Secret
    terms: Terms
    publishers: tuple[Publisher, ...]


@dataclass(frozen=True, slots=True)
class Lasting:
    """The durable part. `epochs` oldest first, the present one last; `former`: who was put out while others are owed epochs
    that they hold; `safe`: everybody was seen to hold the present epoch since it began at `begun_at` (UTC seconds);
    `oldest`: readings of an epoch before it count no more (TC-28).
    """

    topic: str
    filter: str
    sess: bytes
    known: Known
    terms: Terms
    next_snd: int
    epochs: tuple[Epoch, ...]
    begun_at: int
    parties: Parties
    former: tuple[bytes, ...] = ()
    safe: bool = False
    oldest: int = 0

    @property
    def present(self) -> Epoch:
        return self.epochs[-1]

    @property
    def ends_at(self) -> int:
        """Return when the life of the present epoch is over, in UTC seconds."""
        return self.begun_at + self.present.terms.life_s


_NOBODY: Final[Mapping[bytes, tuple[int, int]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SessionCell:
    """A session. `release_at`: until when publishers wait for subscribers, None when they need not.

    `told`: subscriber -> the epoch that it was granted last, and how many chains that named; in memory only.
    """

    lasting: Lasting
    release_at: float | None = None
    told: Mapping[bytes, tuple[int, int]] = field(default_factory=lambda: _NOBODY, compare=False)

    def told_all(self, client: bytes) -> bool:
        """Tell whether a subscriber's last grant named every chain that there is."""
        return self.told.get(client) == _state_of(self.lasting.present)

    def telling(self, client: bytes, epoch: Epoch) -> Mapping[bytes, tuple[int, int]]:
        """Return `told` after a grant of this epoch."""
        here = {party.client for party in self.lasting.parties.subscribers}
        return {**{each: said for each, said in self.told.items() if each in here}, client: _state_of(epoch)}


def _state_of(epoch: Epoch) -> tuple[int, int]:
    return epoch.number, len(epoch.publishers)


def known_of(rule: TopicRule, begun: int) -> Known:
    """Return what a session remembers of a rule."""
    terms = cbor.encode([rule.policy.value, rule.cs, rule.max_msgs, rule.life_s])
    rights = cbor.encode(list(map(list, rule.grants)))
    return Known(rule.version, sha256(terms)[:_DIGEST], sha256(rights)[:_DIGEST], rule.rotations, begun)


def terms_of(rule: TopicRule) -> Terms:
    return Terms(rule.cs, rule.max_msgs, rule.life_s)


def grant_of(lasting: Lasting, epoch: Epoch, snd: int | None) -> KeyGrant:
    """Return the grant of an epoch: to the publisher whose chain is `snd`, or with None to a subscriber."""
    terms, publishers = epoch.terms, None if snd is not None else epoch.publishers
    number = snd if snd is not None else (publishers[0].snd if publishers else 0)
    oldest = None if publishers is None else lasting.oldest
    key = epoch.SK.expose()
    return KeyGrant(
        lasting.sess, epoch.number, number, terms.cs, key, 0, terms.max_msgs, terms.life_s, publishers, oldest
    )


# ------------------------------------------------------------------ the record

_VERSION: Final = 1


def record(cell: SessionCell) -> bytes:
    it = cell.lasting
    return cbor.encode(
        [
            _VERSION,
            it.topic,
            it.filter,
            it.sess,
            list(it.known),
            list(it.terms),
            it.next_snd,
            it.begun_at,
            it.safe,
            [[e.number, e.SK.expose(), list(e.terms), [list(each) for each in e.publishers]] for e in it.epochs],
            list(map(_subscriber, it.parties.subscribers)),
            list(map(_publisher, it.parties.publishers)),
            list(it.former),
            it.oldest,
        ]
    )


def load(_id: bytes, data: bytes) -> SessionCell:
    items: Any = cbor.decode(data, max_size=MOST_RECORD)
    match items:
        case [
            1,
            topic,
            filter_,
            sess,
            known,
            terms,
            next_snd,
            begun_at,
            safe,
            epochs,
            subscribers,
            publishers,
            former,
            oldest,
        ]:
            kept = tuple(_epoch(*each) for each in epochs)
            subs = tuple(Party(client, held, tuple(owed), parked) for client, held, owed, parked in subscribers)
            pubs = tuple(
                Party(client, held, tuple(owed), parked, sig_pk, snd, given)
                for client, held, owed, parked, sig_pk, snd, given in publishers
            )
            ids = (topic, filter_, sess, Known(*known), Terms(*terms), next_snd)
            return SessionCell(Lasting(*ids, kept, begun_at, Parties(subs, pubs), tuple(former), safe, oldest))
    raise PeerFault(ErrorCode.E_FORMAT, "not the record of a topic's session")


def _epoch(number: int, key: bytes, terms: Sequence[int], publishers: Sequence[tuple[int, bytes]]) -> Epoch:
    return Epoch(number, Secret(key), Terms(*terms), tuple(Publisher(*each) for each in publishers))


def _subscriber(party: Party) -> list[object]:
    return [party.client, party.held, list(party.owed), party.parked]


def _publisher(party: Party) -> list[object]:
    return [*_subscriber(party), party.sig_pk, party.snd, party.given]
