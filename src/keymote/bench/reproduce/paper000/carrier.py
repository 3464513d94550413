"""CoAP around a datagram: what our endpoint and EDHOC's binding put on the wire for each of them."""

from collections.abc import Sequence
from typing import Final

from keymote.lab.energy import Traffic
from keymote.transports.coap.message import OCTETS, Block, CoapMessage, Code, Kind, Option, uint

BLOCK: Final = 512
"""Bytes of a block (Triad-1 1.12): CRED and PEERCRED with the full chain take two."""
_SZX: Final = 5
_TOKEN: Final = bytes(4)
_EDHOC_PATH: Final = ((Option.URI_PATH, b".well-known"), (Option.URI_PATH, b"edhoc"))
_EDHOC_FORMATS: Final = {"request": 65, "answer": 64}
"""application/cid-edhoc+cbor-seq and application/edhoc+cbor-seq (RFC 9528 10.4)."""


def in_coap(messages: Traffic) -> Traffic:
    """Return our datagrams as confirmable `POST /k`, in blocks of 512 bytes, each block but the last answered by 2.31.

    Acknowledgements are not counted: they ride on answers.
    """
    sent, asked = _blocks(messages.sent)
    received, answered = _blocks(messages.received)
    return Traffic((*sent, *answered), (*received, *asked))


def _blocks(sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return UDP payloads in the direction of the datagrams, and those that answer blocks in the other."""
    there: list[int] = []
    back: list[int] = []
    options = ((Option.URI_PATH, b"k"), (Option.CONTENT_FORMAT, uint(OCTETS)))
    for size in sizes:
        if size <= BLOCK:
            there.append(_length(Kind.CON, Code.POST, options, size))
            continue
        for number, start in enumerate(range(0, size, BLOCK)):
            block = Block(number, start + BLOCK < size, _SZX)
            option = (Option.BLOCK1, block.encode())
            there.append(_length(Kind.CON, Code.POST, (*options, option), min(BLOCK, size - start)))
            if block.more:
                back.append(_length(Kind.ACK, Code.CONTINUE, (option,), 0))
    return there, back


def in_edhoc_coap(messages: Traffic) -> Traffic:
    """Return EDHOC's messages in CoAP (RFC 9528 A.2.1): requests with C_I or `true` before message 1 and 3."""
    request = (*_EDHOC_PATH, (Option.CONTENT_FORMAT, uint(_EDHOC_FORMATS["request"])))
    answer = ((Option.CONTENT_FORMAT, uint(_EDHOC_FORMATS["answer"])),)
    return Traffic(
        [_length(Kind.CON, Code.POST, request, 1 + size) for size in messages.sent],
        [_length(Kind.ACK, Code.CHANGED, answer, size) for size in messages.received],
    )


def _length(kind: Kind, code: Code, options: tuple[tuple[int, bytes], ...], payload: int) -> int:
    return len(CoapMessage(kind, code, 0, _TOKEN, options, bytes(payload)).encode())
