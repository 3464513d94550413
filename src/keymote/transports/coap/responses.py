"""The answering half of the endpoint: `/k`, `/k/inbox`, `/g/...` and `/.well-known/core`, duplicates and blocks included.

Whatever a datagram was worth, its sender sees `2.04 Changed`: with a payload when the node answers, else without.
Silence of the protocol (Triad-1 1.2.7) is thus the same empty response for a stranger's junk and for a message well
received. Only a node that could not serve at all (a failed commit) leaves a request without any response, so that it
is repeated.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from keymote.cbor import MAX_SIZE_BUNDLE
from keymote.engine.base import Peer, Report, Send
from keymote.errors import PeerFault
from keymote.transports.coap import records
from keymote.transports.coap.inbox import Inbox
from keymote.transports.coap.message import (
    LINK_FORMAT,
    MAX_SZX,
    OCTETS,
    Block,
    CoapMessage,
    Code,
    Kind,
    Option,
    uint,
)
from keymote.wire.enrolment import Hello

Settled = Callable[[Sequence[Send | Report] | Exception], None]


class Receive(Protocol):
    """What takes datagrams in: `Driver.receive`, or the host around it."""

    def __call__(self, peer: Peer, data: bytes, settled: Settled | None = None, /) -> object: ...


CORE_LINKS: Final = b'</k>;rt="keymote";ct=60,</k/inbox>;rt="keymote.inbox";ct=60,</g>;rt="keymote.group";ct=60'
"""What `/.well-known/core` says (RFC 6690)."""
OUR_ROOTS: Final = frozenset({(b"k",), (records.ROOT,)})
"""How the paths of the binding's own resources begin; an application's are beside them."""
MAX_BODY: Final = MAX_SIZE_BUNDLE
"""Bytes of the longest datagram: a bundle of a ring's round (docs/decisions/0140)."""
REMEMBERED_S: Final = 45.0
"""Longest time over which a client repeats a request (RFC 7252 MAX_TRANSMIT_SPAN)."""
MAX_REMEMBERED: Final = 4096
"""Answers kept for whoever repeats a request: at a hundred requests a second, all of the time that he may take."""
MAX_ACKNOWLEDGED: Final = 1024
"""Answers without a payload that are kept for the same; a flood of junk pushes out these and no others."""
MAX_TRANSFERS: Final = 128

_COOKIE_HEAD: Final = b"\x82\x08"
"""First bytes of COOKIE: made again at no cost, so a flood of JOIN must not push real answers out of memory."""
_UNDERSTOOD: Final = frozenset(
    (
        Option.URI_HOST,
        Option.URI_PORT,
        Option.URI_PATH,
        Option.URI_QUERY,
        Option.ACCEPT,
        Option.BLOCK1,
        Option.BLOCK2,
    )
)

_Value = TypeVar("_Value")


def is_hello(datagram: bytes) -> bool:
    """Return whether this is a HELLO, by its first two bytes."""
    return datagram[1:2] == bytes((Hello.mt,)) and datagram[0] & 0xE0 == 0x80


