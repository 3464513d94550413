"""Every message of protocols A, B and C: its bytes, its size, and everything that its decoder must refuse."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import (
    enrolment,
    group,
    group_record,
    group_signed,
    gsec,
    handover,
    invitation,
    masking,
    pairwise,
    topic,
)
from keymote.wire.cose import Sign1
from keymote.wire.fields import sizes_of
from keymote.wire.message import Body, Message
from keymote.wire.registry import BY_TYPE, MESSAGES, peek, peek_id, peek_signed_id

VECTORS = {
    suite: json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    for suite, name in ((1, "triad1.json"), (17, "triad1-p256.json"))
}
both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])
every_message = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)

FORMS: dict[type[Message], str] = {
    enrolment.Hello: "1 id id suites 16 u32",
    enrolment.SignedHello: "1 sign1",
    enrolment.Join: "2 u8 id id point 16?",
    enrolment.Offer: "3 point point 16",
    enrolment.Share: "4 share",
    enrolment.Vpt: "5 vpt",
    enrolment.Bind: "6 bind",
    enrolment.Cred: "7 64..794",
    enrolment.Cookie: "8 16",
    enrolment.DoneMessage: "9 16",
    enrolment.Error: "10 u8 code id?",
    pairwise.XshareRequest: "13 id id id",
    pairwise.XshareAnswer: "13 id sign1",
    pairwise.Sessreq: "16 id id u8",
    pairwise.Peercred: "17 id u3 64..256 64..256 64..256? id?",
    pairwise.PeercredCompact: "17 id u2 32 point point id point u32 id?",
    pairwise.Link: "18 id u32 u32 16..1040",
    pairwise.Xcred: "19 id 64..256 0|8 u32 0|32 u8?",
    pairwise.Auth1: "20 id u8 point point point",
    pairwise.Auth2: "21 id point point point 16",
    pairwise.Keyreq: "22 id sealed-point",
    pairwise.Keyresp: "23 id sealed-point",
    pairwise.NmAuth1: "20 id u8 point point point 64..256 0|1168",
    pairwise.NmAuth2: "21 id point point point 64..256 0|1168 16",
    pairwise.NmAuth3: "22 id 16",
    pairwise.Shreq: "24 id id id",
    pairwise.Shresp: "25 id point sign1 32? 32?",
    pairwise.Fin1: "26 id 16",
    pairwise.Fin2: "27 id 16",
    pairwise.Revoke: "28 id id reason id u32",
    pairwise.Close: "29 id 16",
    pairwise.Revnote: "30 sign1",
    pairwise.Srec: "31 id u32 8..1040",
    group.Delegation: "11 sign1",
    group.Start: "32 sign1",
    group.Round1: "33 bare",
    group.Round1Compact: "34 id idx point id u32",
    group.Round2: "35 bare",
    group.Round3: "36 id idx 16",
    group.SignedRound3: "36 bare",
    group.Commit: "37 sign1",
    group.Blame: "38 sign1",
    group.Roster: "39 sign1",
    group.JoinRequest: "40 sign1",
    group.Root: "41 sign1",
    group.Wrap: "42 sign1",
    group.Need: "43 id what idx|set",
    gsec.Gsec: "44 encrypt0",
    group.MaskKey: "45 bare",
    group.Bundle: "46 id messages",
    enrolment.Renew: "61 id",
    enrolment.Newcred: "62 64..256 64..256 64..256?",
    pairwise.Edhoc1: "64 id 1..256",
    pairwise.Edhoc2: "65 id 1..256",
    pairwise.Edhoc3: "66 id 1..256",
    pairwise.Edhoc4: "67 id 1..256",
    masking.MaskReport: "70 bare",
    masking.MaskPresent: "71 sign1",
    masking.MaskAgree: "72 bare",
    masking.MaskReveal: "73 bare",
    invitation.Invite: "74 id level flags 0|6 resources 64..256 64..256 0|40",
    invitation.Invited: "75 id verdict id 0|8",
    invitation.Uninvite: "76 id",
    group_record.GroupRecord: "77 id path 1..1135",
    topic.Kreq: "48 id u32 id topic role 8",
    topic.Kresp: "49 u32 66..695",
    topic.Kack: "50 id 8",
    topic.Kpush: "51 u32 id 66..695",
    topic.Pub: "52 published",
    topic.Ticket: "53 id 13 71..1024",
    topic.Connauth: "54 id 99..1053 id 16",
    topic.ConnackAuth: "55 16 16",
    topic.HoReq: "56 id id id u32 id 16",
    topic.HoPull: "57 sign1",
    topic.HoCtx: "58 sign1",
    topic.HoAck: "59 16 16",
    topic.HoDeny: "60 id code id",
    handover.HoRelease: "78 id u32 id 16",
    handover.HoReleased: "79 id u32 16",
    handover.HoPub: "80 id topic 18..1140",
    handover.Between: "81 id 4..1264",
    handover.BrokerAt: "82 id topic 16",
    handover.HoMoved: "83 id 13 44..64",
    handover.HoNoted: "84 id u32 16",
}
"""The registry once more, in our reading of Triad-1 1.12, 2.4 to 2.8, 3.4, 3.8 and 8: type, then the form of each element.
61, 62 and the last field of PEERCRED are ours (docs/decisions/0121).

