"""The suites of this version; a suite is a number, and no message carries curve parameters (attack A-05).

A suite is built when it is first asked for: its libraries take 50 to 100 ms to load, and a device runs one of them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keymote.crypto.aead import AES_CCM_16_64_128, AES_CCM_16_128_128, ASCON_AEAD128, CHACHA20_POLY1305, Aead
from keymote.crypto.suite import Suite
from keymote.errors import ErrorCode, PeerFault

# ruff: noqa: PLC0415  # late imports are the purpose of this file


def _ristretto255(suite_id: int, name: str, establishment: Aead, payload: Aead) -> Suite:
    from keymote.crypto.ed25519 import Ed25519
    from keymote.crypto.pake import cpace
    from keymote.crypto.ristretto255 import Ristretto255

    group = Ristretto255()
    return Suite(suite_id, name, group, Ed25519(), establishment, payload, cpace(group.map_to_point))


def _p256(suite_id: int, name: str, establishment: Aead, payload: Aead) -> Suite:
    from keymote.crypto.p256 import P256, Esp256
    from keymote.crypto.pake import psk_dh

    return Suite(suite_id, name, P256(), Esp256(), establishment, payload, psk_dh(P256.generator))


class _Suites(Mapping[int, Suite]):
    """The table of Triad-1 1.1, each row made into its one `Suite` at the first look-up."""

    _rows: Final[dict[int, Callable[[], Suite]]] = {
        1: lambda: _ristretto255(1, "R255-CP", CHACHA20_POLY1305, CHACHA20_POLY1305),
        2: lambda: _ristretto255(2, "R255-CCM", AES_CCM_16_128_128, AES_CCM_16_64_128),
        3: lambda: _ristretto255(3, "R255-ASCON", ASCON_AEAD128, ASCON_AEAD128),
        17: lambda: _p256(17, "P256-CCM", AES_CCM_16_128_128, AES_CCM_16_64_128),
    }

    def __init__(self) -> None:
        self._made: dict[int, Suite] = {}

    def __getitem__(self, suite_id: int) -> Suite:
        suite = self._made.get(suite_id)
        if suite is None:
            suite = self._made[suite_id] = self._rows[suite_id]()
        return suite

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, suite_id: object) -> bool:
        return suite_id in self._rows


SUITES: Final[Mapping[int, Suite]] = _Suites()
"""Every suite that this version runs, by its number."""


def suite_by_id(suite_id: int) -> Suite:
    """Return the suite with this number; PeerFault E_SUITE for one that we do not run."""
    if suite_id not in SUITES:
        raise PeerFault(ErrorCode.E_SUITE, f"suite {suite_id} is not among {', '.join(map(str, SUITES))}")
    return SUITES[suite_id]


def prepare(suite_id: int) -> None:
    """Compile what a node's own suite computes in Python, where there is a compiler; at a start, for it takes seconds.

    Raises:
        Incompatible: the compiler makes something else of a cipher.
    """
    if suite_id == 3:
        from keymote.crypto.lightweight.compiled import compile_all

        compile_all(blocks=False)
