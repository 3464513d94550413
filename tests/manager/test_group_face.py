"""The HTTP face of a gateway: members on HTTP in a ring beside members on CoAP, and what the face refuses."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import httpx
import pytest
from ring_over_http import CBOR, JSON, Ring

from keymote.engine.group.faces import GroupReady, ring_of
from keymote.engine.group.payload_faces import GroupOpened, RecordRefused, SendToGroup
from keymote.manager.mailboxes import KEPT_S, MOST_MAILBOXES, MOST_WAITING, Mailboxes
from keymote.wire import group
from keymote.wire.admin import to_base64url
from keymote.wire.fields import sizes_of
from keymote.wire.group_record import GroupRecord
from keymote.wire.json_form import from_json
from keymote.wire.registry import peek

NAMES = ("m0", "m1", "m2", "m3")
OCTETS = "application/octet-stream"
PROBLEM = "application/problem+json"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "groups.md"


@pytest.fixture
def program():
    def find(name: str) -> None:
        assert shutil.which(name), f"{name} is missing: make peers installs what it can"

    return find


@pytest.fixture
async def ring(free_udp_port):
    """Return a ring by its number of members, how it speaks, and its suite; nobody is added yet."""
    made: list[Ring] = []

    async def make(n: int = 4, *, multicast: bool = False, suite: int = 1) -> Ring:
        made.append(await Ring(n, free_udp_port, multicast=multicast, suite=suite).start())
        return made[0]

    yield make
    for each in made:
        await each.stack.aclose()


async def mixed(made: Ring) -> Ring:
    """Two members on CoAP, one on HTTP in CBOR, one on HTTP in JSON, all with the key."""
    await made.add_coap("m0")
    await made.add_coap("m1")
    await made.add_http("m2", CBOR)
    await made.add_http("m3", JSON)
    await made.form()
    assert len(await made.key_ids()) == 1
    return made


@pytest.mark.parametrize(("multicast", "suite"), [(True, 1), (False, 17)], ids=["multicast", "unicast"])
async def test_GF10_members_on_http_and_coap_agree_and_talk(ring, suite: int, multicast: bool) -> None:
    made = await mixed(await ring(multicast=multicast, suite=suite))
    for speaker in ("m0", "m2", "m3"):
        await made.tell(speaker, SendToGroup(speaker.encode(), "telemetry/power"))
        others = [name for name in NAMES if name != speaker]
        for name in others:
            count = sum(spoke != name for spoke in ("m0", "m2", "m3")[: ("m0", "m2", "m3").index(speaker) + 1])
            heard = await made.parties[name].told(GroupOpened, count)
            assert {report.plaintext for report in heard} >= {speaker.encode()}
    for name in NAMES:
        refused = [report for report in made.parties[name].reports if isinstance(report, RecordRefused)]
        assert {report.code.name for report in refused} <= {"E_REPLAY"}, "a copy that came by two ways"
        opened = [report.plaintext for report in made.parties[name].reports if isinstance(report, GroupOpened)]
        assert len(opened) == len(set(opened))


async def test_GF10_a_post_that_is_repeated_changes_nothing(ring) -> None:
    made = await mixed(await ring())
    link, lead = made.links["m2"], made.gateway.host.driver
    before = lead.peek(ring_of(made.gid))
    reports = len(made.gateway.reports)
    run = [said for said in link.posted if peek(said)[0] != group.Need.mt][:3]
    async with httpx.AsyncClient() as client:
        answers = []
        for _ in range(2):
            for said in run:
                answer = await client.post(link.url, content=said, headers={"content-type": CBOR})
                assert answer.status_code == 200
                answers.append(answer.content)
    assert lead.peek(ring_of(made.gid)) == before
    assert [report for report in made.gateway.reports[reports:] if isinstance(report, GroupReady)] == []
    assert set(answers[:3]) == set(answers[3:])


async def test_GF11_what_waits_is_read_again_until_it_is_passed(ring) -> None:
    made = await mixed(await ring())
    link = made.links["m3"]
    async with httpx.AsyncClient() as client:
        first, again = [await client.post(link.url) for _ in range(2)]
        assert first.content == again.content
        bundle = group.Bundle.decode(first.content, sizes_of(1))
        assert bundle.of == made.gid
        assert len(bundle.datagrams) >= 3
        following = first.links["next"]["url"]
        assert (await client.post(f"{made.face.url}{following}")).status_code == 204
        beyond = await client.post(f"{link.url}?after=999999999")
        assert beyond.content == first.content, "who has read another mailbox gets everything"
        in_json = await client.post(link.url, headers={"accept": JSON})
        assert from_json(in_json.content, sizes_of(1)) == first.content
        assert {each["message"] for each in in_json.json()["datagrams"]} >= {"START", "COMMIT"}


async def test_GF11_who_waits_hears_at_once(ring) -> None:
    made = await mixed(await ring())
    link = made.links["m2"]
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.post(link.url)
        place = f"{made.face.url}{answer.links['next']['url']}"
        waiting = asyncio.ensure_future(client.post(place, headers={"prefer": "wait=15"}))
        await asyncio.sleep(0)
        await made.tell("m0", SendToGroup(b"now", "telemetry"))
        async with asyncio.timeout(10):
            answer = await waiting
        (record,) = group.Bundle.decode(answer.content, sizes_of(1)).datagrams
        assert record[:3] == b"\x84\x18\x4d"


async def test_GF12_what_is_wrong_has_its_status_and_says_why(ring) -> None:
    made = await mixed(await ring())
    link, gid = made.links["m2"], made.gid
    need = group.Need(gid, group.What.START, 0).encode()
    others = link.posted[0]
    stranger = f"{made.face.url}/groups/{gid.hex()}/{'0' * 16}"
    wrong = [
        (404, "GET", made.face.url, b"", {}),
        (404, "POST", f"{made.face.url}/groups/{gid.hex()}", b"", {}),
        (404, "POST", f"{made.face.url}/groups/{'F' * 16}/{'0' * 16}", b"", {}),
        (404, "POST", f"{made.face.url}/groups/{'f' * 16}/{'0' * 16}", need, {}),
        (405, "GET", link.url, b"", {}),
        (405, "DELETE", link.url, b"", {}),
        (415, "POST", link.url, need, {"content-type": "text/plain"}),
        (415, "POST", link.url, need, {"content-encoding": "gzip"}),
        (406, "POST", link.url, need, {"accept": "text/html"}),
        (400, "POST", f"{link.url}?after=-1", need, {}),
        (400, "POST", f"{link.url}?before=1", need, {}),
        (400, "POST", link.url, b"\xff", {}),
        (400, "POST", link.url, b"{", {"content-type": JSON}),
        (400, "POST", link.url, b"{}", {"content-type": JSON}),
        (409, "POST", link.url, group.Need(bytes(8), 1, 0).encode(), {}),
        (409, "POST", stranger, others, {}),
        (413, "POST", link.url, bytes(8193), {}),
        (413, "POST", link.url, b" " * 32769, {"content-type": JSON}),
    ]
    async with httpx.AsyncClient() as client:
        for status, method, url, body, headers in wrong:
            sent = {"content-type": CBOR, **headers}
            answer = await client.request(method, url, content=body, headers=sent)
            assert answer.status_code == status, (method, url, body[:20], answer.text)
            assert answer.headers["content-type"] == PROBLEM
            said = answer.json()
            assert said["status"] == status
            assert said["title"]
        assert (await client.get(link.url)).headers["allow"] == "POST"
        taken = await client.post(link.url, content=need, headers={"content-type": OCTETS})
        assert taken.status_code == 200
    refused = [report for report in made.gateway.reports if isinstance(report, RecordRefused)]
    assert refused == []


@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
async def test_GF03_a_post_in_a_members_name_from_elsewhere_is_handed_to_nobody(ring, multicast: bool) -> None:
    made = await mixed(await ring(multicast=multicast))
    kid, gid = made.papers.people["m2"].kid, made.gid
    await made.tell("m2", SendToGroup(b"from here", "telemetry"))
    for name in ("m0", "m1", "m3"):
        await made.parties[name].told(GroupOpened)
    junk = GroupRecord(gid, "telemetry", bytes(40)).encode()
    await made.face.link.post(gid, kid, "192.0.2.66", junk, 0, 0)
    await made.tell("m0", SendToGroup(b"the end", "telemetry"))
    for name in ("m1", "m3"):
        await made.parties[name].told(GroupOpened, 2)
        assert not [report for report in made.parties[name].reports if isinstance(report, RecordRefused)]


async def test_GF12_a_stranger_is_shown_what_is_for_everybody_and_has_no_mailbox(ring) -> None:
    made = await mixed(await ring())
    stranger = made.url(b"stranger")
    need = group.Need(made.gid, group.What.START, 0).encode()
    async with httpx.AsyncClient() as client:
        shown = await client.post(stranger, content=need, headers={"content-type": CBOR})
        (start,) = group.Bundle.decode(shown.content, sizes_of(1)).datagrams
        assert start[:3] == b"\x82\x18\x20"
        assert (await client.post(stranger)).status_code == 204
        await made.tell("m0", SendToGroup(b"for members", "telemetry"))
        await made.parties["m1"].told(GroupOpened)
        assert (await client.post(stranger)).status_code == 204
        assert made.face.link.mailboxes.members(made.gid) == {made.papers.people[name].kid for name in ("m2", "m3")}


def test_a_mailbox_keeps_the_newest_and_says_nothing_twice_while_it_waits() -> None:
    boxes = Mailboxes()
    gid, kid = b"g" * 8, b"k" * 8
    boxes.put(gid, kid, [b"a", b"b", b"a"], 0.0)
    assert boxes.fetch(gid, kid, 0, 64, 100) == (3, (b"a", b"b", b"a"))
    boxes.put(gid, kid, [b"a"], 1.0)
    boxes.put(gid, kid, [b"a"], 1.0)
    assert boxes.fetch(gid, kid, 3, 64, 100) == (4, (b"a",)), "fetched before, so said again; then once"
    assert boxes.fetch(gid, kid, 0, 2, 100) == (2, (b"a", b"b"))
    assert boxes.fetch(gid, kid, 0, 64, 4) == (1, (b"a",)), "one at least"
    boxes.put(gid, kid, [b"%d" % n for n in range(MOST_WAITING)], 1.0)
    mail = boxes.fetch(gid, kid, 0, 1000, 10_000)
    assert (len(mail.datagrams), mail.datagrams[0]) == (MOST_WAITING, b"0")
    assert boxes.fetch(gid, b"nobody's", 0, 64, 100) == (0, ())


def test_mailboxes_are_bounded_in_number_and_in_time() -> None:
    boxes = Mailboxes()
    for number in range(MOST_MAILBOXES + 1):
        boxes.visit(b"g" * 8, number.to_bytes(8, "big"), 0.0)
    assert len(boxes.members(b"g" * 8)) == MOST_MAILBOXES
    assert bytes(8) not in boxes.members(b"g" * 8)
    boxes.visit(b"h" * 8, bytes(8), KEPT_S + 1)
    assert boxes.members(b"g" * 8) == set()


@pytest.mark.peers
async def test_GF10_curl_does_what_the_page_says(ring, program) -> None:
    program("curl")
    made = await mixed(await ring())
    commands = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[-1]
    kid = made.papers.people["m2"].kid
    named = {
        "URL": made.face.url, "GID": made.gid.hex(), "GID64": to_base64url(made.gid), "KID": kid.hex()
    }  # fmt: skip
    ran = await asyncio.create_subprocess_exec(
        "bash", "-euc", commands.replace("\ncurl", "\necho; curl"), env={**os.environ, **named},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await ran.communicate()
    assert ran.returncode == 0
    for line in out.decode().split("\n"):
        bundle = json.loads(line)
        assert bundle["message"] == "BUNDLE"
        assert {each["message"] for each in bundle["datagrams"]} >= {"START", "COMMIT"}


@pytest.mark.peers
async def test_GF10_curl_posts_cbor(ring, program, tmp_path) -> None:
    program("curl")
    made = await mixed(await ring())
    body = tmp_path / "need"
    body.write_bytes(group.Need(made.gid, group.What.ROSTER, 0).encode())
    ran = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--fail", "--header", f"Content-Type: {CBOR}", "--data-binary", f"@{body}",
        "--dump-header", str(tmp_path / "head"), made.links["m2"].url, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await ran.communicate()
    assert ran.returncode == 0
    assert b'rel="next"' in (tmp_path / "head").read_bytes()
    assert {data[2] for data in group.Bundle.decode(out, sizes_of(1)).datagrams if data[1] == 0x18} >= {32, 37, 39}