A number is a length in bytes, a..b and a|b are ranges and choices of lengths, u8 and u32 unsigned integers, `bare` is a
COSE_Sign1 without kid, `?` may be left out at the end, `~` may be null.
"""

NUMBERS = {"idx": (0, 31), "what": (1, 8), "step": (1, 2), "bit": (0, 1), "members": (2, 32), "few": (0, 32)}
NUMBERS |= {"role": (1, 3)}
NUMBERS |= {"level": (0, 2), "flags": (0, 7), "verdict": (0, 25)}
SAMPLES = {
    "path": "telemetry/power",
    "topic": "w/7/hr",
    "rights": [["w/#", 2], ["w/7/hr", 1]],
    "publishers": [[7, bytes(32)], [200, b""], [8, bytes(33)]],
    "published": [b"", {4: b"sess\1", 6: b"\1\0", 12: bytes(64)}, bytes(24)],
}
SIGN1_PAYLOAD = b"a payload of sixty bytes that no decoder of the envelope reads."
CREDENTIAL_SIZE = {1: 233, 17: 236}


def point_size(suite: int) -> int:
    return 33 if suite == 17 else 32


def lengths(form: str, suite: int) -> tuple[int, ...]:
    """Return the byte lengths that a form allows."""
    point = point_size(suite)
    named = {
        "id": (8,),
        "point": (point,),
        "sealed-point": (point + 16,),
        "share": (1 + 3 * (2 + point) + 16,),
        "vpt": (1 + 2 + point + 16,),
        "bind": (1 + 2 + point + 2 * 34 + 66 + 16,),
    }
    if form in named:
        return named[form]
    if ".." in form:
        least, most = map(int, form.split(".."))
        return tuple(range(least, most + 1))
    return tuple(map(int, form.split("|")))


def fits_topic_keys(form: str, value: object, suite: int) -> bool:
    match form:
        case "topic":
            return type(value) is str and len(value.encode()) <= 255
        case "rights":
            return (
                type(value) is list
                and len(value) <= 16
                and all(
                    type(entry) is list and len(entry) == 2 and fits("topic", entry[0], suite) and entry[1] in (1, 2, 3)
                    for entry in value
                )
            )
        case "publishers":
            return (
                type(value) is list
                and len(value) <= 16
                and all(
                    type(entry) is list
                    and len(entry) == 2
                    and fits("u8", entry[0], suite)
                    and fits("0|32|33", entry[1], suite)
                    for entry in value
                )
            )
        case "published":
            match value:
                case [b"", {4: bytes(sender), 6: bytes(partial), **rest}, bytes(ct)] if len(value) == 3:
                    shortest = len(partial) == 1 or partial[:1] != b"\0"
                    signed = not rest or (set(rest) == {12} and type(rest[12]) is bytes and len(rest[12]) == 64)
                    return len(sender) == 5 and 1 <= len(partial) <= 4 and shortest and signed and 8 <= len(ct) <= 1040
            return False
    raise AssertionError(form)


def fits(form: str, value: object, suite: int) -> bool:
    """Tell whether `value` is of `form`, by types alone."""
    if form.endswith("~"):
        return value is None or fits(form[:-1], value, suite)
    form = form.removesuffix("?")
    match form:
        case "u2" | "u3" | "u8" | "u32":
            return type(value) is int and 0 <= value < 1 << int(form[1:])
        case "code":
            return type(value) is int and 1 <= value <= 25
        case "reason":
            return type(value) is int and 0 <= value <= 4
        case "suites":
            return type(value) is list and 0 < len(value) <= 8 and all(fits("u8", entry, suite) for entry in value)
        case "sign1" | "bare":
            match value:
                case [bytes(protected), dict(header), bytes(), bytes(signature)] if len(value) == 4:
                    return (
                        protected in (b"\xa1\x01\x32", b"\xa1\x01\x28")
                        and set(header) == ({4} if form == "sign1" else set())
                        and (form == "bare" or fits("id", header[4], suite))
                        and len(signature) == 64
                    )
            return False
        case "idx" | "what" | "step" | "bit" | "members" | "few" | "level" | "flags" | "verdict" | "role":
            least, most = NUMBERS[form]
            return type(value) is int and least <= value <= most
        case "idx|set":
            return fits("idx", value, suite) or (type(value) is bytes and len(value) == 4)
        case "messages":
            return (
                type(value) is list and len(value) <= 64 and all(type(m) is bytes and 0 < len(m) <= 2048 for m in value)
            )
        case "resources":
            return type(value) is list and len(value) <= 8 and all(type(r) is bytes and 0 < len(r) <= 48 for r in value)
        case "entries" | "added":
            return (
                type(value) is list
                and (2 if form == "entries" else 0) <= len(value) <= 32
                and all(type(entry) is list and [*map(len, entry)] == [8, point_size(suite)] for entry in value)
                and [entry[0] for entry in value] == sorted({entry[0] for entry in value})
            )
        case "path":
            return type(value) is str and len(value.encode()) <= 100
        case "topic" | "rights" | "publishers" | "published":
            return fits_topic_keys(form, value, suite)
        case "kids":
            return type(value) is list and all(fits("id", kid, suite) for kid in value) and value == sorted(set(value))
        case "why":
            match value:
                case [reason, psk_id]:
                    return fits("reason", reason, suite) and fits("id", psk_id, suite)
            return fits("reason", value, suite)
        case "encrypt0":
            match value:
                case [b"", {4: bytes(sender), 6: bytes(partial), 10: bytes(epoch), **rest}, bytes(ct)] if (
                    len(value) == 3
                ):
                    shortest = len(partial) == 1 or partial[:1] != b"\0"
                    signed = not rest or (set(rest) == {12} and type(rest[12]) is bytes and len(rest[12]) == 64)
                    sizes = (
                        len(sender) in (1, 8) and 1 <= len(partial) <= 3 and len(epoch) == 2 and 8 <= len(ct) <= 1040
                    )
                    return sizes and shortest and signed
            return False
    return type(value) is bytes and len(value) in lengths(form, suite)


def sample(form: str, suite: int, salt: int) -> Any:
    """Return a typical value of a form."""
    form = form.removesuffix("?").removesuffix("~")
    if form in SAMPLES:
        return SAMPLES[form]
    match form:
        case "u8":
            return 1 + salt % 20
        case "u2" | "u3":
            return 1
        case "u32":
            return 1000 + salt
        case "code":
            return 14
        case "reason":
            return 2
        case "suites":
            return [suite, 2]
        case "sign1":
            protected = b"\xa1\x01\x28" if suite == 17 else b"\xa1\x01\x32"
            return [protected, {4: bytes(range(8))}, SIGN1_PAYLOAD, bytes(range(64))]
        case "bare":
            return [sample("sign1", suite, salt)[0], {}, SIGN1_PAYLOAD, bytes(range(64))]
        case "idx" | "idx|set" | "bit" | "few" | "step" | "level" | "flags" | "verdict" | "role":
            return 1
        case "what" | "members":
            return 7
        case "messages":
            return [b"one message", b"another"]
        case "resources":
            return [b"telemetry", b"meter/1"]
        case "entries" | "added":
            return [[bytes([at]) * 8, bytes([salt]) * point_size(suite)] for at in (1, 2, 3)]
        case "1..1135":
            return bytes([salt]) * 40
        case "kids":
            return [bytes(8), bytes([salt]) * 8]
        case "why":
            return [salt % 5, bytes([salt]) * 8]
        case "encrypt0":
            return [b"", {4: b"\5", 6: b"\1\0", 10: b"\0\7", 12: bytes(64)}, bytes(24)]
        case "64..256":
            return bytes([salt]) * CREDENTIAL_SIZE[suite]
        case "64..794":
            return bytes([salt]) * 473
    return bytes([salt]) * max(size for size in lengths(form, suite) if size < 200)


def forms(kind: type[Message]) -> list[str]:
    return FORMS[kind].split()[1:]


def items(kind: type[Message], suite: int, *, whole: bool) -> list[Any]:
    """Return the items of a message, with or without those that may be left out."""
    chosen = [form for form in forms(kind) if whole or not form.endswith("?")]
    return [kind.mt] + [sample(form, suite, salt) for salt, form in enumerate(chosen, start=1)]


def encoded(value: object) -> bytes:
    """Encode past our own codec."""
    return cbor2.dumps(value, canonical=True)


def decode(kind: type[Message], data: bytes, suite: int) -> Message:
    return kind.decode(data, sizes_of(suite))


def refused(kind: type[Message], data: bytes, suite: int) -> None:
    with pytest.raises(PeerFault) as fault:
        decode(kind, data, suite)
    assert fault.value.code is ErrorCode.E_FORMAT


# ------------------------------------------------------------------ golden bytes, both ways


def golden(suite: int) -> dict[type[Body], list[bytes]]:
    """Return the given vectors by message."""
    enrol, session = VECTORS[suite]["A_enrol"]["messages"], VECTORS[suite]["A_session"]["messages"]
    texts: dict[type[Body], list[str]] = {
        enrolment.Hello: [enrol["HELLO"]],
        enrolment.Join: [enrol["JOIN"], enrol["JOIN+cookie"]],
        enrolment.Cookie: [enrol["COOKIE"]],
        enrolment.Offer: [enrol["OFFER"]],
        enrolment.Share: [enrol["SHARE"]],
        enrolment.Vpt: [enrol["VPT"]],
        enrolment.Bind: [enrol["BIND"]],
        enrolment.Cred: [enrol["CRED"]],
        enrolment.DoneMessage: [enrol["DONE"]],
        pairwise.Sessreq: [session["SESSREQ (in link)"]],
        pairwise.Peercred: [session["PEERCRED (in link)"]],
        pairwise.Auth1: [session["A1 AUTH1"]],
        pairwise.Auth2: [session["A2 AUTH2"]],
        pairwise.Keyreq: [session["A3 KEYREQ"]],
        pairwise.Keyresp: [session["A4 KEYRESP"]],
        pairwise.Shreq: [session["SHREQ (in link)"]],
        pairwise.Shresp: [session["SHRESP (in link)"]],
        pairwise.Fin1: [session["FIN1"]],
        pairwise.Fin2: [session["FIN2"]],
        pairwise.Revoke: [session["REVOKE (in link)"]],
        pairwise.Close: [session["CLOSE"]],
    }
    for ring in (VECTORS[suite][f"B_n{n}"] for n in (2, 3, 5)):
        for kind, name in ((group.Round1, "R1"), (group.Round2, "R2"), (group.Round3, "R3")):
            texts.setdefault(kind, []).extend(ring[name])
        for kind, name in ((group.Start, "START"), (group.Commit, "COMMIT")):
            texts.setdefault(kind, []).append(ring[name])
    texts[topic.Pub] = [text for (text,) in VECTORS[suite]["C"]["publishes"].values()]
    return {kind: [bytes.fromhex(text) for text in found] for kind, found in texts.items()}


def test_the_forms_name_every_message_and_its_type() -> None:
    assert list(FORMS) == list(MESSAGES)
    assert [int(form.split()[0]) for form in FORMS.values()] == [kind.mt for kind in MESSAGES]


@both_suites
def test_CM05_given_vectors_decode_and_encode_to_the_same_bytes(suite: int) -> None:
    for kind, messages in golden(suite).items():
        for data in messages:
            found = kind.decode(data, sizes_of(suite))
            assert found.encode() == data
            assert kind.decode(found.encode(), sizes_of(suite)) == found


@both_suites
def test_given_vectors_carry_the_values_beside_them(suite: int) -> None:
    enrol, session = VECTORS[suite]["A_enrol"], VECTORS[suite]["A_session"]
    join = enrolment.Join.decode(golden(suite)[enrolment.Join][1], sizes_of(suite))
    assert (join.suite, join.dev_id.hex(), join.Y_D.hex()) == (suite, enrol["inputs"]["dev_id"], enrol["values"]["YD"])
    assert join.hello_n8.hex() == enrol["inputs"]["hello_nonce"][:16]
    auth1 = pairwise.Auth1.decode(golden(suite)[pairwise.Auth1][0], sizes_of(suite))
    assert [point.hex() for point in (auth1.X_I, auth1.C1R, auth1.C2R)] == [
        session["values"][name] for name in ("XI", "C1R", "C2R")
    ]
    shresp = pairwise.Shresp.decode(golden(suite)[pairwise.Shresp][0], sizes_of(suite))
    assert shresp.own_share.hex() == session["values"]["B1"]
    assert shresp.share.encode().hex() == session["messages"]["SHARE-OBJ (foreign NM)"]


@both_suites
@every_message
def test_CM05_a_message_is_the_array_of_its_elements(kind: type[Message], suite: int) -> None:
    for whole in (False, True):
        data = encoded(items(kind, suite, whole=whole))
        found = decode(kind, data, suite)
        assert found.encode() == data
        assert decode(kind, found.encode(), suite) == found
        assert found.mt == kind.mt == data[1 if kind.mt < 24 else 2]


def test_CR09_credentials_are_byte_strings_and_share_objects_inline_arrays() -> None:
    peercred = items(pairwise.Peercred, 1, whole=True)
    shresp = items(pairwise.Shresp, 1, whole=False)
    inline = [b"\xa1\x01\x32", {}, b"", bytes(64)]
    refused(pairwise.Peercred, encoded([*peercred[:3], inline, *peercred[4:]]), 1)
    refused(pairwise.Shresp, encoded([*shresp[:3], encoded(shresp[3])]), 1)


def test_CM27_GR01_kid_stands_where_section_8_wants_it_and_nowhere_else() -> None:
    named = {kind for kind in MESSAGES if "sign1" in forms(kind)}
    assert named == {
        enrolment.SignedHello, pairwise.XshareAnswer, pairwise.Shresp, pairwise.Revnote, group.Delegation, group.Start,
        group.Commit, group.Blame, group.Roster, group.JoinRequest, group.Root, group.Wrap, masking.MaskPresent,
        topic.HoPull, topic.HoCtx,
    }  # fmt: skip
    for kind in named:
        content = items(kind, 1, whole=False)
        at = forms(kind).index("sign1") + 1
        content[at][1] = {}
        refused(kind, encoded(content), 1)
    for kind in (group.Round1, group.Round2, group.SignedRound3, group.MaskKey, masking.MaskReport, masking.MaskReveal):
        content = items(kind, 1, whole=False)
        content[1][1] = {4: bytes(8)}
        refused(kind, encoded(content), 1)


# ------------------------------------------------------------------ sizes


def in_link(body: int) -> int:
    """Return the size of LINK around a body, early in its epoch (Triad-1 1.7)."""
    return len(pairwise.Link(bytes(8), 0, 1, bytes(body + 16)).encode())


def share_object(suite: int) -> Sign1:
    point = point_size(suite)
    claims = pairwise.ShareClaims(bytes(8), bytes(point), bytes(point + 16)).encode()
    return Sign1(b"\xa1\x01\x28" if suite == 17 else b"\xa1\x01\x32", bytes(8), claims, bytes(64))


def sized(suite: int) -> dict[str, int]:
    """Return the measured size of one typical message a row of Triad-1 1.12."""
    P, cred, share = bytes(point_size(suite)), bytes(CREDENTIAL_SIZE[suite]), share_object(suite)
    psid = i = bytes(8)
    mac, kappa = bytes(16), bytes(32)
    protected = share.protected
    hello = enrolment.HelloClaims(i, i, (suite,), mac, 7).encode()
    note = pairwise.RevnoteClaims(psid, i, 2, i, 1_700_000_000).encode()
    tag = 8 if suite == 17 else 16
    found: dict[str, Message] = {
        "HELLO": enrolment.Hello(i, i, (suite,), mac, 7),
        "HELLO signed": enrolment.SignedHello(Sign1(protected, i, hello, bytes(64))),
        "JOIN": enrolment.Join(suite, i, i, P),
        "JOIN with cookie": enrolment.Join(suite, i, i, P, mac),
        "OFFER": enrolment.Offer(P, P, mac),
        "SHARE": enrolment.Share(bytes(len(enrolment.ShareBody(P, P, P).encode()) + 16)),
        "VPT": enrolment.Vpt(bytes(len(enrolment.VptBody(P).encode()) + 16)),
        "BIND": enrolment.Bind(bytes(len(enrolment.BindBody(P, kappa, kappa, bytes(64)).encode()) + 16)),
        "CRED": enrolment.Cred(bytes(len(enrolment.CredBody(cred, cred).encode()) + 16)),
        "COOKIE": enrolment.Cookie(mac),
        "DONE": enrolment.DoneMessage(mac),
        "ERROR": enrolment.Error(16, 9),
        "A1": pairwise.Auth1(psid, suite, P, P, P),
        "A2": pairwise.Auth2(psid, P, P, P, mac),
        "A3": pairwise.Keyreq(psid, P + mac),
        "A4": pairwise.Keyresp(psid, P + mac),
        "FIN1": pairwise.Fin1(psid, mac),
        "FIN2": pairwise.Fin2(psid, mac),
        "CLOSE": pairwise.Close(psid, mac),
        "REVNOTE": pairwise.Revnote(Sign1(protected, i, note, bytes(64))),
        "SREC, 16 B": pairwise.Srec(psid, 1, bytes(16 + tag)),
        "GSEC mac, 16 B": gsec.Gsec(gsec.Encrypt0(b"\5", 1, 1, None, bytes(16 + tag))),
        "GSEC signed, 16 B": gsec.Gsec(gsec.Encrypt0(b"\5", 1, 1, bytes(64), bytes(16 + tag))),
    }
    linked: dict[str, Message] = {
        "ERROR": enrolment.Error(16, 9),
        "XSHARE": pairwise.XshareAnswer(psid, share),
        "SESSREQ": pairwise.Sessreq(psid, i, 0),
        "PEERCRED full": pairwise.Peercred(psid, 1, cred, cred),
        "PEERCRED compact": pairwise.PeercredCompact(psid, 1, kappa, P, P, i, P, 7),
        "XCRED": pairwise.Xcred(psid, cred, i, 7, b""),
        "XCRED PQ": pairwise.Xcred(psid, cred, i, 7, kappa),
        "SHREQ": pairwise.Shreq(psid, i, i),
        "SHRESP": pairwise.Shresp(psid, P, share),
        "SHRESP PQ": pairwise.Shresp(psid, P, share, kappa, kappa),
        "REVOKE": pairwise.Revoke(psid, i, 2, i, 1),
        "PEERCRED full, own kid": pairwise.Peercred(psid, 1, cred, cred, cred, i),
        "PEERCRED compact, own kid": pairwise.PeercredCompact(psid, 1, kappa, P, P, i, P, 7, i),
        "RENEW": enrolment.Renew(i),
        "NEWCRED": enrolment.Newcred(cred, cred, cred),
    }
    sizes = {name: len(message.encode()) for name, message in found.items()}
    return sizes | {f"{name} in LINK": in_link(len(message.encode())) for name, message in linked.items()}


SIZES_OF_THE_REGISTRY = {
    "HELLO": (40, 40),
    "HELLO signed": (125, 125),
    "JOIN": (55, 56),
    "JOIN with cookie": (72, 73),
    "OFFER": (87, 89),
    "SHARE": (123, 126),
    "VPT": (55, 56),
    "BIND": (189, 190),
    "CRED": (492, 498),
    "COOKIE": (19, 19),
    "DONE": (19, 19),
    "ERROR": (4, 4),
    "ERROR in LINK": (34, 34),
    "XSHARE in LINK": (220, 222),
    "SESSREQ in LINK": (52, 52),
    "PEERCRED full in LINK": (514, 520),
    "PEERCRED compact in LINK": (189, 192),
    "PEERCRED full, own kid in LINK": (758, 767),
    "PEERCRED compact, own kid in LINK": (198, 201),
    "RENEW in LINK": (43, 43),
    "NEWCRED in LINK": (740, 749),
    "XCRED in LINK": (289, 292),
    "XCRED PQ in LINK": (322, 325),
    "A1": (114, 117),
    "A2": (130, 133),
    "A3": (61, 62),
    "A4": (61, 62),
    "SHREQ in LINK": (61, 61),
    "SHRESP in LINK": (255, 258),
    "SHRESP PQ in LINK": (324, 327),
    "FIN1": (29, 29),
    "FIN2": (29, 29),
    "REVOKE in LINK": (63, 63),
    "CLOSE": (29, 29),
    "REVNOTE": (121, 121),
    "SREC, 16 B": (47, 39),
    "GSEC mac, 16 B": (50, 42),
    "GSEC signed, 16 B": (117, 109),
}
"""Triad-1 1.12, suite 1 and 17. It gives suite 17 only for what never travels in LINK; those follow from the lengths
of points (33) and credentials (236). SREC and GSEC of suite 17 have a tag of 8 bytes."""


def test_CM29_every_message_has_the_size_of_the_registry() -> None:
    measured = {name: (sized(1)[name], sized(17)[name]) for name in sized(1)}
    assert measured == SIZES_OF_THE_REGISTRY


def ring_messages(suite: int) -> dict[str, int]:
    """Return the measured size of one message a row of Triad-1 3.4: idx 24 to 31, n = 25, epoch below 24."""
    P, i, mac, digest = bytes(point_size(suite)), bytes(8), bytes(16), bytes(32)
    ts, idx = 1_700_000_000, 24
    entries = tuple(group.Entry(bytes([at]) * 8, P) for at in range(25))
    signer = _Unsigned(suite)

    def signed(claims: Body) -> int:
        form = group_signed.FORMS[type(claims)]
        return len(group_signed.write(signer, claims, kid=i if form.kid else None))

    return {
        "START": signed(group.StartClaims(i, 1, 0, 0, 25, digest, mac, ts, 86400, group.Cause(1))),
        "R1": signed(group.Round1Claims(i, idx, P, i, ts)),
        "R1c": len(group.Round1Compact(i, idx, P, i, ts).encode()),
        "R2": signed(group.Round2Claims(i, idx, P, bytes(64))),
        "R2, n = 2": signed(group.Round2Claims(i, 1, None, None)),
        "R3": len(group.Round3(i, idx, mac).encode()),
        "R3 signed": signed(group.Round3Claims(i, idx, mac, mac)),
        "COMMIT": signed(group.CommitClaims(i, digest, mac)),
        "BLAME": signed(group.BlameClaims(i, idx, 8)),
        "ROSTER, n = 25": signed(group.RosterClaims(i, 1, entries, 0, 1)),
        "ROSTER delta": signed(group.RosterDelta(i, 2, 1, entries[:1], (i,), 0, 1)),
        "JOINREQ": signed(group.JoinClaims(i, 1, i, ts)),
        "ROOT": signed(group.RootClaims(i, 1, mac, 0, ts)),
        "WRAP": signed(group.WrapClaims(i, i, 1, bytes(48))),
        "NEED": len(group.Need(i, 1, 23).encode()),
        "NEED of many": len(group.Need(i, 1, group.bitmap({0, 31})).encode()),
        "MASKKEY": signed(group.MaskKeyClaims(i, idx, P)),
        "MASKREPORT": signed(masking.MaskReportClaims(i, idx, 2**24, i)),
        "MASKPRESENT": signed(masking.MaskPresentClaims(i, 2**24, bytes(4))),
        "MASKAGREE": signed(masking.MaskAgreeClaims(i, idx, 2**24, bytes(4))),
        "MASKREVEAL, 3 absent": signed(masking.MaskRevealClaims(i, idx, 2**24, bytes(4), i, bytes(24))),
    }


class _Unsigned:
    """A signer whose signatures nobody checks."""

    def __init__(self, suite: int) -> None:
        self.suite_id = suite

    def sign(self, message: bytes) -> bytes:
        return bytes(64)


SIZES_OF_A_RING = {
    "START": (164, 164),
    "R1": (137, 138),
    "R1c": (62, 63),
    "R2": (189, 190),
    "R2, n = 2": (89, 89),
    "R3": (31, 31),
    "R3 signed": (123, 123),
    "COMMIT": (148, 148),
    "BLAME": (99, 99),
    "ROSTER, n = 25": (1203, 1228),
    "ROSTER delta": (156, 157),
    "JOINREQ": (112, 112),
    "ROOT": (121, 121),
    "WRAP": (157, 157),
    "NEED": (14, 14),
    "NEED of many": (18, 18),
    "MASKKEY": (123, 124),
    "MASKREPORT": (103, 103),
    "MASKPRESENT": (106, 106),
    "MASKAGREE": (98, 98),
    "MASKREVEAL, 3 absent": (134, 134),
}
"""Triad-1 1.12 and 3.4, suite 1 and 17; what they give for suite 1 alone grows by the points (33) in suite 17."""


def test_GR02_every_message_of_a_ring_has_the_size_of_the_registry() -> None:
    measured = {name: (ring_messages(1)[name], ring_messages(17)[name]) for name in ring_messages(1)}
    assert measured == SIZES_OF_A_RING
    small = {name: max(sizes) for name, sizes in measured.items() if name != "ROSTER, n = 25"}
    assert max(small.values()) < 220  # Triad-1 3.11: all but the whole roster


def test_GR02_the_greatest_roster_and_bundle_fit_their_limits() -> None:
    entries = tuple(group.Entry(bytes([at]) * 8, bytes(33)) for at in range(32))
    roster = group_signed.write(_Unsigned(17), group.RosterClaims(bytes(8), 2**32 - 1, entries, 30, 31), kid=bytes(8))
    assert len(roster) <= group.Roster.max_size == 2048
    assert group_signed.read_roster(roster, sizes_of(17)).claims == group.RosterClaims(
        bytes(8), 2**32 - 1, entries, 30, 31
    )
    round2 = group_signed.write(_Unsigned(17), group.Round2Claims(bytes(8), 31, bytes(33), bytes(64)))
    bundle = group.Bundle(bytes(8), (round2,) * 32)
    assert len(bundle.encode()) <= group.Bundle.max_size
    assert group.Bundle.decode(bundle.encode(), sizes_of(17)) == bundle


def test_GR03_need_names_one_position_or_a_set_of_them() -> None:
    assert group.Need(bytes(8), 1, 24).indices == (24,)
    every = range(32)
    for wanted in ([], [0], [31], [7, 8, 24], list(every)):
        need = group.Need(bytes(8), 2, group.bitmap(wanted))
        assert need.indices == wanted
        assert group.Need.decode(need.encode(), sizes_of(1)) == need
    assert group.bitmap([0, 9]) == bytes.fromhex("00000201")


def test_CM29_cred_carries_three_credentials_of_the_greatest_length() -> None:
    """Real dates and epochs take more bytes than those of the registry's sizes (iat 1, status_epoch below 24)."""
    longest = bytes(256)
    body = enrolment.CredBody(longest, longest, longest).encode()
    sealed = enrolment.Cred(body + bytes(16))
    assert enrolment.Cred.decode(sealed.encode(), sizes_of(17)) == sealed
    assert len(sealed.encode()) <= enrolment.Cred.max_size


