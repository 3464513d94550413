"""`/groups` and `/conflicts`: what operators want of groups, what gateways read and report, what everybody sees."""

from typing import Annotated

from litestar import delete, get, post
from litestar.params import Parameter

from keymote.coordinator.api.callers import AfterId, AfterNumber, Call, Limit, demand, demand_reader, page
from keymote.coordinator.api.gate import ManagerCaller, Operator
from keymote.coordinator.api.group_views import (
    charter_view,
    conflict_view,
    epoch_view,
    group_line,
    group_view,
    record_view,
    roster_view,
    settings_of,
)
from keymote.coordinator.api.services import Services
from keymote.wire.admin import id_of
from keymote.wire.admin_groups import (
    AllowMembers,
    ChangeMembers,
    CharterView,
    ConflictPage,
    CreateGroup,
    EpochPage,
    GroupPage,
    GroupReports,
    GroupView,
    MoveGroup,
    RefusedItem,
    RekeyGroup,
    ReportsTaken,
    RosterPage,
)
from keymote.wire.admin_records import MOST_BODY, GroupRecords, RecordPage, RecordsTaken

ByName = Annotated[str | None, Parameter(max_length=64, description="Only the group of this name.")]
Live = Annotated[bool, Parameter(description="Only conflicts that nothing has overtaken.")]


def _ids(texts: list[str]) -> list[bytes]:
    return [id_of(text) for text in texts]


async def _view(services: Services, gid: bytes) -> GroupView:
    return group_view(await services.pictures.one(gid))


# ------------------------------------------------------------------ operators


@post("/groups", status_code=201, tags=["groups"])
async def create_group(request: Call, services: Services, data: CreateGroup) -> GroupView:
    """Make a group that a manager leads; its members are devices that are enrolled there."""
    demand(request, Operator)
    settings = settings_of(
        data.mode,
        data.level,
        multicast=data.multicast,
        compact=data.compact,
        central=data.central,
        hedge=data.hedge,
        telemetry=data.telemetry,
        policy=data.policy,
    )
    group = await services.groups.create(
        data.name, id_of(data.gateway), settings, _ids(data.members), _ids(data.allowed)
    )
    return await _view(services, group.gid)


@post("/groups/{gid:str}/members", status_code=200, tags=["groups"])
async def change_members(request: Call, services: Services, gid: str, data: ChangeMembers) -> GroupView:
    """Take devices in and put devices out; the gateway begins a new epoch without those who go."""
    demand(request, Operator)
    group = await services.groups.change_members(id_of(gid), _ids(data.add), _ids(data.remove), data.reason)
    return await _view(services, group.gid)


@post("/groups/{gid:str}/allowed", status_code=200, tags=["groups"])
async def allow_members(request: Call, services: Services, gid: str, data: AllowMembers) -> GroupView:
    """Say whom the gateway may let in by itself."""
    demand(request, Operator)
    group = await services.groups.allow(id_of(gid), _ids(data.add), _ids(data.remove))
    return await _view(services, group.gid)


@post("/groups/{gid:str}/rekey", status_code=200, tags=["groups"])
async def rekey_group(request: Call, services: Services, gid: str, data: RekeyGroup) -> GroupView:
    """Want a new epoch of the same members; each call is one more."""
    demand(request, Operator)
    return await _view(services, (await services.groups.rekey(id_of(gid), data.reason)).gid)


@post("/groups/{gid:str}/gateway", status_code=200, tags=["groups"])
async def move_group(request: Call, services: Services, gid: str, data: MoveGroup) -> GroupView:
    """Hand a group to another manager."""
    demand(request, Operator)
    return await _view(services, (await services.groups.move(id_of(gid), id_of(data.gateway))).gid)


@delete("/groups/{gid:str}", status_code=200, tags=["groups"])
async def close_group(request: Call, services: Services, gid: str) -> GroupView:
    """End a group for good."""
    demand(request, Operator)
    return await _view(services, (await services.groups.close(id_of(gid))).gid)


# ------------------------------------------------------------------ gateways


@get("/groups/{gid:str}/charter", tags=["groups"])
async def charter(request: Call, services: Services, gid: str) -> CharterView:
    """What should be of a group, for the manager that leads it, and for those that invite their devices to it."""
    caller = demand(request, ManagerCaller).nm_id
    found = await services.groups.charter(caller, id_of(gid))
    return charter_view(found, services.desk.identity.credential.raw)


