"""`keymote topic list|show|clients`: what is known of topics at the coordinator, and how people read it."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from keymote.cli.group_asking import DEFAULT_URL, CoordinatorOption, UrlOption, at_coordinator
from keymote.cli.moments import moment, until_safe
from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.topic_asking import FilterArgument, cipher_word, role_words, topic_named
from keymote.cli.watching import EveryOption, TimesOption, WatchOption, show_looks

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin import TopicGap
    from keymote.wire.admin_topics import SessionView, TopicView

CAUSES: Final = ("first", "grant", "revoke", "expiry", "count", "operator", "compromise")


def list_topics(
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List rules: who leads them, how many clients and topics they have, and in how many somebody waits for the newest key.

    \b
    Example:
      keymote topic list --coordinator north
    """
    from keymote.wire import admin_topics

    columns = ("filter", "tid", "manager", "policy", "emergency", "clients", "topics", "waiting")
    found = at_coordinator(coordinator, url, lambda client: client.whole("/topics", admin_topics.TopicPage))
    show({"topics": [{column: getattr(line, column) for column in columns} for line in found]}, output)


def list_clients(
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List clients of provisioning files, as their managers have reported them; devices are in `keymote device list`.

    \b
    Example:
      keymote topic clients --coordinator north
    """
    from keymote.wire import admin_topics

    found = at_coordinator(
        coordinator, url, lambda client: client.whole("/topics/clients", admin_topics.FileClientPage)
    )
    columns = ("client", "name", "nm_id", "made_ms")
    rows = [{column: getattr(each, column) for column in columns} for each in found]
    if output is Output.TABLE:
        rows = [{**row, "made_ms": moment(row["made_ms"])} for row in rows]
    show({"clients": rows}, output)


def show_topic(
    topic: FilterArgument,
    watch: WatchOption = False,
    every: EveryOption = 1.0,
    times: TimesOption = 0,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a rule: its topics, their epochs, who holds them and who sleeps, and how long rotations and takings took to be safe.

    \b
    Example:
      keymote topic show 'ward/7/#' --watch
    """
    from keymote.wire import admin_topics

    async def work(client: "OperatorClient") -> None:
        path = f"/topics/{await topic_named(client, topic)}"

        async def look() -> "TopicView":
            return await client.get(path, admin_topics.TopicView)

        await show_looks(look, as_json, for_people, again=watch, every=every, times=times, output=output)

    try:
        at_coordinator(coordinator, url, work)
    except KeyboardInterrupt:
        note("stopped")


# ------------------------------------------------------------------ how it is said


def as_json(view: "TopicView") -> Mapping[str, Any]:
    """Return a rule as a program reads it."""
    from keymote.wire import admin

    return dict(json.loads(admin.encode(view)))


def for_people(view: "TopicView") -> Mapping[str, Any]:
    """Return a rule as people read it: facts, clients, topics and what was taken from whom."""
    told = "" if view.acted else " (has not acted on the last change yet)"
    state = "" if view.manager_state == "active" else f", which is {view.manager_state}"
    more = view.topics - len(view.sessions)
    return {
        "rule": f"{view.filter} ({view.tid})",
        "led_by": f"{view.manager}{state}{told}",
        "how": ("every reading signed" if view.policy == "signed" else "by the topic's key")
        + f", {cipher_word(view.cs)}"
        + (", emergencies forwarded at once" if view.emergency else ""),
        "new_key": f"every {view.life_s} s, and after {view.max_msgs} messages of one publisher",
        "clients": [
            {"client": each.client, "name": each.name or None, "may": role_words(each.roles), "state": each.state}
            for each in view.clients
        ]
        or "none",
        "topics": [_session(each) for each in view.sessions] or "nobody has asked for a key yet",
        **({"not_shown": f"{more} more topics"} if more > 0 else {}),
        "taken_away": [_taking(each) for each in view.removals] or "nothing",
    }


def tell(view: "TopicView", output: Output) -> None:
    show(as_json(view) if output is Output.JSON else for_people(view), output)


def _session(view: "SessionView") -> Mapping[str, Any]:
    newest = [each.client for each in view.holders if max(each.published, each.subscribed) >= view.epoch]
    return {
        "topic": view.topic,
        "epoch": view.epoch,
        "because": CAUSES[view.cause] if view.cause < len(CAUSES) else view.cause,
        "since": moment(view.begun_ms),
        "who_has_it": newest,
        "who_has_not": view.waiting,
        "asleep": view.parked,
        "safe_after": until_safe(view.safe_after_ms),
    }


def _taking(view: "TopicGap") -> Mapping[str, Any]:
    return {
        "client": view.client,
        "because": view.cause,
        "at": moment(view.ts_ms),
        "in": view.topics,
        "safe_after": until_safe(view.safe_after_ms),
        "who_has_not": view.waiting,
    }
