"""The printed CDDL accepts what our decoders accept and refuses what they refuse, judged from its text alone.

The judge below knows the part of RFC 8610 that we print. When the text took this shape, `zcbor validate`, another program,
accepted every message of the given vectors under it; it is not run here because it does not work with cbor2 6.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest

from keymote.cli.schema import schema as command
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import enrolment, group, group_record, gsec, handover, invitation, masking, pairwise, pub, topic
from keymote.wire.cose import Sign1
from keymote.wire.fields import sizes_of
from keymote.wire.message import Message
from keymote.wire.registry import MESSAGES
from keymote.wire.schema import cddl

VECTORS = {
    suite: json.loads((Path(__file__).parents[1] / "vectors" / name).read_text())
    for suite, name in ((1, "triad1.json"), (17, "triad1-p256.json"))
}
both_suites = pytest.mark.parametrize("suite", [1, 17])


class Judge:
    """Tells whether a CBOR item matches a rule of a CDDL text."""

    def __init__(self, text: str) -> None:
        plain = "\n".join(line.split(";")[0].rstrip() for line in text.splitlines())
        rules = re.findall(r"^([\w-]+) = (.*(?:\n +.*)*)", plain, re.MULTILINE)
        self.rules = {name: " ".join(body.split()) for name, body in rules}
        assert len(self.rules) == len(rules)

    def accepts(self, rule: str, data: bytes) -> bool:
        return self._matches(self.rules[rule], cbor2.loads(data))

    def _matches(self, form: str, item: Any) -> bool:
        if len(choices := list(split(form, "/"))) > 1:
            return any(self._matches(choice, item) for choice in choices)
        if form in self.rules:
            return self._matches(self.rules[form], item)
        if number := re.fullmatch(r"-?\d+", form):
            return type(item) is int and item == int(number[0])
        if bounds := re.fullmatch(r"(\d+)\.\.(\d+)", form):
            return type(item) is int and int(bounds[1]) <= item <= int(bounds[2])
        if size := re.fullmatch(r"uint \.size (\d+)", form):
            return type(item) is int and 0 <= item < 256 ** int(size[1])
        if bounds := re.fullmatch(r"tstr \.size \((\d+)\.\.(\d+)\)", form):
            return type(item) is str and int(bounds[1]) <= len(item.encode()) <= int(bounds[2])
        if sizes := re.fullmatch(r"bstr \.size \(?(\d+)(?:\.\.(\d+)\))?", form):
            return type(item) is bytes and int(sizes[1]) <= len(item) <= int(sizes[2] or sizes[1])
        if inner := re.fullmatch(r"bstr \.cbor ([\w-]+)", form):
            return type(item) is bytes and self._embeds(inner[1], item)
        if form.startswith("["):
            return type(item) is list and self._array(list(split(form[1:-1], ",")), item)
        if form.startswith("{"):
            return type(item) is dict and self._map(dict(entry.split(" => ") for entry in split(form[1:-1], ",")), item)
        return {"bstr": bytes, "nil": type(None)}[form] is type(item)

    def _embeds(self, rule: str, data: bytes) -> bool:
        try:
            return self.accepts(rule, data)
        except cbor2.CBORDecodeError:
            return False

    def _array(self, entries: list[str], items: list[Any]) -> bool:
        if repeated := re.fullmatch(r"(\d+)\*(\d+) (.*)", entries[0]):
            return int(repeated[1]) <= len(items) <= int(repeated[2]) and all(
                self._matches(repeated[3], item) for item in items
            )
        least = sum(not entry.startswith("? ") for entry in entries)
        forms = [re.sub(r"^(\? )?(\w+: )?", "", entry) for entry in entries]
        return least <= len(items) <= len(forms) and all(map(self._matches, forms, items[: len(forms)]))

    def _map(self, entries: dict[str, str], found: dict[Any, Any]) -> bool:
        return set(map(int, entries)) == set(found) and all(
            self._matches(form, found[int(key)]) for key, form in entries.items()
        )


def split(text: str, at: str) -> Iterator[str]:
    """Yield the pieces of `text` between separators outside of all brackets."""
    depth, piece = 0, ""
    for character in text:
        depth += (character in "[{(") - (character in ")}]")
        if character == at and depth == 0:
            yield piece.strip()
            piece = ""
        else:
            piece += character
    if piece.strip():
        yield piece.strip()


def rule_of(kind: type[Message]) -> str:
    """The rule's name, spelled out where the class name is more than one word."""
    return {
        "SignedHello": "SIGNED-HELLO", "DoneMessage": "DONE-MESSAGE", "XshareRequest": "XSHARE-REQUEST",
        "XshareAnswer": "XSHARE-ANSWER", "PeercredCompact": "PEERCRED-COMPACT", "NmAuth1": "NM-AUTH1",
        "NmAuth2": "NM-AUTH2", "NmAuth3": "NM-AUTH3", "Round1Compact": "ROUND1-COMPACT", "SignedRound3": "SIGNED-ROUND3",
        "JoinRequest": "JOIN-REQUEST", "MaskKey": "MASK-KEY", "MaskReport": "MASK-REPORT", "MaskPresent": "MASK-PRESENT",
        "MaskAgree": "MASK-AGREE", "MaskReveal": "MASK-REVEAL", "GroupRecord": "GROUP-RECORD", "ConnackAuth": "CONNACK-AUTH",
        "HoReq": "HO-REQ", "HoPull": "HO-PULL", "HoCtx": "HO-CTX", "HoAck": "HO-ACK", "HoDeny": "HO-DENY",
        "HoRelease": "HO-RELEASE", "HoReleased": "HO-RELEASED", "HoPub": "HO-PUB", "BrokerAt": "BROKER-AT",
        "HoMoved": "HO-MOVED", "HoNoted": "HO-NOTED",
    }.get(kind.__name__, kind.__name__.upper())  # fmt: skip


