"""KREQ, KRESP, KACK, KPUSH: how a client and its trusted system agree on a grant, and step their chain (Triad-1 4.4, 8).

Both ends are pure states at a number k. A grant is sealed under a key that depends on the very request (`th`) or on the
system's nonce, and one acknowledged grant moves both ends to k + 1, from where nothing of k can be derived. What a
function returns must be stored before what it returns beside leaves; what is refused changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import mac8, sha256
from keymote.crypto.secret import equal
from keymote.crypto.suite import Suite
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, Kack, KeyGrant, Kpush, Kreq, Kresp

MOST_OPEN: Final = 16
"""Requests at one k (Triad-1 4.4), and pushes at one k that are remembered (docs/decisions/0181)."""
_NONCE: Final = 8
_NAME: Final = 16
_SIZES: Final = sizes_of(1)
"""No field of these messages depends on the suite."""


# ------------------------------------------------------------------ what both ends compute alike


def kreq_tag(chain: KeyChain, request: Kreq) -> bytes:
    """Return MAC8(sub("C/kreq", nC), the array without its tag)."""
    return mac8(chain.sub("C/kreq", request.nC), request.encode(without=1))


def kack(chain: KeyChain, th2: bytes) -> bytes:
    """Return the KACK of the exchange whose hash is `th2`."""
    return Kack(chain.client_id, mac8(chain.sub("C/kack", th2), th2)).encode()


def th2_of_answer(request: bytes, answer: bytes) -> bytes:
    return sha256(request + answer)


def push_aad(chain: KeyChain, nTS: bytes) -> bytes:
    """Return CBOR["TRIAD1", 51, client_id, k, nTS]."""
    return cbor.encode_array("TRIAD1", Kpush.mt, chain.client_id, chain.k, nTS)


def _check_topic(topic: str, role: int) -> None:
    if (role == CONNECT) is not (topic == ""):
        raise PeerFault(ErrorCode.E_FORMAT, "a topic is asked for to publish or subscribe, and none to connect")


# ------------------------------------------------------------------ client


@dataclass(frozen=True, slots=True)
class ClientEnd:
    """A client at number k: its requests without an answer, and the KACK of k - 1, for a system that has not heard it.

    `forgotten`: how many earlier requests at this k a restart has left nothing of; they count.
    """

    suite: Suite
    chain: KeyChain
    asked: tuple[bytes, ...] = ()
    acknowledged: bytes = b""
    forgotten: int = 0


class Granted(NamedTuple):
    """A grant that the client took: store `end`, then send `kack`. `request`: the KREQ that it answers, "" of a KPUSH."""

    end: ClientEnd
    kack: bytes
    grant: KeyGrant
    request: bytes = b""


class Repeated(NamedTuple):
    """What was answered before; the system has not heard `kack`."""

    kack: bytes


def request(end: ClientEnd, topic: str, role: int, entropy: Entropy) -> tuple[ClientEnd, bytes]:
    """Return the state and a KREQ for a topic, "" to connect. Who is not answered asks anew, with a new nonce.

    Raises:
        PeerFault: E_FORMAT for a topic that does not fit the role, E_LIMIT after 16 requests at one k.
    """
    _check_topic(topic, role)
    if end.forgotten + len(end.asked) >= MOST_OPEN:
        raise PeerFault(ErrorCode.E_LIMIT, f"{MOST_OPEN} requests without an answer", do="send the last one again")
    unsigned = Kreq(end.chain.client_id, end.chain.k, entropy.draw(_NONCE), topic, role, bytes(8))
    data = replace(unsigned, tag=kreq_tag(end.chain, unsigned)).encode()
    return replace(end, asked=(*end.asked, data)), data


def take(end: ClientEnd, data: bytes) -> Granted | Repeated:
    """Take a KRESP or KPUSH.

    Raises:
        PeerFault: E_FORMAT; E_REPLAY for another number than k and k - 1; E_AUTH for an answer to none of the requests.
    """
    if peek(data)[0] == Kpush.mt:
        return _take_push(end, data)
    answer = Kresp.decode(data, _SIZES)
    if answer.k != end.chain.k:
        return _earlier(end, answer.k)
    for asked in reversed(end.asked):
        th = sha256(asked)
        try:
            plaintext = end.suite.open_once(end.chain.sub("C/kresp", th), th, answer.ct)
        except PeerFault:
            continue
        return _granted(end, plaintext, th2_of_answer(asked, data), asked)
    raise PeerFault(ErrorCode.E_AUTH, "an answer to no request of this client")


def _take_push(end: ClientEnd, data: bytes) -> Granted | Repeated:
    push = Kpush.decode(data, _SIZES)
    if push.k != end.chain.k:
        return _earlier(end, push.k)
    plaintext = end.suite.open_once(end.chain.sub("C/kpush", push.nTS), push_aad(end.chain, push.nTS), push.ct)
    return _granted(end, plaintext, sha256(data), b"")


def _earlier(end: ClientEnd, k: int) -> Repeated:
    if end.acknowledged and k == end.chain.k - 1:
        return Repeated(end.acknowledged)
    raise PeerFault(ErrorCode.E_REPLAY, f"a key under number {k}, {end.chain.k} is due")


def _granted(end: ClientEnd, plaintext: bytes, th2: bytes, request: bytes) -> Granted:
    grant, said = KeyGrant.decode(plaintext, _SIZES), kack(end.chain, th2)
    return Granted(ClientEnd(end.suite, end.chain.step(), (), said), said, grant, request)


# ------------------------------------------------------------------ trusted system


class Receipt(NamedTuple):
    """Which grant it was, without its key: what is left to say of it once it is sealed."""

    sess: bytes
    epoch: int
    snd: int
    role: int


class Open(NamedTuple):
    """A grant that was sent at k and is not acknowledged.

    `request`: 16 bytes of the hash of what it answers, "" of a KPUSH; `kack` acknowledges it; `message` is what was sent,
    "" where that must not be sent again.
    """

    request: bytes
    kack: bytes
    message: bytes
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class SystemEnd:
    """The trusted system's view of one client at number k."""

    suite: Suite
    chain: KeyChain
    open: tuple[Open, ...] = ()

    def withdrawn(self, sess: bytes, below: int) -> "SystemEnd":
        """Return the state that sends no grant of this session with an epoch `below` this one again; acknowledged it may be."""
        if not any(sent.message and sent.receipt.sess == sess and sent.receipt.epoch < below for sent in self.open):
            return self
        kept = (
            sent._replace(message=b"") if sent.receipt.sess == sess and sent.receipt.epoch < below else sent
            for sent in self.open
        )
        return replace(self, open=tuple(kept))


