"""`/devices`, `/managers`, `/status`, `/lookup` and the federation's question."""

from typing import Annotated

from litestar import Response, get, post, put
from litestar.params import QueryParameter

from keymote.coordinator.api.callers import AfterId, Call, Limit, demand, demand_reader, page
from keymote.coordinator.api.gate import ManagerCaller, Operator, Prover
from keymote.coordinator.api.services import Services
from keymote.coordinator.api.views import device_view, found_manager_view, found_view, manager_view
from keymote.crypto.secret import Secret
from keymote.engine.queries import DeviceFound
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault
from keymote.host.ledger import Transaction
from keymote.host.register import Device, DeviceState, Registered, Taken
from keymote.transports.tls import ManagerName
from keymote.wire.admin import (
    AddManager,
    Certificate,
    ChangeState,
    DevicePage,
    DeviceView,
    Endpoint,
    FoundManagerView,
    FoundView,
    IssueCertificate,
    ManagerPage,
    ManagerView,
    RegisterDevice,
    Registration,
    StatusView,
    from_base64url,
    id_of,
    to_base64url,
)

SHORTEST_CODE = 16
"""Bytes of a manager's registration code."""


@post("/devices", status_code=201, tags=["devices"])
async def register_device(request: Call, services: Services, data: RegisterDevice) -> Registration:
    """Enter a device's credential; the same bytes again give the same receipt, another credential is 409."""
    manager = demand(request, ManagerCaller)
    replaces = None if data.replaces is None else id_of(data.replaces)
    try:
        outcome = await services.registry.register_device(manager.nm_id, from_base64url(data.credential), replaces)
    except KeymoteError as fault:
        services.counted.registrations.labels("taken" if isinstance(fault, Taken) else "refused").inc()
        raise
    services.counted.registrations.labels("created" if outcome.created else "repeated").inc()
    return Registration(outcome.registered.reg_no, to_base64url(outcome.registered.receipt))


@get("/devices", tags=["devices"])
async def list_devices(
    request: Call,
    services: Services,
    after: AfterId = None,
    limit: Limit = 100,
    device_state: Annotated[DeviceState | None, QueryParameter(name="state")] = None,
    manager: AfterId = None,
) -> DevicePage:
    """List devices in the order of their ids, by state or manager if wanted."""
    demand_reader(request)
    nm_id = None if manager is None else id_of(manager)
    behind = b"" if after is None else id_of(after)

    def work(tx: Transaction) -> list[tuple[Device, Registered]]:
        return [_with_credential(tx, device) for device in tx.devices(behind, limit, state=device_state, nm_id=nm_id)]

    found = [device_view(*pair) for pair in await services.desk.ledger.read(work)]
    return DevicePage(found, page(len(found), limit, found[-1].dev_id if found else ""))


@get("/devices/{dev_id:str}", tags=["devices"])
async def show_device(request: Call, services: Services, dev_id: str) -> DeviceView:
    """Show one device."""
    demand_reader(request)
    wanted = id_of(dev_id)

    def work(tx: Transaction) -> tuple[Device, Registered]:
        device = tx.device(wanted)
        if device is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"device {dev_id} is not registered here")
        return _with_credential(tx, device)

    return device_view(*await services.desk.ledger.read(work))


@put("/devices/{dev_id:str}/state", status_code=200, tags=["devices"])
async def change_state(request: Call, services: Services, dev_id: str, data: ChangeState) -> DeviceView:
    """Suspend, resume or retire a device."""
    demand(request, Operator)
    await services.revocations.change_state(id_of(dev_id), DeviceState(data.state))
    view: DeviceView = await show_device.fn(request, services, dev_id)
    return view


@get("/status/{serial:str}", tags=["devices"])
async def status(request: Call, services: Services, serial: str) -> StatusView:
    """Say whether a credential is good."""
    demand_reader(request)
    word, epoch = await services.registry.status(id_of(serial))
    return StatusView(serial, word, epoch)


@get("/lookup/{dev_id:str}", tags=["federation"])
async def lookup(request: Call, services: Services, dev_id: str) -> FoundView:
    """Find a device here or at the federated coordinators."""
    demand_reader(request)
    try:
        found: DeviceFound = await services.federation.find(id_of(dev_id))
    except KeymoteError as fault:
        services.counted.lookups.labels(fault.code.name if isinstance(fault, PeerFault) else "unavailable").inc()
        raise
    services.counted.lookups.labels("found").inc()
    return found_view(found)


