"""What the owner of a running device may ask of its topics over the control socket; `keymote.cli.topic_elsewhere` is who asks."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from keymote.device.group import Kept
from keymote.device.topic_keys import NeedsKey, Reading, Reject, Rejected
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.admin import from_base64url, to_base64url

if TYPE_CHECKING:
    from keymote.device.sdk import Device

LONGEST_WAIT_S: Final = 600.0
MOST_LATE: Final = 4096
"""Readings whose key has come and that nobody has fetched: as many as can wait for keys at a time."""
MOST_AT_ONCE: Final = 64

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]


class TopicAgent:
    """Commands on the topics of one device. No key leaves; what its readings say does, to the owner alone."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._late: Kept[tuple[int, Reading]] = Kept(MOST_LATE)
        self._waiting = 0

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "topic.ready": self._ready,
            "topic.protect": self._protect,
            "topic.unprotect": self._unprotect,
            "topic.late": self._fetch,
            "topic.counts": self._counts,
            "topic.rejects": self._rejects,
            "topic.standings": self._standings,
        }

    async def _ready(self, request: Mapping[str, Any]) -> object:
        """`topic`, `publish`, `signed`, `timeout_s`: wait until there is a key to publish, or to subscribe."""
        topics, topic, wait_s = self._device.topics, str(request["topic"]), float(request["timeout_s"])
        if not 0 <= wait_s <= LONGEST_WAIT_S:
            raise CallerFault(f"timeout of {wait_s:g} s", do=f"wait at most {LONGEST_WAIT_S:g} s")
        if request["publish"]:
            await topics.ready_to_publish(topic, wait_s, signed=bool(request["signed"]))
        else:
            await topics.ready_to_subscribe(topic, wait_s)
        return {}

    async def _protect(self, request: Mapping[str, Any]) -> object:
        """`topic`, `payload`: its sealed form, or what is missing."""
        try:
            sealed = self._device.topics.keys.protect(str(request["topic"]), _bytes(request["payload"]))
        except NeedsKey as need:
            return {"needs": need.what}
        return {"sealed": to_base64url(sealed)}

    async def _unprotect(self, request: Mapping[str, Any]) -> object:
        """`topic`, `sealed`: its reading, why it is refused, or its number while it waits for a key, and `after` to fetch it."""
        number, after = self._waiting, self._late.following
        self._waiting += 1
        late = partial(self._opened, number)
        try:
            reading = self._device.topics.unprotect(str(request["topic"]), _bytes(request["sealed"]), late)
        except NeedsKey as need:
            return {"waits": number, "after": after, "needs": need.what}
        except Rejected as refusal:
            return {"refused": refusal.code.name, "why": refusal.why}
        return {"reading": view_of_reading(reading)}

    def _opened(self, number: int, reading: Reading) -> None:
        self._late.put((number, reading))

    async def _fetch(self, request: Mapping[str, Any]) -> object:
        """`after` as the last answer named it: at most 64 readings whose keys have come."""
        after, found = int(request["after"]), list[object]()
        while len(found) < MOST_AT_ONCE and (entry := self._late.first(after)) is not None:
            at, (number, reading) = entry
            found.append({"number": number, "reading": view_of_reading(reading)})
            after = at + 1
        return {"after": after, "late": found}

    async def _counts(self, _request: Mapping[str, Any]) -> object:
        """What was refused since the device started, by code."""
        return dict(self._device.topics.keys.counts())

    async def _rejects(self, _request: Mapping[str, Any]) -> object:
        """The last refusals."""
        return [view_of_reject(reject) for reject in self._device.topics.keys.rejects()]

    async def _standings(self, _request: Mapping[str, Any]) -> object:
        """Every chain in use, and how many readings of each topic wait for a key."""
        keys = self._device.topics.keys
        return {"standings": [standing._asdict() for standing in keys.standings()], "waits": dict(keys.waits())}


def view_of_reading(reading: Reading) -> Mapping[str, Any]:
    """Return a reading as it passes the socket."""
    return {**reading._asdict(), "plaintext": to_base64url(reading.plaintext)}


def reading_in(view: Mapping[str, Any]) -> Reading:
    """Return the reading that `view_of_reading` was given."""
    return Reading(**{**view, "plaintext": from_base64url(view["plaintext"])})


def view_of_reject(reject: Reject) -> Mapping[str, Any]:
    """Return a refusal as it passes the socket."""
    return {**reject._asdict(), "code": reject.code.name, "first": reject.first.hex()}


def reject_in(view: Mapping[str, Any]) -> Reject:
    """Return the refusal that `view_of_reject` was given."""
    return Reject(**{**view, "code": ErrorCode[view["code"]], "first": bytes.fromhex(view["first"])})


def _bytes(text: object) -> bytes:
    try:
        return from_base64url(str(text))
    except PeerFault as fault:
        raise CallerFault("the payload is not base64url") from fault
