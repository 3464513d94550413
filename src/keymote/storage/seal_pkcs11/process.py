"""The process that meets the token: one question on stdin, one answer on stdout, then it is gone."""

import json
import os
import signal
import sys
from collections.abc import Mapping

from keymote.errors import CallerFault
from keymote.host.hardening import harden
from keymote.storage.seal_pkcs11.faults import FAULTS, TokenAway
from keymote.storage.seal_pkcs11.key import DEADLINE_S, Act, Answer
from keymote.storage.seal_pkcs11.uri import TokenUri


def main() -> None:
    """Answer the question on stdin."""
    harden()
    signal.alarm(int(DEADLINE_S) - 2)  # whoever asked may be dead: nobody waits for a module that hangs
    with os.fdopen(os.dup(1), "w") as answer_to:
        os.dup2(2, 1)  # what a module prints is not our answer
        question = json.load(sys.stdin)
        json.dump(_said(question["uri"], Act(question["act"]), bytes.fromhex(question["data"])), answer_to)


def _said(uri: str, act: Act, data: bytes) -> Mapping[str, object]:
    try:
        answer = _answered(TokenUri.parse(uri), act, data)
    except (CallerFault, TokenAway) as fault:
        kind = type(fault).__name__
        return {"fault": kind if kind in FAULTS else CallerFault.__name__, "what": fault.what, "do": fault.do}
    return {"data": answer.data.hex(), "imported": answer.imported}


def _answered(uri: TokenUri, act: Act, data: bytes) -> Answer:
    try:
        from keymote.storage.seal_pkcs11 import token  # noqa: PLC0415  its library is an extra
    except ModuleNotFoundError as error:
        raise CallerFault(
            f"{uri.name} needs the Python package python-pkcs11: {error}", do="pip install 'keymote[pkcs11]'"
        ) from error
    return token.answer(uri, act, data)


if __name__ == "__main__":
    main()
