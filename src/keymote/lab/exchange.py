"""The neighbourhood energy exchange of paper 001 (6.3): homes offer, bid and are limited under one group's key, and come and go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keymote.engine.group.payload_faces import GroupOpened
from keymote.engine.policy.group_faces import DAY_S
from keymote.lab import book as market
from keymote.lab.book import ACCEPT, BID, OFFER, Book
from keymote.lab.experiment import Experiment, Outcome, Progress, Row
from keymote.lab.village import Negotiation, Village, negotiations, opened_outside, village

LIMIT: Final = "control/limit"
QUIET_S: Final = 60.0
"""At the beginning and the end of a session nobody trades: homes come and go then."""
STEPS: Final = ((OFFER, 0.0), (BID, 0.3), (ACCEPT, 0.6))
"""What homes do in a round, and after which part of it."""


@dataclass(slots=True)
class Session:
    """What one session with `n` homes came to. `due`: copies of commands that others should open."""

    number: int
    n: int
    begun: float
    sent: int = 0
    due: int = 0
    opened: int = 0
    books: dict[str, Book] = field(default_factory=dict)

    def row(self, rekeyed: Negotiation | None) -> Row:
        trades = next(iter(self.books.values()), Book()).trades
        return {
            "session": self.number,
            "n": self.n,
            "commands": self.sent,
            "opened": self.opened,
            "due": self.due,
            "trades": len(trades),
            "energy_wh": sum(sold.wh for sold, _ in trades),
            "books_alike": len({tuple(book.lines()) for book in self.books.values()}) <= 1,
            "rekey_ms": None if rekeyed is None else round(rekeyed.ready_ms, 3),
            "rekey_messages": None if rekeyed is None else rekeyed.messages,
        }


class Exchange:
    """The applications of the homes; the village carries them."""

    def __init__(self, made: Village, experiment: Experiment) -> None:
        self.made = made
        self.experiment = experiment
        self.sessions: list[Session] = []
        self.offered = 0
        self.came = 0
        self.growing = True
        self.names = {person.kid: name for name, person in made.street.people.items()}
        made.listener = self.opened

    # ------------------------------------------------------------------ sessions

    def begin(self) -> None:
        """Open a session with whoever belongs to the ring, and plan its rounds."""
        market_of, now = self.experiment.market, self.made.now
        homes = self.made.street.members()
        session = Session(len(self.sessions), len(homes), now, books={name: Book() for name in homes})
        self.sessions.append(session)
        self.offered = 0
        rounds = int((market_of.session_s - 2 * QUIET_S) // market_of.round_s)
        for number in range(rounds):
            start = now + QUIET_S + number * market_of.round_s
            acts: dict[str, Callable[[], None]] = {OFFER: self.offers, BID: self.bids, ACCEPT: self.accepts}
            for resource, part in STEPS:
                self.made.agenda.at(start + part * market_of.round_s, acts[resource])
        for at in range(0, int(market_of.session_s - 2 * QUIET_S), market_of.limit_every_s):
            self.made.agenda.at(now + QUIET_S + at + 1.0, self.limit)
        self.made.agenda.at(now + market_of.session_s - QUIET_S / 2, self.turn)

    def turn(self) -> None:
        """Let one home come, or once there are enough the longest member leave, until there are as many as at first."""
        homes = self.made.street.members()
        if len(homes) >= self.experiment.most:
            self.growing = False
        elif len(homes) <= self.experiment.meters:
            self.growing = True
        if not self.growing:
            self.made.leave(homes[0])
            return
        self.came += 1
        name = f"new{self.came}"
        self.made.arrive(name, allowed=True)
        self.names[self.made.street.people[name].kid] = name

    # ------------------------------------------------------------------ what homes do

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    def offers(self) -> None:
        """Let a third of the homes, by the dice, offer what their roofs give."""
        for name in self.session.books:
            if self.made.dice.uniform() < 1 / 3:
                self.offered += 1
                wh, price = 200 + int(self.made.dice.uniform() * 1800), 50 + int(self.made.dice.uniform() * 100)
                self.say(name, OFFER, market.offer(f"{name}-{self.offered}", wh, price))

    def bids(self) -> None:
        """Let every home bid for the cheapest offer of somebody else, by the dice above or below what is asked."""
        for name, book in list(self.session.books.items()):
            wanted = next((offer for offer in book.open() if offer.seller != name), None)
            if wanted is not None:
                self.say(name, BID, market.bid(wanted.id, int(wanted.price * (0.9 + 0.3 * self.made.dice.uniform()))))

    def accepts(self) -> None:
        """Let every seller sell what has a bid that is high enough."""
        for name, book in list(self.session.books.items()):
            for offer in book.open():
                best = book.best(offer)
                if offer.seller == name and best is not None:
                    self.say(name, ACCEPT, market.accept(offer.id, best.buyer))

    def limit(self) -> None:
        """Let the first home, in the network operator's name, limit what all may draw."""
        self.say(next(iter(self.session.books)), LIMIT, b'{"kw": 4}')

    def say(self, name: str, resource: str, text: bytes) -> None:
        if self.made.send(name, resource, text, signed=True):
            session = self.session
            session.sent += 1
            session.due += len(session.books) - 1
            session.books[name] = session.books[name].heard(name, resource, text)

    def opened(self, name: str, report: GroupOpened) -> None:
        """Let a home write what it opened into its book; only what is signed counts."""
        session = self.session
        if not report.signed or name not in session.books:
            return
        session.opened += 1
        session.books[name] = session.books[name].heard(self.names[report.kid], report.resource, report.plaintext)