class Wanted(NamedTuple):
    """An authentic KREQ that policy must answer with a grant; `end` has stepped where it acknowledges what came before.

    `confirmed`: the grant that it acknowledges, where no other was open.
    """

    end: SystemEnd
    request: Kreq
    data: bytes
    confirmed: Receipt | None = None


class Outdated(NamedTuple):
    """An authentic KREQ, answered before by what is not sent any more: push what holds now."""

    request: Kreq


class Acknowledged(NamedTuple):
    """The client holds a grant; the chain has stepped."""

    end: SystemEnd
    receipt: Receipt


def hear(end: SystemEnd, data: bytes) -> Wanted | Repeated | Outdated:
    """Hear a KREQ: `answer` what it wants, or repeat the KRESP that it got (the bytes in `Repeated`).

    A number of k + 1 is good where a grant is open, and acknowledges it (lost KACK). The tag is checked before all else.

    Raises:
        PeerFault: E_FORMAT, E_UNKNOWN_ID (another client), E_REPLAY (another number), E_AUTH (tag), E_LIMIT (16 others at
            this k were answered: none of them is forgotten, or it could be sealed twice under one key).
    """
    request = Kreq.decode(data, _SIZES)
    if request.client_id != end.chain.client_id:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "a request of another client")
    _check_topic(request.topic, request.role)
    following = request.k == end.chain.k + 1 and bool(end.open)
    if request.k != end.chain.k and not following:
        raise PeerFault(ErrorCode.E_REPLAY, f"a request under number {request.k}, {end.chain.k} is due")
    chain = end.chain.step() if following else end.chain
    if not equal(kreq_tag(chain, request), request.tag):
        raise PeerFault(ErrorCode.E_AUTH, "the tag of a request is wrong")
    if following:
        confirmed = end.open[0].receipt if len(end.open) == 1 else None
        return Wanted(SystemEnd(end.suite, chain), request, data, confirmed)
    named = _name_of(data)
    for sent in end.open:
        if sent.request == named:
            return Repeated(sent.message) if sent.message else Outdated(request)
    if sum(bool(sent.request) for sent in end.open) >= MOST_OPEN:
        raise PeerFault(ErrorCode.E_LIMIT, f"{MOST_OPEN} requests at one number were answered")
    return Wanted(end, request, data)