def given_messages(suite: int) -> dict[str, bytes]:
    sections = VECTORS[suite]["A_enrol"]["messages"] | VECTORS[suite]["A_session"]["messages"]
    for n in (2, 3, 5):
        ring = VECTORS[suite][f"B_n{n}"]
        sections |= {f"{name} {n}": ring[name] for name in ("START", "COMMIT")}
        sections |= {f"{name} {n}.{at}": text for name in ("R1", "R2", "R3") for at, text in enumerate(ring[name])}
    return {name: bytes.fromhex(text) for name, text in sections.items() if not name.startswith(("(", "SHARE-OBJ"))}


def samples(suite: int) -> list[Message]:
    """One message of each kind that the given vectors lack."""
    P, i, mac = bytes([2]) * (33 if suite == 17 else 32), bytes(8), bytes(16)
    cred = bytes.fromhex(VECTORS[suite]["A_session"]["credentials"]["D1"])
    envelope = Sign1(b"\xa1\x01\x28" if suite == 17 else b"\xa1\x01\x32", i, b"payload", bytes(64))
    return [
        enrolment.SignedHello(envelope),
        enrolment.Error(16, ErrorCode.E_NOSHARE),
        enrolment.Error(16, ErrorCode.E_BUSY, i),
        pairwise.XshareRequest(i, i, i),
        pairwise.XshareAnswer(i, envelope),
        pairwise.PeercredCompact(i, 2, bytes(32), P, P, i, P, 2**32 - 1),
        pairwise.Link(i, 0, 70_000, bytes(30)),
        pairwise.Xcred(i, cred, b"", 7, b""),
        pairwise.Xcred(i, cred, i, 7, bytes(32), 1),
        pairwise.Shresp(i, P, envelope, bytes(32), bytes(32)),
        pairwise.NmAuth1(i, suite, P, P, P, cred, b""),
        pairwise.NmAuth2(i, P, P, P, cred, bytes(1168), mac),
        pairwise.NmAuth3(i, mac),
        pairwise.Revnote(envelope),
        pairwise.Srec(i, 2**32 - 1, bytes(24)),
        *(kind(envelope) for kind in (group.Delegation, group.Blame, group.Roster, group.JoinRequest)),
        *(kind(envelope) for kind in (group.Root, group.Wrap)),
        group.SignedRound3(replace(envelope, kid=None)),
        group.MaskKey(replace(envelope, kid=None)),
        group.Round1Compact(i, 31, P, i, 2**32 - 1),
        group.Need(i, 8, 31),
        group.Need(i, 1, bytes(4)),
        group.Bundle(i, ()),
        group.Bundle(i, (bytes(2048), b"x")),
        gsec.Gsec(gsec.Encrypt0(b"\5", 70_000, 7, None, bytes(24))),
        gsec.Gsec(gsec.Encrypt0(i, 0, 0xFFFF, bytes(64), bytes(8))),
        pairwise.Peercred(i, 1, cred, cred, cred, i),
        enrolment.Renew(i),
        enrolment.Newcred(cred, cred),
        *(kind(i, bytes(37)) for kind in (pairwise.Edhoc1, pairwise.Edhoc2, pairwise.Edhoc3, pairwise.Edhoc4)),
        masking.MaskPresent(envelope),
        *(kind(replace(envelope, kid=None)) for kind in (masking.MaskReport, masking.MaskAgree, masking.MaskReveal)),
        invitation.Invite(i, 2, 7, bytes(6), (b"telemetry",), bytes(200), cred, bytes(40)),
        invitation.Invite(i, 0, 0, b"", (), bytes(200), cred, b""),
        invitation.Invited(i, 25, i, b""),
        invitation.Invited(i, 0, i, i),
        invitation.Uninvite(i),
        group_record.GroupRecord(i, "telemetry/power", bytes(40)),
        group_record.GroupRecord(i, "ä" * 50, bytes(1135)),
        topic.Kreq(i, 7, i, "w/7/hr", 1, i),
        topic.Kreq(i, 2**32 - 1, i, "", 3, i),
        topic.Kresp(7, bytes(74)),
        topic.Kack(i, i),
        topic.Kpush(7, i, bytes(86)),
        topic.Pub(pub.Published(b"sess\1", 0, None, bytes(10))),
        topic.Pub(pub.Published(b"sess\1", 2**32 - 1, bytes(64), bytes(1040))),
        topic.Ticket(i, bytes(13), bytes(81)),
        topic.Connauth(i, bytes(109), i, mac),
        topic.ConnackAuth(mac, mac),
        topic.HoReq(i, i, i, 70_000, i, mac),
        *(kind(envelope) for kind in (topic.HoPull, topic.HoCtx)),
        topic.HoAck(mac, mac),
        topic.HoDeny(i, ErrorCode.E_TICKET, i),
        handover.HoRelease(i, 70_000, i, mac),
        handover.HoReleased(i, 7, mac),
        handover.HoPub(i, "w/7/hr", bytes(35)),
        handover.Between(i, bytes(300)),
        handover.BrokerAt(i, "127.0.0.1:1883", mac),
        handover.HoMoved(i, bytes(13), bytes(58)),
        handover.HoNoted(i, 7, mac),
    ]


