"""Logs: one JSON object a line on stderr (docs/decisions/0002). What a line may carry is decided where it is written."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_SILENCED: Final = ("alembic", "uvicorn", "httpx", "httpcore", "coap", "asyncio")
"""Libraries whose chatter below warnings is nobody's business in production."""


class JsonLines(logging.Formatter):
    """`ts` (UTC, milliseconds), `level`, `logger`, `message`, then what the call gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for `record`; values that JSON does not know are written by `str`, bytes as hex."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every logger's lines to `stream` (stderr); `level` is debug, info, warning or error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _SILENCED:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
