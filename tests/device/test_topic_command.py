"""`keymote topic publish|subscribe|tail` as a person runs them: processes, a manager, and the embedded broker between them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest
from street import DEADLINE_S
from topic_commands import command, ended, entry, until_it_says, written
from trusted import TOPIC, Trusted, dev
from typer.testing import CliRunner

from keymote.cli.topic import app
from keymote.lab.scene_founding import two_operators
from keymote.transports.broker_amqtt import EmbeddedBroker

PUBLISH, SUBSCRIBE = 1, 2


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Trusted]:
    scene = two_operators(b"ward", homes={"d1": "nm1"}, enrolled=False)
    ward = await Trusted(tmp_path, scene.managers["nm1"]).start()
    async with ward.stack:
        yield ward


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    started = await EmbeddedBroker.start(lambda *said: said[2] == b"s3cret", lambda *_: True)
    yield started
    await started.close()


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_TQ41_readings_go_from_command_to_command_and_what_is_refused_is_explained(
    ward: Trusted, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    mote, nurse = [written(await ward.label(number), tmp_path) for number in (1, 2)]
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    at = ("--broker", f"mqtt://127.0.0.1:{broker.port}", "-o", "json")
    tail = await command("tail", "ward/#", TOPIC, "--rejects", "--config", nurse, *at)
    await until_it_says(tail, b"subscribed")
    sent = await command("publish", TOPIC, "--stdin", "--config", mote, *at, stdin=b"72\n73\n\xff\n")
    said, _ = await sent.communicate()
    assert json.loads(said) == {"topic": TOPIC, "published": 3, "epoch": 1, "next": 3}
    readings = [await entry(tail) for _ in range(3)]
    assert [(each["kind"], each["n"], each["text"]) for each in readings] == [
        ("reading", 0, "72"),
        ("reading", 1, "73"),
        ("reading", 2, None),
    ]
    _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(b"\x10\x17\0\4MQTT\4\xc2\0\x3c\0\1x\0\0\0\x06s3cret\x30\x14\0\x09ward/7/hr" + b"garbage!!")
    refused = await entry(tail)
    assert (refused["kind"], refused["code"], refused["size"]) == ("reject", "E_FORMAT", 9)
    assert refused["first"] == b"garbage!!".hex() and refused["why"]
    writer.close()
    tail.terminate()
    with suppress(ProcessLookupError):
        await asyncio.wait_for(tail.wait(), DEADLINE_S)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_TQ43_a_command_that_has_shown_what_it_was_to_show_ends_without_another_word(
    ward: Trusted, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    mote, *nurses = [written(await ward.label(number), tmp_path) for number in (1, 2, 3)]
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE), (dev(3), SUBSCRIBE))
    at = ("--broker", f"mqtt://127.0.0.1:{broker.port}")
    looks = [
        await command(word, TOPIC, "--count", 2, "--config", nurse, *at)
        for word, nurse in zip(("subscribe", "tail"), nurses, strict=True)
    ]
    for look in looks:
        await until_it_says(look, b"subscribed")
    sent = await command("publish", TOPIC, "--stdin", "--config", mote, *at, stdin=b"72\n73\n")
    assert await asyncio.wait_for(sent.wait(), 60) == 0
    for look in looks:
        said, complained = await asyncio.wait_for(look.communicate(), DEADLINE_S)
        assert [line.split()[-1] for line in said.splitlines()] == [b"72", b"73"]
        assert (look.returncode, complained) == (0, b"")


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_TQ44_a_client_without_a_grant_and_a_revoked_one_hear_what_can_be_known(
    ward: Trusted, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    mote = written(await ward.label(1), tmp_path)
    words = ("publish", TOPIC, "-m", "72", "--config", mote, "--broker", f"mqtt://127.0.0.1:{broker.port}")

    await ward.grants((dev(1), SUBSCRIBE))
    code, _, why = await ended(await command(*words))
    assert code == 4 and "gets no key to publish" in why and "ask the operator for a grant" in why
    await ward.grants((dev(1), PUBLISH))
    assert (await ended(await command(*words)))[0] == 0
    await ward.revoke(1)
    code, _, why = await ended(await command(*words, "--wait", "1"))
    assert code == 3 and "out of reach, or this client was revoked" in why and "ask its operator" in why


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_TQ47_commands_go_through_a_device_that_runs_and_without_it_when_it_was_killed(
    ward: Trusted, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    mote, nurse = [written(await ward.label(number), tmp_path) for number in (1, 2)]
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    devices = [await command("run", "--config", config, group="device") for config in (mote, nurse)]
    for device in devices:
        assert (await entry(device))["ready"]
    at = ("--broker", f"mqtt://127.0.0.1:{broker.port}", "-o", "json")
    tail = await command(
        "tail", "ward/#", "--rejects", "--count", 4, "--config", nurse, *at
    )  # asks for keys as readings come
    await until_it_says(tail, b"subscribed")
    words = ("publish", TOPIC, "--config", mote, *at)
    code, said, why = await ended(await command(*words, "--stdin", stdin=b"72\n73\n"))
    assert (code, why) == (0, "") and json.loads(said) == {"topic": TOPIC, "published": 2, "epoch": 1, "next": 2}
    assert [(await entry(tail))["kind"] for _ in range(2)] == ["reading", "reading"]
    async with aiomqtt.Client("127.0.0.1", broker.port, username="x", password="s3cret") as bare:
        await bare.publish(TOPIC, b"garbage!!", qos=1)
    assert (await entry(tail))["kind"] == "reject"
    devices[0].kill()
    await devices[0].wait()
    code, said, _ = await ended(await command(*words, "-m", "74"))
    assert code == 0 and json.loads(said)["next"] == 1
    code, said, why = await ended(tail)
    assert (code, json.loads(said)["text"], why) == (0, "74", "")
    heard = await command("subscribe", TOPIC, "--config", nurse, *at)
    await until_it_says(heard, b"subscribed")
    devices[1].terminate()
    code, _, why = await ended(heard)
    assert code == 3 and "the process stopped" in why


def test_TQ42_the_commands_say_what_is_missing_and_take_no_password() -> None:
    run = CliRunner().invoke
    at = ["--broker", "mqtt://127.0.0.1:1"]
    for words, why in (
        (["publish", TOPIC, *at], "nothing to publish"),
        (["publish", TOPIC, "-m", "72", *at], "who publishes"),
        (["publish", TOPIC, "-m", "72", "--stdin", *at], "more than one thing"),
        (["publish", TOPIC, "-m", "72", "--broker", "mqtt://u:p@host"], "no credentials"),
        (["subscribe", "#", *at, "--config", "a", "--client", "b"], "one of them"),
        (["tail", "#", *at, "--password-file", "/nonexistent"], "cannot read"),
    ):
        assert why in str(run(app, words).exception), words
    for name in ("publish", "subscribe", "tail"):
        assert "--password " not in run(app, [name, "--help"]).output
