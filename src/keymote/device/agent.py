"""What the owner of a running device may ask of it over its control socket.

Sessions are here, groups in `group_agent`, topics in `topic_agent`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from keymote.device import export
from keymote.device.group_agent import GroupAgent
from keymote.device.sdk import Device
from keymote.device.session import Session, State
from keymote.device.topic_agent import TopicAgent
from keymote.engine.exports import PskForm
from keymote.engine.faces import SessionKeys
from keymote.errors import CallerFault

LONGEST_WAIT_S: Final = 120.0

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]


class Agent:
    """Commands on one device. Key material leaves as files that this process writes, never over the socket."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._exported: dict[bytes, list[Path]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "status": self._status,
            "enrolled": self._enrolled,
            "pair.open": self._open,
            "pair.list": self._list,
            "pair.close": self._close,
            "pair.revoke": self._revoke,
            "pair.export": self._export,
            **GroupAgent(self._device).handlers(),
            **TopicAgent(self._device).handlers(),
        }

    async def _status(self, _request: Mapping[str, Any]) -> object:
        device = self._device
        messages, octets = device.node.runtime.traffic
        return {
            "id": device.id,
            "pid": os.getpid(),
            "address": device.address,
            "dtls_address": device.dtls_address,
            "enrolled": device.is_enrolled,
            "sessions": len(device.sessions()),
            "messages": messages,
            "bytes": octets,
        }

    async def _enrolled(self, request: Mapping[str, Any]) -> object:
        """`timeout_s`: wait that long."""
        membership = await self._device.enrolled(_seconds(request))
        return {"id": self._device.id, "enrolled": True, "credential_bytes": len(membership.credential)}

    async def _open(self, request: Mapping[str, Any]) -> object:
        """`peer`, and if wanted `manager`, `at`, `fast`, `compact`, `timeout_s`."""
        session = await self._device.pair(
            str(request["peer"]),
            manager=str(request.get("manager", "")),
            at=str(request.get("at", "")),
            fast=bool(request.get("fast", False)),
            compact=bool(request.get("compact", False)),
            timeout_s=_seconds(request),
        )
        return _view(session)

    async def _list(self, _request: Mapping[str, Any]) -> object:
        return [_view(session) for session in self._device.sessions()]

    async def _close(self, request: Mapping[str, Any]) -> object:
        session = self._session(request)
        await session.close()
        self._remove_exports(session.psid)
        return {"psid": session.psid.hex(), "state": "closed"}

    async def _revoke(self, request: Mapping[str, Any]) -> object:
        """`psid`, `reason` 0 to 4."""
        session = self._session(request)
        await session.revoke(int(request.get("reason", 0)))
        self._remove_exports(session.psid)
        return {"psid": session.psid.hex(), "state": "revoked"}

    async def _export(self, request: Mapping[str, Any]) -> object:
        """`psid`, `to`, `directory`, and if wanted `form`, `peer` (URI of the other device)."""
        session = self._session(request)
        try:
            target = export.Target(request["to"])
            form = PskForm(request.get("form", PskForm.TEXT32))
        except ValueError as error:
            raise CallerFault(
                "unknown export", do="choose aiocoap, libcoap or wireshark, and text32 or binary16"
            ) from error
        directory = Path(request["directory"])
        if not directory.is_absolute():
            raise CallerFault("the directory must be absolute")
        files = self._files(session, session.keys(), target, form, directory, str(request.get("peer", "")))
        written = export.write_files(directory, files)
        if target is not export.Target.WIRESHARK:  # a capture is read with the key of a session that goes on
            try:
                session.hand_over()
            except CallerFault:
                export.remove_files(written)
                raise
        if session.psid not in self._exported:
            self._watch(session)
        self._exported.setdefault(session.psid, []).extend(written)
        return {"psid": session.psid.hex(), "files": [str(path) for path in written], "state": str(session.state)}

    def _files(
        self, session: Session, keys: SessionKeys, target: export.Target, form: PskForm, directory: Path, peer: str
    ) -> dict[str, bytes]:
        match target:
            case export.Target.AIOCOAP:
                peer = peer or self._device.node.address_of_peer(session.psid)
                if not peer:
                    raise CallerFault("the peer's address is not known", do="give it: --peer coap://ADDRESS:PORT")
                return export.aiocoap_files(
                    session.psid, keys, initiator=session.initiator, peer=peer, directory=directory
                )
            case export.Target.LIBCOAP:
                return export.libcoap_files(session.psid, keys, form)
            case export.Target.WIRESHARK:
                return export.wireshark_files(session.psid, keys, form)

    def _watch(self, session: Session) -> None:
        """Remove the session's files when a manager or the peer revokes it (RV-06)."""

        async def wait() -> None:
            await session.ended()
            if session.state is State.REVOKED:
                self._remove_exports(session.psid)

        task = asyncio.create_task(wait(), name=f"exports of {session.psid.hex()}")
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    def _remove_exports(self, psid: bytes) -> None:
        """Remove the files of a session that is over; who has read them keeps what he read."""
        export.remove_files(self._exported.pop(psid, ()))

    def _session(self, request: Mapping[str, Any]) -> Session:
        wanted = str(request["psid"])
        for session in self._device.sessions():
            if session.psid.hex() == wanted:
                return session
        raise CallerFault(f"no open session {wanted}", do="see keymote pair list")


def _view(session: Session) -> dict[str, object]:
    return {
        "psid": session.psid.hex(),
        "peer": session.peer,
        "manager": session.manager,
        "key_id": session.key_id,
        "role": "initiator" if session.initiator else "responder",
        "state": str(session.state),
    }


def _seconds(request: Mapping[str, Any]) -> float:
    seconds = float(request.get("timeout_s", 30.0))
    if not 0 < seconds <= LONGEST_WAIT_S:
        raise CallerFault(f"timeout of {seconds:g} s", do=f"wait at most {LONGEST_WAIT_S:g} s")
    return seconds
