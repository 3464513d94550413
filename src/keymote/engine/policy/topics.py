"""When a topic gets a new epoch, who is given it in which order, and what is still owed to whom (Triad-1 4.4, 4.5, 8).

Pure decisions about a session's parties, which the cells of the trusted system carry out. An epoch is *owed* to a party until
it has acknowledged it. Planned rotations owe every epoch to a subscriber, so that it opens readings that waited for it at
a broker; one for compromise leaves nothing owed but the newest.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from keymote.engine.policy.topic_charter import TopicPolicy, TopicRule
from keymote.engine.policy.topic_events import Cause
from keymote.wire.topic import MOST_PUBLISHERS, PUBLISH, SUBSCRIBE

PUBLISHERS_WAIT_S: Final = 5.0
"""How long a planned rotation lets subscribers acknowledge before publishers get the epoch (Triad-1 8)."""
MOST_OWED: Final = 4
"""Epochs kept for a subscriber that is out of reach, the present one among them; the oldest goes first."""
MOST_SUBSCRIBERS: Final = 256
AGAIN_S: Final = 60
"""Age from which an epoch is followed by another one for a subscriber that cannot reach its readings."""
_CHAINS: Final = 256
"""Numbers of chains: snd has 8 bits."""


class Party(NamedTuple):
    """Who takes part in a session in one role. `owed`: epochs that it has not acknowledged, oldest first.

    `held`: the newest epoch that it has acknowledged, 0 for none. `parked`: it did not answer in time, and is not waited for.
    A publisher's chain in the present epoch has the number `snd`, -1 for none yet; `given`: a grant has named it, and no other
    one will.
    """

    client: bytes
    held: int = 0
    owed: tuple[int, ...] = ()
    parked: bool = False
    sig_pk: bytes = b""
    snd: int = -1
    given: bool = False

    @property
    def numbered(self) -> bool:
        """Tell whether the next grant to this publisher has its number already."""
        return self.snd >= 0 and not self.given

    def has(self, epoch: int) -> "Party":
        """Return the party after it has acknowledged `epoch`."""
        owed = tuple(each for each in self.owed if each != epoch)
        return self._replace(held=max(self.held, epoch), owed=owed, parked=False)


class Parties(NamedTuple):
    subscribers: tuple[Party, ...] = ()
    publishers: tuple[Party, ...] = ()

    def everybody(self) -> Iterable[tuple[int, Party]]:
        """Yield (role, party), subscribers first."""
        yield from ((SUBSCRIBE, party) for party in self.subscribers)
        yield from ((PUBLISH, party) for party in self.publishers)

    def of(self, role: int) -> tuple[Party, ...]:
        return self.subscribers if role == SUBSCRIBE else self.publishers

    def find(self, client: bytes, role: int) -> Party | None:
        return next((party for party in self.of(role) if party.client == client), None)

    def put(self, role: int, party: Party) -> "Parties":
        """Return the parties with `party` in place of who was there under its name, or after the others."""
        there = self.of(role)
        known = any(each.client == party.client for each in there)
        changed = tuple(party if each.client == party.client else each for each in there) if known else (*there, party)
        return self._replace(subscribers=changed) if role == SUBSCRIBE else self._replace(publishers=changed)

    def clients(self) -> tuple[bytes, ...]:
        """Return everybody once, subscribers first."""
        return tuple(dict.fromkeys(party.client for _, party in self.everybody()))


# ------------------------------------------------------------------ a new epoch


class Turn(NamedTuple):
    """Why a session must get a new epoch. `compromise`: what came before is not given to anybody any more."""

    cause: Cause
    compromise: bool = False


def rotated(parties: Parties, epoch: int, next_snd: int, *, compromise: bool) -> tuple[Parties, int]:
    """Return the parties to whom `epoch` is owed, each publisher with a number of its own for it, and the next such number.

    Numbers go on from epoch to epoch modulo 256: with at most 16 in an epoch and 4 epochs in use, one names one chain.
    """
    subscribers = tuple(party._replace(owed=_owing(party.owed, epoch, compromise)) for party in parties.subscribers)
    publishers = tuple(
        party._replace(owed=(epoch,), snd=(next_snd + place) % _CHAINS, given=False)
        for place, party in enumerate(parties.publishers)
    )
    return Parties(subscribers, publishers), (next_snd + len(publishers)) % _CHAINS


def _owing(owed: tuple[int, ...], epoch: int, compromise: bool) -> tuple[int, ...]:
    return (epoch,) if compromise else (*owed, epoch)[-MOST_OWED:]


def epochs_owed(parties: Parties, present: int) -> frozenset[int]:
    """Return the epochs whose keys must be kept; all others are to be erased."""
    return frozenset({present}.union(*(party.owed for _, party in parties.everybody())))


# ------------------------------------------------------------------ who is next


def publishers_may(parties: Parties, epoch: int) -> bool:
    """Tell whether every subscriber that can be reached has acknowledged `epoch`, so that nobody's readings come too early."""
    return all(party.parked or epoch not in party.owed for party in parties.subscribers)