def test_LK11_the_overhead_of_link_is_30_to_32_bytes() -> None:
    assert {in_link(body) - body for body in range(4, 1009)} == {30, 31, 32}


# ------------------------------------------------------------------ what must be refused

WRONG: list[Any] = [
    None, True, False, "", "text", -1, -(2**63), 0, 1, 2, 3, 4, 26, 255, 256, 2**32 - 1, 2**32, 2**64 - 1, 1.5, 0.0,
    *(bytes(n) for n in (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 48, 49, 50, 63, 64, 65, 256, 257, 795, 1041, 1168)),
    [], [1], [[]], [b"\0" * 8], [True], [256], [-1], list(range(9)), {}, {1: 2}, {4: bytes(8)}, [None] * 4,
    [b"\xa1\x01\x32", {}, b"", b""], [b"\xa1\x01\x26", {4: bytes(8)}, b"", bytes(64)],
    [b"\xa1\x01\x32", {4: bytes(7)}, b"", bytes(64)], [b"\xa1\x01\x32", {4: bytes(8), 1: -19}, b"", bytes(64)],
    [b"\xa1\x01\x32", {4: bytes(8)}, None, bytes(64)], [b"\xa1\x01\x32", {4: bytes(8)}, b"", bytes(64), b""],
    [b"", {4: b"sess\1", 6: b"\0"}, bytes(8)], [b"", {4: b"sess\1", 6: b"\0\1"}, bytes(8)],
    [b"", {4: b"sess", 6: b"\1"}, bytes(8)], [b"", {4: b"sess\1\1", 6: b"\1"}, bytes(8)],
    [b"", {4: b"sess\1", 6: b"\1\0\0\0\0"}, bytes(8)], [b"", {4: b"sess\1", 6: b""}, bytes(8)],
    [b"", {4: b"sess\1", 6: b"\1"}, bytes(7)], [b"", {4: b"sess\1", 6: b"\1"}, bytes(1041)],
    [b"", {4: b"sess\1", 6: b"\1", 12: bytes(63)}, bytes(8)], [b"", {4: b"sess\1", 6: b"\1", 12: bytes(64)}, bytes(8)],
    [b"", {4: b"sess\1", 6: b"\1", 10: b""}, bytes(8)], [b"", {4: b"sess\1"}, bytes(8)],
    [b"", {4: b"sess\1", 6: b"\1", 12: bytes(64), 13: b""}, bytes(8)], ["w/#", 1],
    [b"\xa0", {4: b"sess\1", 6: b"\1"}, bytes(8)], [b"", {4: b"sess\1", 6: b"\1"}], "w" * 255, "w" * 256,
    [b"", {4: b"\5", 6: b"\0", 10: b"\0\7"}, bytes(8)], [b"", {4: b"\5", 6: b"\0\1", 10: b"\0\7"}, bytes(8)],
    [b"", {4: b"\5", 6: b"", 10: b"\0\7"}, bytes(8)], [b"", {4: b"\5", 6: b"\1", 10: b"\7"}, bytes(8)],
    [b"", {4: b"\5\6", 6: b"\1", 10: b"\0\7"}, bytes(8)], [b"", {4: 5, 6: b"\1", 10: b"\0\7"}, bytes(8)],
    [b"", {4: bytes(8), 6: b"\x0f\0\0", 10: b"\0\7", 12: bytes(64)}, bytes(1040)],
    [b"", {4: b"\5", 6: bytes(4), 10: b"\0\7"}, bytes(8)], [b"", {4: b"\5", 6: b"\1\0\0\0", 10: b"\0\7"}, bytes(8)],
    [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}, bytes(7)], [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}, bytes(1041)],
    [b"", {4: b"\5", 6: b"\1", 10: b"\0\7", 12: bytes(63)}, bytes(8)], [b"", {6: b"\1", 10: b"\0\7"}, bytes(8)],
    [b"", {4: b"\5", 6: b"\1", 10: b"\0\7", 11: bytes(64)}, bytes(8)], [b"", {4: b"\5", 10: b"\0\7"}, bytes(8)],
    [b"", {4: b"\5", 6: b"\1", 10: b"\0\7", 12: bytes(64), 5: b""}, bytes(8)], [b"", {4: b"\5", 6: b"\1"}, bytes(8)],
    [b"\xa1\1\x18\x18", {4: b"\5", 6: b"\1", 10: b"\0\7"}, bytes(8)], [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}, None],
    [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}], [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}, bytes(8), bytes(8)],
    cbor2.CBORTag(16, [b"", {4: b"\5", 6: b"\1", 10: b"\0\7"}, bytes(8)]),
    cbor2.CBORTag(18, [b"\xa1\x01\x32", {4: bytes(8)}, b"", bytes(64)]), cbor2.CBORTag(2, bytes(9)),
    cbor2.undefined, cbor2.CBORSimpleValue(99),
]  # fmt: skip