def run(experiment: Experiment, seed: str, progress: Progress = lambda _share: None) -> Outcome:
    """Let the sessions pass and say what came of them. Same experiment, same seed: same outcome."""
    made = village(
        experiment.meters,
        experiment.policy,
        experiment.uplink,
        seed=f"{experiment.name} {seed}".encode(),
        channel=experiment.radio,
        multicast=experiment.ring.multicast,
        compact=experiment.ring.compact,
        suite=experiment.ring.suite,
    )
    made.settle()
    exchange = Exchange(made, experiment)
    length = float(experiment.market.session_s)
    count = max(1, int(experiment.days * DAY_S // length))
    first = made.now + 30.0
    for number in range(count):
        made.agenda.at(first + number * length, exchange.begin)
    end = first + count * length - QUIET_S
    made.run(end, lambda now: progress(min(1.0, now / end)))
    return _outcome(made, exchange, experiment, seed)


def _outcome(made: Village, exchange: Exchange, experiment: Experiment, seed: str) -> Outcome:
    street = made.street
    epochs = negotiations(street)
    rows = [session.row(_before(epochs, session.begun)) for session in exchange.sessions]
    last = exchange.sessions[-1].books
    left = [name for name in made.meters if name not in street.members()]
    known = {name: [each.epoch for each in epochs if street.people[name].kid in each.kids] for name in made.meters}
    outside = sum(opened_outside(street, name, min(of, default=1), max(of, default=0)) for name, of in known.items())
    facts: dict[str, object] = {
        "sessions": len(rows),
        "homes_least": min(session.n for session in exchange.sessions),
        "homes_most": max(session.n for session in exchange.sessions),
        "came": exchange.came,
        "left": len(left),
        "epoch": street.newest(),
        "commands": sum(session.sent for session in exchange.sessions),
        "commands_due": sum(session.due for session in exchange.sessions),
        "commands_opened": sum(session.opened for session in exchange.sessions),
        "trades": sum(int(str(row["trades"])) for row in rows),
        "rekey_ms_most": round(max(each.ready_ms for each in epochs), 3),
        "records_uploaded": len(made.office.records),
    }
    tables: dict[str, Sequence[Row]] = {
        "sessions": rows,
        "per_n": _per_n(rows),
        "book": [{"offer": line} for line in (next(iter(last.values())).lines() if last else ())],
        "epochs": [each.row() for each in epochs],
    }
    checks = {
        "everybody agrees at the end": street.agreed(),
        "no epoch has two keys": all(len(keys) == 1 for keys in street.keys().values()),
        "no nonce was used twice": not street.witness.reused,
        "nobody opens what is outside its membership": outside == 0,
        "all books of a session are alike": all(bool(row["books_alike"]) for row in rows)
        or experiment.radio.loss > 0.0,
        "every command was opened by every other home": facts["commands_opened"] == facts["commands_due"]
        or experiment.radio.loss > 0.0,
    }
    return Outcome(experiment, seed, facts, tables, checks)


def _before(epochs: Sequence[Negotiation], at: float) -> Negotiation | None:
    """Return the last run before a session: the one that its homes came and went with."""
    return next((each for each in reversed(epochs) if each.at <= at), None)


def _per_n(rows: Sequence[Row]) -> list[Row]:
    """Return commands and the time to rekey by the number of homes: the mean of the sessions that had as many (Figure 9)."""
    by_n: dict[int, list[Mapping[str, object]]] = {}
    for row in rows:
        by_n.setdefault(int(str(row["n"])), []).append(row)
    return [
        {
            "n": n,
            "sessions": len(same),
            "commands": _mean(same, "commands"),
            "opened": _mean(same, "opened"),
            "rekey_ms": _mean(same, "rekey_ms"),
        }
        for n, same in sorted(by_n.items())
    ]


def _mean(rows: Sequence[Row], word: str) -> float:
    values = [float(str(row[word])) for row in rows if row[word] is not None]
    return round(sum(values) / len(values), 3) if values else 0.0
