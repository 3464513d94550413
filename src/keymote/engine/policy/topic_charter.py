"""What the coordinator tells a manager about its topics; what is reported back is in `topic_events`. Never a key.

A *rule* says who may do what in the topics that its filter stands for. The most specific filter rules a topic
(`topic_filters`); grants of wider ones do not count there. Versions come from one counter of the manager's charter, so
that those of two rules can be compared, too: a topic's next rule may have another filter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from keymote import cbor
from keymote.engine.policy.group_faces import DAY_S
from keymote.engine.policy.topic_filters import check_filter, most_specific
from keymote.engine.topic.ciphers import ASCON, CIPHERS, most_messages
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.topic import PUBLISH, SUBSCRIBE

CLIENT_ID: Final = 8
MOST_GRANTS: Final = 256
"""Clients of one rule, and those of which it is remembered that they went: an epoch has no more publishers."""
MOST_RULE: Final = 32 * 1024
"""Bytes of an encoded rule."""
MOST_RULES: Final = 4096
"""Rules of one manager."""
MOST_MESSAGES: Final = 1 << 20
LONGEST_LIFE_S: Final = 366 * DAY_S
_UINT: Final = 1 << 53
_SIG_PK_SIZES: Final = (0, 32, 33)
"""None, Ed25519, compressed P-256."""


class TopicPolicy(StrEnum):
    """How subscribers know who published: whoever has the topic's key, or by a countersignature of the publisher."""

    MAC = "mac"
    SIGNED = "signed"


class TopicGrant(NamedTuple):
    """What a client may do: bit 0 publish, bit 1 subscribe. `sig_pk`: what it countersigns with, h'' for none."""

    client: bytes
    roles: int
    sig_pk: bytes = b""

    def may(self, role: int) -> bool:
        """Tell whether the role of a KREQ (1 publish, 2 subscribe) is among those granted."""
        return role in (PUBLISH, SUBSCRIBE) and bool(self.roles & role)


class TopicGone(NamedTuple):
    """From a client something was taken away in version `since` of the rule; `compromised`: it may have given keys away.

    Epochs that began under an earlier version and that it holds are to be followed by another one. It may be granted again
    meanwhile: what it holds of later epochs is good.
    """

    client: bytes
    compromised: bool
    since: int


