"""The stock aiocoap-client, in a process of its own, with the files of `pair export --to aiocoap`."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers


async def test_it_reads_the_peers_resource(street, run):
    mine = street.pair()
    for _ in range(3):  # each a process: the context's sequence number travels in its directory
        got = await run("aiocoap-client", "--credentials", str(mine.credentials), f"{street.coap}/temperature")
        assert got.said == b"21.5 C", got.complained
    assert [asked.psid for asked in street.asked] == [mine.psid] * 3


async def test_without_the_key_only_what_is_declared_open_answers(street, run):
    street.pair()
    refused = await run("aiocoap-client", f"{street.coap}/temperature")
    assert b"4.01" in refused.said + refused.complained
    assert street.asked == []
    assert (await run("aiocoap-client", f"{street.coap}/about")).said == b"a meter"


async def test_a_wrong_key_and_another_sessions_key_are_refused(street, run):
    mine, other = street.pair(), street.pair()
    secret = mine.directory / f"context-{mine.psid.hex()}" / "secret.json"
    for wrong in (
        "00" * 16,
        json.loads((other.directory / f"context-{other.psid.hex()}" / "secret.json").read_text())["secret_hex"],
    ):
        secret.write_text(json.dumps({**json.loads(secret.read_text()), "secret_hex": wrong}))
        refused = await run("aiocoap-client", "--credentials", str(mine.credentials), f"{street.coap}/temperature")
        assert refused.code != 0
        assert b"21.5" not in refused.said
    assert street.asked == []


async def test_a_context_put_back_from_a_copy_is_refused_as_replay(street, run):
    mine = street.pair()
    arguments = ("aiocoap-client", "--credentials", str(mine.credentials), f"{street.coap}/temperature")
    assert (await run(*arguments)).said == b"21.5 C"
    (mine.directory / f"context-{mine.psid.hex()}" / "sequence.json").unlink()
    assert b"21.5" not in (await run(*arguments)).said
    assert len(street.asked) == 1


async def test_after_revocation_the_next_request_fails(street, run):
    mine = street.pair()
    arguments = ("aiocoap-client", "--credentials", str(mine.credentials), f"{street.coap}/temperature")
    assert (await run(*arguments)).said == b"21.5 C"
    assert street.revoke_d1() == 1
    refused = await run(*arguments)
    assert refused.code != 0
    assert b"21.5" not in refused.said
    assert len(street.asked) == 1


async def test_revocation_ends_a_live_observation(street):
    mine = street.pair()
    observer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("aiocoap_observer.py")),
        str(mine.credentials),
        f"{street.coap}/temperature",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            assert await observer.stdout.readline() == b"21.5 C\n"
            street.degrees[0] = "22.0 C"
            street.resources.changed("temperature")
            assert await observer.stdout.readline() == b"22.0 C\n"
            street.revoke_d1()
            street.degrees[0] = "23.0 C"
            street.resources.changed("temperature")
            assert await observer.stdout.readline() == b"over: NotAProtectedMessage\n"
    finally:
        if observer.returncode is None:
            observer.kill()
            await observer.wait()