@both_suites
@every_message
def test_CM04_every_element_of_another_type_or_length_is_refused(kind: type[Message], suite: int) -> None:
    cases = 0
    good = items(kind, suite, whole=True)
    for at, form in enumerate(forms(kind), start=1):
        for value in WRONG:
            data = encoded([*good[:at], value, *good[at + 1 :]])
            if fits(form, value, suite):
                assert decode(kind, data, suite).encode() == data
            else:
                cases += 1
                refused(kind, data, suite)
    assert cases > 40 * len(forms(kind))


@both_suites
@every_message
def test_CM04_another_message_type_or_array_length_is_refused(kind: type[Message], suite: int) -> None:
    for whole in (False, True):
        good = items(kind, suite, whole=whole)
        for mt in (None, True, False, "1", b"\1", -1, 0, 12, 14, 47, 255, 2**40, float(kind.mt), [kind.mt]):
            refused(kind, encoded([mt, *good[1:]]), suite)
        refused(kind, encoded(good[1:]), suite)
        refused(kind, encoded([]), suite)
    for extra in (None, 0, b"", bytes(8), bytes(16), bytes(32)):
        refused(kind, encoded([*items(kind, suite, whole=True), extra]), suite)
    good, optional = items(kind, suite, whole=True), [form for form in forms(kind) if form.endswith("?")]
    for count in range(1, len(good) - len(optional)):
        refused(kind, encoded(good[:count]), suite)
    for item in (None, 1, b"bytes", "text", {kind.mt: 1}, {}, True):
        refused(kind, encoded(item), suite)


