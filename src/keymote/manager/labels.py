"""`labels.csv`: one device a line, as the label printer gets it and the manager reads it back."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from keymote.crypto.entropy import Entropy
from keymote.engine.label import Code, new_code, parse_code
from keymote.errors import CallerFault

COLUMNS: Final = ("dev_id", "code", "suite")
SUITES: Final = frozenset({1, 2, 3, 17})
"""Suites that run today; those from 16 up need a code of 128 bits (EN-07)."""
_FIRST_WITHOUT_PAKE: Final = 16
QR_SCHEME: Final = "KEYMOTE"


@dataclass(frozen=True, slots=True)
class Label:
    """Who a device is and what its label proves. `suite` is what its firmware runs."""

    dev_id: bytes
    code: Code
    suite: int = 1

    def qr_text(self) -> str:
        """Return what the QR code says, in its compact alphanumeric alphabet: `KEYMOTE:DEV_ID:CODE`."""
        return f"{QR_SCHEME}:{self.dev_id.hex().upper()}:{self.code.printed().replace('-', '')}"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a label: where, and why; never what the code was."""

    line: int
    why: str


def new_labels(count: int, suite: int, entropy: Entropy) -> list[Label]:
    """Return `count` labels with random ids and 128-bit codes."""
    if suite not in SUITES:
        raise CallerFault(f"suite {suite} is not run", do=f"choose one of {sorted(SUITES)}")
    return [Label(entropy.draw(8), new_code(entropy), suite) for _ in range(count)]


def write_labels(file: TextIO, labels: Iterable[Label]) -> None:
    """Write a header line and one line a label; the caller has made the file for its owner alone."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((label.dev_id.hex(), label.code.printed(), label.suite) for label in labels)


def read_labels(file: TextIO) -> Iterator[tuple[int, Label | BadLine]]:
    """Yield `(line number, label or what is wrong)` for each line; further columns are ignored, `suite` may be absent.

    A device that stands twice in one file is wrong from the second line on: two labels for one id are a mistake.

    Raises:
        CallerFault: the header lacks `dev_id` or `code`.
    """
    rows = csv.reader(file)
    header = [name.strip().lower().removeprefix("\ufeff") for name in next(rows, [])]
    if not {"dev_id", "code"} <= set(header):
        raise CallerFault("the first line must name the columns dev_id and code", do=f"begin with {','.join(COLUMNS)}")
    seen: dict[bytes, int] = {}
    try:
        for row in rows:
            line = rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            try:
                label = _label(header, row)
                if label.dev_id in seen:
                    raise CallerFault(f"device {label.dev_id.hex()} stands in line {seen[label.dev_id]} already")
                seen[label.dev_id] = line
            except CallerFault as fault:
                yield line, BadLine(line, str(fault))
            else:
                yield line, label
    except csv.Error as error:
        yield rows.line_num, BadLine(rows.line_num, f"not CSV: {error}")
    except UnicodeDecodeError:
        yield rows.line_num + 1, BadLine(rows.line_num + 1, "not UTF-8 text")


def _label(header: Sequence[str], row: Sequence[str]) -> Label:
    if len(row) != len(header):
        raise CallerFault(f"{len(row)} columns, the header has {len(header)}")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    text = cells["dev_id"].replace(":", "").replace("-", "")
    try:
        dev_id = bytes.fromhex(text)
    except ValueError:
        dev_id = b""
    if len(dev_id) != 8:
        raise CallerFault("dev_id is not 16 hex digits")
    suite_text = cells.get("suite") or "1"
    if not (suite_text.isascii() and suite_text.isdigit() and int(suite_text) in SUITES):
        raise CallerFault(f"suite is none of {', '.join(map(str, sorted(SUITES)))}")
    code = parse_code(cells["code"])
    if code.weak and int(suite_text) >= _FIRST_WITHOUT_PAKE:
        raise CallerFault(f"suite {suite_text} needs a code of 128 bits")
    return Label(dev_id, code, int(suite_text))
