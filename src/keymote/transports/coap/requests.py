"""The asking half of the endpoint: confirmable requests with retransmission, bodies and answers block by block."""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from keymote.cbor import MAX_SIZE_BUNDLE
from keymote.engine.base import Peer
from keymote.errors import ErrorCode, PeerFault
from keymote.transports.coap.message import (
    MAX_SZX,
    OCTETS,
    Block,
    CoapMessage,
    Code,
    Kind,
    Option,
    empty,
    uint,
)

MAX_ANSWER: Final = MAX_SIZE_BUNDLE
"""Bytes that the blocks of one answer may add up to."""


@dataclass(frozen=True, slots=True)
class Timing:
    """RFC 7252 4.8, tuned so that a dead peer is known within 1.3 (1 + 2 + 4) = 9.1 seconds."""

    ack_timeout_s: float = 1.0
    random_factor: float = 1.3
    max_retransmit: int = 2
    response_s: float = 10.0
    """Patience with a peer that acknowledged and answers separately."""
    outstanding: int = 4
    """NSTART: requests under way to one peer."""
    waiting: int = 64
    """Further requests that queue for one peer; beyond, a request fails at once."""


@dataclass(slots=True)
class _Exchange:
    """One request until its answer is complete."""

    peer: Peer
    code: Code
    path: tuple[bytes, ...]
    body: bytes
    answered: Callable[[bytes], None]
    failed: Callable[[], None] | None
    token: bytes = b""
    mid: int = 0
    sent: bytes = b""
    resent: int = 0
    timer: asyncio.TimerHandle | None = None
    szx: int = MAX_SZX
    upto: int = 0
    """Bytes of the body that are sent, the block under way included."""
    answer: bytearray = field(default_factory=bytearray)


