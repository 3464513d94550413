"""`paho.mqtt.client.Client` with readings protected end to end: the same calls and callbacks.

client = ProtectedClient(CallbackAPIVersion.VERSION2, topics=topics)
client.on_message = lambda client, userdata, message: print(message.payload, message.reading.epoch)
client.connect("broker")
client.loop_start()
client.publish("ward/7/hr", "72", qos=1)
"""

from collections import deque
from functools import partial
from typing import Any, Final, NamedTuple

from paho.mqtt.client import MQTTMessage, MQTTMessageInfo, PayloadType
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties

from keymote.engine.topic.readings import NeedsKey, Reading, Rejected
from keymote.transports.mqtt.face import Asking, check_filters, check_topic, plaintext_of
from keymote.transports.mqtt.paho_reading import BufferedClient

_KEPT: Final = tuple(slot for slot in MQTTMessage.__slots__ if slot != "payload")


class ReadingMessage(MQTTMessage):
    """A message whose payload is the opened plaintext; `reading` has its epoch and number."""

    __slots__ = ("reading",)

    reading: Reading


class _Will(NamedTuple):
    topic: str
    plaintext: bytes
    qos: int
    retain: bool
    properties: Properties | None


class ProtectedClient(BufferedClient):
    """Arguments are those of paho's `Client`. What does not open is dropped: `topics.keys` counts and explains it.

    A will is sealed anew at each CONNECT. An empty retained payload is sent as it is: it clears what the broker keeps.
    Callbacks come from the network thread alone, also those of readings that had to wait for a key.
    """

    def __init__(self, callback_api_version: CallbackAPIVersion, *args: Any, topics: Asking, **options: Any) -> None:
        super().__init__(callback_api_version, *args, **options)
        self.topics = topics
        self._last_will: _Will | None = None
        self._late: deque[MQTTMessage] = deque()
        self._in_order = False
        """Whether what waited for this connection is on its way."""

    # ------------------------------------------------------------------ sending

    def publish(
        self,
        topic: str,
        payload: PayloadType = None,
        qos: int = 0,
        retain: bool = False,  # the library's own signature
        properties: Properties | None = None,
    ) -> MQTTMessageInfo:
        """As paho's `publish`; a repetition sends the same bytes again. NeedsKey when there is no key yet: it is asked for.

        What the library would drop (QoS 0 without a connection, a full queue) is not sealed, so that its number is not
        missing at the subscribers; the result is the library's.
        """
        data = plaintext_of(payload)
        if data or not retain:
            dropped = self._would_drop(qos)
            if dropped is not None:
                return dropped
            data = self._sealed(topic, data)
        info = super().publish(topic, data, qos, retain, properties)
        if qos and info.rc is MQTTErrorCode.MQTT_ERR_NO_CONN and self._sock is not None:
            info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS  # it goes as soon as the broker has answered
        return info

    def will_set(
        self,
        topic: str,
        payload: PayloadType = None,
        qos: int = 0,
        retain: bool = False,  # the library's own signature
        properties: Properties | None = None,
    ) -> None:
        """As paho's `will_set`; sealed when the client connects, which needs a key for the topic then."""
        plaintext = plaintext_of(payload)
        super().will_set(topic, b"", qos, retain, properties)  # checks the rest
        self._last_will = _Will(topic, plaintext, qos, retain, properties)

    def will_clear(self) -> None:
        self._last_will = None
        super().will_clear()

    def reconnect(self) -> MQTTErrorCode:
        """As paho's `reconnect`, which all connecting comes through; ConnectionError when the will has no key yet."""
        will = self._last_will
        if will is not None:
            try:
                sealed = self._sealed(will.topic, will.plaintext)
            except NeedsKey as need:  # an OSError is what the library's loop tries again after
                raise ConnectionError(f"no key for the will: {need}") from need
            super().will_set(will.topic, sealed, will.qos, will.retain, will.properties)
        self._in_order = False
        return super().reconnect()

    def subscribe(self, topic: Any, *args: Any, **options: Any) -> tuple[MQTTErrorCode, int | None]:
        """As paho's `subscribe`; CallerFault for a shared subscription."""
        match topic:
            case list():
                check_filters(item[0] for item in topic)
            case tuple():
                check_filters(topic[:1])
            case _:
                check_filters((topic,))
        return super().subscribe(topic, *args, **options)

    def _handle_connack(self) -> MQTTErrorCode:
        """As paho's, which sends here what waited for a connection."""
        with self._out_message_mutex:
            code = super()._handle_connack()
            self._in_order = self.is_connected()
        return code

    def _send_publish(
        self,
        mid: int,
        topic: bytes,
        payload: bytes | bytearray = b"",
        qos: int = 0,
        retain: bool = False,  # the library's own signature
        dup: bool = False,  # the library's own signature
        info: MQTTMessageInfo | None = None,
        properties: Properties | None = None,
    ) -> MQTTErrorCode:
        """As paho's, but what is published while a connection begins stands behind what has waited for it.

        The library would send some twenty before: subscribers that were behind by more than 256 could not open them. Only
        `publish` gives an `info`; a message that finds no connection waits.
        """
        if info is not None and qos and not self._in_order:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        return super()._send_publish(mid, topic, payload, qos, retain, dup, info, properties)

    def _sealed(self, topic: str, plaintext: bytes) -> bytes:
        check_topic(topic)
        try:
            return self.topics.keys.protect(topic, plaintext)
        except NeedsKey as need:
            self.topics.ask(need)
            raise

    def _would_drop(self, qos: int) -> MQTTMessageInfo | None:
        if qos == 0:
            code = MQTTErrorCode.MQTT_ERR_NO_CONN if self._sock is None else None
        else:
            full = 0 < self._max_queued_messages <= len(self._out_messages)
            code = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE if full else None
        if code is None:
            return None
        info = MQTTMessageInfo(self._mid_generate())
        info.rc = code
        return info

    # ------------------------------------------------------------------ opening, in the network thread

    def _handle_on_message(self, message: MQTTMessage) -> None:
        """Hand on what opens; the one place through which the library gives messages to callbacks."""
        opened = None
        try:
            reading = self.topics.keys.unprotect(message.topic, bytes(message.payload), partial(self._opened, message))
        except NeedsKey as need:
            self.topics.ask(need)
        except (Rejected, UnicodeDecodeError):
            pass  # noted where it was refused; a topic that is no text has no readings
        else:
            if not reading.duplicate:
                opened = _with(message, reading)
        self._deliver_late()
        if opened is not None:
            super()._handle_on_message(opened)

    def loop_misc(self) -> MQTTErrorCode:
        """As paho's; hands on readings whose keys have come."""
        self._deliver_late()
        return super().loop_misc()

    def _opened(self, message: MQTTMessage, reading: Reading) -> None:
        """Hear of a message whose key has come, from whatever thread took it, and wake the network thread."""
        self._late.append(_with(message, reading))
        wake = self._sockpairW
        if wake is not None:
            wake.send(b"0")

    def _deliver_late(self) -> None:
        while self._late:
            super()._handle_on_message(self._late.popleft())


def _with(message: MQTTMessage, reading: Reading) -> ReadingMessage:
    """Return the message with the opened reading, without the costly parts of a new one."""
    opened = ReadingMessage.__new__(ReadingMessage)
    for slot in _KEPT:
        setattr(opened, slot, getattr(message, slot))
    opened.payload = reading.plaintext
    opened.reading = reading
    return opened
