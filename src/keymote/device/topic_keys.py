"""The keys of topics in a client's memory: `protect` and `unprotect` are plain calls, `take` brings a key that was granted.

    keys.take("ward/7/hr", PUBLISH, grant)
    payload = keys.protect("ward/7/hr", b"72")          # at the publisher
    reading = keys.unprotect(topic, payload)            # at a subscriber

Nothing is stored and nothing is asked here. All calls may come from any thread: two calls never seal under one index.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.engine.base import Now
from keymote.engine.topic.ciphers import DEFAULT
from keymote.engine.topic.ratchet import Opened, Receiving, Sending
from keymote.engine.topic.readings import NeedsKey, Reading, Reject, Rejected, Standing
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import pub
from keymote.wire.topic import MOST_TOPIC, PUBLISH, SUBSCRIBE, KeyGrant

__all__ = ["Late", "NeedsKey", "Reading", "Reject", "Rejected", "Standing", "TopicKeys"]

OLDER_EPOCHS: Final = 4
"""Epochs before the newest whose readings still open: as many as a sleeping subscriber's manager keeps for it."""
MOST_WAITING: Final = 64
"""Readings of one topic that wait for a key; the oldest gives way."""
MOST_WAITING_BYTES: Final = 1 << 20
"""Bytes of all readings that wait; beyond, the newcomer is refused."""
MOST_REJECTS: Final = 256
_PATIENCE: Final = OLDER_EPOCHS + 2
"""Keys that a waiting reading sees taken without being opened by them: who slept gets the newest epoch first, then those that
it missed, oldest first, and the reading may have overtaken one more.
"""
_OVERHEAD: Final = 256
"""Bytes that a waiting reading is charged besides its own and its topic's."""
_FIRST: Final = 16
_SPENT: Final = frozenset({ErrorCode.E_SKIP, ErrorCode.E_LIMIT})
"""Refusals that only a new epoch ends."""

Late = Callable[[Reading], None]
"""Called with a reading when its key has come, in the thread that took the key."""
Publishers = Iterable[tuple[int, bytes]]
"""Each publisher's snd, and its public signing key or b"" where the topic's policy is not `signed`."""


@dataclass(slots=True)
class _Chain:
    """One publisher in one epoch; readings are refused from `until` on (monotonic seconds), None in the newest epoch."""

    receiving: Receiving
    sess: bytes
    epoch: int
    snd: int
    life_s: int
    until: float | None = None


class _Waiting(NamedTuple):
    data: bytes
    late: Late | None
    seen: int


@dataclass(slots=True)
class _Topic:
    sending: Sending | None = None
    sends: tuple[bytes, int] = (b"", -1)
    """sess and epoch of `sending`."""
    begun: frozenset[int] = frozenset()
    """Every snd that was begun in that epoch: none is begun twice."""
    chains: dict[bytes, _Chain] = field(default_factory=dict)
    epochs: tuple[tuple[bytes, int], ...] = ()
    """sess and epoch of all chains, the newest last."""
    waiting: deque[_Waiting] = field(default_factory=deque)


