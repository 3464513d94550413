"""How commands reach a broker, and what they say when they do not."""

from collections.abc import AsyncIterator

import aiomqtt
import pytest

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.errors import CallerFault, RefusedByPolicy, Unavailable
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.mqtt.dial import Broker, dial
from keymote.transports.mqtt.face import GivenKeys

NOTHING = GivenKeys(TopicKeys(lambda: Now(0.0, 0)))


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    started = await EmbeddedBroker.start(lambda _, user, password: user.encode() == password, lambda *_: True)
    yield started
    await started.close()


def test_TQ31_a_uri_names_the_broker_and_no_secret() -> None:
    assert Broker.at("mqtt://broker") == Broker("broker", 1883)
    assert Broker.at("mqtts://[::1]:99", user="u", password="p") == Broker("::1", 99, tls=True, user="u", password="p")
    assert str(Broker.at("mqtts://broker")) == "mqtts://broker:8883"
    assert "p4ss" not in repr(Broker("broker", 1, password="p4ss"))
    for bad in (
        "broker",
        "http://broker",
        "mqtt://",
        "mqtt://a:b@broker",
        "mqtt://a@b",
        "mqtt://b:99999",
        "mqtt://b/x",
    ):
        with pytest.raises(CallerFault):
            Broker.at(bad)
    with pytest.raises(CallerFault, match="choose"):
        Broker("broker", 1, version="4").options("c")


async def test_TQ32_refusals_and_silence_are_errors_that_say_what_to_do(broker: EmbeddedBroker) -> None:
    good = Broker("127.0.0.1", broker.port, user="u", password="u")
    async with dial(Broker("127.0.0.1", broker.port, password="c"), NOTHING, "c", keep_s=60) as client:
        await client.subscribe("#")
    with pytest.raises(RefusedByPolicy, match="user, password"):
        async with dial(Broker("127.0.0.1", broker.port, user="u", password="x"), NOTHING, "c"):
            pass
    with pytest.raises(Unavailable, match="version"):
        async with dial(Broker("127.0.0.1", broker.port, version="5"), NOTHING, "c", keep_s=60):
            pass
    with pytest.raises(Unavailable, match="Disconnected"):  # noqa: PT012  # the connection ends inside
        async with dial(good, NOTHING, "c") as client:
            broker.kick("c")
            await anext(client.messages)
    await broker.close()
    with pytest.raises(Unavailable, match="runs"):
        async with dial(good, NOTHING, "c"):
            pass


async def test_TQ32_a_file_without_certificates_is_named() -> None:
    with pytest.raises(CallerFault, match="no certificates"):
        async with dial(Broker("broker", 1, tls=True, ca=aiomqtt.__file__), NOTHING, "c"):  # type: ignore[arg-type]
            pass
