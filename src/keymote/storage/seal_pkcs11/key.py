"""A key-encryption key that stays in its token: each use is one process of a moment (docs/decisions/0080-...).

This process never loads the module and never reads the PIN: it asks, by a pipe, a child that does both, answers and ends.
So neither the key of a software token nor the PIN is in the memory of whoever serves, a module that hangs or crashes takes
nobody with it, and nothing is logged in between two uses.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.storage.seal_pkcs11.faults import FAULTS, TokenAway
from keymote.storage.seal_pkcs11.uri import TokenUri

DEADLINE_S: Final = 20.0
"""How long one use may take; the child ends itself a little earlier."""
_CHILD: Final = (sys.executable, "-P", "-m", "keymote.storage.seal_pkcs11.process")


class Act(StrEnum):
    """What a token is asked to do."""

    LOOK = "look"
    """Find the key, check that it is fit, and wrap the constant of the fingerprint."""
    MAKE = "make"
    """Generate the key in the token unless it is there, then as LOOK."""
    WRAP = "wrap"
    UNWRAP = "unwrap"


@dataclass(frozen=True, slots=True)
class Answer:
    """`data`: what was wrapped or unwrapped; `imported`: the key was outside of the token once."""

    data: bytes
    imported: bool = False


Ask = Callable[[str, Act, bytes], Answer]
"""Puts one question about the key of a URI to its token; raises TokenAway, PinRefused, KeyUnfit, CallerFault."""


class TokenKey:
    """AES-256 in a token, sensitive and not extractable; data keys are wrapped by AES key wrap (RFC 3394, 40 bytes).

    The fingerprint is made from what the key makes of a public constant, so a copy of the key in another token (how HSMs
    are backed up) is the same key.

    Raises:
        CallerFault: the URI is none, the library is not installed, or the PIN's file is missing or readable by others.
        PinRefused, KeyUnfit, TokenAway: see there.
    """

    def __init__(self, uri: str, *, create: bool = False, ask: Ask | None = None) -> None:
        TokenUri.parse(uri)  # what is wrong with a URI is said without a process
        self._ask: Final = ask or ask_process
        self.uri: Final = uri
        looked = self._ask(uri, Act.MAKE if create else Act.LOOK, b"")
        self.fingerprint: Final = sha256(b"keymote/kek" + looked.data)[:8]
        self.imported: Final = looked.imported

    def wrap(self, key: Secret) -> bytes:
        """Return `key` wrapped by the token: 8 bytes more than it has."""
        return self._ask(self.uri, Act.WRAP, key.expose()).data

    def unwrap(self, wrapped: bytes) -> Secret:
        """Return what `wrap` hid; see the protocol."""
        return Secret(self._ask(self.uri, Act.UNWRAP, wrapped).data)


def ask_process(
    uri: str, act: Act, data: bytes, *, program: Sequence[str] = _CHILD, deadline_s: float = DEADLINE_S
) -> Answer:
    """Ask a token by a process of its own; see `Ask`."""
    question = json.dumps({"uri": uri, "act": act, "data": data.hex()})
    try:
        child = subprocess.run(  # noqa: S603  our own interpreter and module; the question goes by the pipe
            program, input=question, stdout=subprocess.PIPE, text=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TokenAway(
            f"the token of {TokenUri.parse(uri).name} does not answer within {deadline_s:g} s",
            do="is it plugged in, and its network up?",
        ) from error
    except OSError as error:
        raise TokenAway(f"cannot start the token's process: {error.strerror}") from error
    try:
        answer = json.loads(child.stdout)
    except ValueError as error:
        raise TokenAway(
            f"the process of the token of {TokenUri.parse(uri).name} ended without an answer (status {child.returncode})",
            do="look at the module's log; try the token by its own tools, for example pkcs11-tool",
        ) from error
    if "fault" in answer:
        raise FAULTS[answer["fault"]](answer["what"], do=answer["do"])
    return Answer(bytes.fromhex(answer["data"]), answer["imported"])
