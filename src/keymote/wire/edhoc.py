"""Messages of EDHOC (RFC 9528 5, 6): CBOR sequences in deterministic encoding, and what the encrypted ones hold.

Nothing here is secret or verified; `engine/edhoc` encrypts, decrypts and judges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.layout import octets

KEY_SIZE: Final = 32
"""Bytes of G_X and G_Y in the suites that we run."""
MAX_ID_SIZE: Final = 64
"""Bytes of a connection identifier and of a kid that we accept."""
MOST_SUITES: Final = 16

_KID: Final = b"\xa1\x04"
_ONE_BYTE_INTS: Final = frozenset((*range(0x18), *range(0x20, 0x38)))
"""Encodings of -24 to 23: a byte string of one such byte stands as that integer (RFC 9528 3.3.2)."""
_PLAIN_FIELDS: Final = frozenset(range(0x18))
_KEY_HEAD: Final = bytes((0x58, KEY_SIZE))
_PLAIN_MESSAGE_1: Final = 3 + len(_KEY_HEAD) + KEY_SIZE
"""Bytes of a message_1 that offers one suite and has no EAD, when its other fields take one byte each."""
_take_octets: Final = octets(0, cbor.MAX_SIZE)
_take_proof: Final = octets(8, cbor.MAX_SIZE)


def _refuse(what: str) -> PeerFault:
    return PeerFault(ErrorCode.E_FORMAT, what)


# ------------------------------------------------------------------ parts


class Ead(NamedTuple):
    """External authorization data: a label, negative when it is critical, and an optional value (RFC 9528 3.8)."""

    label: int
    value: bytes | None = None

    @property
    def critical(self) -> bool:
        """Whether a receiver that does not know the label must abort."""
        return self.label < 0

    def encode(self) -> bytes:
        """Return the one or two items of the sequence."""
        return cbor.encode(self.label) + (b"" if self.value is None else cbor.bstr(self.value))


Eads = tuple[Ead, ...]


def encode_eads(eads: Eads) -> bytes:
    """Return EAD_1 to EAD_4 as they enter messages and MACs."""
    return b"".join([ead.encode() for ead in eads]) if eads else b""


def _eads(items: Sequence[object]) -> Eads:
    """Return the EADs at the end of a message; E_FORMAT unless each value follows its label."""
    found: list[Ead] = []
    for item in items:
        if type(item) is int:
            found.append(Ead(item))
        elif type(item) is bytes and found and found[-1].value is None:
            found[-1] = Ead(found[-1].label, item)
        else:
            raise _refuse("not a sequence of EAD labels and values")
    return tuple(found)


def encode_identifier(raw: bytes) -> bytes:
    """Return a connection identifier or kid on the wire: one byte where that byte is an integer (RFC 9528 3.3.2)."""
    return raw if len(raw) == 1 and raw[0] in _ONE_BYTE_INTS else cbor.bstr(raw)


def _identifier(item: object) -> bytes:
    """Return the raw bytes of an identifier; E_FORMAT for a byte string that must have been an integer."""
    if type(item) is int and -24 <= item < 24:
        return bytes((item if item >= 0 else 0x1F - item,))
    if type(item) is bytes and len(item) <= MAX_ID_SIZE and not (len(item) == 1 and item[0] in _ONE_BYTE_INTS):
        return item
    raise _refuse("not an identifier in its one form")


def id_cred_by_kid(kid: bytes) -> bytes:
    """Return ID_CRED_x = {4: kid}."""
    return _KID + cbor.bstr(kid)


def id_cred_by_value(ccs: bytes) -> bytes:
    """Return ID_CRED_x = {14: CCS}, which carries the credential itself (RFC 9528 3.5.3)."""
    return b"\xa1\x0e" + ccs


def _compact(id_cred: bytes) -> bytes:
    """Return ID_CRED_x as it stands in a plaintext: a lone kid without its map (RFC 9528 3.5.3.2)."""
    if not id_cred.startswith(_KID):
        return id_cred
    kid: list[bytes] = []
    _take_octets(id_cred, len(_KID), kid)
    return encode_identifier(kid[0])


def _id_cred(item: object) -> bytes:
    """Return ID_CRED_x as a map; E_FORMAT for a map that must have been compact, or for none."""
    if not isinstance(item, dict):
        return id_cred_by_kid(_identifier(item))
    if not item or not all(type(label) in (int, str) for label in item):
        raise _refuse("ID_CRED is no COSE header map")
    if set(item) == {4}:
        raise _refuse("a lone kid stands without its map")
    return cbor.encode(item)


def _plain(data: bytes, identifiers: int) -> list[bytes] | None:
    """Return short identifiers and a proof if that is all that `data` holds; None sends the reader the long way."""
    found: list[bytes] = []
    if len(data) <= identifiers or not _ONE_BYTE_INTS.issuperset(data[:identifiers]):
        return None
    try:
        end = _take_proof(data, identifiers, found)
    except IndexError:
        return None
    return found if end == len(data) else None


def _proof(item: object) -> bytes:
    if type(item) is bytes and len(item) >= 8:
        return item
    raise _refuse("not a signature or a MAC of at least 8 bytes")


# ------------------------------------------------------------------ messages


class Message1(NamedTuple):
    """I -> R in clear (RFC 9528 5.2.1). `suites` ends with the selected one; those before it I would rather have used."""

    method: int
    suites: tuple[int, ...]
    G_X: bytes
    C_I: bytes
    eads: Eads = ()

    def encode(self) -> bytes:
        """Return the one encoding."""
        suites = cbor.encode(self.suites[0]) if len(self.suites) == 1 else cbor.encode_array(*self.suites)
        head = cbor.uint(self.method) + suites + cbor.bstr(self.G_X)
        return head + encode_identifier(self.C_I) + encode_eads(self.eads)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the message; E_FORMAT unless every field has its one form. The length of G_X is the suite's affair."""
        if len(data) == _PLAIN_MESSAGE_1 and data[2:4] == _KEY_HEAD and _PLAIN_FIELDS.issuperset(data[:2] + data[-1:]):
            return cls(data[0], (data[1],), data[4:-1], data[-1:])
        match cbor.decode_sequence(data):
            case [method, suites, bytes(G_X), C_I, *eads] if type(method) is int:
                return cls(method, _suites(suites), G_X, _identifier(C_I), _eads(eads))
        raise _refuse("not a message_1")