@both_suites
def test_given_vectors_match_under_their_suite_and_under_all(suite: int) -> None:
    for judge in (Judge(cddl([suite])), Judge(cddl([1, 2, 17]))):
        for name, data in given_messages(suite).items():
            assert judge.accepts("message", data), name


@both_suites
def test_given_vectors_of_the_other_suite_do_not_match(suite: int) -> None:
    judge = Judge(cddl([suite]))
    lengths_differ = {"JOIN", "JOIN+cookie", "OFFER", "SHARE", "VPT", "BIND", "A1 AUTH1", "A2 AUTH2", "A3 KEYREQ"}
    for name, data in given_messages(18 - suite).items():
        if name in lengths_differ:
            assert not judge.accepts("message", data), name


@both_suites
def test_every_kind_of_message_matches_its_own_rule(suite: int) -> None:
    judge = Judge(cddl([suite]))
    own = [(type(message), message.encode()) for message in samples(suite)]
    for data in given_messages(suite).values():
        (kind,) = [kind for kind in MESSAGES if readable(kind, data, suite)]
        own.append((kind, data))
    for kind, data in own:
        assert judge.accepts(rule_of(kind), data), kind
    assert {kind for kind, _ in own} == set(MESSAGES)


def readable(kind: type[Message], data: bytes, suite: int) -> bool:
    try:
        kind.decode(data, sizes_of(suite))
    except PeerFault:
        return False
    return True


WRONG: list[Any] = [
    None, True, "text", "ä" * 51, -1, 0, 3, 4, 26, 255, 256, 2**32 - 1, 2**32, 1.5, [], {}, [1], [256], [0] * 9,
    *(bytes(n) for n in (0, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 48, 49, 63, 64, 256, 257, 1040, 1041)),
    [b"\xa1\x01\x26", {}, b"", bytes(64)], [b"\xa1\x01\x26", {4: bytes(8)}, b"", bytes(64)],
    [b"\xa1\x01\x32", {4: bytes(7)}, b"", bytes(64)], [b"\xa1\x01\x32", {4: bytes(8)}, b"", bytes(63)],
]  # fmt: skip


