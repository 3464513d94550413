"""Whole operators as processes: a coordinator, its manager and devices, started by the commands that people use."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import coordinators
from coordinators import DEADLINE_S, ENVIRONMENT, Authority, Coordinator, free_port, keymote

from keymote.cli.authority import pin_file
from keymote.wire import admin_files


@dataclass
class Process:
    """One `keymote ... run`; `ready` is the line that it printed."""

    arguments: tuple[str, ...]
    log: Path
    process: subprocess.Popen[str] | None = None
    ready: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Process":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*coordinators.LAUNCH, *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=ENVIRONMENT,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.arguments}: {self.log.read_text()}")
        self.ready = json.loads(line)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    @property
    def address(self) -> str:
        return self.ready["address"]


@dataclass
class DeviceRole:
    """One device: its TOML file and its process."""

    id: str
    config: Path
    process: Process

    def ask(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `keymote pair` command on this device."""
        return keymote("pair", *arguments, "--config", str(self.config), "-o", "json", check=check)

    def pair(self, peer: "DeviceRole", *more: str) -> dict[str, str]:
        result: dict[str, str] = json.loads(self.ask("open", peer.id, *more).stdout)
        return result

    def sessions(self) -> list[dict[str, str]]:
        listed: list[dict[str, str]] = json.loads(self.ask("list").stdout)["sessions"]
        return listed

    def enrolled(self) -> None:
        keymote("device", "status", "--config", str(self.config), "--wait", "20")


@dataclass
class Operator:
    """A coordinator with one manager and any number of devices below `folder`."""

    folder: Path
    authority: Authority
    coordinator: Coordinator
    manager: Process
    group_port: int
    devices: list[DeviceRole] = field(default_factory=list)

    @classmethod
    def make(
        cls,
        folder: Path,
        authority: Authority,
        coordinator: Coordinator,
        group_port: int,
        key_uri: str = "",
        name: str = "nm",
        suite: int = 1,
    ) -> "Operator":
        label = folder / "nm.label"
        keymote(
            "coordinator", "manager", "add", name, "--out", str(label), "--url", coordinator.url, "--data",
            str(coordinator.folder),
        )  # fmt: skip
        own = ("--suite", str(suite), "--key-uri", key_uri)
        keymote("manager", "init", "--label", str(label), "--data", str(folder / "nm"), *own)
        keymote("manager", "enrol", "--data", str(folder / "nm"))
        (folder / "root.pin").write_bytes(admin_files.write_file(pin_file(authority.root)))
        arguments = (
            "manager", "run", "--data", str(folder / "nm"), "--group", f"224.0.1.187:{group_port}", "--log-level", "debug",
        )  # fmt: skip
        manager = Process((*arguments, "--port", str(free_port())), folder / "nm.log").start()
        return cls(folder, authority, coordinator, manager, group_port)

    def add_devices(self, count: int, suite: int = 1, **options: str | bool | int) -> list[DeviceRole]:
        """Make labels, import them, and start a device for each."""
        name = f"labels-{len(self.devices)}"  # one file per call
        keymote("device", "labels", "--count", str(count), "--suite", str(suite), "--to", f"{self.folder / name}.csv")
        keymote("device", "import", f"{self.folder / name}.csv", "--data", str(self.folder / "nm"))
        rows = (self.folder / f"{name}.csv").read_text().splitlines()[1:]
        added = [self._device(row.split(",")[0], row.split(",")[1], suite, options) for row in rows]
        self.devices += added
        return added

    def _device(self, dev_id: str, code: str, suite: int, options: dict[str, str | bool | int]) -> DeviceRole:
        code_file = self.folder / f"{dev_id}.code"
        code_file.touch(0o600)
        code_file.write_text(code)
        config = self.folder / f"{dev_id}.toml"
        values = {"id": dev_id, "root": "root.pin", "suite": suite, "code_file": code_file.name, **options}
        if values.get("group"):
            values["group"] = f"224.0.1.187:{self.group_port}"  # found by multicast
        else:
            values["manager"] = self.manager.address
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        process = Process(
            ("device", "run", "--config", str(config), "--log-level", "debug"), self.folder / f"{dev_id}.log"
        )
        return DeviceRole(dev_id, config, process.start())

    def operate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `keymote device` command as this operator."""
        return keymote(
            "device", *arguments, "--coordinator", str(self.coordinator.folder), "--url", self.coordinator.url,
            "-o", "json", check=check,
        )  # fmt: skip

    def stop(self) -> None:
        for role in (*(device.process for device in self.devices), self.manager):
            role.stop()


@contextmanager
def operators(folder: Path, count: int, *, key_uri: str = "", suite: int = 1) -> Iterator[list[Operator]]:
    """Start `count` operators under one authority, whose coordinators are federated; `key_uri` of their managers.

    `suite` is that of coordinators and managers.
    """
    authority = Authority.make()
    group_port = free_port()
    ports = [free_port() for _ in range(count)]
    made: list[Operator] = []
    with ExitStack() as stack:
        for number, port in enumerate(ports):
            home = folder / f"operator-{number}"
            home.mkdir()
            peers = tuple(f"https://localhost:{other}" for other in ports if other != port)
            coordinator = Coordinator.make(home / "nc", authority, peers, port, suite).start()
            stack.callback(coordinator.stop)
            operator = Operator.make(home, authority, coordinator, group_port, key_uri, suite=suite)
            stack.callback(operator.stop)
            made.append(operator)
        yield made


def until(holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> float:
    """Return after how many seconds `holds` was true."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > deadline_s:
            raise AssertionError(f"{holds} did not become true in {deadline_s:g} s")
        time.sleep(0.01)  # the pause of a poll with a deadline
    return time.monotonic() - began
