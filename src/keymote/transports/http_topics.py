"""The manager's calls about topics: its charter, page by page, and its reports. The port is `host.topic_desk`."""

from collections.abc import Sequence
from typing import Final

from keymote.engine.policy.topic_charter import MOST_RULES, TopicCharter
from keymote.engine.policy.topic_events import TopicReport
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.host.topic_desk import Refused, Taken
from keymote.transports.http_caller import HttpCaller
from keymote.transports.topic_bodies import body_of, rule_of
from keymote.wire import admin
from keymote.wire.admin_topics import TopicCharterPage, TopicReports, TopicReportsTaken

MOST_READINGS: Final = 8
"""How often a charter that changes while it is read is begun anew."""


async def topic_charter(caller: HttpCaller) -> TopicCharter:
    """Return all rules of the calling manager as they are at one moment.

    Raises:
        Unavailable: the coordinator does not answer, or changes its charter faster than it can be read.
        PeerFault: E_FORMAT for a rule that no topic can have.
    """
    for _ in range(MOST_READINGS):
        pages = await _pages(caller)
        if len({page.version for page in pages}) == 1:
            rules = tuple(rule_of(view) for page in pages for view in page.items)
            return TopicCharter(pages[0].version, pages[0].reported, rules)
    raise Unavailable("the charter of topics changes all the time", do="try again later")


async def report_topics(caller: HttpCaller, items: Sequence[TopicReport]) -> Taken:
    """Hand in one batch of reports; again is once. Raises as every call of `HttpCaller`."""
    body = admin.encode(TopicReports([body_of(item) for item in items]))
    answer = await caller.request("POST", f"{admin.API}/topics/reports", body=body)
    taken = admin.decode(answer, TopicReportsTaken)
    return Taken(taken.upto, tuple(Refused(each.seq, each.why) for each in taken.refused))


async def _pages(caller: HttpCaller) -> Sequence[TopicCharterPage]:
    pages: list[TopicCharterPage] = []
    after = ""
    while not pages or after:
        query = {"after": after} if after else {}
        pages.append(await caller.get(f"{admin.API}/topics/charter", TopicCharterPage, params=query))
        after = pages[-1].next or ""
        if len(pages) > MOST_RULES:
            raise PeerFault(ErrorCode.E_FORMAT, "the charter of topics has no end")
    return pages
