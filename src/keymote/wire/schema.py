"""The messages as CDDL (RFC 8610), printed from the very declarations that encode and decode them."""

from collections.abc import Iterator, Sequence
from typing import Final

from keymote import cbor
from keymote.errors import ErrorCode
from keymote.wire import enrolment, group_signed, pairwise, topic
from keymote.wire.cose import PROTECTED, InlineSign1
from keymote.wire.fields import CODE, FieldType, Number, Octets, OneOf, Sized, Sizes, Text, Uint, UintList, sizes_of
from keymote.wire.group_fields import MOST_CAUSES, Datagrams, Kids, OrNull, Reason, RosterEntries, Which
from keymote.wire.gsec import InlineEncrypt0
from keymote.wire.message import Body
from keymote.wire.pub import InlinePublished
from keymote.wire.registry import MESSAGES, name_of

BODIES: Final[tuple[tuple[type[Body], str], ...]] = (
    (enrolment.HelloClaims, "payload of the signed HELLO"),
    (enrolment.ShareBody, "plaintext of SHARE"),
    (enrolment.VptBody, "plaintext of VPT"),
    (enrolment.BindBody, "plaintext of BIND"),
    (enrolment.CredBody, "plaintext of CRED"),
    (pairwise.ShareClaims, "payload of ShareObj"),
    (pairwise.RevnoteClaims, "payload of REVNOTE"),
    *((claims, f"payload of {form.message.__name__}") for claims, form in group_signed.FORMS.items()),
    (topic.KeyGrant, "plaintext of KRESP and KPUSH"),
    (topic.TicketBody, "plaintext of TICKET"),
    (topic.HoPullClaims, "payload of HoPull"),
    (topic.HoContext, "plaintext of what HoCtx seals by HPKE"),
)
"""Inner arrays, and where they travel; what is sealed in KEYREQ and KEYRESP is the raw point."""


def cddl(suites: Sequence[int]) -> str:
    """Return the rules for these suites; a length that they disagree on becomes a choice. E_SUITE for an unknown one."""
    sizes = list(dict.fromkeys(map(sizes_of, suites)))
    algorithms = _choice(str(_algorithm(suite)) for suite in suites)
    codes = [f"{code.value} ; {code.name}" for code in ErrorCode]
    lines = [
        "; Triad-1, protocols A, B and C, in the deterministic encoding of RFC 8949 section 4.2.1.",
        f"; Lengths are those of {'suites' if len(suites) > 1 else 'suite'} {', '.join(map(str, suites))}.",
        "",
        "message = " + " /\n          ".join(map(name_of, MESSAGES)),
        "",
    ]
    for message in MESSAGES:
        lines += _array(message, _said(message), [str(message.mt)], sizes)
    lines += ["; What travels inside, signed or encrypted", ""]
    for body, where in BODIES:
        lines += _array(body, where, [], sizes)
    lines += [
        "credential = [protected, no-kid, bstr .cbor claims, signature]",
        "claims = { 1 => id, 2 => id, 4 => uint .size 4, 6 => uint .size 4, 7 => id, -70001 => keys }",
        "keys = [suite: uint .size 1, nc_id: id, E1: point / nil, E2: point / nil, sig_pk: point,",
        "        status_epoch: uint .size 4, role: 0..5]",
        "",
        "sign1-kid = [protected, kid, payload: bstr, signature]",
        "sign1 = [protected, no-kid, payload: bstr, signature]",
        "encrypt0 = [empty, unsigned, ciphertext] / [empty, countersigned, ciphertext]",
        "unsigned = { 4 => sender, 6 => partial-iv, 10 => epoch16 }",
        "countersigned = { 4 => sender, 6 => partial-iv, 10 => epoch16, 12 => signature }",
        "sender = bstr .size 1 / id",
        "partial-iv = bstr .size (1..3) ; the shortest",
        "epoch16 = bstr .size 2",
        "ciphertext = bstr .size (8..1040)",
        "published = [empty, published-by, ciphertext] / [empty, published-signed, ciphertext]",
        "published-by = { 4 => publisher, 6 => chain-index }",
        "published-signed = { 4 => publisher, 6 => chain-index, 12 => signature }",
        "publisher = bstr .size 5 ; the first 4 bytes of sess, then snd",
        "chain-index = bstr .size (1..4) ; the shortest",
        "empty = bstr .size 0",
        "protected = bstr .cbor header",
        f"header = {{ 1 => {algorithms} }}",
        "kid = { 4 => id }",
        "no-kid = {}",
        "signature = bstr .size 64",
        f"point = {_choice(f'bstr .size {size.point}' for size in sizes)}",
        "id = bstr .size 8",
        f"reason = 0..{MOST_CAUSES}",
        "error-code = " + "\n           / ".join(codes),
    ]
    return "\n".join(lines) + "\n"


