"""Log lines: one JSON object each, whatever was logged."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from keymote.crypto.secret import Secret
from keymote.host.logs import JsonLines, configure


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_its_extras(lines: io.StringIO) -> None:
    logging.getLogger("keymote.test").info("two\nlines %d", 1, extra={"dev_id": b"\x00\xff", "url": "https://x"})
    (line,) = written(lines)
    assert (line["level"], line["logger"], line["message"]) == ("info", "keymote.test", "two\nlines 1")
    assert (line["dev_id"], line["url"]) == ("00ff", "https://x")
    assert str(line["ts"]).endswith("+00:00")


def test_a_secret_hides_in_a_line(lines: io.StringIO) -> None:
    logging.getLogger("keymote.test").warning("key %r", Secret(b"k" * 32), extra={"key": Secret(b"k" * 32)})
    assert "kkkk" not in lines.getvalue()
    assert written(lines)[0]["key"] == "Secret(32 bytes)"


def test_a_traceback_shows_no_local_values(lines: io.StringIO) -> None:
    hidden = "not" + str(len("-for-the-log"))
    try:
        raise ValueError(len(hidden))
    except ValueError:
        logging.getLogger("keymote.test").exception("bug")
    (line,) = written(lines)
    assert f"ValueError: {len(hidden)}" in str(line["traceback"])
    assert hidden not in lines.getvalue()


def test_libraries_are_quiet_below_warnings(lines: io.StringIO) -> None:
    logging.getLogger("httpx").info("chatter")
    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("keymote.test").debug("detail")
    logging.getLogger("uvicorn.error").warning("heard")
    assert [line["message"] for line in written(lines)] == ["heard"]


def test_the_formatter_stands_alone() -> None:
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "m", (), None)
    assert json.loads(JsonLines().format(record))["level"] == "error"
