"""What of a process can be searched for a text: its memory, its log and files, and what passed on its lines."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CHUNK: Final = 1 << 22


def memory_holds(pid: int, texts: Iterable[bytes]) -> bool | None:
    """Tell whether any of these stands in the memory of a process; None when we may not look.

    Roles forbid others to look (`host/hardening`): it takes root, or the right to trace.
    """
    wanted = list(texts)
    longest = max(map(len, wanted))
    try:
        maps = Path("/proc", str(pid), "maps").read_text()
        memory = Path("/proc", str(pid), "mem").open("rb", buffering=0)  # noqa: SIM115  closed below; not all may open it
    except OSError:
        return None
    looked = False
    with memory:
        for line in maps.splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("r") or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            at, end = (int(each, 16) for each in span.split("-"))
            kept = b""
            while at < end:
                with contextlib.suppress(OSError, ValueError):
                    memory.seek(at)
                    data = memory.read(min(CHUNK, end - at))
                    looked = looked or bool(data)
                    window = kept + data
                    if any(text in window for text in wanted):
                        return True
                    kept = window[-longest:]
                at += CHUNK
    return False if looked else None


def files_hold(folder: Path, texts: Iterable[bytes]) -> list[str]:
    """Return the names of the files below a folder in which any of these stands."""
    wanted = list(texts)
    return [
        path.name for path in folder.rglob("*") if path.is_file() and any(text in path.read_bytes() for text in wanted)
    ]
