"""`/topics`: what operators want of topics, what managers read and report, what everybody sees."""

from collections.abc import Mapping
from typing import Annotated, Final

from litestar import delete, get, post
from litestar.params import Parameter, QueryParameter

from keymote.coordinator.api.callers import AfterId, AfterNumber, Call, Limit, demand, demand_reader, page
from keymote.coordinator.api.gate import ManagerCaller, Operator
from keymote.coordinator.api.services import Services
from keymote.coordinator.api.topic_views import (
    epoch_view,
    file_client_view,
    session_view,
    topic_line,
    topic_view,
)
from keymote.coordinator.topics import wish
from keymote.errors import CallerFault
from keymote.transports.topic_bodies import report_of, rule_view
from keymote.wire.admin import id_of
from keymote.wire.admin_groups import RefusedItem
from keymote.wire.admin_topics import (
    MOST_FILTER,
    MOST_RULES,
    CreateTopic,
    FileClientPage,
    Grant,
    GrantTopic,
    RevokeTopic,
    SessionPage,
    TopicCharterPage,
    TopicEpochPage,
    TopicPage,
    TopicReports,
    TopicReportsTaken,
    TopicView,
)

MOST_BODY: Final = 64 * 1024
"""Bytes of a batch of reports: topics of 255 bytes may be twice as long in JSON."""
AfterName = Annotated[str, Parameter(max_length=MOST_FILTER, description="`next` of the page before.")]
ByFilter = Annotated[
    str | None, QueryParameter(name="filter", max_length=MOST_FILTER, description="Only the rule of this filter.")
]


def _granted(entries: list[Grant]) -> Mapping[bytes, int]:
    granted = {id_of(entry.client): entry.roles for entry in entries}
    if len(granted) != len(entries):
        raise CallerFault("a client is granted something twice", do="name each client once, roles 3 for both")
    return granted


async def _view(services: Services, tid: bytes) -> TopicView:
    return topic_view(await services.topics.pictures.one(tid))


# ------------------------------------------------------------------ operators


@post("/topics", status_code=201, tags=["topics"])
async def create_topic(request: Call, services: Services, data: CreateTopic) -> TopicView:
    """Make the rule of a filter: who leads its topics, how they are protected, and who may do what."""
    demand(request, Operator)
    wanted = wish(
        data.filter,
        data.policy,
        emergency=data.emergency,
        cs=data.cs,
        max_msgs=data.max_msgs,
        life_s=data.life_s,
    )
    topic = await services.topics.rules.create(wanted, id_of(data.manager), _granted(data.grants))
    return await _view(services, topic.tid)


@post("/topics/{tid:str}/grants", status_code=200, tags=["topics"])
async def grant_topic(request: Call, services: Services, tid: str, data: GrantTopic) -> TopicView:
    """Let clients publish, subscribe or both, and nothing else, in the topics of a rule."""
    demand(request, Operator)
    return await _view(services, (await services.topics.rules.grant(id_of(tid), _granted(data.grants))).tid)


@post("/topics/{tid:str}/revoked", status_code=200, tags=["topics"])
async def revoke_topic(request: Call, services: Services, tid: str, data: RevokeTopic) -> TopicView:
    """Take the grants of clients away; the others get keys that those do not know."""
    demand(request, Operator)
    clients = [id_of(client) for client in data.clients]
    topic = await services.topics.rules.revoke(id_of(tid), clients, compromised=data.compromised)
    return await _view(services, topic.tid)


@post("/topics/{tid:str}/rotation", status_code=200, tags=["topics"])
async def rotate_topic(request: Call, services: Services, tid: str) -> TopicView:
    """Want a new epoch in every topic of a rule; each call is one more."""
    demand(request, Operator)
    return await _view(services, (await services.topics.rules.rotate(id_of(tid))).tid)


@delete("/topics/{tid:str}", status_code=200, tags=["topics"])
async def close_topic(request: Call, services: Services, tid: str) -> TopicView:
    """Forget a rule: its topics are a wider one's from now on, or end. The answer is how it was."""
    demand(request, Operator)
    before = await _view(services, id_of(tid))
    await services.topics.rules.close(id_of(tid))
    return before