def _algorithm(suite: int) -> object:
    """Return the COSE algorithm that the suite's protected header names, its only entry."""
    header = cbor.decode(PROTECTED[suite])
    assert isinstance(header, dict)
    return header[1]


def _array(kind: type[Body], comment: str, head: list[str], sizes: Sequence[Sizes]) -> list[str]:
    """Return the rule of one array and an empty line."""
    fields = [f"{'? ' if optional else ''}{name}: {_form(form, sizes)}" for name, form, optional in _declared(kind)]
    return [*([f"; {comment}"] if comment else []), f"{name_of(kind)} = [{', '.join(head + fields)}]", ""]


def _said(kind: type[Body]) -> str:
    """Return the first line of a declaration's own words; one without any was given its signature instead."""
    line = (kind.__doc__ or "").split("\n")[0]
    return "" if line.startswith(f"{kind.__name__}(") else line


def _declared(kind: type[Body]) -> Iterator[tuple[str, FieldType, bool]]:
    """Yield name, form and whether it may be left out, of each field in order."""
    names, types, required = kind._names, kind._types, kind._required  # noqa: SLF001  # message.py's other reader
    for at, (name, form) in enumerate(zip(names, types, strict=True)):
        yield name, form, at >= required


def _form(form: FieldType, sizes: Sequence[Sizes]) -> str:
    match form:
        case Uint(bits) if bits % 8 == 0:
            return f"uint .size {bits // 8}"
        case Uint(bits):
            return f"0..{(1 << bits) - 1}"
        case Number() if form == CODE:
            return "error-code"
        case Number(least, most):
            return f"{least}..{most}"
        case UintList(most):
            return f"[1*{most} uint .size 1]"
        case Octets(8, 0):
            return "id"
        case Octets(least, 0):
            return f"bstr .size {least}"
        case Octets(least, most):
            return f"bstr .size ({least}..{most})"
        case Text(most):
            return f"tstr .size (0..{most})"
        case OneOf(lengths):
            return _choice(f"bstr .size {length}" for length in lengths)
        case Sized(length):
            wanted = [length(size) for size in sizes]
            return "point" if wanted == [size.point for size in sizes] else _choice(f"bstr .size {n}" for n in wanted)
        case InlineSign1(kid):
            return "sign1-kid" if kid else "sign1"
        case _:
            return _structure(form, sizes)


def _structure(form: FieldType, sizes: Sequence[Sizes]) -> str:
    """Return the form of a field that is more than a number or a string."""
    match form:
        case OrNull(inner):
            return f"{_form(inner, sizes)} / nil"
        case Reason():
            return "reason / [reason, id]"
        case RosterEntries(least, most):
            return f"[{least}*{most} [kid: id, sig_pk: point]]"
        case Kids(least, most):
            return f"[{least}*{most} id]"
        case Which(most):
            return f"0..{most} / bstr .size 4"
        case Datagrams(least, most, longest):
            return f"[{least}*{most} bstr .size (1..{longest})]"
        case InlineEncrypt0():
            return "encrypt0"
        case InlinePublished():
            return "published"
        case topic.Publishers():
            return (
                f"[0*{topic.MOST_PUBLISHERS} [snd: uint .size 1, sig_pk: bstr .size 0 / bstr .size 32 / bstr .size 33]]"
            )
        case topic.Rights():
            return f"[0*{topic.MOST_RIGHTS} [filter: {_form(topic.TOPIC, sizes)}, rights: 1..3]]"
        case _:
            raise TypeError(f"{type(form).__name__} has no CDDL form yet")


def _choice(forms: Iterator[str]) -> str:
    return " / ".join(dict.fromkeys(forms))
