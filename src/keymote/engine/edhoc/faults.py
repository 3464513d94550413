"""How a run ends before its time (RFC 9528 6): whoever gets `Aborted` forgets the state and may send the reply."""

from typing import Final

from keymote.errors import ErrorCode, PeerFault
from keymote.wire.edhoc import UNKNOWN_CREDENTIAL, UNSPECIFIED, WRONG_SELECTED_SUITE, ErrorMessage

UNKNOWN_ID_CRED: Final = ErrorMessage(UNKNOWN_CREDENTIAL, True).encode()  # ERR_INFO is the value true


class Aborted(PeerFault):
    """The run is over; `reply` is the error message for the peer, empty when the peer was the one who aborted."""

    def __init__(self, code: ErrorCode, what: str, reply: bytes, *, do: str = "") -> None:
        super().__init__(code, what, do=do)
        self.reply = reply


class SuitesRefused(Aborted):
    """The peer runs none of the suites in this order: `suites` are those that it runs."""

    def __init__(self, what: str, reply: bytes, suites: tuple[int, ...]) -> None:
        super().__init__(ErrorCode.E_SUITE, what, reply, do="begin anew with a suite that both run")
        self.suites = suites


def aborted(message: int, fault: PeerFault) -> Aborted:
    """Return the end of a run in which this message was refused; the peer learns which message, and no reason."""
    if isinstance(fault, Aborted):
        return fault
    reply = ErrorMessage(UNSPECIFIED, f"message_{message} refused").encode()
    return Aborted(fault.code, fault.what, reply, do=fault.do)


def unknown_credential(what: str) -> Aborted:
    """Return the end of a run whose peer named a credential that we neither hold nor accept."""
    return Aborted(ErrorCode.E_CRED, what, UNKNOWN_ID_CRED)


def wrong_suite(offered: tuple[int, ...], ours: tuple[int, ...]) -> SuitesRefused:
    """Return R's refusal of SUITES_I, which names all suites that R runs (6.3)."""
    return SuitesRefused(f"suites {list(offered)} offered", ErrorMessage(WRONG_SELECTED_SUITE, ours).encode(), ours)


def aborted_by_peer(data: bytes) -> Aborted:
    """Return what an error message says; nothing in it is authentic."""
    error = ErrorMessage.decode(data)
    match error.code, error.info:
        case code, tuple(suites) if code == WRONG_SELECTED_SUITE:
            return SuitesRefused(f"the peer runs suites {list(suites)}", b"", suites)
        case code, _ if code == UNKNOWN_CREDENTIAL:
            return Aborted(ErrorCode.E_CRED, "the peer does not know our credential", b"")
        case code, _:
            return Aborted(ErrorCode.E_STATE, f"the peer aborted with error {code}", b"")