@both_suites
def test_CM04_schema_and_decoder_agree_on_every_changed_element(suite: int) -> None:
    """Two judges of one declaration: where one refuses a form, so does the other."""
    judge, agreed = Judge(cddl([suite])), {True: 0, False: 0}
    given_too = [
        next(kind for kind in MESSAGES if readable(kind, data, suite)).decode(data, sizes_of(suite))
        for data in given_messages(suite).values()
    ]
    for message in [*samples(suite), *given_too]:
        kind = type(message)
        content = cbor2.loads(message.encode())
        changed = [[*content[:at], value, *content[at + 1 :]] for at in range(len(content)) for value in WRONG] + [
            content[:-1],
            [*content, b""],
            [*content, 1, 2, 3],
            [],
            content[1:],
        ]
        for items in changed:
            data = cbor2.dumps(items, canonical=True)
            if len(data) <= kind.max_size:
                verdict = readable(kind, data, suite)
                assert judge.accepts(rule_of(kind), data) == verdict, (kind, items)
                agreed[verdict] += 1
    assert agreed[False] > 4000
    assert agreed[True] > 200


@both_suites
def test_given_signed_payloads_of_a_ring_match_their_rules(suite: int) -> None:
    judge = Judge(cddl([suite]))
    rules = {32: "START-CLAIMS", 33: "ROUND1-CLAIMS", 35: "ROUND2-CLAIMS", 37: "COMMIT-CLAIMS"}
    seen = set()
    for data in given_messages(suite).values():
        if (mt := cbor2.loads(data)[0]) in rules:
            payload = cbor2.loads(data)[1][2]
            assert [rule for rule in rules.values() if judge.accepts(rule, payload)] == [rules[mt]]
            seen.add(mt)
    assert seen == set(rules)


@both_suites
def test_given_credentials_and_inner_arrays_match(suite: int) -> None:
    session, judge = VECTORS[suite]["A_session"], Judge(cddl([suite]))
    for text in session["credentials"].values():
        assert judge.accepts("credential", bytes.fromhex(text))
        assert not judge.accepts("sign1-kid", bytes.fromhex(text))
    share = cbor2.loads(bytes.fromhex(session["messages"]["SHARE-OBJ (foreign NM)"]))
    assert judge.accepts("sign1-kid", cbor2.dumps(share))
    assert judge.accepts("SHARE-CLAIMS", share[2])
    assert not judge.accepts("VPT-BODY", share[2])


def test_every_rule_is_used_or_documents_what_travels_inside() -> None:
    judge = Judge(cddl([1]))
    roots = {"message", "credential", "HELLO-CLAIMS", "SHARE-BODY", "VPT-BODY", "BIND-BODY", "CRED-BODY", "SHARE-CLAIMS",
             "REVNOTE-CLAIMS", "DELEGATION-CLAIMS", "ROSTER-CLAIMS", "ROSTER-DELTA", "JOIN-CLAIMS", "START-CLAIMS",
             "ROUND1-CLAIMS", "ROUND2-CLAIMS", "ROUND3-CLAIMS", "COMMIT-CLAIMS", "BLAME-CLAIMS", "ROOT-CLAIMS",
             "WRAP-CLAIMS", "MASK-KEY-CLAIMS", "MASK-REPORT-CLAIMS", "MASK-PRESENT-CLAIMS",
                 "MASK-AGREE-CLAIMS", "MASK-REVEAL-CLAIMS", "KEY-GRANT", "TICKET-BODY", "HO-PULL-CLAIMS", "HO-CONTEXT"}  # fmt: skip
    used = {name for body in judge.rules.values() for name in re.findall(r"[\w-]+", body)}
    assert set(judge.rules) - used == roots


def test_the_codes_are_those_of_the_errors() -> None:
    text = cddl([1])
    assert all(f"{code.value} ; {code.name}\n" in text for code in ErrorCode)
    codes = re.findall(r"^ *(?:error-code =|/) (\d+) ;", text, re.MULTILINE)
    assert list(map(int, codes)) == [code.value for code in ErrorCode]


def test_CM24_an_unknown_suite_has_no_schema() -> None:
    with pytest.raises(PeerFault, match="E_SUITE"):
        cddl([1, 4])
    with pytest.raises(CallerFault, match="suite 4 is unknown; choose among 1, 2, 3, 17"):
        command(suite=[4])


def test_two_suites_of_one_group_have_one_length() -> None:
    assert "point = bstr .size 32\n" in cddl([1, 2])
    assert "point = bstr .size 32 / bstr .size 33\n" in cddl([1, 2, 17])
    assert "header = { 1 => -9 }\n" in cddl([17])
    assert "header = { 1 => -19 / -9 }\n" in cddl([1, 2, 17])


def test_the_command_prints_the_schema_of_the_suites_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command()
    assert capsys.readouterr().out == cddl([1, 2, 3, 17])
    command(suite=[17])
    assert capsys.readouterr().out == cddl([17])