@post("/groups/{gid:str}/reports", status_code=200, tags=["groups"])
async def report(request: Call, services: Services, gid: str, data: GroupReports) -> ReportsTaken:
    """What happened in a group, from the manager that leads or led it; again is once."""
    caller = demand(request, ManagerCaller).nm_id
    taken = await services.reports.take(caller, id_of(gid), data.items)
    services.counted.group_reports.labels("refused").inc(len(taken.refused))
    services.counted.group_reports.labels("taken").inc(len(data.items) - len(taken.refused))
    return ReportsTaken(taken.upto, [RefusedItem(seq, why) for seq, why in taken.refused])


@post("/groups/{gid:str}/records", status_code=200, tags=["groups"], request_max_body_size=MOST_BODY)
async def keep_records(request: Call, services: Services, gid: str, data: GroupRecords) -> RecordsTaken:
    """Records that passed a gateway, sealed as they were; again is once."""
    caller = demand(request, ManagerCaller).nm_id
    upto = await services.records.take(caller, id_of(gid), data.items)
    services.counted.group_records.inc(len(data.items))
    return RecordsTaken(upto)


# ------------------------------------------------------------------ everybody


@get("/groups", tags=["groups"])
async def list_groups(
    request: Call, services: Services, after: AfterId = None, limit: Limit = 100, name: ByName = None
) -> GroupPage:
    """List groups in the order of their ids, or the one of a name."""
    demand_reader(request)
    listed = await services.pictures.listing(b"" if after is None else id_of(after), limit, name)
    found = [group_line(outline) for outline in listed]
    return GroupPage(found, None if name is not None else page(len(found), limit, found[-1].gid if found else ""))


@get("/groups/{gid:str}", tags=["groups"])
async def show_group(request: Call, services: Services, gid: str) -> GroupView:
    """Show one group: who has its newest epoch, who waits, when removals were safe, and its conflicts."""
    demand_reader(request)
    return await _view(services, id_of(gid))


@get("/groups/{gid:str}/rosters", tags=["groups"])
async def list_rosters(
    request: Call, services: Services, gid: str, after: AfterNumber = 0, limit: Limit = 100
) -> RosterPage:
    """List the rosters of a group that came into force."""
    demand_reader(request)
    found = [roster_view(*each) for each in await services.pictures.rosters(id_of(gid), after, limit)]
    return RosterPage(found, found[-1].ver if len(found) == limit else None)


@get("/groups/{gid:str}/epochs", tags=["groups"])
async def list_epochs(
    request: Call, services: Services, gid: str, after: AfterNumber = 0, limit: Limit = 100
) -> EpochPage:
    """List the epochs of a group: when, under which roster, by whom; never a key."""
    demand_reader(request)
    found = [epoch_view(*each) for each in await services.pictures.epochs(id_of(gid), after, limit)]
    return EpochPage(found, found[-1].epoch if len(found) == limit else None)


@get("/groups/{gid:str}/records", tags=["groups"])
async def list_records(
    request: Call, services: Services, gid: str, after: AfterNumber = 0, limit: Limit = 100
) -> RecordPage:
    """List the encrypted log of a group, oldest first: who, when and for what, and the record as it was sealed."""
    demand_reader(request)
    found = [record_view(each) for each in await services.records.page(id_of(gid), after, limit)]
    return RecordPage(gid, found, found[-1].id if len(found) == limit else None)


@get("/conflicts", tags=["groups"])
async def list_conflicts(
    request: Call, services: Services, after: AfterNumber = 0, limit: Limit = 100, live: Live = False
) -> ConflictPage:
    """List what cannot both be right, by name."""
    demand_reader(request)
    found = [conflict_view(each) for each in await services.pictures.conflicts(after, limit, live=live)]
    return ConflictPage(found, found[-1].id if len(found) == limit else None)


ROUTES = [
    create_group,
    change_members,
    allow_members,
    rekey_group,
    move_group,
    close_group,
    charter,
    report,
    keep_records,
    list_groups,
    show_group,
    list_rosters,
    list_epochs,
    list_records,
    list_conflicts,
]