def test_CM04_a_boolean_is_no_number_even_where_python_says_so() -> None:
    """True == 1 in Python: mt 1, suite 1, role 1, seq 1."""
    hello = items(enrolment.Hello, 1, whole=True)
    for data in (
        [True, *hello[1:]],
        [*hello[:3], [True], *hello[4:]],
        [*hello[:5], True],
    ):
        refused(enrolment.Hello, encoded(data), 1)
    refused(pairwise.Srec, encoded([31, bytes(8), True, bytes(16)]), 1)
    refused(enrolment.Join, encoded([2, True, bytes(8), bytes(8), bytes(32)]), 1)


@both_suites
@every_message
def test_CM02_every_truncation_and_every_further_byte_is_refused(kind: type[Message], suite: int) -> None:
    for whole in (False, True):
        data = encoded(items(kind, suite, whole=whole))
        for end in range(len(data)):
            refused(kind, data[:end], suite)
        for more in (b"\0", b"\xf6", b"\xff", data):
            refused(kind, data + more, suite)


@every_message
def test_CM03_a_message_beyond_its_limit_is_refused(kind: type[Message]) -> None:
    limit = {pairwise.NmAuth1: 2048, pairwise.NmAuth2: 2048, group.Roster: 2048, group.Bundle: 8192}.get(kind, 1280)
    assert kind.max_size == limit
    with pytest.raises(PeerFault, match=f"E_FORMAT: message of {limit + 1} bytes, at most {limit}"):
        decode(kind, bytes(limit + 1), 1)


