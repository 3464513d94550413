"""What the owner of a running device may ask of its groups over the control socket: list, join, leave, send, tail."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from keymote.device.group import Group, Kept
from keymote.device.groups import Stand
from keymote.engine.group.payload_faces import GroupOpened, RecordHeld, RecordRefused
from keymote.errors import CallerFault, PeerFault
from keymote.wire.admin import from_base64url, to_base64url

if TYPE_CHECKING:
    from keymote.device.sdk import Device

LONGEST_TAIL_S: Final = 30.0
"""How long one request of `group.tail` may wait; who asks comes again."""
MOST_AT_ONCE: Final = 64

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]


class GroupAgent:
    """Commands on the groups of one device. No key leaves; what members say to each other does, to the owner alone."""

    def __init__(self, device: "Device") -> None:
        self._device = device

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "group.list": self._list,
            "group.join": self._join,
            "group.leave": self._leave,
            "group.send": self._send,
            "group.tail": self._tail,
        }

    async def _list(self, _request: Mapping[str, Any]) -> object:
        """Every group that the device was invited to, how it stands in it, and what was refused in its name by code."""
        return [
            {**standing.view(), "rejects": dict(self._device.node.group(standing.gid).rejects)}
            for standing in self._device.node.runtime.groups()
        ]

    async def _join(self, request: Mapping[str, Any]) -> object:
        """`group`, and `timeout_s` above 0 to wait for the next epoch with this device."""
        group, wait_s = self._group(request), float(request.get("timeout_s", 0.0))
        await group.join()
        if wait_s > 0:
            await group.ready(min(wait_s, LONGEST_TAIL_S))
        return self._view(group)

    async def _leave(self, request: Mapping[str, Any]) -> object:
        """`group`, and `timeout_s` above 0 to wait until a roster without this device is here."""
        group, wait_s = self._group(request), float(request.get("timeout_s", 0.0))
        await group.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_s, LONGEST_TAIL_S)):
                while not group.changes.ended and group.state is not Stand.OUT:
                    await group.changes.beyond(group.changes.following)
        return self._view(group)

    async def _send(self, request: Mapping[str, Any]) -> object:
        """`group`, `resource`, `payload` (base64url), and if wanted `signed`."""
        group = self._group(request)
        try:
            payload = from_base64url(request["payload"])
        except PeerFault as fault:
            raise CallerFault("the payload is not base64url") from fault
        sent = await group.send(str(request["resource"]), payload, signed=bool(request.get("signed", False)))
        return {"gid": group.id, "epoch": sent.epoch, "seq": sent.seq, "signed": sent.signed, "bytes": sent.octets}

    async def _tail(self, request: Mapping[str, Any]) -> object:
        """`group`; `after` and `after_rejects` as the last answer named them, else `last` older ones; `rejects`; `timeout_s`.

        Answers at once when something is there, else when something comes or after at most 30 s.
        """
        group, last = self._group(request), int(request.get("last", 0))
        with_rejects = bool(request.get("rejects", False))
        after, after_rejects = (
            int(request.get(name, max(0, kept.following - last)))
            for name, kept in (("after", group.opened), ("after_rejects", group.refused))
        )
        streams: list[tuple[Kept[Any], int]] = [(group.opened, after)]
        if with_rejects:
            streams.append((group.refused, after_rejects))
        await _any_beyond(streams, min(float(request.get("timeout_s", 0.0)), LONGEST_TAIL_S))
        after, messages = _taken(group.opened, after, _message)
        if with_rejects:
            after_rejects, rejects = _taken(group.refused, after_rejects, _reject)
        else:
            rejects = []
        over = group.opened.ended
        return {
            "after": after, "after_rejects": after_rejects, "messages": messages, "rejects": rejects, "over": over,
        }  # fmt: skip

    def _group(self, request: Mapping[str, Any]) -> Group:
        return self._device.group(str(request["group"]))

    def _view(self, group: Group) -> object:
        for standing in self._device.node.runtime.groups():
            if standing.gid.hex() == group.id:
                return standing.view()
        return {"gid": group.id, "state": "forgotten"}


async def _any_beyond(streams: list[tuple[Kept[Any], int]], timeout_s: float) -> None:
    """Return when one of the streams has an entry of its number, has ended, or the time is over."""
    if timeout_s <= 0 or any(kept.following > number or kept.ended for kept, number in streams):
        return
    waiting = [asyncio.ensure_future(kept.beyond(number)) for kept, number in streams]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def _taken(kept: Kept[Any], after: int, view: Callable[[int, Any], object]) -> tuple[int, list[object]]:
    """Return the number to go on with, and at most `MOST_AT_ONCE` entries from `after` on as they are shown."""
    shown: list[object] = []
    while len(shown) < MOST_AT_ONCE and (found := kept.first(after)) is not None:
        number, entry = found
        shown.append(view(number, entry))
        after = number + 1
    return after, shown


def _message(number: int, opened: GroupOpened) -> object:
    return {
        "number": number,
        "gid": opened.gid.hex(),
        "epoch": opened.epoch,
        "kid": opened.kid.hex(),
        "seq": opened.seq,
        "resource": opened.resource,
        "signed": opened.signed,
        "payload": to_base64url(opened.plaintext),
        "text": _readable(opened.plaintext),
    }


def _reject(number: int, refused: RecordRefused | RecordHeld) -> object:
    claimed = {"number": number, "gid": refused.gid.hex(), "resource": refused.resource, "peer": refused.peer}
    match refused:
        case RecordHeld():
            return {**claimed, "code": "EARLY", "why": "its epoch is not confirmed here yet: opened when it is"}
        case RecordRefused(code=code, what=what, sender=sender, seq=seq):
            idx = sender[0] if len(sender) == 1 else None
            return {**claimed, "code": code.name, "why": what, "idx": idx, "seq": seq if seq >= 0 else None}


def _readable(plaintext: bytes) -> str | None:
    """Return the text that a plaintext is, None for anything that no terminal should be handed as text."""
    try:
        text = plaintext.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
