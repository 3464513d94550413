"""A connection to a broker whose owner decides when a message counts as taken: for agents, which carry queues from one to another.

paho acknowledges QoS 2 before the application has seen the message, and neither it nor aiomqtt tells when a queue is
empty. Here PUBACK and PUBREC leave when `acknowledge` is called, and `ping` returns behind everything that the broker wrote
before its answer (decision 0198). For applications there are the libraries.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any, Final, Self, TypeVar

from keymote.errors import CallerFault, Unavailable
from keymote.transports.mqtt import packets
from keymote.transports.mqtt.packets import LEVEL_5, Cut, Delivery

ANSWER_S: Final = 10.0
LAST_S: Final = 2.0
"""How long a broker may take to read what it was told before a connection is closed."""
KEEP_ALIVE_S: Final = 60
MOST_PACKET: Final = 1 << 20
_REFUSED: Final = 0x80
_LAST_ID: Final = 65_535
T = TypeVar("T")


class MqttSession:
    """One connection; `present` tells whether the broker had a session of this client id."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, level: int) -> None:
        self._reader, self._writer, self._level = reader, writer, level
        self._last = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._pings: list[asyncio.Future[None]] = []
        self._reading: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self.deliveries: Final[asyncio.Queue[Delivery]] = asyncio.Queue()
        self.present = False

    @classmethod
    async def open(
        cls, address: tuple[str, int], client_id: str, user: str, password: str, *, clean: bool, level: int = 4
    ) -> Self:
        """Connect.

        Raises:
            CallerFault: the broker refuses these credentials.
            Unavailable: it does not answer, or is no MQTT broker.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"no MQTT broker answers at {address[0]}:{address[1]}", do="is it running?") from error
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = cls(reader, writer, level)
        try:
            await made._enter(packets.connect(level, client_id, user, password, KEEP_ALIVE_S, clean=clean))
        except BaseException:
            writer.close()
            raise
        made._reading = asyncio.create_task(made._read(), name="mqtt session")
        made._beating = asyncio.create_task(made._beat(), name="mqtt keep-alive")
        return made

    async def _enter(self, connect: bytes) -> None:
        self._writer.write(connect)
        try:
            async with asyncio.timeout(ANSWER_S):
                head, body = await self._packet()
        except (TimeoutError, asyncio.IncompleteReadError, OSError, Cut) as error:
            raise Unavailable("the broker closed the connection at CONNECT", do="see its log") from error
        if head >> 4 != packets.CONNACK or len(body) < 2:
            raise Unavailable("what answers is no MQTT broker")
        if body[1]:
            raise CallerFault(
                f"the broker refuses the agent, code {body[1]}", do="check user and password of the agent"
            )
        self.present = bool(body[0] & 1)

    @property
    def ended(self) -> bool:
        """Whether the connection is over: open another one."""
        return self._reading is None or self._reading.done()

    # ------------------------------------------------------------------ what its owner does

    async def subscribe(self, filters: Sequence[str], qos: int) -> None:
        """Subscribe to all of `filters`; Unavailable when the broker refuses one."""
        if filters:
            number, answer = self._number()
            code = await self._asked(packets.subscribe(self._level, number, filters, qos), number, answer)
            if code >= _REFUSED:
                raise Unavailable("the broker refuses a subscription", do="see its access rules")

    async def publish(self, message: Delivery, marks: Sequence[tuple[str, str]] = ()) -> None:
        """Publish and, above QoS 0, wait until the broker has taken it; calls of one task after the other keep their order."""
        if not message.qos:
            await self._write(packets.publish(self._level, message, marks))
            return
        number, answer = self._number()
        data = packets.publish(self._level, message._replace(packet_id=number), marks)
        code = await self._asked(data, number, answer)
        if code >= _REFUSED:
            raise Unavailable(f"the broker refuses a message, reason {code:#x}", do="see its access rules")

    async def acknowledge(self, delivery: Delivery) -> None:
        """Say that this message is safe elsewhere; the broker forgets it."""
        if delivery.qos:
            kind = packets.PUBACK if delivery.qos == 1 else packets.PUBREC
            await self._write(packets.acknowledgement(kind, delivery.packet_id))

    async def ping(self) -> None:
        """Return when the broker has answered, and so has written what it wanted to write before."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings.append(answer)
        await self._write(packets.PING)
        await self._within(answer)

    async def close(self) -> None:
        """Disconnect; a session that is not clean stays at the broker.

        We listen until the broker has read everything and hangs up, too: what it sends to a connection that is closed resets it,
        and acknowledgements that it has not read by then are lost.
        """
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the connection has ended already
            self._writer.write(packets.DISCONNECT)
            await self._writer.drain()
            if self._writer.can_write_eof():  # TLS cannot
                self._writer.write_eof()
            if self._reading is not None:
                await asyncio.wait([self._reading], timeout=LAST_S)
        for task in (self._beating, self._reading):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    # ------------------------------------------------------------------ the connection

    def _number(self) -> tuple[int, asyncio.Future[int]]:
        for _ in range(_LAST_ID):
            self._last = self._last % _LAST_ID + 1
            if self._last not in self._waiting:
                answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                self._waiting[self._last] = answer
                return self._last, answer
        raise Unavailable("too many messages wait for the broker")

    async def _asked(self, data: bytes, number: int, answer: "asyncio.Future[int]") -> int:
        try:
            await self._write(data)
            return await self._within(answer)
        finally:
            self._waiting.pop(number, None)

    async def _within(self, answer: "asyncio.Future[T]") -> T:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError as error:
            raise Unavailable("the broker does not answer", do="see its log") from error

    async def _write(self, data: bytes) -> None:
        if self.ended:
            raise Unavailable("the connection to the broker ended", do="see its log")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unavailable("the connection to the broker ended", do="see its log") from error

    async def _packet(self) -> tuple[int, bytes]:
        (head,) = await self._reader.readexactly(1)
        size = shift = 0
        while True:
            (octet,) = await self._reader.readexactly(1)
            size |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
            if shift > 21:
                raise Cut
        if size > MOST_PACKET:
            raise Cut
        return head, await self._reader.readexactly(size)

    async def _beat(self) -> None:
        with contextlib.suppress(Unavailable):  # who uses the connection hears of it
            while True:
                await asyncio.sleep(KEEP_ALIVE_S / 2)
                await self.ping()

    async def _read(self) -> None:
        try:
            while True:
                head, body = await self._packet()
                await self._heard(head, body)
        except (asyncio.IncompleteReadError, OSError, Cut, Unavailable):
            pass
        finally:
            self._writer.close()
            ended = Unavailable("the connection to the broker ended", do="see its log")
            waiting: list[asyncio.Future[Any]] = [*self._waiting.values(), *self._pings]
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(ended)

    async def _heard(self, head: int, body: bytes) -> None:
        kind, number = head >> 4, int.from_bytes(body[:2], "big")
        match kind:
            case packets.PUBLISH:
                self.deliveries.put_nowait(packets.read_publish(self._level, head, body))
            case packets.PUBREL:
                self._writer.write(packets.acknowledgement(packets.PUBCOMP, number))
            case packets.PUBREC if len(body) < 3 or body[2] < _REFUSED:
                self._writer.write(packets.acknowledgement(packets.PUBREL, number))
            case packets.PUBACK | packets.PUBREC | packets.PUBCOMP:
                self._answer(number, body[2] if len(body) > 2 and self._level >= LEVEL_5 else 0)
            case packets.SUBACK:
                self._answer(number, max(body[2:]))
            case packets.PINGRESP if self._pings:
                answer = self._pings.pop(0)
                if not answer.done():
                    answer.set_result(None)

    def _answer(self, number: int, code: int) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(code)
