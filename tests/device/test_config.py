"""meter.toml: read, completed, and every wrong value named."""

from pathlib import Path

import pytest

from keymote.device.config import HANDSHAKES, DeviceConfig, read_config, read_secret_text
from keymote.engine.context import Handshake
from keymote.errors import CallerFault

GOOD = 'id = "00000000000000a1"\nroot = "root.pin"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "meter.toml"
    path.write_text(text)
    return path


def test_two_keys_are_enough_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, GOOD))
    assert config == DeviceConfig(
        id=bytes(7) + b"\xa1",
        state=tmp_path / "meter.state",
        root=tmp_path / "root.pin",
        key_uri=f"file:{tmp_path / 'meter.state' / 'kek'}",
    )
    assert config.socket == tmp_path / "meter.state" / "control.sock"


def test_every_key_is_taken(tmp_path: Path) -> None:
    text = (
        GOOD
        + 'suite = 17\nstate = "s"\nkey_uri = "file:k"\ncode_file = "c"\nmanager_code_file = "/m"\nlisten = "[::1]:5683"\n'
        + 'manager = "coap://127.0.0.1:1"\ngroup = "224.0.1.187:7"\ninterface = "192.0.2.1"\npoll_s = 30\n'
        + "accept_compact = true\nhas_clock = true\nhandshake = 'edhoc'\n"
    )
    config = read_config(written(tmp_path, text))
    assert (config.suite, config.state, config.key_uri) == (17, tmp_path / "s", f"file:{tmp_path / 'k'}")
    assert (config.code_file, config.manager_code_file) == (tmp_path / "c", Path("/m"))
    assert (config.listen, config.manager) == (("::1", 5683), "coap://127.0.0.1:1")
    assert (config.group, config.interface, config.poll_s) == (("224.0.1.187", 7), "192.0.2.1", 30.0)
    assert config.accept_compact
    assert config.has_clock
    assert config.handshake == "edhoc"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id = \"00\"\nroot = 'r'", "id"),
        ('root = "r"', "id"),
        ('id = "00000000000000a1"', "root"),
        (GOOD + "suite = 'one'", "suite"),
        (GOOD + "suite = true", "suite"),
        (GOOD + "poll_s = -1", "poll_s"),
        (GOOD + "listen = 'here'", "listen"),
        (GOOD + "listen = '127.0.0.1:99999'", "listen"),
        (GOOD + "has_clock = 'yes'", "has_clock"),
        (GOOD + "handshake = 'any'", "handshake"),
        (GOOD + "manager = 7", "manager"),
        (GOOD + "colour = 'red'", "colour"),
        ("id = ", "TOML"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(CallerFault) as refused:
        read_config(written(tmp_path, text))
    assert named in str(refused.value)
    assert "meter.toml" in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match=r"absent\.toml"):
        read_config(tmp_path / "absent.toml")


def test_a_code_that_others_may_read_is_not_read(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.write_text("12345678\n")
    code.chmod(0o604)
    with pytest.raises(CallerFault, match="chmod 600"):
        read_secret_text(code)
    code.chmod(0o600)
    assert read_secret_text(code) == "12345678\n"
    code.write_bytes(b"\xff")
    with pytest.raises(CallerFault):
        read_secret_text(code)


def test_the_words_for_the_handshake_are_those_of_the_engine() -> None:
    assert list(HANDSHAKES) == [handshake.value for handshake in Handshake]
    assert DeviceConfig(bytes(8), Path(), Path(), "file:k").handshake == HANDSHAKES[0]