def late(parties: Parties, epoch: int) -> tuple[Party, ...]:
    """Return the subscribers to park when their time is over."""
    return tuple(party for party in parties.subscribers if not party.parked and epoch in party.owed)


def parked(parties: Parties, role: int, client: bytes) -> Parties:
    """Return the parties when this one is out of reach."""
    party = parties.find(client, role)
    return parties if party is None else parties.put(role, party._replace(parked=True))


def is_safe(parties: Parties, epoch: int) -> bool:
    """Tell whether everybody who takes part has acknowledged `epoch`."""
    return all(epoch not in party.owed for _, party in parties.everybody())


def starts_over(parties: Parties, present: int, client: bytes, age_s: int, *, told_all: bool) -> bool:
    """Tell whether a subscriber that asks again needs a new epoch: it cannot reach the readings of this one (Triad-1 4.5).

    A chain is entered at its beginning and skips at most 256 readings. Who holds the epoch with all its chains (`told_all`)
    and asks nevertheless came too late for them, was restarted, or missed too much. The age of the epoch keeps somebody
    who is made to ask from turning it over and over.
    """
    party = parties.find(client, SUBSCRIBE)
    holds = party is not None and party.held == present and present not in party.owed
    return holds and told_all and age_s >= AGAIN_S and any(each.given for each in parties.publishers)


def once_more(party: Party, present: int) -> Party:
    """Return a subscriber to whom the epoch that it holds is owed again, unless that would push out one that it never held."""
    return party if len(party.owed) >= MOST_OWED - 1 else party._replace(owed=(*party.owed, present))


# ------------------------------------------------------------------ who may take part


class Refusal(NamedTuple):
    """Why a client gets no key: `full` says that there is no room, else it has no right."""

    full: bool


def admission(parties: Parties, rule: TopicRule, client: bytes, role: int) -> Refusal | None:
    """Return why a client may not take part in this role; None if it may."""
    if refused_by(rule, client, role):
        return Refusal(full=False)
    if parties.find(client, role) is not None:
        return None
    most = MOST_SUBSCRIBERS if role == SUBSCRIBE else MOST_PUBLISHERS
    return Refusal(full=True) if len(parties.of(role)) >= most else None


def refused_by(rule: TopicRule, client: bytes, role: int) -> bool:
    """Tell whether a rule keeps a client out: no grant, or a publisher that cannot sign where everybody must."""
    grant = rule.grant_of(client)
    if grant is None or not grant.may(role):
        return True
    return role == PUBLISH and rule.policy is TopicPolicy.SIGNED and not grant.sig_pk


def sig_pk_of(rule: TopicRule, client: bytes) -> bytes:
    """Return what subscribers check this publisher's readings with, empty where nobody signs."""
    grant = rule.grant_of(client)
    return grant.sig_pk if grant is not None and rule.policy is TopicPolicy.SIGNED else b""


def without(parties: Parties, rule: TopicRule) -> Parties:
    """Return who may still take part under a rule, with the signature keys that it names."""
    stay = {
        role: tuple(
            party._replace(sig_pk=sig_pk_of(rule, party.client)) if role == PUBLISH else party
            for party in parties.of(role)
            if not refused_by(rule, party.client, role)
        )
        for role in (SUBSCRIBE, PUBLISH)
    }
    return Parties(stay[SUBSCRIBE], stay[PUBLISH])


class Known(NamedTuple):
    """What a session remembers of the rule that it is under: `terms` and `rights` are digests, `begun` the version at which its
    epoch began.
    """

    version: int
    terms: bytes
    rights: bytes
    rotations: int
    begun: int


def turn_of(known: Known, new: Known, rule: TopicRule, before: Parties, former: Sequence[bytes]) -> Turn | None:
    """Return why a newer version of a rule asks for a new epoch, None if it does not.

    `former`: clients who were put out while epochs that they hold are still owed to others. Somebody new learns nothing of
    before; somebody who goes nothing of after; a compromised one, from nobody, what it could know already.
    """
    compromised = {gone.client: gone.since for gone in rule.gone if gone.compromised}
    here = any(compromised.get(client, 0) > known.begun for client in before.clients())
    if here or any(compromised.get(client, 0) > known.version for client in former):
        return Turn(Cause.COMPROMISE, compromise=True)
    gone = {gone.client for gone in rule.gone if gone.since > known.begun}
    put_out = [party for role, party in before.everybody() if refused_by(rule, party.client, role)]
    if put_out or gone.intersection(before.clients()):
        return Turn(Cause.REVOKE)
    if new.rights != known.rights:
        return Turn(Cause.GRANT)
    if new.terms != known.terms or new.rotations > known.rotations:
        return Turn(Cause.OPERATOR)
    return None
