"""Which file and part is examined by whom, and what the examination says in the end."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Final

from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES
from keymote.errors import KeymoteError
from keymote.selftest import ciphers, derivation, known_answers
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, load, parse
from keymote.selftest.enrolment import enrolment
from keymote.selftest.group import group
from keymote.selftest.session import session
from keymote.selftest.topic import topic
from keymote.selftest.traps import traps
from keymote.wire.group import FEWEST, MOST

Examiner = Callable[[Document, Checks, Mapping[int, Suite]], object]

EXAMINERS: Final[Mapping[str, Mapping[str, Examiner]]] = {
    "triad1": {
        "kdf": derivation.kdf,
        "transcript": derivation.transcript,
        "A_enrol": enrolment,
        "A_session": session,
        **{part: partial(group, part) for part in (f"B_n{n}" for n in range(FEWEST, MOST + 1))},
        "C": topic,
    },
    "known-answers": {
        "aead": known_answers.aead,
        "hkdf": known_answers.hkdf,
        "ristretto255": known_answers.ristretto255,
        "ed25519": known_answers.ed25519,
        "cpace": known_answers.cpace,
        "p256": known_answers.p256,
        "esp256": known_answers.esp256,
        "block": known_answers.block,
    },
}
"""Format -> part -> who recomputes it; every other part of any format but `cipher` is named as unknown."""
_CIPHER: Final = "cipher"

_DATA: Final = resources.files("keymote.selftest") / "data"
_ANSWERS: Final = "known-answers.json"


@dataclass(frozen=True, slots=True)
class PartReport:
    """What one part came to; `failures` names each failed check, `unjudged` what the file alone cannot show."""

    file: str
    part: str
    checks: int
    failures: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return len(self.failures)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole result; `ok` only if nothing failed and nothing was left unjudged."""

    parts: tuple[PartReport, ...]
    unknown: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.unknown and not any(part.failures for part in self.parts) and bool(self.parts)

    def as_json(self) -> dict[str, object]:
        """Return the shape of `keymote selftest -o json`."""
        parts = [
            {"file": part.file, "part": part.part, "checks": part.checks, "failed": part.failed} for part in self.parts
        ]
        return {"ok": self.ok, "parts": parts, "unknown": list(self.unknown)}


def examine_files(paths: Iterable[Path]) -> Report:
    """Examine the given vector files; one that cannot be read counts as one failed check."""
    parts: list[PartReport] = []
    unknown: list[str] = []
    for path in paths:
        try:
            document = load(path)
        except KeymoteError as fault:
            parts.append(PartReport(str(path), "file", 1, (str(fault),)))
            continue
        parts += examine(document)
        unknown += unknown_parts(document)
    unknown += [f"{part.file}: {part.part}: {what}" for part in parts for what in part.unjudged]
    return Report(tuple(parts), tuple(unknown))


def examine_own() -> Report:
    """Examine the data that travel in the package, and the libraries' traps in every suite."""
    documents = list(own_documents())
    parts = [report for document in documents for report in examine(document)]
    parts += [examine_traps(suite) for suite in SUITES.values()]
    return Report(tuple(parts), tuple(name for document in documents for name in unknown_parts(document)))


def own_documents() -> Iterator[Document]:
    """Yield the package's own files: published answers, and our own runs of the protocol."""
    for entry in sorted(_DATA.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            yield parse(entry.name, entry.read_bytes())


def published_answers() -> Document:
    """Return the one of the package's own files that services read before they start."""
    return parse(_ANSWERS, (_DATA / _ANSWERS).read_bytes())


def examine(document: Document, suites: Mapping[int, Suite] = SUITES) -> Iterator[PartReport]:
    """Recompute every part of `document` that we know."""
    for part, examiner in _examiners(document).items():
        yield examine_part(document, part, examiner, suites)


def examine_part(document: Document, part: str, examiner: Examiner, suites: Mapping[int, Suite]) -> PartReport:
    """Recompute one part; what cannot even be computed is one more failed check."""
    checks = Checks()
    with checks.accepted("computation"):
        examiner(document, checks, suites)
    return PartReport(document.name, part, checks.done, tuple(checks.failed), tuple(checks.unjudged))


def examine_traps(suite: Suite) -> PartReport:
    """Check the guards of one suite."""
    checks = Checks()
    with checks.accepted("computation"):
        traps(suite, checks)
    return PartReport("libraries", f"traps under suite {suite.id}", checks.done, tuple(checks.failed))


def unknown_parts(document: Document) -> list[str]:
    """Return `file: part` for everything that we cannot recompute."""
    known = _examiners(document)
    if document.format == _CIPHER:
        return [] if known else [f"{document.name}: {document.parts.get('alg', _CIPHER)}"]
    return [f"{document.name}: {part}" for part in document.parts if part not in known]


def _examiners(document: Document) -> Mapping[str, Examiner]:
    """Return what we can recompute of a file; one about a cipher is a part by its algorithm's name."""
    if document.format == _CIPHER:
        alg = document.parts.get("alg")
        return {alg: ciphers.cipher} if isinstance(alg, str) and alg in ciphers.KNOWN else {}
    known = EXAMINERS.get(document.format, {})
    return {part: known[part] for part in known if part in document.parts}