@get("/federation/devices/{dev_id:str}", tags=["federation"])
async def federated_lookup(request: Call, services: Services, dev_id: str) -> FoundView:
    """Answer another coordinator from the own register; `Authorization: Keymote <look-up>.<its credential>`."""
    return found_view(await services.registry.find(_asked(request, services, dev_id)))


@get("/lookup/managers/{nm_id:str}", tags=["federation"])
async def lookup_manager(request: Call, services: Services, nm_id: str) -> FoundManagerView:
    """Find a manager here or at the federated coordinators."""
    demand_reader(request)
    return found_manager_view(await services.federation.find_manager(id_of(nm_id)))


@get("/federation/managers/{nm_id:str}", tags=["federation"])
async def federated_manager(request: Call, services: Services, nm_id: str) -> FoundManagerView:
    """Answer another coordinator from the own register; proved as a look-up of a device is."""
    return found_manager_view(await services.registry.find_manager(_asked(request, services, nm_id)))


def _asked(request: Call, services: Services, subject: str) -> bytes:
    """Return the id that another coordinator asks about, after checking its signed question."""
    proof = demand(request, Prover).parts
    if len(proof) != 2:
        raise PeerFault(ErrorCode.E_AUTH, "the proof is a signed look-up and a credential, joined by a dot")
    _, wanted = services.desk.identity.asked_by(proof[0], proof[1], services.desk.now)
    if wanted != id_of(subject):
        raise PeerFault(ErrorCode.E_AUTH, "the look-up was signed for another id")
    return wanted


# ------------------------------------------------------------------ managers


@post("/managers", status_code=201, tags=["managers"])
async def add_manager(request: Call, services: Services, data: AddManager) -> ManagerView:
    """Make room for a manager that will enrol with this code; the code is never shown again."""
    demand(request, Operator)
    code = from_base64url(data.code)
    if len(code) < SHORTEST_CODE:
        raise CallerFault(f"a manager's registration code has at least {SHORTEST_CODE} bytes, this one {len(code)}")
    manager = await services.managers.add(id_of(data.nm_id), data.name)
    await services.enrolment.expect(manager.nm_id, Secret(code))
    return manager_view(manager, None)


@get("/managers", tags=["managers"])
async def list_managers(request: Call, services: Services, after: AfterId = None, limit: Limit = 100) -> ManagerPage:
    """List managers in the order of their ids."""
    demand_reader(request)
    listed = await services.managers.listing(b"" if after is None else id_of(after), limit)
    found = [manager_view(*pair) for pair in listed]
    return ManagerPage(found, page(len(found), limit, found[-1].nm_id if found else ""))


@get("/managers/{nm_id:str}", tags=["managers"])
async def show_manager(request: Call, services: Services, nm_id: str) -> ManagerView:
    """Show one manager with its credential."""
    demand_reader(request)
    return manager_view(*await services.managers.one(id_of(nm_id)))


@post("/managers/{nm_id:str}/certificate", status_code=201, tags=["managers"])
async def issue_certificate(request: Call, services: Services, nm_id: str, data: IssueCertificate) -> Certificate:
    """Give a manager its TLS certificate; `Authorization: Keymote <its signed object over the request>`."""
    proof = demand(request, Prover).parts
    wanted = from_base64url(data.request)
    manager = await services.managers.proven(id_of(nm_id), wanted, proof[0])
    if manager.kid is None:
        raise PeerFault(ErrorCode.E_NOSHARE, f"manager {nm_id} has no credential")
    name = ManagerName(manager.nm_id, manager.kid)
    return Certificate(services.authority.issue_client(wanted, name, services.desk.now), services.authority.pem)


@put("/managers/{nm_id:str}/endpoint", status_code=204, tags=["managers"])
async def announce_endpoint(request: Call, services: Services, nm_id: str, data: Endpoint) -> Response[None]:
    """A manager says where other managers reach it, and publishes its key for the post-quantum profile."""
    if demand(request, ManagerCaller).nm_id != id_of(nm_id):
        raise PeerFault(ErrorCode.E_NOSHARE, "a manager announces its own endpoint only")
    await services.managers.announce_endpoint(id_of(nm_id), data.endpoint, from_base64url(data.hybrid_key))
    return Response(None, status_code=204)


def _with_credential(tx: Transaction, device: Device) -> tuple[Device, Registered]:
    credential = tx.credential(device.serial)
    if credential is None:
        raise AssertionError(f"device {device.dev_id.hex()} has no credential")
    return device, credential


ROUTES = [
    register_device,
    list_devices,
    show_device,
    change_state,
    status,
    lookup,
    federated_lookup,
    lookup_manager,
    federated_manager,
    add_manager,
    list_managers,
    show_manager,
    issue_certificate,
    announce_endpoint,
]
