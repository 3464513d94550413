"""Case study: a neighbourhood's exchange of energy under one group's key (paper 001, 6.3), in real processes."""

import asyncio
import time
from typing import Any, Final

from keymote.lab import book as market
from keymote.lab.book import ACCEPT, BID, OFFER, Book
from keymote.stories.street import WATCH_S, Group, Meter, until
from keymote.stories.telling import Timeline

LIMIT: Final = "control/limit"


class Market:
    """The homes of a group: what each says, and the book that each reads off the records that it opened."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.since = {home.name: group.heard(home)[1] for home in group.members}
        self.own: dict[str, list[tuple[str, str]]] = {}
        self.sent = 0

    def say(self, home: Meter, resource: str, text: bytes) -> None:
        """Send signed, and note it for the home's own book."""
        self.group.send(home, resource, text.decode())
        self.own.setdefault(home.name, []).append((resource, text.decode()))
        self.sent += 1

    def book(self, home: Meter, names: dict[str, str]) -> tuple[Book, int]:
        """Return the book of a home, and how many commands of others it has opened."""
        messages, _ = self.group.heard(home, self.since[home.name])
        signed = [each for each in messages if each["signed"]]
        book = Book()
        for each in signed:
            book = book.heard(names.get(each["kid"], each["kid"]), each["resource"], each["text"].encode())
        for resource, text in self.own.get(home.name, []):
            book = book.heard(home.name, resource, text.encode())
        return book, len(signed)


async def session(group: Group, line: Timeline, facts: dict[str, Any]) -> None:
    """Let every third home offer, the others bid and the sellers sell; count the commands against n."""
    homes, trade = list(group.members), Market(group)
    names = await asyncio.to_thread(_names, group)

    def play() -> None:
        sellers, buyers = homes[::3], [home for at, home in enumerate(homes) if at % 3]
        for at, seller in enumerate(sellers):
            trade.say(seller, OFFER, market.offer(f"{seller.name}-1", 500 + 250 * at, 80 + 10 * at))
        for at, buyer in enumerate(buyers):
            wanted = sellers[at % len(sellers)]
            trade.say(buyer, BID, market.bid(f"{wanted.name}-1", 85 + 5 * at))
        trade.say(homes[0], LIMIT, b'{"kw": 4}')
        for seller in sellers:
            best = _best(trade, seller, names, len(buyers) // len(sellers))
            if best is not None:
                trade.say(seller, ACCEPT, market.accept(f"{seller.name}-1", best))

    def others_opened() -> list[int]:
        return [trade.book(home, names)[1] + len(trade.own.get(home.name, ())) for home in homes]

    async with line.step("exchange: offers and bids", lambda: f"n = {len(homes)}: {trade.sent} signed commands"):
        await asyncio.to_thread(play)
        counts = await until(others_opened, lambda found: all(count == trade.sent for count in found))
    books = [trade.book(home, names)[0] for home in homes]
    facts["sessions"].append({"n": len(homes), "commands": trade.sent, "opened": sum(counts) - trade.sent})
    facts["books_alike"] = facts["books_alike"] and len({tuple(book.lines()) for book in books}) == 1
    facts["book"] = books[0].lines()


async def join(group: Group, newcomer: Meter, line: Timeline, facts: dict[str, Any]) -> None:
    """Let a home join that the coordinator has allowed."""
    before = await group.agreed()
    async with line.step("exchange: a home joins", lambda: f"{newcomer.name}; epoch {facts['epoch']}"):
        await asyncio.to_thread(newcomer.ask, "group.join", group=group.gid)
        group.members.append(newcomer)
        facts["epoch"] = await group.agreed(before)


async def leave(group: Group, gone: Meter, line: Timeline, facts: dict[str, Any]) -> None:
    """Let a home leave of its own will."""
    before = await group.agreed()
    async with line.step("exchange: a home leaves", lambda: f"{gone.name}; epoch {facts['epoch']}"):
        await asyncio.to_thread(gone.ask, "group.leave", group=group.gid)
        group.members.remove(gone)
        facts["epoch"] = await group.agreed(before)


def _best(trade: Market, seller: Meter, names: dict[str, str], bids: int) -> str | None:
    """Return the best buyer in a seller's own book once so many bids for its offer are there; None without one that is enough."""
    id_, deadline = f"{seller.name}-1", time.monotonic() + WATCH_S
    book = trade.book(seller, names)[0]
    while sum(each.offer == id_ for each in book.bids) < bids and time.monotonic() < deadline:
        book = trade.book(seller, names)[0]
    best = book.best(book.offers[id_])
    return None if best is None else best.buyer


def _names(group: Group) -> dict[str, str]:
    """Return the name of each member by its kid, as the group's gateway lists them."""
    by_id = {meter.dev_id: meter.name for meter in group.street.meters}
    return {member["kid"]: by_id[member["dev_id"]] for member in group.here("show")["members"]}
