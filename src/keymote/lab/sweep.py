"""The laboratory's door to processes: one piece of work after the other, spread over as many processes as there are cores.

A worker is a fork of this process, so it has whatever the work refers to. What it returns travels back pickled, with two things
that otherwise refuse to: secrets, which are make-believe here and must cross between two halves of one simulated world, and
suites, of which both sides have their own.
"""

import io
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id

T = TypeVar("T")
R = TypeVar("R")
_OVER: Final = b""


def spread(work: Callable[[T], R], pieces: Sequence[T], processes: int) -> Iterator[R]:
    """Yield `work(piece)` for each, in the order in which they are done; with one process or piece here, else in forks.

    Each of the `processes` works off every so-manieth piece in order, and forgets nothing between them.

    Raises:
        RuntimeError: a worker ended before its work was done; what it said stands on stderr.
    """
    if processes < 2 or len(pieces) < 2:
        yield from map(work, pieces)
        return
    context = multiprocessing.get_context("fork")
    workers = {}
    for at in range(processes):
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=_work_off, args=(work, pieces[at::processes], there), daemon=True)
        worker.start()
        there.close()
        workers[here] = worker
    try:
        while workers:
            for ready in wait(list(workers)):
                assert isinstance(ready, Connection)
                packed = _received(ready)
                if packed:
                    yield unpacked(packed)
                else:
                    workers.pop(ready).join()
    finally:
        for worker in workers.values():
            worker.terminate()


def _received(pipe: Connection) -> bytes:
    try:
        return pipe.recv_bytes()
    except EOFError:
        raise RuntimeError("a worker of the laboratory ended before its work was done") from None


def _work_off(work: Callable[[T], R], pieces: Sequence[T], pipe: Connection) -> None:
    for piece in pieces:
        pipe.send_bytes(packed(work(piece)))
    pipe.send_bytes(_OVER)


# ------------------------------------------------------------------ what crosses between processes


class _Packer(pickle.Pickler):
    """Lets secrets and suites of simulated worlds travel between the processes of one simulation, and nowhere else."""

    def reducer_override(self, thing: object) -> Any:
        if type(thing) is Secret:
            return Secret, (thing.expose(),)
        if type(thing) is Suite:
            return suite_by_id, (thing.id,)
        return NotImplemented


def packed(thing: object) -> bytes:
    """Return a thing of a simulated world as bytes."""
    sink = io.BytesIO()
    _Packer(sink, protocol=pickle.HIGHEST_PROTOCOL).dump(thing)
    return sink.getvalue()


def unpacked(data: bytes) -> Any:
    """Return what `packed` was given, from a process of this very simulation."""
    return pickle.loads(data)  # noqa: S301  # comes out of a pipe from our own fork