class Remembered(Generic[_Value]):
    """A bounded table whose oldest entries give way to age and to number."""

    def __init__(self, limit: int, age_s: float) -> None:
        self._limit = limit
        self._age_s = age_s
        self._entries: OrderedDict[tuple[Peer, bytes], tuple[float, _Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, peer: Peer, token: bytes, value: _Value, now: float) -> None:
        """Remember `value` as the youngest entry."""
        self._entries.pop((peer, token), None)
        self._entries[peer, token] = (now, value)
        while self._entries:
            since, _ = next(iter(self._entries.values()))
            if len(self._entries) <= self._limit and now - since <= self._age_s:
                break
            self._entries.popitem(last=False)

    def get(self, peer: Peer, token: bytes, now: float) -> _Value | None:
        """Return what is remembered under exactly this name."""
        entry = self._entries.get((peer, token))
        return entry[1] if entry is not None and now - entry[0] <= self._age_s else None

    def latest(self, peer: Peer, token: bytes, now: float) -> _Value | None:
        """Return the entry of this token, else this peer's youngest: some clients take a new token for each block."""
        exact = self.get(peer, token, now)
        if exact is not None:
            return exact
        for (owner, _), (since, value) in reversed(self._entries.items()):
            if owner == peer and now - since <= self._age_s:
                return value
        return None

    def drop(self, value: _Value) -> None:
        """Forget the entry that holds this very object."""
        for key, (_, known) in self._entries.items():
            if known is value:
                del self._entries[key]
                return


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response that goes out in blocks: what is left is asked for by block number."""

    code: Code
    content_format: int
    payload: bytes


class Responses:
    """Serves requests that reach the socket; `hello` returns the current HELLO, empty when there is none."""

    def __init__(
        self,
        transmit: Callable[[Peer, bytes], None],
        next_mid: Callable[[], int],
        clock: Callable[[], float],
        receive: Receive,
        forward: Callable[[Peer, bytes], None],
        inbox: Inbox,
        hello: Callable[[], bytes],
    ) -> None:
        self._transmit = transmit
        self._next_mid = next_mid
        self._clock = clock
        self._receive = receive
        self._forward = forward
        self._inbox = inbox
        self._hello = hello
        self._working: set[tuple[Peer, int]] = set()
        self._answered: Remembered[bytes] = Remembered(MAX_REMEMBERED, REMEMBERED_S)
        self._acknowledged: Remembered[bytes] = Remembered(MAX_ACKNOWLEDGED, REMEMBERED_S)
        self._leaving: Remembered[_Answer] = Remembered(MAX_TRANSFERS, REMEMBERED_S)
        self._arriving: Remembered[bytearray] = Remembered(MAX_TRANSFERS, REMEMBERED_S)

    def serves(self, request: CoapMessage) -> bool:
        """Return whether the request is for one of the binding's own resources."""
        path = request.path
        return path[:1] in OUR_ROOTS or path == (b".well-known", b"core")

    def heard(self, peer: Peer, request: CoapMessage) -> None:
        """Answer a request, now or when the node has settled it."""
        if (peer, request.mid) in self._working:
            return
        name, now = _name(request), self._clock()
        answered = self._answered.get(peer, name, now) or self._acknowledged.get(peer, name, now)
        if answered is not None:
            self._transmit(peer, answered)
            return
        try:
            if any(number & 1 and number not in _UNDERSTOOD for number, _ in request.options):
                self._respond(peer, request, Code.BAD_OPTION)
            else:
                self._dispatch(peer, request)
        except PeerFault:
            self._respond(peer, request, Code.BAD_REQUEST)

    def heard_by_all(self, peer: Peer, request: CoapMessage) -> None:
        """Take what was sent to the group: the wish for a HELLO, which whoever has one answers; a HELLO, which those who
        have none of their own take; a message of a ring or a record. All but the wish are never answered (RFC 7252 8.2).
        """
        if request.kind is not Kind.NON:
            return
        own = self._hello()
        if request.path[:1] == (records.ROOT,) and request.code == Code.POST:
            self._receive(peer, records.datagram_of(request.path, request.payload), None)
        if request.path != (b"k",):
            return
        if request.code == Code.POST and request.payload and not (own and is_hello(request.payload)):
            self._receive(peer, request.payload, None)
        elif request.code == Code.GET and own:
            self._respond(peer, request, Code.CONTENT, own)

    # ------------------------------------------------------------------ resources

    def _dispatch(self, peer: Peer, request: CoapMessage) -> None:
        match request.path, request.code:
            case (b"k",), Code.POST:
                self._post(peer, request)
            case (records.ROOT, _, *_), Code.POST:
                self._post(peer, request)
            case (b"k",), Code.GET:
                self._respond(peer, request, Code.CONTENT, self._hello())
            case (b"k", b"inbox"), Code.FETCH:
                given = request.block(Option.BLOCK2)
                if given is not None and given.num:
                    self._continue_answer(peer, request, given)
                else:
                    self._respond(peer, request, Code.CONTENT, self._inbox.fetch(request.payload, self._clock()))
            case (b".well-known", b"core"), Code.GET:
                self._respond(peer, request, Code.CONTENT, CORE_LINKS, LINK_FORMAT)
            case (b"k",) | (b"k", b"inbox") | (records.ROOT, _, *_) | (b".well-known", b"core"), _:
                self._respond(peer, request, Code.METHOD_NOT_ALLOWED)
            case _:
                self._respond(peer, request, Code.NOT_FOUND)

    def _post(self, peer: Peer, request: CoapMessage) -> None:
        content_format = request.option(Option.CONTENT_FORMAT)
        if content_format is not None and content_format != uint(OCTETS):
            self._respond(peer, request, Code.UNSUPPORTED_FORMAT)
            return
        wanted = request.block(Option.BLOCK2)
        if wanted is not None and wanted.num:
            self._continue_answer(peer, request, wanted)
            return
        block = request.block(Option.BLOCK1)
        body = request.payload if block is None else self._assembled(peer, request, block)
        if body is None:
            return
        if len(body) > MAX_BODY:
            self._respond(peer, request, Code.TOO_LARGE)
            return
        if request.path != (b"k",):
            body = records.datagram_of(request.path, body)
        self._working.add((peer, request.mid))
        self._receive(peer, body, lambda outcome: self._settled(peer, request, outcome))

    def _settled(self, peer: Peer, request: CoapMessage, outcome: Sequence[Send | Report] | Exception) -> None:
        self._working.discard((peer, request.mid))
        if isinstance(outcome, Exception):
            return
        answers = [effect.data for effect in outcome if isinstance(effect, Send)]
        self._respond(peer, request, Code.CHANGED, answers[0] if answers else b"")
        for further in answers[1:]:
            self._forward(peer, further)

    # ------------------------------------------------------------------ blocks

    def _assembled(self, peer: Peer, request: CoapMessage, block: Block) -> bytes | None:
        """Add a block of a request's body; return the body when it is whole, None when the client was answered."""
        now = self._clock()
        if block.num == 0:
            body = bytearray()
            self._arriving.put(peer, request.token, body, now)
        else:
            known = self._arriving.latest(peer, request.token, now)
            if known is None or len(known) != block.start:
                self._respond(peer, request, Code.INCOMPLETE)
                return None
            body = known
        body += request.payload
        if len(body) > MAX_BODY or (block.more and len(request.payload) != block.size):
            self._arriving.drop(body)
            self._respond(peer, request, Code.TOO_LARGE if len(body) > MAX_BODY else Code.BAD_REQUEST)
            return None
        if not block.more:
            self._arriving.drop(body)
            return bytes(body)
        taken = Block(block.num, more=True, szx=min(block.szx, MAX_SZX))  # smaller blocks from here on, please
        self._respond(peer, request, Code.CONTINUE, extra=((Option.BLOCK1, taken.encode()),))
        return None

    def _continue_answer(self, peer: Peer, request: CoapMessage, wanted: Block) -> None:
        answer = self._leaving.latest(peer, request.token, self._clock())
        if answer is None or wanted.start >= len(answer.payload):
            self._respond(peer, request, Code.INCOMPLETE)
            return
        self._send_block(peer, request, answer, wanted)

    def _respond(
        self,
        peer: Peer,
        request: CoapMessage,
        code: Code,
        payload: bytes = b"",
        content_format: int = OCTETS,
        extra: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        wanted = request.block(Option.BLOCK2) if payload else None
        szx = MAX_SZX if wanted is None else min(MAX_SZX, wanted.szx)
        if len(payload) > 16 << szx:
            answer = _Answer(code, content_format, payload)
            self._leaving.put(peer, request.token, answer, self._clock())
            self._send_block(peer, request, answer, Block(0, more=True, szx=szx))
            return
        if request.kind is Kind.NON and not payload:
            return  # a stranger's NON gets nothing, as on any radio
        options = extra
        if payload:
            options += ((Option.CONTENT_FORMAT, uint(content_format)),)
        final = request.block(Option.BLOCK1) if code == Code.CHANGED else None
        if final is not None:
            options += ((Option.BLOCK1, final.encode()),)
        self._send(peer, request, code, options, payload)

    def _send_block(self, peer: Peer, request: CoapMessage, answer: _Answer, wanted: Block) -> None:
        szx = min(MAX_SZX, wanted.szx)
        start = wanted.start
        part = answer.payload[start : start + (16 << szx)]
        block = Block(start >> (szx + 4), start + len(part) < len(answer.payload), szx)
        options: tuple[tuple[int, bytes], ...] = (
            (Option.CONTENT_FORMAT, uint(answer.content_format)),
            (Option.BLOCK2, block.encode()),
        )
        final = request.block(Option.BLOCK1)
        if final is not None:
            options += ((Option.BLOCK1, final.encode()),)
        self._send(peer, request, answer.code, options, part)

    def _send(
        self, peer: Peer, request: CoapMessage, code: Code, options: tuple[tuple[int, bytes], ...], payload: bytes
    ) -> None:
        confirmable = request.kind is Kind.CON
        kind, mid = (Kind.ACK, request.mid) if confirmable else (Kind.NON, self._next_mid())
        encoded = CoapMessage(kind, code, mid, request.token, options, payload).encode()
        if confirmable and request.code == Code.POST and code <= Code.CONTINUE and not payload.startswith(_COOKIE_HEAD):
            kept = self._answered if payload else self._acknowledged
            kept.put(peer, _name(request), encoded, self._clock())
        self._transmit(peer, encoded)


def _name(request: CoapMessage) -> bytes:
    """Return what a repeated request is known by: its Message ID, and its token in case that a rebooted client uses one again."""
    return request.mid.to_bytes(2, "big") + request.token