def _suites(item: object) -> tuple[int, ...]:
    if type(item) is int:
        return (item,)
    if isinstance(item, list) and 2 <= len(item) <= MOST_SUITES and all(type(suite) is int for suite in item):
        return tuple(item)
    raise _refuse("not cipher suites in their one form")


def encode_message_2(G_Y: bytes, CIPHERTEXT_2: bytes) -> bytes:
    """Return message_2, one byte string of both (RFC 9528 5.3.1)."""
    return cbor.bstr(G_Y + CIPHERTEXT_2)


def decode_message_2(data: bytes) -> tuple[bytes, bytes]:
    """Return (G_Y, CIPHERTEXT_2)."""
    both = decode_ciphertext(data)
    if len(both) <= KEY_SIZE:
        raise _refuse("message_2 has no room for G_Y and a ciphertext")
    return both[:KEY_SIZE], both[KEY_SIZE:]


def encode_ciphertext(ciphertext: bytes) -> bytes:
    """Return message_3 or message_4, one byte string (RFC 9528 5.4.1, 5.5.1)."""
    return cbor.bstr(ciphertext)


def decode_ciphertext(data: bytes) -> bytes:
    """Return the byte string that is the whole message; E_FORMAT for anything else."""
    found: list[bytes] = []
    try:
        end = _take_octets(data, 0, found)
    except IndexError:
        end = -1
    if end != len(data):
        raise _refuse("not one byte string")
    return found[0]


