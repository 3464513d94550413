"""What the command line and the file of the MQTT-SN gateway say, and what of it is refused."""

from pathlib import Path

import pytest

from keymote.errors import CallerFault
from keymote.manager.app.mqttsn import MqttSnOptions
from keymote.transports.coap.multicast import Group

LISTEN = "127.0.0.1:1885"


def options(tmp_path: Path, text: str, broker: str = "mqtt://broker.example") -> MqttSnOptions:
    file = tmp_path / "mqttsn.toml"
    file.write_text(text)
    return MqttSnOptions.of(LISTEN, broker, file)


def test_SG22_without_a_file_the_rest_is_as_recommended() -> None:
    made = MqttSnOptions.of(LISTEN, "mqtt://127.0.0.1:18830")
    assert made.gateway.listen == ("127.0.0.1", 1885)
    assert (made.broker.host, made.broker.port, made.broker.tls) == ("127.0.0.1", 18830, None)
    assert 10 <= made.gateway.settings.retry_s <= 15
    assert 3 <= made.gateway.settings.retries <= 5
    assert made.gateway.group is None  # neither heard nor heard of by everybody


def test_SG22_a_file_says_the_rest(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    text = f"""
        retry_s = 12.5
        retries = 4
        advertise_s = 900
        group = "224.0.1.188:1885"
        user = "gateway"
        password_file = "{secret}"
        client_id = "ward-7"
        aggregating = true
        [predefined]
        7 = "ward/7/hr"
    """
    made = options(tmp_path, text, "mqtts://broker.example")
    assert (made.broker.host, made.broker.port) == ("broker.example", 8883)
    assert made.broker.tls is not None
    assert made.broker.password is not None
    assert made.broker.password.expose() == b"s3cret"
    assert "s3cret" not in repr(made)
    assert made.client_id == "ward-7"
    assert made.aggregating
    assert made.gateway.group == Group("224.0.1.188", 1885, "127.0.0.1")
    settings = made.gateway.settings
    assert (settings.retry_s, settings.retries, settings.advertise_s) == (12.5, 4, 900)
    assert settings.predefined == {7: "ward/7/hr"}


@pytest.mark.parametrize(
    "text",
    [
        "retry = 3",
        "retries = true",
        "retries = 1.5",
        "retry_s = 0",
        "gw_id = 300",
        "most_clients = -1",
        "advertise_s = 70000",
        "[predefined]\n65520 = 'x'",
        "[predefined]\nx = 'x'",
        "[predefined]\n7 = 'w/#'",
        "[predefined]\n7 = 7",
        "group = '224.0.1.188'",
        "ca_file = '/nowhere'",
        "password_file = '/nowhere'",
        "= 3",
        "aggregating = 1",
    ],
)
def test_SG22_what_makes_no_gateway_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CallerFault):
        options(tmp_path, text, "mqtts://broker.example" if "ca_file" in text else "mqtt://broker.example")


@pytest.mark.parametrize("listen", ["", "1885", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536"])
def test_SG22_an_address_has_one_form(listen: str) -> None:
    with pytest.raises(CallerFault):
        MqttSnOptions.of(listen, "mqtt://127.0.0.1")


@pytest.mark.parametrize(
    "broker", ["", "broker.example", "http://broker.example", "mqtt://", "mqtt://u:p@broker.example", "mqtt://b:99999"]
)
def test_SG22_a_broker_has_one_form_and_no_password_in_it(broker: str) -> None:
    with pytest.raises(CallerFault):
        MqttSnOptions.of(LISTEN, broker)


def test_SG22_a_password_file_is_its_owners_alone(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    with pytest.raises(CallerFault):
        options(tmp_path, f"password_file = '{secret}'")