@dataclass(frozen=True, slots=True)
class TopicRule:
    """One filter and its grants, as the trusted system lays it down. Saying the same twice is saying it once.

    `version` grows with every change. `cs`: the cipher; `max_msgs`: of one publisher in an epoch; `life_s`: of an epoch, in
    seconds. `emergency`: a visited broker may forward before it knows the client. `grants` and `gone` ascend by client.
    `rotations`: how often operators have asked for a new epoch. A session goes on under a new rule or version; who holds its
    epoch and is not granted that any more is put out by a new one, compromised where `gone` says so.

    Raises CallerFault for a rule that no topic can have.
    """

    filter: str
    version: int
    policy: TopicPolicy = TopicPolicy.MAC
    emergency: bool = False
    cs: int = ASCON
    max_msgs: int = MOST_MESSAGES
    life_s: int = DAY_S
    grants: tuple[TopicGrant, ...] = ()
    rotations: int = 0
    gone: tuple[TopicGone, ...] = ()

    def __post_init__(self) -> None:
        check_filter(self.filter)
        if self.cs not in CIPHERS:
            raise CallerFault(f"cipher {self.cs} is none", do=f"choose among {sorted(CIPHERS)}")
        bounds: Iterable[tuple[str, int, int, int]] = (
            ("version", self.version, 1, _UINT - 1),
            ("max_msgs", self.max_msgs, 1, most_messages(self.cs, MOST_MESSAGES)),
            ("life_s", self.life_s, 1, LONGEST_LIFE_S),
            ("rotations", self.rotations, 0, _UINT - 1),
            ("clients", len(self.grants), 0, MOST_GRANTS),
            ("clients that went", len(self.gone), 0, MOST_GRANTS),
            *(("roles", grant.roles, 1, PUBLISH | SUBSCRIBE) for grant in self.grants),
            *(("since", gone.since, 1, self.version) for gone in self.gone),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise CallerFault(f"{name} of topic {self.filter!r}: {value}", do=f"choose {low} to {high}")
        for clients in ([each.client for each in self.grants], [each.client for each in self.gone]):
            if any(len(client) != CLIENT_ID for client in clients) or clients != sorted(set(clients)):
                raise CallerFault(f"clients of topic {self.filter!r}", do="name each once, by 8 bytes, in order")
        if any(len(each.sig_pk) not in _SIG_PK_SIZES for each in self.grants):
            raise CallerFault(f"a public key in topic {self.filter!r} is none", do="give 32 or 33 bytes, or none")

    def grant_of(self, client: bytes) -> TopicGrant | None:
        """Return what a client is granted, None for nothing."""
        return next((each for each in self.grants if each.client == client), None)

    def may(self, client: bytes, role: int) -> bool:
        """Tell whether a client may have the topic's key for the role of its KREQ: 1 publish, 2 subscribe."""
        grant = self.grant_of(client)
        return grant is not None and grant.may(role)

    def taken_from(self, client: bytes, begun: int) -> TopicGone | None:
        """Return why a client must not know what comes after an epoch that began under version `begun`; None if it may."""
        return next((each for each in self.gone if each.client == client and each.since > begun), None)

    def encode(self) -> bytes:
        """Return the one encoding of the rule."""
        head = [self.filter, self.version, self.policy.value, self.emergency, self.cs, self.max_msgs, self.life_s]
        return cbor.encode([*head, list(map(list, self.grants)), self.rotations, list(map(list, self.gone))])

    @classmethod
    def decode(cls, data: bytes) -> "TopicRule":
        """Return the rule that `data` encodes; PeerFault E_FORMAT for anything else."""
        match cbor.decode(data, max_size=MOST_RULE):
            case [
                str(name),
                int(version),
                str(policy),
                bool(emergency),
                int(cs),
                int(most),
                int(life_s),
                list(grants),
                int(rotations),
                list(gone),
            ] if policy in set(TopicPolicy) and not any(
                type(each) is bool for each in (version, cs, most, life_s, rotations)
            ):
                ways = TopicPolicy(policy), emergency, cs, most, life_s
            case other:
                raise _refused("a topic's rule", other)
        try:
            return cls(name, version, *ways, tuple(map(_grant, grants)), rotations, tuple(map(_gone, gone)))
        except CallerFault as fault:
            raise PeerFault(ErrorCode.E_FORMAT, fault.what) from fault


def _grant(item: cbor.Item) -> TopicGrant:
    match item:
        case [bytes(client), int(roles), bytes(sig_pk)] if type(roles) is int:
            return TopicGrant(client, roles, sig_pk)
    raise _refused("a grant", item)


def _gone(item: cbor.Item) -> TopicGone:
    match item:
        case [bytes(client), bool(compromised), int(since)] if type(since) is int:
            return TopicGone(client, compromised, since)
    raise _refused("a client that went", item)


def _refused(what: str, item: object) -> PeerFault:
    return PeerFault(ErrorCode.E_FORMAT, f"not {what}: {type(item).__name__}")


class TopicCharter(NamedTuple):
    """All that a manager is to make so. `version` is that of its newest rule change; a topic's rule that is not there is gone.

    `reported`: the highest number of this manager's reports that was taken.
    """

    version: int
    reported: int
    rules: tuple[TopicRule, ...]

    def rule_of(self, topic: str) -> TopicRule | None:
        """Return the rule of a concrete topic, None where there is none."""
        name = most_specific((rule.filter for rule in self.rules), topic)
        return next((rule for rule in self.rules if rule.filter == name), None)
