"""The messages of a group in JSON, read from and written to the very declarations that encode and decode them in CBOR.

A message is an object `{"message": NAME, FIELD: VALUE...}` with the declared names, all of them and no others; byte strings are
base64url without padding. What is signed stands as its claims, what a bundle carries as messages. Neither form loses a bit:
signatures cover the CBOR, which follows from the JSON because each value has one encoding.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import group, group_record, group_signed, gsec, masking
from keymote.wire.admin import from_base64url, to_base64url
from keymote.wire.cose import PROTECTED, InlineSign1, Sign1
from keymote.wire.fields import FieldType, Number, Octets, OneOf, Sized, Sizes, Text, Uint
from keymote.wire.group_fields import Cause, Datagrams, Entry, Kids, OrNull, Reason, RosterEntries, Which
from keymote.wire.gsec import Encrypt0, InlineEncrypt0
from keymote.wire.message import Body, Message
from keymote.wire.registry import BY_TYPE, name_of, peek

KINDS: Final[tuple[type[Message], ...]] = (
    group.Delegation,
    group.Start,
    group.Round1,
    group.Round1Compact,
    group.Round2,
    group.Round3,
    group.SignedRound3,
    group.Commit,
    group.Blame,
    group.Roster,
    group.JoinRequest,
    group.Root,
    group.Wrap,
    group.Need,
    gsec.Gsec,
    group.MaskKey,
    group.Bundle,
    masking.MaskReport,
    masking.MaskPresent,
    masking.MaskAgree,
    masking.MaskReveal,
    group_record.GroupRecord,
)
"""Everything that members, gateways and authorities of a group say to each other outside LINK."""
MOST_JSON: Final = 4 * cbor.MAX_SIZE_BUNDLE
"""Bytes of the JSON form of the longest message: base64 takes 4 for 3, names and signatures the rest."""

_BY_NAME: Final = {name_of(kind): kind for kind in KINDS}
_CLAIMS: Final = {
    kind: tuple(claims for claims, form in group_signed.FORMS.items() if form.message is kind) for kind in KINDS
}
"""What a signed message may claim; its JSON tells by its names, its CBOR by the number of elements."""
_ALG: Final[Mapping[bytes, int]] = {
    protected: alg
    for protected in PROTECTED.values()
    if isinstance(header := cbor.decode(protected), dict) and isinstance(alg := header[1], int)
}
_PROTECTED: Final = {alg: protected for protected, alg in _ALG.items()}


def to_json(data: bytes, sizes: Sizes) -> bytes:
    """Return the JSON form of a message of a group; `sizes` are those of the group's suite.

    Raises:
        PeerFault: E_FORMAT for anything else.
    """
    found = _declared_as(data, sizes)
    if found is None:
        raise _wrong("not a message of a group")
    return json.dumps(_object(found, sizes), ensure_ascii=False, separators=(",", ":")).encode()


def from_json(text: bytes, sizes: Sizes) -> bytes:
    """Return the CBOR encoding of the message whose JSON form is `text`.

    Raises:
        PeerFault: E_FORMAT for a name that is missing, unknown or said twice, and for a value in another than its one form.
    """
    if len(text) > MOST_JSON:
        raise _wrong(f"JSON of {len(text)} bytes, at most {MOST_JSON} are accepted")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _wrong("not well-formed JSON") from error
    return _read_message(value, sizes)


# ------------------------------------------------------------------ from CBOR


def _object(found: Message, sizes: Sizes) -> dict[str, object]:
    return {"message": name_of(type(found)), **_fields(found, sizes)}


def _declared_as(data: bytes, sizes: Sizes) -> Message | None:
    """Return the message in `data`, None unless it is one of a group whose claims are in their one form as well."""
    try:
        mt, _ = peek(data)
    except PeerFault:
        return None
    for kind in BY_TYPE.get(mt, ()):
        try:
            found = kind.decode(data, sizes) if kind in _CLAIMS else None
            if found is not None and all(_claims(found, value, sizes) for value in _envelopes(found)):
                return found
        except PeerFault:
            continue
    return None


def _envelopes(found: Message) -> Sequence[Sign1]:
    return [value for name in found._names if isinstance(value := getattr(found, name), Sign1)]  # noqa: SLF001  # message.py's other reader


def _claims(found: Message, envelope: Sign1, sizes: Sizes) -> Body:
    """Return what a signed message claims; E_FORMAT for a payload that is none of its claims."""
    for kind in _CLAIMS[type(found)]:
        try:
            return kind.decode(envelope.payload, sizes)
        except PeerFault:
            continue
    raise _wrong(f"the payload of {name_of(type(found))} is not what it claims")


def _fields(body: Body, sizes: Sizes) -> dict[str, object]:
    named = zip(body._names, body._types, strict=True)  # noqa: SLF001  # message.py's other reader
    return {name: _value(body, form, getattr(body, name), sizes) for name, form in named}


def _value(owner: Body, form: FieldType, value: Any, sizes: Sizes) -> object:
    match form, value:
        case (OrNull(), None):
            return None
        case (OrNull(inner), _):
            return _value(owner, inner, value, sizes)
        case (Uint() | Number() | Text(), _):
            return value
        case (Octets() | Sized() | OneOf(), _):
            return to_base64url(value)
        case (Reason(), Cause(reason, psk_id)):
            return [reason, to_base64url(psk_id)] if psk_id else reason
        case (RosterEntries(), _):
            return [{"kid": to_base64url(kid), "sig_pk": to_base64url(sig_pk)} for kid, sig_pk in value]
        case (Kids(), _):
            return [to_base64url(kid) for kid in value]
        case (Which(), _):
            return value if isinstance(value, int) else to_base64url(value)
        case (Datagrams(), _):
            return [_carried(data, sizes) for data in value]
        case (InlineSign1(kid=named), Sign1(protected, kid, _, signature)):
            assert isinstance(owner, Message)
            signer = {"kid": to_base64url(kid)} if named and kid is not None else {}
            claims = _fields(_claims(owner, value, sizes), sizes)
            return {"alg": _ALG[protected], **signer, "claims": claims, "signature": to_base64url(signature)}
        case (InlineEncrypt0(), Encrypt0(sender, seq, epoch16, countersignature, ciphertext)):
            tag = None if countersignature is None else to_base64url(countersignature)
            numbers = {"sender": to_base64url(sender), "seq": seq, "epoch16": epoch16}
            return {**numbers, "countersignature": tag, "ciphertext": to_base64url(ciphertext)}
        case _:
            raise TypeError(f"{type(form).__name__} has no JSON form yet")


def _carried(data: bytes, sizes: Sizes) -> object:
    """Return what a bundle carries: a message, or bytes that are none. Bundles in bundles are none."""
    found = _declared_as(data, sizes)
    return to_base64url(data) if found is None or isinstance(found, group.Bundle) else _object(found, sizes)


# ------------------------------------------------------------------ from JSON


def _read_message(value: object, sizes: Sizes) -> bytes:
    match value:
        case {"message": str(name), **rest} if name in _BY_NAME:
            kind = _BY_NAME[name]
        case _:
            raise _wrong('not an object with the "message" of a group')
    data = kind(*_read_fields(kind, kind, rest, sizes)).encode()
    if _declared_as(data, sizes) is None:
        raise _wrong(f"not a {name}")
    return data


def _read_fields(owner: type[Body], body: type[Body], value: object, sizes: Sizes) -> list[Any]:
    """Return the values of a body's fields, each accepted by its own form."""
    names, types = body._names, body._types  # noqa: SLF001  # message.py's other reader
    if not isinstance(value, dict) or set(value) != set(names):
        raise _wrong(f"{name_of(body)} has the members {', '.join(names)} and no others")
    items = [_item(owner, form, value[name], sizes) for name, form in zip(names, types, strict=True)]
    return [form.accept(item, sizes) for form, item in zip(types, items, strict=True)]