class TopicKeys:
    """What a client knows of its topics. `verify` makes a publisher's key of its encoding (`Suite.verify_key`)."""

    def __init__(
        self,
        now: Callable[[], Now],
        verify: Callable[[bytes], VerifyKey] | None = None,
        enabled: AbstractSet[int] = DEFAULT,
    ) -> None:
        self._now = now
        self._verify = verify
        self._enabled = enabled
        self._topics: dict[str, _Topic] = {}
        self._rejects: deque[Reject] = deque(maxlen=MOST_REJECTS)
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<TopicKeys of {len(self._topics)} topics>"

    # ------------------------------------------------------------------ readings

    def protect(self, topic: str, plaintext: bytes) -> bytes:
        """Return the payload of one reading, at most 1024 bytes. A repetition sends these very bytes again.

        Raises:
            NeedsKey: nothing was taken for this topic to publish, or its indices are used up.
            CallerFault: too long.
        """
        with self._lock:
            found = self._topics.get(topic)
            if found is None or found.sending is None:
                raise NeedsKey(topic, "no key to publish here", publish=True)
            try:
                found.sending, data = found.sending.protect(plaintext)
            except PeerFault as fault:
                if len(plaintext) > pub.MAX_PLAINTEXT:
                    raise CallerFault(fault.what, do="send it in parts") from fault
                raise NeedsKey(topic, fault.what, publish=True, anew=True) from fault
            return data

    def unprotect(self, topic: str, data: bytes, late: Late | None = None) -> Reading:
        """Return the reading in a payload that came for `topic`.

        Raises:
            NeedsKey: no key for its sender; the payload is kept, and its reading is given to `late`, else returned by the
                `take` that opens it. With `anew` it is lost: only a new epoch helps.
            Rejected: anything else than a reading of a publisher of this topic; noted for `rejects`.
        """
        with self._lock:
            found = self._topics.get(topic)
            chain = None if found is None else found.chains.get(data[8:13])
            if found is None or chain is None:
                raise self._wait(topic, data, late)
            result = self._open(topic, found, chain, data)
        if type(result) is Reading:
            return result
        assert isinstance(result, Rejected)
        if result.code in _SPENT and chain.until is None:
            raise NeedsKey(topic, result.why, anew=True)
        raise result

    # ------------------------------------------------------------------ keys

    def take(
        self,
        topic: str,
        role: int,
        grant: KeyGrant,
        publishers: Publishers = (),
        signing: SigningKey | None = None,
        *,
        oldest: int = 0,
    ) -> list[Reading]:
        """Take a granted key, and return the readings that waited for it, but those that have a `late` of their own.

        To publish, the chain replaces the one before, and a grant that was taken before begins nothing. To subscribe, the
        chains of `publishers` are added; those of older epochs stay for the life of their own grant, of the newest four
        at most, and of none below the epoch `oldest` (a rotation for compromise ends them at once).

        Raises:
            PeerFault: E_SUITE or E_POINT; nothing was taken.
        """
        with self._lock:
            found = self._topics.get(topic) or _Topic()
            if role == PUBLISH:
                self._begin(topic, found, grant, signing)
            elif role == SUBSCRIBE:
                self._admit(topic, found, grant, publishers, oldest)
            else:
                raise CallerFault(f"role {role} has no readings", do="take a key to publish or to subscribe")
            self._topics[topic] = found
            opened = self._serve(topic, found) if role == SUBSCRIBE else []
        for reading, late in opened:
            if late is not None:
                late(reading)
        return [reading for reading, late in opened if late is None]

    def end(self, topic: str) -> None:
        """Forget a topic: its chains, and what waited for a key."""
        with self._lock:
            found = self._topics.pop(topic, None)
            if found is not None:
                self._waiting_bytes -= sum(_charge(topic, waiting.data) for waiting in found.waiting)

    # ------------------------------------------------------------------ what can be told

    def publishes(self, topic: str) -> bool:
        """Return whether there is a key to publish here, with an index left."""
        found = self._topics.get(topic)
        return found is not None and found.sending is not None and found.sending.n < found.sending.chain.end

    def subscribes(self, topic: str) -> bool:
        """Return whether there is a key of any publisher here."""
        found = self._topics.get(topic)
        return found is not None and bool(found.chains)

    def rejects(self) -> list[Reject]:
        """Return the last 256 refusals, the oldest first."""
        with self._lock:
            return list(self._rejects)

    def counts(self) -> Mapping[str, int]:
        """Return how many payloads were refused, by the name of the error, and repeated (`duplicate`)."""
        with self._lock:
            return dict(self._counts)

    def waits(self) -> Mapping[str, int]:
        """Return how many readings wait for a key, by topic."""
        with self._lock:
            return {topic: len(found.waiting) for topic, found in self._topics.items() if found.waiting}

    def standings(self) -> list[Standing]:
        """Return every chain that is in use."""
        with self._lock:
            standings = []
            for topic, found in self._topics.items():
                if found.sending is not None:
                    snd = found.sending.chain.sender[-1]
                    standings.append(Standing(topic, True, found.sends[1], snd, found.sending.n, 0))
                for chain in found.chains.values():
                    missing = len(chain.receiving.skipped)
                    standings.append(Standing(topic, False, chain.epoch, chain.snd, chain.receiving.n, missing))
            return standings

    # ------------------------------------------------------------------ opening

    def _open(self, topic: str, found: _Topic, chain: _Chain, data: bytes) -> Reading | Rejected:
        """Return the reading, its chain committed, or its refusal, noted."""
        if chain.until is not None and self._now().mono >= chain.until:
            self._drop(found, {(chain.sess, chain.epoch)})
            return self._refuse(topic, data, ErrorCode.E_EPOCH, "the life of this reading's epoch is over")
        try:
            chain.receiving, result = chain.receiving.unprotect(data)
        except PeerFault as fault:
            if fault.code is ErrorCode.E_REPLAY:  # TQ-06
                self._counts["duplicate"] += 1
                return Reading(topic, b"", pub.read(data).n, chain.snd, chain.epoch, duplicate=True)
            return self._refuse(topic, data, fault.code, fault.what)
        if type(result) is Opened:
            return Reading(topic, result.plaintext, result.n, chain.snd, chain.epoch)
        assert isinstance(result, PeerFault)
        return self._refuse(topic, data, result.code, result.what)

    def _refuse(self, topic: str, data: bytes, code: ErrorCode, why: str) -> Rejected:
        """Note a refusal (TQ-04)."""
        self._counts[code.name] += 1
        self._rejects.append(Reject(self._now().wall, topic, code, why, len(data), data[:_FIRST]))
        return Rejected(code, why)

    # ------------------------------------------------------------------ waiting

    def _wait(self, topic: str, data: bytes, late: Late | None) -> NeedsKey | Rejected:
        """Keep a payload whose sender has no chain here, unless it is none, or too much waits (TQ-05)."""
        if not topic or len(topic.encode()) > MOST_TOPIC:  # an alias hides the topic, and longer ones have no key
            return self._refuse(topic, data, ErrorCode.E_FORMAT, "a topic that can have no key")
        try:
            pub.read(data)
        except PeerFault as fault:
            return self._refuse(topic, data, fault.code, fault.what)
        charge = _charge(topic, data)
        if self._waiting_bytes + charge > MOST_WAITING_BYTES:
            return self._refuse(topic, data, ErrorCode.E_LIMIT, "too many readings wait for keys")
        found = self._topics.setdefault(topic, _Topic())
        if len(found.waiting) == MOST_WAITING:
            oldest = found.waiting.popleft()
            self._waiting_bytes -= _charge(topic, oldest.data)
            self._refuse(topic, oldest.data, ErrorCode.E_LIMIT, "it waited for a key and had to make room")
        found.waiting.append(_Waiting(data, late, 0))
        self._waiting_bytes += charge
        return NeedsKey(topic, "no key for this sender's readings")

    def _serve(self, topic: str, found: _Topic) -> list[tuple[Reading, Late | None]]:
        """Open what has a chain now, in the order of arrival; the rest waits once more, then it is refused."""
        waited, found.waiting = found.waiting, deque()
        opened: list[tuple[Reading, Late | None]] = []
        for data, late, seen in waited:
            chain = found.chains.get(data[8:13])
            if chain is None and seen + 1 < _PATIENCE:
                found.waiting.append(_Waiting(data, late, seen + 1))
                continue
            self._waiting_bytes -= _charge(topic, data)
            if chain is None:
                why = "no key that was granted here is its sender's: of an older epoch, or of no publisher"
                self._refuse(topic, data, ErrorCode.E_UNKNOWN_ID, why)
                continue
            result = self._open(topic, found, chain, data)
            if isinstance(result, Reading) and not result.duplicate:
                opened.append((result, late))
        return opened

    # ------------------------------------------------------------------ taking

    def _begin(self, topic: str, found: _Topic, grant: KeyGrant, signing: SigningKey | None) -> None:
        sess, epoch = found.sends
        same = sess == grant.sess and epoch == grant.epoch
        if (same and grant.snd in found.begun) or (sess == grant.sess and grant.epoch < epoch):
            return  # TQ-02: the index would begin again under the same key, or an epoch that is over
        found.sending = Sending.begin(topic, grant, signing, self._enabled)
        found.sends = (grant.sess, grant.epoch)
        found.begun = (found.begun if same else frozenset()) | {grant.snd}

    def _admit(self, topic: str, found: _Topic, grant: KeyGrant, publishers: Publishers, oldest: int) -> None:
        added = [
            _Chain(
                Receiving.begin(topic, grant, snd, self._key(public), self._enabled),
                grant.sess,
                grant.epoch,
                snd,
                grant.life_s,
            )
            for snd, public in publishers
        ]
        mono = self._now().mono
        here = (grant.sess, grant.epoch)
        for chain in added:
            present = found.chains.get(chain.receiving.chain.sender)
            if present is None or (present.sess, present.epoch) != here:  # TQ-03: a chain in use never begins again
                found.chains[chain.receiving.chain.sender] = chain
        found.epochs = _in_order(found.epochs, here)
        newest = found.epochs[-1]
        for chain in found.chains.values():
            if (chain.sess, chain.epoch) == newest:
                chain.until = None
            elif chain.until is None:
                chain.until = mono + chain.life_s
        over = {epoch for epoch in found.epochs if epoch[0] == grant.sess and epoch[1] < oldest}
        over |= set(found.epochs[: -1 - OLDER_EPOCHS])
        over |= {(c.sess, c.epoch) for c in found.chains.values() if c.until is not None and mono >= c.until}
        self._drop(found, over)

    def _drop(self, found: _Topic, over: AbstractSet[tuple[bytes, int]]) -> None:
        if over:
            found.chains = {sender: c for sender, c in found.chains.items() if (c.sess, c.epoch) not in over}
            found.epochs = tuple(epoch for epoch in found.epochs if epoch not in over)

    def _key(self, public: bytes) -> VerifyKey | None:
        if not public:
            return None
        if self._verify is None:
            raise CallerFault(
                "this topic's readings are signed, and nothing here checks signatures", do="give `verify`"
            )
        return self._verify(public)


def _in_order(epochs: tuple[tuple[bytes, int], ...], added: tuple[bytes, int]) -> tuple[tuple[bytes, int], ...]:
    """Return `epochs` with one more, behind all of other sessions and older ones of its own."""
    others = [epoch for epoch in epochs if epoch[0] != added[0]]
    own = sorted({epoch for epoch in epochs if epoch[0] == added[0]} | {added})
    return (*others, *own)


def _charge(topic: str, data: bytes) -> int:
    return len(data) + len(topic) + _OVERHEAD
