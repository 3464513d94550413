"""A model of the coordinators' services, for engines that ask: not the product's coordinator, only its answers.

Each coordinator keeps the register of its managers and devices (one credential for each dev_id and serial, else 409),
and looks devices up at its peers. What a real manager posts later (revocations, notes) arrives here as its reports.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from keymote.engine.base import Peer, Report
from keymote.engine.faces import DeviceRevoked
from keymote.engine.queries import (
    DeviceFound,
    FindDevice,
    FindManager,
    ManagerFound,
    Receipt,
    RegisterCredential,
    ReportRevocation,
)
from keymote.engine.renewal import same_keys
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.wire.credential import SignedCredential


@dataclass(frozen=True, slots=True)
class Managed:
    """A manager as its coordinator knows it; `at` is where other managers reach it, `hybrid_key` what it has published."""

    credential: bytes
    at: Peer
    hybrid_key: bytes = b""


@dataclass(slots=True)
class Entry:
    """A registered device. `barred`: suspended or revoked, so that look-up answers E_NOSHARE.

    `serials`: of the credential in force and of those for the same keys before it.
    """

    credential: bytes
    manager: str
    barred: bool = False
    serials: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Coordinator:
    """The register behind one coordinator. `reachable` False: it answers nobody."""

    credential: bytes
    managers: dict[str, Managed] = field(default_factory=dict)
    devices: dict[bytes, Entry] = field(default_factory=dict)
    serials: set[bytes] = field(default_factory=set)
    notes: list[bytes] = field(default_factory=list)
    reachable: bool = True

    def register(self, manager: str, credential: bytes, replaces: bytes) -> Receipt:
        """Enter a credential once; E_CRED (409) for a dev_id or serial that another credential has."""
        claims = SignedCredential.decode(credential).claims
        known = self.devices.get(claims.sub)
        if known is not None and known.credential == credential:
            return Receipt()
        before = None if known is None else SignedCredential.decode(known.credential).claims
        renews = before is not None and before.serial == replaces and same_keys(claims, before)
        if renews and known is not None and known.barred:
            raise PeerFault(ErrorCode.E_NOSHARE, "the device is suspended or revoked")
        if known is not None and replaces not in known.serials:
            raise PeerFault(ErrorCode.E_CRED, "409: this device is registered with another credential")
        if claims.serial in self.serials:
            raise PeerFault(ErrorCode.E_CRED, "409: this serial is taken")
        self.serials.add(claims.serial)
        serials = (*known.serials, claims.serial) if known is not None and renews else (claims.serial,)
        self.devices[claims.sub] = Entry(credential, manager, serials=serials)
        return Receipt()

    def copy(self) -> "Coordinator":
        """Return this register as it is now, with a future of its own."""
        devices = {dev_id: replace(entry) for dev_id, entry in self.devices.items()}
        return replace(
            self, managers=dict(self.managers), devices=devices, serials=set(self.serials), notes=list(self.notes)
        )


class Federation:
    """Coordinators that look devices up for each other; `answer` and `hear` are the services of a `Simulator`."""

    def __init__(self, coordinators: Iterable[Coordinator]) -> None:
        self.coordinators = tuple(coordinators)

    def copy(self) -> "Federation":
        """Return these registers as they are now, with a future of their own."""
        return Federation(each.copy() for each in self.coordinators)

    def home_of(self, manager: str) -> Coordinator | None:
        """Return the coordinator at which the node with this name is registered."""
        return next((each for each in self.coordinators if manager in each.managers), None)

    def answer(self, name: str, query: object) -> object | None:
        """Answer a query of the node `name`; a coordinator that is not reachable raises Unavailable."""
        home = self.home_of(name)
        if home is None:
            return Receipt() if isinstance(query, RegisterCredential) else None
        if not home.reachable:
            raise Unavailable("the coordinator does not answer")
        match query:
            case RegisterCredential(credential, replaces):
                return home.register(name, credential, replaces)
            case FindDevice(dev_id):
                return self._find(dev_id)
            case FindManager(nm_id):
                return self._find_manager(nm_id)
            case ReportRevocation(revnote):
                home.notes.append(revnote)
                return True
            case _:
                return None

    def _find(self, dev_id: bytes) -> DeviceFound:
        for coordinator in self.coordinators:
            entry = coordinator.devices.get(dev_id)
            if entry is None or not coordinator.reachable:
                continue
            if entry.barred:
                raise PeerFault(ErrorCode.E_NOSHARE, "the device is suspended or revoked")
            manager = coordinator.managers[entry.manager]
            above = (manager.credential, coordinator.credential)
            return DeviceFound(entry.credential, *above, manager.at, manager.hybrid_key)
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no coordinator knows this device")

    def _find_manager(self, nm_id: bytes) -> ManagerFound:
        for coordinator in self.coordinators:
            for manager in coordinator.managers.values():
                if coordinator.reachable and SignedCredential.decode(manager.credential).claims.sub == nm_id:
                    return ManagerFound(manager.credential, coordinator.credential, manager.at, manager.hybrid_key)
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no coordinator knows this manager")

    def hear(self, name: str, report: Report) -> None:
        """Take in what a manager reports: a revoked device is found no more."""
        home = self.home_of(name)
        if home is not None and isinstance(report, DeviceRevoked):
            self.bar(report.dev_id, barred=True)

    def bar(self, dev_id: bytes, *, barred: bool) -> None:
        """Suspend a device in the register, or let it be found again."""
        for coordinator in self.coordinators:
            if dev_id in coordinator.devices:
                coordinator.devices[dev_id].barred = barred
