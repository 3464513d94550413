"""What `keymote topic subscribe` and `tail` show: a reading or a refusal a line, or a table of topics that goes on."""

import json
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from keymote.cli.output import Output
from keymote.engine.topic.readings import Reading, Reject
from keymote.wire.admin import to_base64url

if TYPE_CHECKING:
    from rich.live import Live

    from keymote.cli.topic_elsewhere import KeysElsewhere
    from keymote.device.topic_keys import TopicKeys
    from keymote.transports.mqtt.with_aiomqtt import ReadingMessage


class Tally:
    """How many readings came by topic, and which refusals are new."""

    def __init__(self, keys: "TopicKeys | KeysElsewhere") -> None:
        self.keys = keys
        self.readings: Counter[str] = Counter()
        self.last: dict[str, Reading] = {}
        self.refused: Counter[str] = Counter()
        self._known = self._total()

    def count(self, reading: Reading) -> None:
        self.readings[reading.topic] += 1
        self.last[reading.topic] = reading

    def fresh(self) -> list[Reject]:
        """Return the refusals since the last call, of which at most the last 256 are told."""
        total = self._total()
        new, self._known = total - self._known, total
        fresh = self.keys.rejects()[-new:] if new else []
        self.refused.update(reject.topic for reject in fresh)
        return fresh

    def _total(self) -> int:
        return sum(number for code, number in self.keys.counts().items() if code != "duplicate")

    def rows(self) -> list[dict[str, object]]:
        """Return a row for each topic, the last chain that spoke first in it."""
        missing = Counter[str]()
        for standing in self.keys.standings():
            if not standing.publishes:
                missing[standing.topic] += standing.missing
        waiting = self.keys.waits()
        return [
            {
                "topic": _plain(topic),
                "epoch": last.epoch if (last := self.last.get(topic)) else None,
                "n": last.n if last else None,
                "readings": self.readings[topic],
                "missing": missing[topic],
                "waiting": waiting.get(topic, 0),
                "refused": self.refused[topic],
                "last": _text(last.plaintext) if last else None,
            }
            for topic in sorted({*self.readings, *self.refused, *waiting})
        ]


class Seen:
    """A message that opened, or a refusal."""

    def __init__(self, tally: Tally, message: "ReadingMessage | None", reject: Reject | None) -> None:
        self.tally = tally
        self.message = message
        self.reject = reject

    @property
    def reading(self) -> Reading | None:
        return None if self.message is None else self.message.reading

    @property
    def number(self) -> int:
        """How many readings there were up to this one."""
        return self.tally.readings.total()

    def say(self, output: Output) -> bool:
        """Print it; True."""
        print(json.dumps(self.entry(), ensure_ascii=False) if output is Output.JSON else self.line(), flush=True)
        return True

    def entry(self) -> dict[str, Any]:
        if self.reject is not None:
            at, topic, code, why, size, first = self.reject
            return {
                "kind": "reject", "at": at, "topic": topic, "code": code.name, "why": why, "size": size,
                "first": first.hex(),
            }  # fmt: skip
        assert self.message is not None  # one of the two
        topic, plaintext, n, snd, epoch, _ = self.message.reading
        return {
            "kind": "reading", "topic": topic, "epoch": epoch, "snd": snd, "n": n, "qos": self.message.qos,
            "retain": self.message.retain, "payload": to_base64url(plaintext), "text": _readable(plaintext),
        }  # fmt: skip

    def line(self) -> str:
        """Return it as people read it: nothing in it can steer a terminal."""
        if self.reject is not None:
            reject = self.reject
            return f"refused  {reject.code.name:<12} {_plain(reject.topic)}  {reject.size} bytes: {reject.why}"
        assert self.message is not None  # one of the two
        topic, plaintext, n, snd, epoch, _ = self.message.reading
        return f"epoch {epoch}  {snd}:{n}  {_plain(topic)}  {_text(plaintext)}"


class Board:
    """The table of topics, drawn again with each arrival, where `live`."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self._drawn: Live | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self.live:
            from rich.live import Live

            self._drawn = self._open.enter_context(Live(auto_refresh=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def show(self, seen: Seen) -> None:
        if self._drawn is not None:
            from keymote.cli.output import tables

            self._drawn.update(tables({"topics": seen.tally.rows()})[-1], refresh=True)


def _readable(plaintext: bytes) -> str | None:
    """Return the text that a plaintext is, None for anything that no terminal should be handed as text."""
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _text(plaintext: bytes) -> str:
    text = _readable(plaintext)
    return f"base64url {to_base64url(plaintext)}" if text is None else text


def _plain(text: str) -> str:
    return text if text.isprintable() else ascii(text)