@both_suites
@every_message
def test_points_of_the_other_suite_are_refused(kind: type[Message], suite: int) -> None:
    if any(form.removesuffix("?") in {"point", "sealed-point", "share", "vpt", "bind"} for form in forms(kind)):
        refused(kind, encoded(items(kind, 18 - suite, whole=False)), suite)


def test_RV03_only_the_five_reasons_of_the_text_are_read() -> None:
    content, note = items(pairwise.Revoke, 1, whole=True), [bytes(8), bytes(8), 0, bytes(8), 0]
    for reason in range(-1, 300):
        revoke, claims = encoded([*content[:3], reason, *content[4:]]), encoded([*note[:2], reason, *note[3:]])
        if 0 <= reason <= 4:
            assert pairwise.Revoke.decode(revoke, sizes_of(1)).reason == reason
            assert pairwise.RevnoteClaims.decode(claims, sizes_of(1)).reason == reason
        else:
            refused(pairwise.Revoke, revoke, 1)
            with pytest.raises(PeerFault, match="E_FORMAT"):
                pairwise.RevnoteClaims.decode(claims, sizes_of(1))


def test_CM13_error_codes_leave_no_gap() -> None:
    assert [int(code) for code in ErrorCode] == list(range(1, 26))


def test_CM24_no_message_has_room_for_curve_parameters() -> None:
    """What stands in a message is listed above; the only mention of a group is the suite's number."""
    names = {name for kind in MESSAGES for name in kind.__dataclass_fields__}
    assert names.isdisjoint({"p", "a", "b", "G", "q", "curve", "generator", "order"})


