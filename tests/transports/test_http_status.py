"""Health and metrics as curl and Prometheus read them."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from keymote.errors import Unavailable
from keymote.transports.http_status import Health, StatusServer
from keymote.transports.metrics import Metrics


def metrics() -> Metrics:
    made = Metrics()
    made.asked("refused", "Refused inputs by reason.", "code", lambda: {"E_AUTH": 3, "E_REPLAY": 1})
    return made


async def test_a_stranger_reads_health_and_metrics() -> None:
    healthy = [True]
    server = await StatusServer.open(("127.0.0.1", 0), lambda: Health(healthy[0], {"coordinator": "away"}), metrics())
    base = f"http://127.0.0.1:{server.address[1]}"
    try:
        async with httpx.AsyncClient() as client:
            health = await client.get(f"{base}/health")
            assert (health.status_code, health.json()) == (200, {"ok": True, "coordinator": "away"})
            healthy[0] = False
            assert (await client.get(f"{base}/health")).status_code == 503
            scraped = await client.get(f"{base}/metrics")
            families = {family.name: family for family in text_string_to_metric_families(scraped.text)}
            assert {s.labels["code"]: s.value for s in families["keymote_refused"].samples} == {
                "E_AUTH": 3,
                "E_REPLAY": 1,
            }
            assert (await client.head(f"{base}/metrics")).content == b""
            assert (await client.get(f"{base}/elsewhere")).status_code == 404
            assert (await client.post(f"{base}/health")).status_code == 405
    finally:
        await server.close()


async def test_junk_and_endless_headers_end_the_connection() -> None:
    server = await StatusServer.open(("127.0.0.1", 0), lambda: Health(ok=True), metrics())
    try:
        for junk in (b"\xff" * 10_000 + b"\r\n\r\n", b"X"):
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(junk)
            writer.write_eof()
            async with asyncio.timeout(5):
                assert b"200" not in await reader.read()
            writer.close()
    finally:
        await server.close()


async def test_a_taken_port_is_said_so() -> None:
    server = await StatusServer.open(("127.0.0.1", 0), lambda: Health(ok=True), metrics())
    try:
        with pytest.raises(Unavailable, match="cannot bind tcp"):
            await StatusServer.open(server.address, lambda: Health(ok=True), metrics())
    finally:
        await server.close()
