"""What an application can do differently about, each below one of the four roots."""

from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy, Unavailable


class Replayed(PeerFault):
    """A record was opened before, or is older than the window: drop it."""

    def __init__(self, what: str) -> None:
        super().__init__(ErrorCode.E_REPLAY, what, do="drop the record")


class Revoked(RefusedByPolicy):
    """A manager refuses or has ended the session: this device or the peer may not have a key."""


class Expired(CallerFault):
    """The session is over (closed, used up, or ended by a restart): pair again for a new key."""


class Exported(Expired):
    """The session's key was handed over to other software: we never use it again."""


class NotReady(Unavailable):
    """Not enrolled yet, or the managers or the peer do not answer now: try again later."""


def closed_because(code: ErrorCode | None, *, revoked: bool, why: str) -> Exception:
    """Return the error that tells an application why its session is over."""
    if revoked or code is ErrorCode.E_NOSHARE:
        return Revoked(why or "the session was revoked", do="ask the operator")
    match code:
        case None | ErrorCode.E_LIMIT:
            return Expired(why or "the session is closed", do="pair again")
        case ErrorCode.E_TIMEOUT | ErrorCode.E_BUSY | ErrorCode.E_STATE:
            return NotReady(f"{code.name}: {why}", do="try again later")
        case _:
            return PeerFault(code, why)


def refused_by_group(code: ErrorCode, what: str) -> Exception:
    """Return the error that tells an application why its group's membership refused a record or a plaintext."""
    match code:
        case ErrorCode.E_REPLAY:
            return Replayed(what)
        case ErrorCode.E_EPOCH | ErrorCode.E_LIMIT:
            return Expired(f"{code.name}: {what}", do="wait for the group's next epoch")
        case ErrorCode.E_STATE:
            return NotReady(what, do="try again when the group has a key")
        case _:
            return PeerFault(code, what)


def refused_topic(code: ErrorCode, topic: str, role: int) -> Exception:
    """Return the error that tells an application why it has no key of a topic, in this role of KREQ (3: of a broker)."""
    what = {1: f"to publish to {topic!r}", 2: f"to subscribe to {topic!r}"}.get(role, "for its broker")
    match code:
        case ErrorCode.E_CRED | ErrorCode.E_NOSHARE:
            return Revoked(f"this client gets no key {what}", do="ask the operator for a grant")
        case ErrorCode.E_STATE:
            return NotReady(f"no key {what}: this client has no chain with its manager", do="enrol it first")
        case ErrorCode.E_TIMEOUT:
            # silence is all that a stranger gets (Triad-1 1.2.7), and who was revoked or removed is one
            why = "the manager does not answer: it is out of reach, or this client was revoked or removed there"
            return NotReady(f"no key {what}: {why}", do="look whether it runs, then ask its operator")
        case ErrorCode.E_LIMIT | ErrorCode.E_BUSY:
            return NotReady(f"no key {what}: {code.name}", do="try again later")
        case _:
            return PeerFault(code, f"no key {what}")


def no_chain(enrolled: bool) -> Exception:
    """Return the error of a device that can ask for no topic key."""
    if not enrolled:
        return NotReady("not enrolled yet, and topic keys hang on the enrolment", do="wait until it is enrolled")
    return CallerFault(
        "this device was enrolled before there were topic keys, and has no chain with its manager",
        do="give it a new label (keymote device rejoin), then keymote device run --rejoin",
    )