class Requests:
    """Requests to any number of peers over one socket.

    Every request ends in exactly one of `answered(payload)` and `failed()`; after `close` in neither.
    """

    def __init__(self, transmit: Callable[[Peer, bytes], None], next_mid: Callable[[], int], timing: Timing) -> None:
        self._transmit = transmit
        self._next_mid = next_mid
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._by_token: dict[bytes, _Exchange] = {}
        self._under_way: dict[Peer, int] = {}
        self._queues: dict[Peer, deque[_Exchange]] = {}

    def ask(
        self,
        peer: Peer,
        code: Code,
        path: tuple[bytes, ...],
        body: bytes,
        answered: Callable[[bytes], None],
        failed: Callable[[], None] | None,
    ) -> None:
        """Send a request now or when fewer than `Timing.outstanding` are under way to this peer."""
        exchange = _Exchange(peer, code, path, body, answered, failed)
        if self._under_way.get(peer, 0) < self._timing.outstanding:
            self._start(exchange)
            return
        queue = self._queues.setdefault(peer, deque())
        if len(queue) < self._timing.waiting:
            queue.append(exchange)
        elif failed is not None:
            self._loop.call_soon(failed)  # never from inside the caller's own step

    def heard(self, peer: Peer, message: CoapMessage) -> bool:
        """Take an ACK, RST or response; False when it belongs to no request of ours."""
        if message.code == Code.EMPTY:
            return self._heard_empty(peer, message)
        exchange = self._by_token.get(message.token)
        if exchange is None or exchange.peer != peer:
            return False
        if message.kind is Kind.ACK and message.mid != exchange.mid:
            return True  # the acknowledgement of a block that is behind us
        if message.kind is Kind.CON:
            self._transmit(peer, empty(Kind.ACK, message.mid))
        try:
            self._step(exchange, message)
        except PeerFault:
            self._end(exchange, None)
        return True

    def close(self) -> None:
        """Forget every request without a word."""
        for exchange in self._by_token.values():
            _stop(exchange)
        self._by_token.clear()
        self._under_way.clear()
        self._queues.clear()

    # ------------------------------------------------------------------ an exchange

    def _start(self, exchange: _Exchange) -> None:
        self._under_way[exchange.peer] = self._under_way.get(exchange.peer, 0) + 1
        exchange.token = secrets.token_bytes(4)
        self._by_token[exchange.token] = exchange
        self._send_block(exchange)

    def _send_block(self, exchange: _Exchange) -> None:
        """Send the next block of the body, the whole body when it is short."""
        size = 16 << exchange.szx
        if len(exchange.body) <= 16 << MAX_SZX:
            exchange.upto = len(exchange.body)
            self._send(exchange, exchange.body)
            return
        start = exchange.upto
        block = Block(start // size, start + size < len(exchange.body), exchange.szx)
        exchange.upto = min(start + size, len(exchange.body))
        self._send(exchange, exchange.body[start : exchange.upto], (Option.BLOCK1, block.encode()))

    def _send(self, exchange: _Exchange, payload: bytes, *extra: tuple[int, bytes]) -> None:
        exchange.mid = self._next_mid()
        content = ((Option.CONTENT_FORMAT, uint(OCTETS)),) if payload else ()
        options = (*((Option.URI_PATH, part) for part in exchange.path), *content, *extra)
        message = CoapMessage(Kind.CON, exchange.code, exchange.mid, exchange.token, options, payload)
        exchange.sent = message.encode()
        exchange.resent = 0
        self._transmit(exchange.peer, exchange.sent)
        timing = self._timing
        spread = random.uniform(1.0, timing.random_factor)  # noqa: S311  keeps peers from answering in step, no secret
        self._wait(exchange, timing.ack_timeout_s * spread)

    def _wait(self, exchange: _Exchange, timeout: float) -> None:
        _stop(exchange)
        exchange.timer = self._loop.call_later(timeout, self._silence, exchange, timeout)

    def _silence(self, exchange: _Exchange, timeout: float) -> None:
        if exchange.resent >= self._timing.max_retransmit:
            self._end(exchange, None)
            return
        exchange.resent += 1
        self._transmit(exchange.peer, exchange.sent)
        self._wait(exchange, 2 * timeout)

    def _heard_empty(self, peer: Peer, message: CoapMessage) -> bool:
        for exchange in self._by_token.values():
            if exchange.peer == peer and exchange.mid == message.mid:
                break
        else:
            return False
        if message.kind is Kind.RST:
            self._end(exchange, None)
        else:
            _stop(exchange)
            exchange.timer = self._loop.call_later(self._timing.response_s, self._end, exchange, None)
        return True

    def _step(self, exchange: _Exchange, response: CoapMessage) -> None:
        """Continue with the next block either way, or end."""
        taken = response.block(Option.BLOCK1)
        if response.code == Code.CONTINUE:
            if taken is None or exchange.upto >= len(exchange.body):
                raise PeerFault(ErrorCode.E_FORMAT, "2.31 Continue where nothing continues")
            exchange.szx = min(exchange.szx, taken.szx)  # RFC 7959 2.3: the rest in the blocks that the peer asks for
            self._send_block(exchange)
            return
        if not 0x40 <= response.code < Code.CONTINUE:
            raise PeerFault(ErrorCode.E_STATE, f"answered by code {response.code >> 5}.{response.code & 31:02}")
        given = response.block(Option.BLOCK2)
        if given is not None and given.start != len(exchange.answer):
            raise PeerFault(ErrorCode.E_FORMAT, "a block of the answer is missing")
        exchange.answer += response.payload
        if len(exchange.answer) > MAX_ANSWER:
            raise PeerFault(ErrorCode.E_LIMIT, f"answer of more than {MAX_ANSWER} bytes")
        if given is None or not given.more:
            self._end(exchange, bytes(exchange.answer))
            return
        wanted = Block(given.num + 1, more=False, szx=given.szx)
        self._send(exchange, b"", (Option.BLOCK2, wanted.encode()))

    def _end(self, exchange: _Exchange, answer: bytes | None) -> None:
        _stop(exchange)
        del self._by_token[exchange.token]
        peer = exchange.peer
        queue = self._queues.get(peer)
        self._under_way[peer] -= 1
        if queue:
            self._start(queue.popleft())
        else:
            self._queues.pop(peer, None)
            if not self._under_way[peer]:
                del self._under_way[peer]
        if answer is not None:
            exchange.answered(answer)
        elif exchange.failed is not None:
            exchange.failed()


def _stop(exchange: _Exchange) -> None:
    if exchange.timer is not None:
        exchange.timer.cancel()
        exchange.timer = None
