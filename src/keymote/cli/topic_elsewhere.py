"""Topics of a device that another process of this user runs, asked over its control socket: keys stay there, readings pass.

    async with TopicsElsewhere(config.socket) as topics:
        await topics.ready_to_publish("ward/7/hr")
        payload = topics.keys.protect("ward/7/hr", b"72")

What opens there opens nowhere else: two who listen as one device share its readings.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from keymote.device.agent import LONGEST_WAIT_S
from keymote.device.topic_agent import MOST_LATE, reading_in, reject_in
from keymote.device.topic_keys import Late, NeedsKey, Reading, Reject, Rejected, Standing
from keymote.device.topics import READY_S, BrokerTicket
from keymote.errors import CallerFault, ErrorCode, Unavailable
from keymote.transports.control import ControlClient
from keymote.wire.admin import from_base64url, to_base64url

LOOK_S: Final = 0.1
"""Pause before it is asked again whether the keys of readings that wait have come."""
LONGEST: Final = 1 << 16
"""Bytes of a payload that are shown to the device: far above those of any reading, and far below those of a request."""


class KeysElsewhere:
    """`TopicKeys` as far as clients of a broker need them; each call waits for the device's answer."""

    def __init__(self, device: ControlClient) -> None:
        self._device = device
        self._waiting: dict[int, Late | None] = {}
        self._after = 0

    def protect(self, topic: str, plaintext: bytes) -> bytes:
        """As `TopicKeys.protect`."""
        answer = self._device.ask("topic.protect", topic=topic, payload=to_base64url(plaintext))
        if "needs" in answer:
            raise NeedsKey(topic, answer["needs"], publish=True)
        return from_base64url(answer["sealed"])

    def unprotect(self, topic: str, data: bytes, late: Late | None = None) -> Reading:
        """As `TopicKeys.unprotect`; a key that is missing has been asked for when this raises NeedsKey."""
        try:
            answer = self._device.ask("topic.unprotect", topic=topic, sealed=to_base64url(data[:LONGEST]))
        except Unavailable as error:  # whoever looks at the counts next hears of it, and not the broker's connection
            raise Rejected(ErrorCode.E_STATE, error.what) from error
        match answer:
            case {"reading": view}:
                return reading_in(view)
            case {"refused": code, "why": why}:
                raise Rejected(ErrorCode[code], why)
        if not self._waiting:
            self._after = answer["after"]
        if len(self._waiting) >= MOST_LATE:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[answer["waits"]] = late
        raise NeedsKey(topic, answer["needs"])

    def collect(self) -> None:
        """Hand on the readings whose keys have come meanwhile."""
        more = bool(self._waiting)
        while more:
            answer = self._device.ask("topic.late", after=self._after)
            self._after, more = answer["after"], bool(answer["late"])
            for entry in answer["late"]:
                late = self._waiting.pop(entry["number"], None)
                if late is not None:
                    late(reading_in(entry["reading"]))

    def counts(self) -> Mapping[str, int]:
        """As `TopicKeys.counts`."""
        counts: Mapping[str, int] = self._device.ask("topic.counts")
        return counts

    def rejects(self) -> list[Reject]:
        """As `TopicKeys.rejects`."""
        return [reject_in(view) for view in self._device.ask("topic.rejects")]

    def standings(self) -> list[Standing]:
        """As `TopicKeys.standings`."""
        return [Standing(**view) for view in self._device.ask("topic.standings")["standings"]]

    def waits(self) -> Mapping[str, int]:
        """As `TopicKeys.waits`."""
        waits: Mapping[str, int] = self._device.ask("topic.standings")["waits"]
        return waits


class TopicsElsewhere:
    """`Topics` of the device that serves `socket`; Unavailable when none does. For `async with`."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._device = ControlClient(socket)
        self.keys: Final = KeysElsewhere(self._device)
        self._collecting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._collecting = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._collecting is not None:
            self._collecting.cancel()
        self._device.close()

    async def enrolled(self, timeout_s: float) -> str:
        """Return the device's id when it is enrolled; errors as `Device.enrolled`."""
        status = self._device.ask("status")
        if not status["enrolled"]:
            await self._patiently("enrolled", timeout_s=min(max(timeout_s, LOOK_S), LONGEST_WAIT_S))
        identifier: str = status["id"]
        return identifier

    async def ready_to_publish(self, topic: str, timeout_s: float = READY_S, *, signed: bool = False) -> None:
        """As `Topics.ready_to_publish`."""
        await self._patiently("topic.ready", topic=topic, publish=True, signed=signed, timeout_s=timeout_s)

    async def ready_to_subscribe(self, topic: str, timeout_s: float = READY_S) -> None:
        """As `Topics.ready_to_subscribe`."""
        await self._patiently("topic.ready", topic=topic, publish=False, timeout_s=timeout_s)

    async def ticket(self, _timeout_s: float = READY_S) -> BrokerTicket:
        """Refuse: what opens a broker is a key."""
        raise CallerFault(
            "a ticket's key does not leave the process of the running device",
            do="stop the device, name the broker by mqtt://, or use a provisioning file (--client)",
        )

    def ask(self, need: NeedsKey) -> None:
        """Nothing: the device asks by itself."""

    async def _patiently(self, do: str, **arguments: object) -> None:
        """Ask what may take its time, on a connection that ends with whoever waits."""
        with ControlClient(self._socket) as device:
            await asyncio.to_thread(device.ask, do, **arguments)

    async def _collect(self) -> None:
        with contextlib.suppress(Unavailable):  # whoever asks next hears of it
            while True:
                await asyncio.sleep(LOOK_S)
                self.keys.collect()