class Plaintext2(NamedTuple):
    """What R says inside message_2; `id_cred` is the whole map of ID_CRED_R."""

    C_R: bytes
    id_cred: bytes
    proof: bytes
    """Signature_or_MAC_2."""
    eads: Eads = ()

    def encode(self) -> bytes:
        """Return the one encoding."""
        return encode_identifier(self.C_R) + _compact(self.id_cred) + cbor.bstr(self.proof) + encode_eads(self.eads)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the plaintext; E_FORMAT unless every field has its one form."""
        plain = _plain(data, 2)
        if plain is not None:
            return cls(data[:1], id_cred_by_kid(data[1:2]), plain[0])
        match cbor.decode_sequence(data):
            case [C_R, id_cred, proof, *eads]:
                return cls(_identifier(C_R), _id_cred(id_cred), _proof(proof), _eads(eads))
        raise _refuse("not a PLAINTEXT_2")


class Plaintext3(NamedTuple):
    """What I says inside message_3; `id_cred` is the whole map of ID_CRED_I."""

    id_cred: bytes
    proof: bytes
    """Signature_or_MAC_3."""
    eads: Eads = ()

    def encode(self) -> bytes:
        """Return the one encoding."""
        return _compact(self.id_cred) + cbor.bstr(self.proof) + encode_eads(self.eads)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the plaintext; E_FORMAT unless every field has its one form."""
        plain = _plain(data, 1)
        if plain is not None:
            return cls(id_cred_by_kid(data[:1]), plain[0])
        match cbor.decode_sequence(data):
            case [id_cred, proof, *eads]:
                return cls(_id_cred(id_cred), _proof(proof), _eads(eads))
        raise _refuse("not a PLAINTEXT_3")


def decode_plaintext_4(data: bytes) -> Eads:
    """Return what R says inside message_4: EADs, mostly none."""
    return _eads(cbor.decode_sequence(data))


# ------------------------------------------------------------------ errors


UNSPECIFIED: Final = 1
WRONG_SELECTED_SUITE: Final = 2
UNKNOWN_CREDENTIAL: Final = 3


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """(ERR_CODE, ERR_INFO), never protected (RFC 9528 6): a hint, on which nothing but the end of a run may depend.

    `info` is a text for code 1, the suites of R for code 2, True for code 3, anything for others.
    """

    code: int
    info: str | tuple[int, ...] | object

    def encode(self) -> bytes:
        """Return the one encoding; a lone suite stands as an integer."""
        info = self.info
        if isinstance(info, tuple):
            info = info[0] if len(info) == 1 else list(info)
        return cbor.encode(self.code) + cbor.encode(info)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the message; E_FORMAT unless it is a code and, of a known code, its kind of information."""
        match cbor.decode_sequence(data):
            case [code, info] if type(code) is int and code != 0:
                pass
            case _:
                raise _refuse("not an EDHOC error message")
        if code == WRONG_SELECTED_SUITE:
            return cls(code, _suites(info))
        if (code == UNSPECIFIED and type(info) is not str) or (code == UNKNOWN_CREDENTIAL and info is not True):
            raise _refuse(f"information of another kind than that of error {code}")
        return cls(code, info)


def is_error(data: bytes) -> bool:
    """Return whether what arrived in place of message_2, 3 or 4 is an error message: those begin with a byte string."""
    return bool(data) and data[0] >> 5 in (0, 1)


# ------------------------------------------------------------------ credentials by value


@dataclass(frozen=True, slots=True)
class Ccs:
    """A CWT claims set with a COSE_Key in its confirmation (RFC 9528 3.5.2): a public key that nobody has vouched for."""

    raw: bytes
    sub: str
    kid: bytes | None
    crv: int
    x: bytes
    y: bytes | None

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Return the claims; E_FORMAT unless they hold one key of kty OKP or EC2 with 32-byte coordinates."""
        match cbor.decode(raw):
            case {8: {1: {1: kty, -1: int(crv), -2: bytes(x), **rest}}, **claims} if len(x) == KEY_SIZE:
                pass
            case _:
                raise _refuse("not a CWT claims set with a COSE key")
        kid, y = rest.get(2), rest.get(-3)
        if not (kid is None or type(kid) is bytes) or kty not in (1, 2) or (kty == 1 and y is not None):
            raise _refuse("not a COSE key of a curve")
        if y is not None and not (type(y) is bytes and len(y) == KEY_SIZE):
            raise _refuse("a y-coordinate must be 32 bytes")
        sub = claims.get(2)
        return cls(raw, sub if isinstance(sub, str) else "", kid, crv, x, y)

    @classmethod
    def of_id_cred(cls, id_cred: bytes) -> "Ccs | None":
        """Return the claims that ID_CRED_x carries by value, None when it only refers to some."""
        return cls.decode(id_cred[2:]) if id_cred.startswith(b"\xa1\x0e") else None
