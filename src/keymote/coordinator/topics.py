"""Topics as an operator wants them: rules, grants, rotations; each change one transaction with event and audit entry.

The coordinator states what should be. The manager that leads a topic reads its charter and makes it so (docs/decisions/0190).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from keymote.coordinator import topics_rules as rules
from keymote.coordinator.desk import OPERATOR, Desk
from keymote.coordinator.topic_changes import announced, changed, found, settle_sessions, version_of
from keymote.coordinator.topic_safety import settle
from keymote.crypto.entropy import Entropy
from keymote.engine.policy.topic_charter import MOST_GRANTS, MOST_RULES, TopicPolicy, TopicRule
from keymote.engine.policy.topic_filters import overlap
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.ledger import Transaction
from keymote.host.register import ManagerState, Taken
from keymote.host.topic_register import Grant, Topic, Why

T = TypeVar("T")

KEPT_MS: Final = 96 * 86400 * 1000
"""Epochs stay this long, as events do (docs/decisions/0131)."""
PRUNED_AT_ONCE: Final = 500
TAKINGS_TOLD: Final = 4 * MOST_GRANTS
"""Newest takings of a rule from which its charter is made."""


class Topics:
    """The registry of rules. Asking twice for the same is asking once, but for `rotate`."""

    def __init__(self, desk: Desk, entropy: Entropy) -> None:
        self._desk, self._entropy = desk, entropy

    async def create(self, wanted: TopicRule, manager: bytes, grants: Mapping[bytes, int]) -> Topic:
        """Make the rule of a filter, whose topics this manager leads; of `wanted`, grants and numbers are not looked at.

        Raises:
            Taken: there is a rule with this filter.
            PeerFault: E_UNKNOWN_ID for a manager or client that is not known.
            RefusedByPolicy: the manager is not active, another one leads topics that this filter stands for, too many.
        """
        tid = self._entropy.draw(8)

        def work(tx: Transaction) -> Topic:
            if tx.topics.filtered(wanted.filter) is not None:
                raise Taken(
                    f"there is a rule for {wanted.filter!r} already", do=f"keymote topic show '{wanted.filter}'"
                )
            _manager(tx, manager)
            self._check_filter(tx, wanted.filter, manager)
            topic = Topic(
                tid,
                wanted.filter,
                manager,
                wanted.policy.value,
                wanted.emergency,
                wanted.cs,
                wanted.max_msgs,
                wanted.life_s,
            )
            topic = announced(self._desk, tx, topic)
            tx.topics.put(topic)  # grants refer to it
            self._grant(tx, topic, grants)
            settle_sessions(tx, manager)
            self._desk.note(tx, OPERATOR, "topic.create", tid, filter=topic.filter, manager=manager, n=len(grants))
            return topic

        return await self._write(work)

    async def grant(self, tid: bytes, grants: Mapping[bytes, int]) -> Topic:
        """Let clients do this, and nothing else, in the topics of a rule. Raises as `create` does."""

        def work(tx: Transaction) -> Topic:
            topic = found(tx, tid)
            held = {each.client: each.roles for each in tx.topics.grants(tid)}
            news = {client: roles for client, roles in grants.items() if held.get(client) != roles}
            if not news:
                return topic
            self._grant(tx, topic, news)
            fewer = sorted(client for client, roles in news.items() if held.get(client, 0) & ~roles)
            for client, roles in sorted(news.items()):
                self._desk.note(tx, OPERATOR, "topic.grant", tid, client=client, roles=roles)
            return changed(self._desk, tx, topic, [(client, Why.WITHDRAWN) for client in fewer])

        return await self._write(work)

    async def revoke(self, tid: bytes, clients: Iterable[bytes], *, compromised: bool) -> Topic:
        """Take the grants of clients away; `compromised`: also of those whose were taken without haste, all go on at once.

        Raises:
            PeerFault: E_UNKNOWN_ID for a rule that is not known, and for a client that had nothing to lose in it.
        """

        def work(tx: Transaction) -> Topic:
            topic = found(tx, tid)
            held = {each.client for each in tx.topics.grants(tid)}
            last = {each.client: each for each in reversed(tx.topics.takings(tid, TAKINGS_TOLD))}
            for client in sorted(set(clients) - held - set(last)):
                raise PeerFault(
                    ErrorCode.E_UNKNOWN_ID,
                    f"client {client.hex()} was never granted anything in {topic.filter!r}",
                    do="see keymote topic show",
                )
            slow = {client for client, each in last.items() if compromised and not each.compromised}
            going = sorted(set(clients) & (held | slow))
            if not going:
                return topic
            why = Why.COMPROMISED if compromised else Why.WITHDRAWN
            for client in going:
                tx.topics.put_grant(Grant(tid, client, 0))
                self._desk.note(tx, OPERATOR, "topic.revoke", tid, client=client, cause=why.value)
            return changed(self._desk, tx, topic, [(client, why) for client in going])

        return await self._write(work)

    async def rotate(self, tid: bytes) -> Topic:
        """Want a new epoch in every topic of a rule; each call is one more."""

        def work(tx: Transaction) -> Topic:
            topic = found(tx, tid)
            self._desk.note(tx, OPERATOR, "topic.rotate", tid)
            return changed(self._desk, tx, replace(topic, rotations=topic.rotations + 1))

        return await self._write(work)

    async def close(self, tid: bytes) -> Topic:
        """Forget a rule: its topics are a wider one's from now on, or nobody's; return it as it was."""

        def work(tx: Transaction) -> Topic:
            topic = found(tx, tid)
            tx.topics.remove(tid)
            settle_sessions(tx, topic.nm_id)
            self._desk.note(tx, OPERATOR, "topic.close", tid, filter=topic.filter)
            return announced(self._desk, tx, topic)

        return await self._write(work)

    async def charter(self, caller: bytes, after: str, limit: int) -> tuple[int, int, Sequence[TopicRule]]:
        """Return the version of a manager's charter, up to which of its reports were taken, and a page of its rules."""

        def work(tx: Transaction) -> tuple[int, int, Sequence[TopicRule]]:
            page = tx.topics.ruled_by(caller, after, limit)
            since = self._desk.now_ms() - KEPT_MS
            made = []
            for topic in page:
                takings = [each for each in tx.topics.takings(topic.tid, TAKINGS_TOLD) if each.at_ms >= since]
                made.append(rules.rule_of(topic, tx.topics.cards(topic.tid), takings))
            return version_of(tx, caller), tx.topics.reported(caller), made

        return await self._desk.ledger.read(work)

    async def settle(self) -> int:
        """Write down which takings have become safe since; return how many are not."""

        def work(tx: Transaction) -> int:
            for nm_id in tx.topics.unsettled():
                settle(tx, nm_id)
            return tx.topics.unsafe()

        return await self._desk.ledger.write(work)

    async def prune(self) -> int:
        """Forget old epochs and sessions that nothing refers to; return how many rows went."""
        before, pruned = self._desk.now_ms() - KEPT_MS, 0
        while gone := await self._desk.ledger.write(lambda tx: tx.topics.prune(before, PRUNED_AT_ONCE)):
            pruned += gone
        return pruned

    def _check_filter(self, tx: Transaction, name: str, manager: bytes) -> None:
        after, rules_of_manager = "", 0
        while page := tx.topics.topics(after, PRUNED_AT_ONCE):
            after = page[-1].filter
            for other in page:
                if other.nm_id == manager:
                    rules_of_manager += 1
                elif overlap(name, other.filter):
                    raise RefusedByPolicy(
                        f"topics of {name!r} are led by manager {other.nm_id.hex()} already, under {other.filter!r}",
                        do="choose a filter that shares no topic with it: two managers would make two keys",
                    )
        if rules_of_manager >= MOST_RULES:
            raise RefusedByPolicy(f"manager {manager.hex()} has {MOST_RULES} rules", do="use filters with + and #")

    def _grant(self, tx: Transaction, topic: Topic, grants: Mapping[bytes, int]) -> None:
        held = {each.client for each in tx.topics.grants(topic.tid)}
        if len(held | set(grants)) > MOST_GRANTS:
            raise RefusedByPolicy(
                f"a rule has at most {MOST_GRANTS} clients, {topic.filter!r} would have {len(held | set(grants))}",
                do="make rules for narrower filters",
            )
        for client, roles in sorted(grants.items()):
            rules.check_client(topic, client, roles, tx.device(client), tx.topics.client(client))
            tx.topics.put_grant(Grant(topic.tid, client, roles, self._desk.now_ms()))

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        outcome = await self._desk.ledger.write(work)
        self._desk.news.ring()
        return outcome


def _manager(tx: Transaction, nm_id: bytes) -> None:
    manager = tx.manager(nm_id)
    if manager is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} was never added")
    if manager.state is not ManagerState.ACTIVE:
        raise RefusedByPolicy(f"manager {manager.name} is {manager.state}", do="enrol it, or choose another one")


def wish(name: str, policy: str, *, emergency: bool, cs: int, max_msgs: int, life_s: int) -> TopicRule:
    """Return what an operator wants of a rule; CallerFault for what no topic can have."""
    return TopicRule(name, 1, TopicPolicy(policy), emergency=emergency, cs=cs, max_msgs=max_msgs, life_s=life_s)
