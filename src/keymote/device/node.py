"""Between the public face and the cells: commands go in, reports become sessions, futures and events."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from keymote.device.doors import Doors
from keymote.device.faults import Exported, NotReady, Replayed, closed_because, no_chain
from keymote.device.group import Group
from keymote.device.groups import GroupStanding
from keymote.device.session import End, Session
from keymote.device.topics import Topics
from keymote.engine.base import CellKey, Command, Peer, Refused, Report
from keymote.engine.exports import PskForm
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CloseSession,
    CredentialRenewed,
    Enrolled,
    EnrolmentFailed,
    KeyReady,
    Opened,
    OpenSession,
    Protect,
    Protected,
    RevokeSession,
    SessionClosed,
    session_of,
)
from keymote.engine.group.faces import GroupReady, RosterAccepted, membership_of
from keymote.engine.group.invitation import GroupInvited, GroupUninvited
from keymote.engine.group.payload_faces import GroupOpened, RecordHeld, RecordRefused
from keymote.engine.topic.faces import OWN_CHAIN, KeyDenied, KeyTaken, TicketTaken
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.host.resources import Answered, Resources

MAX_INCOMING: Final = 64
"""Sessions opened by peers that wait for `Device.incoming`; beyond, the oldest is not announced."""

Settled = Callable[[Sequence[Any] | Exception], None]


class Runtime(Protocol):
    """The running cells with their store and link (`device.app.runtime`)."""

    @property
    def address(self) -> Peer: ...

    @property
    def dtls_address(self) -> str: ...

    @property
    def membership(self) -> Enrolled | None:
        """What an earlier run of the device has left."""
        ...

    @property
    def has_chain(self) -> bool:
        """Whether this device can ask for keys of topics."""
        ...

    @property
    def traffic(self) -> tuple[int, int]:
        """UDP payloads sent and received so far, and their bytes."""
        ...

    def command(self, key: CellKey, command: Command, settled: Settled | None = None) -> None: ...
    def receive(self, peer: Peer, data: bytes) -> None: ...
    def peer_of(self, session: CellKey) -> Peer: ...
    def carries(self, peer: Peer) -> bool: ...
    def send(self, peer: Peer, data: bytes) -> None: ...
    def search(self) -> None: ...
    def attend(self) -> None:
        """Listen from now on where the groups that this device was invited to speak by multicast."""
        ...

    def groups(self) -> Sequence[GroupStanding]: ...
    def resources(self) -> Resources: ...
    async def close(self) -> None: ...


class DeviceNode:
    """A device at work. `reported` is the sink of its cells' reports; it never calls the application from there."""

    def __init__(self, form: PskForm = PskForm.TEXT32) -> None:
        self.doors: Final = Doors(form)
        self.sessions: Final[dict[bytes, Session]] = {}
        self.incoming: Final[asyncio.Queue[Session | None]] = asyncio.Queue()
        self.enrolled: Final = asyncio.Event()
        self.groups: Final[dict[bytes, Group]] = {}
        self.invited: Final = asyncio.Event()
        self.membership: Enrolled | None = None
        self.last_failure: EnrolmentFailed | None = None
        self.observer: Callable[[CellKey, Report], None] | None = None
        self._opening: dict[bytes, asyncio.Future[Session]] = {}
        self._taken: list[Report] | None = None
        self._runtime: Runtime | None = None
        self._topics: Topics | None = None

    def attach(self, runtime: Runtime) -> None:
        """Work with `runtime` from now on."""
        self._runtime = runtime
        if runtime.membership is not None and self.membership is None:
            self.membership = runtime.membership
            self.enrolled.set()
        for standing in runtime.groups():
            self.group(standing.gid)

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            raise NotReady("the device is not open", do="use it inside `async with`")
        return self._runtime

    async def close(self) -> None:
        """Stop; sessions and waiting calls end."""
        for psid in tuple(self.sessions):
            self._end(SessionClosed(psid, None, why="the device was stopped"))
        for waiting in self._opening.values():
            waiting.cancel()
        self.incoming.put_nowait(None)
        for group in self.groups.values():
            group.close()
        if self._topics is not None:
            self._topics.close()
        if self._runtime is not None:
            runtime, self._runtime = self._runtime, None
            await runtime.close()

    # ------------------------------------------------------------------ what the application wants

    async def pair(self, wish: OpenSession, timeout_s: float) -> Session:
        """Return the session of `wish` when it is open; errors as `Device.pair`."""
        future: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._opening[wish.psid] = future
        try:
            self.runtime.command(OWN_ENROLMENT, wish, lambda outcome: self._refused(wish.psid, outcome))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            self.runtime.command(session_of(wish.psid), CloseSession())
            raise NotReady(f"no key after {timeout_s:g} s", do="try again later") from error
        finally:
            self._opening.pop(wish.psid, None)

    def protect(self, psid: bytes, plaintext: bytes) -> bytes | None:
        reports: list[Any] = []

        def settled(outcome: Sequence[Any] | Exception) -> None:
            if not isinstance(outcome, Exception):
                reports.extend(outcome)

        self.runtime.command(session_of(psid), Protect(plaintext), settled)
        return next((report.record for report in tuple(reports) if isinstance(report, Protected)), None)

    def unprotect(self, psid: bytes, record: bytes) -> bytes | None:
        """Hand a record to its session as if the link had brought it, and return what it held."""
        taken: list[Report] = []
        self._taken = taken
        try:
            self.runtime.receive(self.runtime.peer_of(session_of(psid)), record)
        finally:
            self._taken = None
        for report in taken:
            match report:
                case Opened(owner, _, plaintext) if owner == psid:
                    return plaintext
                case Opened(owner, _, plaintext):  # it can be opened once only: let its own session have it
                    self._heard(owner, plaintext)
                    raise PeerFault(ErrorCode.E_UNKNOWN_ID, "a record of another session")
                case Refused(_, ErrorCode.E_REPLAY, what):
                    raise Replayed(what)
                case Refused(_, code, what):
                    raise PeerFault(code, what)
        return None

    def carry(self, psid: bytes, record: bytes) -> None:
        peer = self.runtime.peer_of(session_of(psid))
        if not peer:
            raise NotReady("the peer's address is not known", do="carry the record yourself (protect)")
        self.runtime.send(peer, record)

    def address_of_peer(self, psid: bytes) -> Peer:
        """Return where a session's peer was heard last, "" when only its own software knows."""
        peer = self.runtime.peer_of(session_of(psid))
        return "" if self.runtime.carries(peer) else peer

    async def request(
        self, psid: bytes, at: Peer, method: str, path: str, payload: bytes, content_format: int | None
    ) -> Answered:
        peer = at or self.address_of_peer(psid)
        if not peer:
            raise NotReady("the peer's address is not known: the managers carry", do="say where it is: at=...")
        return await self.runtime.resources().request(psid, peer, method, path, payload, content_format)

    def shut_doors(self, psid: bytes) -> None:
        if self.doors.was_used(psid):
            raise Exported(
                "the session's OSCORE context is in use here", do="pair again, and export before any request"
            )
        self.doors.shut(psid)

    async def close_session(self, psid: bytes) -> None:
        await self._order(session_of(psid), CloseSession())

    async def revoke_session(self, psid: bytes, reason: int) -> None:
        await self._order(session_of(psid), RevokeSession(reason))

    async def _order(self, key: CellKey, command: Command) -> Sequence[Report]:
        """Return what is reported when what the command changed is durable; Unavailable when it cannot be made so now."""
        done: asyncio.Future[Sequence[Report]] = asyncio.get_running_loop().create_future()

        def settled(outcome: Sequence[Any] | Exception) -> None:
            if done.done():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        self.runtime.command(key, command, settled)
        return await done

    # ------------------------------------------------------------------ groups

    def group(self, gid: bytes) -> Group:
        """Return the face of a group, the same one each time."""
        group = self.groups.get(gid)
        if group is None:
            group = self.groups[gid] = Group(self, gid)
            self.invited.set()
        return group

    def standing(self, gid: bytes) -> GroupStanding:
        """Return how this device stands in a group now; CallerFault when it was invited to it no more."""
        for standing in self.runtime.groups():
            if standing.gid == gid:
                return standing
        raise CallerFault(f"this device does not belong to the group {gid.hex()} any more")

    async def order_group(self, gid: bytes, command: Command) -> Sequence[Report]:
        return await self._order(membership_of(gid), command)

    # ------------------------------------------------------------------ topics

    def attach_topics(self, make: Callable[["DeviceNode"], Topics]) -> None:
        """Have topics from now on."""
        self._topics = make(self)

    @property
    def topics(self) -> Topics:
        if self._topics is None:
            raise NotReady("the device is not open", do="use it inside `async with`")
        return self._topics

    def why_no_chain(self) -> Exception | None:
        return None if self.runtime.has_chain else no_chain(enrolled=self.enrolled.is_set())

    async def order_chain(self, command: Command) -> Sequence[Report]:
        return await self._order(OWN_CHAIN, command)

    # ------------------------------------------------------------------ what the cells report

    def reported(self, key: CellKey, report: Report) -> None:
        """Take a report of the cells."""
        match report:
            case KeyReady():
                self._ready(report)
            case SessionClosed():
                self._end(report)
            case Opened() | Refused() if self._taken is not None:
                self._taken.append(report)
            case Opened(psid, _, plaintext):
                self._heard(psid, plaintext)
            case Enrolled():
                self.membership = report
                self.enrolled.set()
            case CredentialRenewed():
                self.membership = self.runtime.membership or self.membership
            case EnrolmentFailed():
                self.last_failure = report
            case GroupInvited(invitation):
                self.group(invitation.gid).changed()
                if self._runtime is not None:
                    self._runtime.attend()
            case GroupUninvited(gid):
                self.group(gid).close()
                del self.groups[gid]
            case GroupOpened():
                self.group(report.gid).heard(report)
            case RecordRefused() | RecordHeld():
                self.group(report.gid).turned_away(report)
            case GroupReady() | RosterAccepted():
                self.group(report.gid).changed()
            case KeyTaken() | KeyDenied() | TicketTaken() if self._topics is not None:
                self._topics.heard(report)
        if self.observer is not None:
            self.observer(key, report)

    def _ready(self, ready: KeyReady) -> None:
        session = self.sessions[ready.psid] = Session(self, ready)
        self.doors.open(ready)
        waiting = self._opening.get(ready.psid)
        if waiting is not None and not waiting.done():
            waiting.set_result(session)
        elif not ready.initiator:
            if self.incoming.qsize() >= MAX_INCOMING:
                self.incoming.get_nowait()
            self.incoming.put_nowait(session)

    def _heard(self, psid: bytes, plaintext: bytes) -> None:
        if psid in self.sessions:
            self.sessions[psid].heard(plaintext)

    def _end(self, report: SessionClosed) -> None:
        self.doors.shut(report.psid)
        session = self.sessions.pop(report.psid, None)
        if session is not None:
            session.over(End(report.code, report.revoked, report.why))
        self._fail(report.psid, closed_because(report.code, revoked=report.revoked, why=report.why))

    def _refused(self, psid: bytes, outcome: Sequence[Any] | Exception) -> None:
        """Look at how the wish for a session was taken."""
        if isinstance(outcome, Exception):
            self._fail(psid, outcome)
            return
        for report in outcome:
            match report:
                case Refused(_, ErrorCode.E_STATE, what):
                    self._fail(psid, NotReady(what, do="wait until the device is enrolled"))
                case Refused(_, code, what):
                    self._fail(psid, PeerFault(code, what))

    def _fail(self, psid: bytes, error: Exception) -> None:
        waiting = self._opening.get(psid)
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
