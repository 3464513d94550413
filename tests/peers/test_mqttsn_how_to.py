"""The commands of docs/how-to/mqttsn.md, against a running manager with its gateway and Mosquitto."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from coordinators import ENVIRONMENT
from operators import free_port, operators

from keymote.engine.mqttsn.faces import Settings

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mqttsn.md").read_text()
STEPS = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
END = "---- end of a block"


@pytest.fixture
def mosquitto(program: Callable[[str], str], tmp_path: Path) -> Iterator[int]:
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    process = subprocess.Popen([program("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(5)


def test_SG28_the_page_says_what_happens(program: Callable[[str], str], mosquitto: int, tmp_path: Path) -> None:
    for name in ("mosquitto_sub", "mqtt_sn_pub", "curl"):
        program(name)
    toml = re.search(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert toml is not None
    (tmp_path / "mqttsn.toml").write_text(toml[1])
    with operators(tmp_path, 1) as (operator,):
        assert operator.manager.ready["mqttsn"] == ""  # off unless told
        operator.manager.stop()
        gateway = ("--mqttsn", "127.0.0.1:0", "--broker", f"mqtt://127.0.0.1:{mosquitto}")
        operator.manager.arguments += (*gateway, "--mqttsn-file", str(tmp_path / "mqttsn.toml"))
        operator.manager.start()
        environment = {
            **ENVIRONMENT,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SN": operator.manager.ready["mqttsn"].rpartition(":")[2],
            "BROKER": str(mosquitto),
            "STATUS": operator.manager.ready["status"],
        }
        script = "".join(f"{commands}\necho '{END}'\n" for commands, _ in STEPS)
        time.sleep(0.2)
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert [block.strip() for block in done.stdout.split(END)][:-1] == [expected.strip() for _, expected in STEPS]


def test_SG28_the_page_names_every_setting_with_its_default() -> None:
    settings = Settings()
    for name in Settings.__dataclass_fields__:
        if name == "predefined":
            continue
        row = next(line for line in PAGE.splitlines() if line.startswith("| ") and f"`{name}`" in line.split("|")[1])
        assert f"{getattr(settings, name):g}" in row, name