def _item(owner: type[Body], form: FieldType, value: object, sizes: Sizes) -> object:
    """Return the CBOR item that a JSON value stands for; its field's form then accepts or refuses it."""
    match form, value:
        case (OrNull(), None):
            return None
        case (OrNull(inner), _):
            return _item(owner, inner, value, sizes)
        case (Uint() | Number() | Text(), _):
            return value
        case (Octets() | Sized() | OneOf(), _):
            return _octets(value)
        case (Reason(), [reason, psk_id]):
            return [reason, _octets(psk_id)]
        case (Reason(), int()) | (Which(), int()):
            return value
        case (RosterEntries(), list(entries)):
            return [list(_entry(entry)) for entry in entries]
        case (Kids(), list(kids)):
            return [_octets(kid) for kid in kids]
        case (Which(), str()):
            return _octets(value)
        case (Datagrams(), list(carried)):
            return [_read_carried(each, sizes) for each in carried]
        case (InlineSign1(kid=named), dict(envelope)):
            return _read_sign1(owner, envelope, sizes, kid=named)
        case (InlineEncrypt0(), dict(record)):
            return _read_encrypt0(record)
        case _:
            raise _wrong(f"a {type(value).__name__} where {type(form).__name__} is due")


def _entry(value: object) -> Entry:
    match value:
        case {"kid": kid, "sig_pk": sig_pk, **rest} if not rest:
            return Entry(_octets(kid), _octets(sig_pk))
    raise _wrong("a roster's entry has the members kid, sig_pk and no others")