# ------------------------------------------------------------------ managers


@get("/topics/charter", tags=["topics"])
async def topic_charter(
    request: Call, services: Services, after: AfterName = "", limit: Limit = MOST_RULES
) -> TopicCharterPage:
    """The rules that the calling manager lays down, and no others, in the order of their filters."""
    caller = demand(request, ManagerCaller).nm_id
    most = min(limit, MOST_RULES)
    version, reported, rules = await services.topics.rules.charter(caller, after, most)
    found = [rule_view(rule) for rule in rules]
    return TopicCharterPage(version, reported, found, page(len(found), most, found[-1].filter if found else ""))


@post("/topics/reports", status_code=200, tags=["topics"], request_max_body_size=MOST_BODY)
async def report_topics(request: Call, services: Services, data: TopicReports) -> TopicReportsTaken:
    """What happened in the calling manager's topics; again is once."""
    caller = demand(request, ManagerCaller).nm_id
    taken = await services.topics.reports.take(caller, [report_of(item) for item in data.items])
    services.counted.topic_reports.labels("refused").inc(len(taken.refused))
    services.counted.topic_reports.labels("taken").inc(len(data.items) - len(taken.refused))
    return TopicReportsTaken(taken.upto, [RefusedItem(seq, why) for seq, why in taken.refused])


# ------------------------------------------------------------------ everybody


@get("/topics", tags=["topics"])
async def list_topics(
    request: Call, services: Services, after: AfterName = "", limit: Limit = 100, by_filter: ByFilter = None
) -> TopicPage:
    """List rules in the order of their filters, or the one of a filter."""
    demand_reader(request)
    found = [topic_line(outline) for outline in await services.topics.pictures.listing(after, limit, by_filter)]
    last = None if by_filter is not None else page(len(found), limit, found[-1].filter if found else "")
    return TopicPage(found, last)


@get("/topics/clients", tags=["topics"])
async def list_file_clients(
    request: Call, services: Services, after: AfterId = None, limit: Limit = 100
) -> FileClientPage:
    """List the clients of provisioning files, which are no devices, as their managers reported them."""
    demand_reader(request)
    listed = await services.topics.pictures.clients(b"" if after is None else id_of(after), limit)
    found = [file_client_view(client) for client in listed]
    return FileClientPage(found, page(len(found), limit, found[-1].client if found else ""))


@get("/topics/{tid:str}", tags=["topics"])
async def show_topic(request: Call, services: Services, tid: str) -> TopicView:
    """Show one rule: its clients, its first topics with who holds which epoch, and when takings were safe."""
    demand_reader(request)
    return await _view(services, id_of(tid))


@get("/topics/{tid:str}/sessions", tags=["topics"])
async def list_sessions(
    request: Call, services: Services, tid: str, after: AfterName = "", limit: Limit = 100
) -> SessionPage:
    """List the topics under a rule: their epochs, who holds them, who waits and who sleeps."""
    demand_reader(request)
    found = [session_view(each) for each in await services.topics.pictures.sessions(id_of(tid), after, limit)]
    return SessionPage(found, page(len(found), limit, found[-1].topic if found else ""))


@get("/topics/{tid:str}/epochs", tags=["topics"])
async def list_topic_epochs(
    request: Call, services: Services, tid: str, after: AfterNumber = 0, limit: Limit = 100
) -> TopicEpochPage:
    """List the epochs of the topics under a rule, oldest first: when and why; never a key."""
    demand_reader(request)
    lines = await services.topics.pictures.epochs(id_of(tid), after, limit)
    return TopicEpochPage([epoch_view(line) for line in lines], lines[-1].id if len(lines) == limit else None)


ROUTES = [
    create_topic,
    grant_topic,
    revoke_topic,
    rotate_topic,
    close_topic,
    topic_charter,
    report_topics,
    list_topics,
    list_file_clients,
    show_topic,
    list_sessions,
    list_topic_epochs,
]
