"""`keymote bench topic`, its part through a broker: readings with and without protection, by the same client, in the same run.

A publisher and a subscriber, each a process, and Mosquitto between them: 64 bytes, QoS 1. Either process has a bare client and a
protected one and uses them in turn, a slice of some hundred messages each, so that what else the machine does meets both. The
rate is the subscriber's: messages by the time from a slice's first to its last.
"""

import contextlib
import math
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from keymote.bench.report import Metric, metric
from keymote.bench.topic_mqtt_process import Slice, Spent, publish, subscribe
from keymote.errors import Unavailable

GOALS: Final = {"aiomqtt": 0.90, "paho": 0.75}
PREFIX: Final = {"aiomqtt": "", "paho": "paho_"}
PAIRS: Final = 4
"""Slices of each kind in a round."""
COUNT: Final = {"aiomqtt": 2000, "paho": 4000}
"""Messages of a slice: some tenths of a second on a quiet machine."""
_PATIENCE_S: Final = 60.0
_BELOW_PATH: Final = "/usr/sbin/mosquitto"
"""Where distributions put it, which the path of users often lacks."""

Progress = Callable[[str, int, int], None]


def run(rounds: int, progress: Progress) -> Iterator[Metric]:
    """Measure `rounds` rounds of either library; without Mosquitto the ratios have no value, and do not hold."""
    try:
        with mosquitto() as port:
            for library, goal in GOALS.items():
                yield from _library(library, goal, port, rounds, progress)
    except Unavailable as missing:
        for library, goal in GOALS.items():
            name = f"topic.mqtt_qos1.{PREFIX[library]}rate_ratio"
            yield Metric(name, math.nan, "ratio", (math.nan, math.nan), goal, at_least=True, note=missing.what)


@contextlib.contextmanager
def mosquitto() -> Iterator[int]:
    """Yield the port of a Mosquitto of our own, without Nagle's delay and without limits that drop messages.

    Raises:
        Unavailable: it is not installed.
    """
    program = shutil.which("mosquitto") or _BELOW_PATH
    if not Path(program).exists():
        raise Unavailable("mosquitto is not installed", do="install it: apt-get install mosquitto")
    with tempfile.TemporaryDirectory(prefix="keymote-") as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        configuration = Path(folder, "mosquitto.conf")
        configuration.write_text(
            ("user root\n" if os.geteuid() == 0 else "")
            + "persistence false\nallow_anonymous true\nset_tcp_nodelay true\nlog_type error\n"
            + f"max_inflight_messages 0\nmax_queued_messages 0\nlistener {port} 127.0.0.1\n",
            encoding="ascii",
        )
        taken.close()
        with subprocess.Popen(  # noqa: S603  # the broker that we looked up
            [program, "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as broker:
            try:
                _await_port(port)
                yield port
            finally:
                broker.terminate()


def _await_port(port: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Unavailable("mosquitto did not start", do="look at its messages")


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two processes of a library."""

    publisher: Connection
    subscriber: Connection

    def slice(self, *, protected: bool, count: int) -> tuple[float, float]:
        """Return messages per second, and processor microseconds of both processes for each."""
        order = Slice(protected, count)
        self.subscriber.send(order)
        _answer(self.subscriber)  # it listens, before the first message can come
        self.publisher.send(order)
        heard, sent = _answer(self.subscriber), _answer(self.publisher)
        return (count - 1) / heard.elapsed_s, (heard.cpu_s + sent.cpu_s) / count * 1e6


def _answer(pipe: Connection) -> Spent:
    if not pipe.poll(_PATIENCE_S):
        raise Unavailable("a process of the bench says nothing", do="try again on a quiet machine")
    spent = pipe.recv()
    assert isinstance(spent, Spent)
    return spent


def _library(library: str, goal: float, port: int, rounds: int, progress: Progress) -> Iterator[Metric]:
    ratios: list[float] = []
    cpu: list[float] = []
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        progress(f"{library} through mosquitto", number, rounds)
        seconds, spent = dict.fromkeys((False, True), 0.0), dict.fromkeys((False, True), 0.0)
        with _processes(library, port) as pair:
            for protected in (False, True):
                pair.slice(protected=protected, count=COUNT[library])  # the first is not counted
            for turn in range(2 * PAIRS):
                protected = turn % 4 in (1, 2)
                rate, cost = pair.slice(protected=protected, count=COUNT[library])
                seconds[protected] += 1 / rate
                spent[protected] += cost
        ratios.append(seconds[False] / seconds[True])
        cpu.append(spent[True] / spent[False])
        for protected, each in rates.items():
            each.append(PAIRS / seconds[protected])
    name = f"topic.mqtt_qos1.{PREFIX[library]}"
    yield metric(f"{name}rate_ratio", "ratio", ratios, goal, at_least=True)
    yield metric(f"{name}cpu_ratio", "ratio", cpu)
    yield metric(f"{name}rate", "per_s", rates[True])
    yield metric(f"{name}bare_rate", "per_s", rates[False])


@contextlib.contextmanager
def _processes(library: str, port: int) -> Iterator[_Pair]:
    context = multiprocessing.get_context("spawn")
    started: list[BaseProcess] = []
    pipes: list[Connection] = []
    try:
        for work in (publish, subscribe):
            ours, theirs = context.Pipe()
            started.append(context.Process(target=work, args=(library, port, theirs), daemon=True))
            started[-1].start()
            pipes.append(ours)
        for pipe in pipes:
            _answer(pipe)  # connected
        yield _Pair(*pipes)
    finally:
        for pipe in pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in started:
            process.join(timeout=5)
            process.kill()