def _read_carried(value: object, sizes: Sizes) -> bytes:
    """Return what `_carried` made an object or a text of; E_FORMAT for a message that is not written as its object."""
    data = _octets(value) if isinstance(value, str) else _read_message(value, sizes)
    if _carried(data, sizes) != value:
        raise _wrong("a message in a bundle is written as an object, anything else as its bytes")
    return data


def _read_sign1(owner: type[Body], value: dict[str, object], sizes: Sizes, *, kid: bool) -> list[object]:
    due = {"alg", "claims", "signature"} | ({"kid"} if kid else set())
    if set(value) != due:
        raise _wrong(f"what is signed has the members {', '.join(sorted(due))} and no others")
    alg = value["alg"]
    if type(alg) is not int or alg not in _PROTECTED:
        raise _wrong("alg is that of no suite")
    header = {4: _octets(value["kid"])} if kid else {}
    return [_PROTECTED[alg], header, _read_claims(owner, value["claims"], sizes), _octets(value["signature"])]


def _read_claims(owner: type[Body], value: object, sizes: Sizes) -> bytes:
    assert issubclass(owner, Message)
    for kind in _CLAIMS[owner]:
        if isinstance(value, dict) and set(value) == set(kind._names):  # noqa: SLF001  # message.py's other reader
            return kind(*_read_fields(owner, kind, value, sizes)).encode()
    raise _wrong(f"{name_of(owner)} claims other members")


def _read_encrypt0(value: dict[str, object]) -> list[object]:
    match value:
        case {
            "sender": sender,
            "seq": int(seq),
            "epoch16": int(epoch16),
            "countersignature": tag,
            "ciphertext": ciphertext,
            **rest,
        } if not rest and type(seq) is int and type(epoch16) is int and 0 <= seq < 1 << 24 and 0 <= epoch16 < 1 << 16:
            countersignature = None if tag is None else _octets(tag)
            return Encrypt0(_octets(sender), seq, epoch16, countersignature, _octets(ciphertext)).items()
    raise _wrong("a record has the members sender, seq, epoch16, countersignature, ciphertext and no others")


def _octets(value: object) -> bytes:
    """Return the bytes of base64url without padding, in its one form."""
    if not isinstance(value, str):
        raise _wrong("base64url is due")
    return from_base64url(value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name is said twice")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of ours")


def _wrong(what: str) -> PeerFault:
    return PeerFault(ErrorCode.E_FORMAT, what)