def answer(wanted: Wanted, grant: KeyGrant) -> tuple[SystemEnd, bytes]:
    """Return the state and the KRESP that carries `grant`, the present one of what is wanted, to the one who asked."""
    end, th = wanted.end, sha256(wanted.data)
    message = Kresp(end.chain.k, end.suite.seal_once(end.chain.sub("C/kresp", th), th, grant.encode())).encode()
    said = kack(end.chain, th2_of_answer(wanted.data, message))
    return _sent(end, Open(_name_of(wanted.data), said, message, _receipt(grant, wanted.request.role))), message


def push(end: SystemEnd, grant: KeyGrant, entropy: Entropy) -> tuple[SystemEnd, bytes]:
    """Return the state and a KPUSH that carries `grant`, which nobody asked for."""
    nTS = entropy.draw(_NONCE)
    ct = end.suite.seal_once(end.chain.sub("C/kpush", nTS), push_aad(end.chain, nTS), grant.encode())
    message = Kpush(end.chain.k, nTS, ct).encode()
    role = PUBLISH if grant.publishers is None else SUBSCRIBE
    return _sent(end, Open(b"", kack(end.chain, sha256(message)), message, _receipt(grant, role))), message


def acknowledge(end: SystemEnd, data: bytes) -> Acknowledged:
    """Hear a KACK: the first grant at k that is acknowledged counts, all others of k are stale.

    Raises:
        PeerFault: E_FORMAT, E_UNKNOWN_ID (another client), E_AUTH (of no grant that is open: repeated, or forged).
    """
    said = Kack.decode(data, _SIZES)
    if said.client_id != end.chain.client_id:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "an acknowledgement of another client")
    for sent in end.open:
        if equal(sent.kack, data):
            return Acknowledged(SystemEnd(end.suite, end.chain.step()), sent.receipt)
    raise PeerFault(ErrorCode.E_AUTH, "an acknowledgement of no grant that is open")


def _name_of(request: bytes) -> bytes:
    """Return what of a request is kept, to know it again: 16 bytes of its hash."""
    return sha256(request)[:_NAME]


def _receipt(grant: KeyGrant, role: int) -> Receipt:
    return Receipt(grant.sess, grant.epoch, grant.snd, role)


def _sent(end: SystemEnd, sent: Open) -> SystemEnd:
    """Remember what was sent; of pushes, whose nonces never come again, the last ones."""
    pushes = [each for each in end.open if not each.request]
    if not sent.request and len(pushes) >= MOST_OPEN:
        end = replace(end, open=tuple(each for each in end.open if each is not pushes[0]))
    return replace(end, open=(*end.open, sent))
