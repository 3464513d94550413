"""Debian's coap-client, over OpenSSL and over GnuTLS, with identity and key of `pair export --to libcoap`."""

import asyncio
import time

import pytest

pytestmark = pytest.mark.peers

CLIENTS = ("coap-client-openssl", "coap-client-gnutls")


@pytest.mark.parametrize("client", CLIENTS)
async def test_it_reads_the_peers_resource(street, run, client):
    mine = street.pair()
    got = await run(client, "-B", "20", "-u", mine.identity, "-k", mine.key.decode(), f"{street.dtls}/temperature")
    assert got.said == b"21.5 C\n", got.complained
    assert [asked.psid for asked in street.asked] == [mine.psid]
    assert street.asked[0].peer == street.node.sessions[mine.psid].peer


@pytest.mark.timeout(150)
@pytest.mark.parametrize("client", CLIENTS)
async def test_two_hundred_sessions_in_a_row(street, run, client):
    pairs = [street.pair() for _ in range(200)]
    assert len({mine.identity for mine in pairs}) == len({mine.key for mine in pairs}) == 200
    began = time.monotonic()
    for mine in pairs:
        got = await run(client, "-B", "20", "-u", mine.identity, "-k", mine.key.decode(), f"{street.dtls}/temperature")
        assert got.said == b"21.5 C\n", got.complained
    print(f"200 requests, each a process and a handshake of its own: {time.monotonic() - began:.1f} s")
    assert [asked.psid for asked in street.asked] == [mine.psid for mine in pairs]


@pytest.mark.parametrize("client", CLIENTS)
async def test_wrong_key_unknown_identity_and_another_sessions_key_are_refused(street, run, client):
    mine, other = street.pair(), street.pair()
    tries = (
        (mine.identity, "0" * 32),
        (mine.identity, other.key.decode()),
        ("0" * 32, mine.key.decode()),
        (mine.identity[:16] + other.identity[16:], mine.key.decode()),
    )
    for identity, key in tries:
        refused = await run(client, "-B", "2", "-u", identity, "-k", key, f"{street.dtls}/temperature")
        assert b"21.5" not in refused.said
    assert street.asked == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_after_revocation_the_next_request_fails(street, run, client):
    mine = street.pair()
    arguments = ("-u", mine.identity, "-k", mine.key.decode(), f"{street.dtls}/temperature")
    assert (await run(client, "-B", "20", *arguments)).said == b"21.5 C\n"
    assert street.revoke_d1() == 1
    assert b"21.5" not in (await run(client, "-B", "2", *arguments)).said
    assert len(street.asked) == 1


@pytest.mark.parametrize("client", CLIENTS)
async def test_revocation_ends_a_live_connection_and_its_observation(street, program, client):
    mine = street.pair()
    observer = await asyncio.create_subprocess_exec(
        program(client),
        *("-s", "30", "-B", "30", "-w", "-u", mine.identity, "-k", mine.key.decode(), f"{street.dtls}/temperature"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            await observer.stdout.readuntil(b"21.5 C")
            street.degrees[0] = "22.0 C"
            street.resources.changed("temperature")
            await observer.stdout.readuntil(b"22.0 C")
            street.revoke_d1()
            street.degrees[0] = "23.0 C"
            street.resources.changed("temperature")
            said, _ = await observer.communicate()  # close_notify ends it long before its 30 s
    finally:
        if observer.returncode is None:
            observer.kill()
            await observer.wait()
    assert b"23.0" not in said