# ------------------------------------------------------------------ whatever comes


def values(form: str, suite: int) -> st.SearchStrategy[Any]:
    if form.endswith("~"):
        return st.none() | values(form[:-1], suite)
    form = form.removesuffix("?")
    match form:
        case "idx":
            return st.integers(0, 31)
        case "what":
            return st.integers(1, 8)
        case "idx|set":
            return st.integers(0, 31) | st.binary(min_size=4, max_size=4)
        case "messages":
            return st.lists(st.binary(min_size=1, max_size=300), max_size=20)
        case "resources":
            return st.lists(st.binary(min_size=1, max_size=48), max_size=8)
        case "topic":
            return st.text(max_size=60)
        case "published":
            partial_iv = st.integers(0, 2**32 - 1).map(lambda n: n.to_bytes((n.bit_length() + 7) // 8 or 1, "big"))
            header = {4: st.binary(min_size=5, max_size=5), 6: partial_iv}
            found = st.fixed_dictionaries(header, optional={12: st.binary(min_size=64, max_size=64)})
            return st.tuples(st.just(b""), found, st.binary(min_size=8, max_size=200)).map(list)
        case "level" | "flags" | "verdict" | "role":
            return st.integers(*NUMBERS[form])
        case "u2" | "u3" | "u8" | "u32":
            return st.integers(0, (1 << int(form[1:])) - 1)
        case "code":
            return st.integers(1, 25)
        case "reason":
            return st.integers(0, 4)
        case "suites":
            return st.lists(st.integers(0, 255), min_size=1, max_size=8)
        case "sign1" | "bare":
            return st.tuples(
                st.sampled_from([b"\xa1\x01\x32", b"\xa1\x01\x28"]),
                st.binary(min_size=8, max_size=8).map(lambda kid: {4: kid}) if form == "sign1" else st.builds(dict),
                st.binary(max_size=200),
                st.binary(min_size=64, max_size=64),
            ).map(list)
        case "encrypt0":
            partial_iv = st.integers(0, 2**24 - 1).map(lambda n: n.to_bytes((n.bit_length() + 7) // 8 or 1, "big"))
            header = {4: st.binary(min_size=1, max_size=1) | st.binary(min_size=8, max_size=8), 6: partial_iv}
            header[10] = st.binary(min_size=2, max_size=2)
            signature = {12: st.binary(min_size=64, max_size=64)}
            found = st.fixed_dictionaries(header, optional=signature)
            return st.tuples(st.just(b""), found, st.binary(min_size=8, max_size=200)).map(list)
    return st.sampled_from(lengths(form, suite)).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@st.composite
def messages(draw: Any) -> tuple[type[Message], int, list[Any]]:
    kind, suite = draw(st.sampled_from(MESSAGES)), draw(st.sampled_from([1, 2, 17]))
    wanted = forms(kind)
    optional = sum(form.endswith("?") for form in wanted)
    chosen = wanted[: len(wanted) - draw(st.integers(0, optional))]
    return kind, suite, [kind.mt, *(draw(values(form, suite)) for form in chosen)]


@given(messages())
def test_CM05_every_message_reads_back_as_it_was_written(case: tuple[type[Message], int, list[Any]]) -> None:
    kind, suite, content = case
    data = encoded(content)
    found = decode(kind, data, suite)
    assert found.encode() == data
    assert encoded(found.items()) == data
    assert decode(kind, data, suite) == found


def survive(data: bytes, kinds: Iterable[type[Message]] = MESSAGES) -> int:
    """Put bytes to the decoders of `kinds`; return how many accepted, and they wrote the same bytes back."""
    accepted, codes = 0, set()
    for kind in kinds:
        for suite in (1, 17):
            try:
                found = decode(kind, data, suite)
            except PeerFault as fault:
                codes.add(fault.code)
            else:
                assert found.encode() == data
                accepted += 1
    try:
        mt, count = peek(data)
        assert (data[1 if mt < 24 else 2], data[0] & 0x1F) == (mt, count)
        assert peek_id(data, mt) in data
    except PeerFault as fault:
        codes.add(fault.code)
    assert codes <= {ErrorCode.E_FORMAT}
    return accepted


@given(st.binary(max_size=600))
def test_CM01_random_bytes_never_raise_anything_but_a_peer_fault(data: bytes) -> None:
    survive(data)


@given(data=st.data())
def test_CM01_changed_messages_never_raise_anything_but_a_peer_fault(data: st.DataObject) -> None:
    suite = data.draw(st.sampled_from([1, 17]))
    given_vectors = [entry for found in golden(suite).values() for entry in found]
    built = [encoded(items(kind, suite, whole=True)) for kind in MESSAGES]
    changed = bytearray(data.draw(st.sampled_from(given_vectors + built)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "grow"])):
            case "flip":
                changed[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                changed[at] = data.draw(st.integers(0, 255))
            case "cut" if len(changed) > 1:
                del changed[at]
            case _:
                changed.insert(at, data.draw(st.integers(0, 255)))
    survive(bytes(changed))


def xored() -> Iterator[tuple[type[Message], bytes]]:
    for kind in MESSAGES:
        data = encoded(items(kind, 1, whole=False))
        head = range(min(len(data), 60))
        yield from ((kind, data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]) for at in head for mask in (1, 0x80))


def test_CM01_every_byte_of_every_head_changed_never_crashes() -> None:
    """Read as what it was, and as what its type says that it is now."""
    accepted = 0
    for kind, data in xored():
        now = BY_TYPE.get(data[1] if data[1] < 24 else data[2], ())
        accepted += survive(data, {kind, *now}) > 0
    assert accepted > 100, "values may change, forms may not"


# ------------------------------------------------------------------ finding the cell without decoding


@both_suites
@every_message
def test_DR11_peek_reads_type_and_length_of_every_message(kind: type[Message], suite: int) -> None:
    for whole in (False, True):
        content = items(kind, suite, whole=whole)
        assert peek(encoded(content)) == (kind.mt, len(content))
        if forms(kind)[0] == "id":
            assert peek_id(encoded(content), kind.mt) == content[1]
        else:
            with pytest.raises(PeerFault, match="E_FORMAT"):
                peek_id(encoded(content), kind.mt)


@both_suites
def test_DR11_the_id_at_the_head_of_a_signed_payload_is_read_without_decoding(suite: int) -> None:
    named = bytes(range(1, 9))
    for claims, form in group_signed.FORMS.items():
        payload = encoded([named, *(sample(each, suite, 5) for each in BODIES[claims].split()[1:])])
        header = {4: bytes(8)} if form.kid else {}
        data = encoded([form.message.mt, [b"\xa1\x01\x32", header, payload, bytes(64)]])
        assert peek_signed_id(data) == named
        for end in range(data.index(named) + 8):
            with pytest.raises(PeerFault, match="E_FORMAT"):
                peek_signed_id(data[:end])
    with pytest.raises(PeerFault, match="E_FORMAT"):
        peek_signed_id(encoded([32, [b"\xa1\x01\x32", {4: bytes(8)}, encoded([bytes(7)]), bytes(64)]]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x81", b"\x80", b"\xa1\x01", b"\x98\x18\x01", b"\x9f\x01", b"\x81\x20", b"\x82\x18", b"\x82\x18\x17",
     b"\x82\x18\x01", b"\x82\x19\x00\x12", b"\x82\x41", b"\x82\xf5", b"\xff\xff", b"\x00\x00", b"\xd2\x84"],
)  # fmt: skip
def test_DR11_what_cannot_be_ours_is_refused_by_its_first_bytes(data: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        peek(data)
    assert fault.value.code is ErrorCode.E_FORMAT


@pytest.mark.parametrize("mt", [18, 24])
def test_DR11_an_id_is_eight_bytes_and_there_in_full(mt: int) -> None:
    good = encoded([mt, bytes(range(8)), 0])
    start = 2 if mt < 24 else 3
    assert peek_id(good, mt) == bytes(range(8))
    for bad in (
        good[: start + 8],
        good[:start],
        b"",
        encoded([mt, bytes(7), 0]),
        encoded([mt, bytes(9), 0]),
        encoded([mt, "12345678"]),
    ):
        with pytest.raises(PeerFault, match="E_FORMAT"):
            peek_id(bad, mt)


def test_the_registry_finds_messages_by_type() -> None:
    assert sorted(kind.__name__ for kinds in BY_TYPE.values() for kind in kinds) == sorted(
        kind.__name__ for kind in MESSAGES
    )
    assert all(kind.mt == mt for mt, kinds in BY_TYPE.items() for kind in kinds)
    assert {mt for mt, kinds in BY_TYPE.items() if len(kinds) > 1} == {1, 13, 17, 20, 21, 22, 36}


def test_two_messages_of_one_type_differ_in_length_or_form() -> None:
    """A decoder of one never takes the other for its own, but for A3, whose two bodies differ in length."""
    for kinds in BY_TYPE.values():
        for one in kinds:
            for other in kinds:
                if one is not other:
                    for whole in (False, True):
                        refused(other, encoded(items(one, 1, whole=whole)), 1)


# ------------------------------------------------------------------ what travels encrypted

BODIES: dict[type[Body], str] = {
    enrolment.HelloClaims: "id id suites 16 u32",
    enrolment.OfferPoints: "u8 point point",
    enrolment.ShareBody: "point point point",
    enrolment.VptBody: "point",
    enrolment.BindBody: "point 32 32 64",
    enrolment.CredBody: "64..256 64..256 64..256?",
    pairwise.ShareClaims: "id point sealed-point",
    pairwise.RevnoteClaims: "id id reason id u32",
    group.DelegationClaims: "id id point u32 few",
    group.RosterClaims: "id u32 entries idx~ idx~",
    group.RosterDelta: "id u32 u32 added kids idx~ idx~",
    group.JoinClaims: "id step id u32",
    group.StartClaims: "id u32 u32 bit members 32 16 u32 u32 why",
    group.Round1Claims: "id idx point id u32",
    group.Round2Claims: "id idx point~ 64~",
    group.Round3Claims: "id idx 16 16",
    group.CommitClaims: "id 32 16",
    group.BlameClaims: "id idx code",
    group.RootClaims: "id u32 16 bit u32",
    group.WrapClaims: "id id u32 48",
    group.MaskKeyClaims: "id idx point",
    masking.MaskReportClaims: "id idx u32 8",
    masking.MaskPresentClaims: "id u32 4",
    masking.MaskAgreeClaims: "id idx u32 4",
    masking.MaskRevealClaims: "id idx u32 4 8 0..248",
    topic.KeyGrant: "id u32 u8 u8 32 u32 u32 u32 publishers?",
    topic.TicketBody: "id 32 rights u32 id",
    topic.HoPullClaims: "id 16 57..61",
    topic.HoContext: "id 32 u32 u32 rights 0..512",
}


def test_GR01_every_signed_body_of_a_ring_is_listed() -> None:
    assert set(group_signed.FORMS) <= set(BODIES)


@both_suites
@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_CM04_inner_arrays_are_as_strict_as_messages(kind: type[Body], suite: int) -> None:
    wanted = BODIES[kind].split()
    good = [sample(form, suite, salt) for salt, form in enumerate(wanted, start=1)]
    data = encoded(good)
    assert kind.decode(data, sizes_of(suite)).encode() == data
    bad = [data[:end] for end in range(len(data))] + [data + b"\0", encoded([*good, b""]), encoded([1, *good])]
    for at, form in enumerate(wanted):
        bad += [encoded([*good[:at], value, *good[at + 1 :]]) for value in WRONG if not fits(form, value, suite)]
    for changed in bad:
        with pytest.raises(PeerFault) as fault:
            kind.decode(changed, sizes_of(suite))
        assert fault.value.code is ErrorCode.E_FORMAT


def test_CM24_lengths_of_an_unknown_suite_are_refused() -> None:
    for suite in (-1, 0, 4, 16, 18, 255):
        with pytest.raises(PeerFault) as fault:
            sizes_of(suite)
        assert fault.value.code is ErrorCode.E_SUITE


def test_our_own_encoder_writes_what_another_encoder_writes() -> None:
    for kind in MESSAGES:
        content = items(kind, 17, whole=True)
        assert cbor.encode(content) == encoded(content)
