"""The whole way in real processes: enrol, pair, export, read with stock clients, revoke, and see every client refused."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from operators import DeviceRole, Operator, free_port, operators, until

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

READING = "21.5 C"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[list[Operator]]:
    with operators(tmp_path, 2) as made:
        yield made


class Client:
    """Runs stock clients against one device with the keys of a session of another."""

    def __init__(self, program: Callable[[str], str], asking: DeviceRole, serving: DeviceRole, folder: Path) -> None:
        self.program, self.asking, self.serving, self.folder = program, asking, serving, folder

    def export(self, target: str) -> Path:
        """Open a session, export it, and return the directory."""
        opened = self.asking.pair(self.serving)
        until(lambda: opened["psid"] in {row["psid"] for row in self.serving.sessions()})
        directory = self.folder / f"{target}-{opened['psid']}"
        address = self.serving.process.address
        self.asking.ask("export", opened["psid"], "--to", target, "--dir", str(directory), "--peer", address)
        states = {row["psid"]: row["state"] for row in self.asking.sessions()}
        assert states[opened["psid"]] == "handed over"
        return directory

    def run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [self.program(name), *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout.strip()

    def oscore(self, keys: Path) -> str:
        uri = f"{self.serving.process.address}/temperature"
        return self.run("aiocoap-client", "--credentials", str(keys / "credentials.json"), uri)

    def dtls(self, identity: str, key: str, port: int, kind: str, wait_s: int = 20) -> str:
        uri = f"coaps://127.0.0.1:{port}/temperature"
        return self.run(f"coap-client-{kind}", "-B", str(wait_s), "-u", identity, "-k", key, uri)


def closed_at(process: subprocess.Popen[str]) -> float:
    process.wait(timeout=30)
    return time.monotonic()


def test_stock_clients_read_until_the_operator_revokes(world, program, tmp_path):
    north, south = world
    port = free_port()
    (tmp_path / "operator-1" / "reading").write_text(READING)
    (asking,) = north.add_devices(1)
    (serving,) = south.add_devices(1, **{"dtls": f"127.0.0.1:{port}", "serve.temperature": "reading"})
    asking.enrolled()
    serving.enrolled()
    client = Client(program, asking, serving, tmp_path)
    oscore, dtls = client.export("aiocoap"), client.export("libcoap")
    identity, key = ((dtls / name).read_text() for name in ("psk.identity", "psk.key"))
    assert client.oscore(oscore) == READING
    assert client.dtls(identity, key, port, "openssl") == client.dtls(identity, key, port, "gnutls") == READING
    (tmp_path / "operator-1" / "reading").write_text("22.0 C")
    assert client.oscore(oscore) == "22.0 C"  # the file of now

    kept = tmp_path / "kept"
    shutil.copytree(oscore, kept)  # the device will remove what it has exported; a thief would not
    credentials = (kept / "credentials.json").read_text().replace(str(oscore), str(kept))
    (kept / "credentials.json").write_text(credentials)
    live = subprocess.Popen(
        [
            program("coap-client-openssl"), "-s", "60", "-B", "60", "-w",
            "-u", identity, "-k", key,
            f"coaps://127.0.0.1:{port}/temperature",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert live.stdout.readline().strip() == "22.0 C"
        with ThreadPoolExecutor() as watcher:
            closed = watcher.submit(closed_at, live)  # by close_notify
            north.operate("revoke", asking.id, "--reason", "2")
            returned = time.monotonic()
            after_s = closed.result() - returned
        print(f"the live connection was closed {after_s:+.3f} s after the command had returned")
        assert after_s < 20  # the goal is 1 s on a machine that does nothing else
    finally:
        live.kill()
        live.communicate()
    until(lambda: not any(path.is_file() for path in dtls.iterdir()))
    assert "22.0" not in client.oscore(kept)
    for kind in ("openssl", "gnutls"):
        assert "22.0" not in client.dtls(identity, key, port, kind, wait_s=3)
