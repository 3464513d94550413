"""The book of an exchange of energy: offers, bids and trades as each member reads them off the group's records.

A pure value. Whatever order the records of a session arrive in, the same ones make the same book; only a seller's own word
sells, and a record names its sender beyond doubt because it is countersigned.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

OFFER: Final = "market/offer"
BID: Final = "market/bid"
ACCEPT: Final = "market/accept"
MOST_OPEN: Final = 256
"""Offers and bids of one member in one book: nobody fills the memory of the others."""
MOST_WH: Final = 1_000_000
MOST_PRICE: Final = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Offer:
    """Energy for sale: `wh` watt hours at no less than `price` tenths of a cent for each kilowatt hour."""

    id: str
    seller: str
    wh: int
    price: int


@dataclass(frozen=True, slots=True, order=True)
class Bid:
    """What a buyer would pay for a whole offer, in tenths of a cent for each kilowatt hour."""

    offer: str
    buyer: str
    price: int


@dataclass(frozen=True, slots=True)
class Book:
    """What a member has read. `accepted`: offer -> the buyer whom its seller has chosen. `refused` counts the nonsense."""

    offers: Mapping[str, Offer] = field(default_factory=dict)
    bids: frozenset[Bid] = frozenset()
    accepted: Mapping[tuple[str, str], str] = field(default_factory=dict)
    refused: int = 0

    def heard(self, who: str, resource: str, text: bytes) -> "Book":
        """Return the book after a record of `who`; nonsense, and what would be somebody else's, changes nothing but a count."""
        try:
            said = json.loads(text)
            match resource:
                case "market/offer":
                    return self._offered(Offer(_name(said, "id"), who, _number(said, "wh"), _number(said, "price")))
                case "market/bid":
                    return self._bid(Bid(_name(said, "offer"), who, _number(said, "price")))
                case "market/accept":
                    key = (_name(said, "offer"), who)
                    return replace(self, accepted={key: _name(said, "buyer"), **self.accepted})
        except (ValueError, TypeError, KeyError):
            return replace(self, refused=self.refused + 1)
        return self

    def _offered(self, offer: Offer) -> "Book":
        """Take an offer whose name begins as its seller's; the first of a name stands."""
        mine = sum(each.seller == offer.seller for each in self.offers.values())
        if not offer.id.startswith(f"{offer.seller}-") or offer.wh > MOST_WH or mine >= MOST_OPEN:
            raise ValueError(offer.id)
        return replace(self, offers={offer.id: offer, **self.offers})

    def _bid(self, bid: Bid) -> "Book":
        if sum(each.buyer == bid.buyer for each in self.bids) >= MOST_OPEN:
            raise ValueError(bid.offer)
        return replace(self, bids=self.bids | {bid})

    # ------------------------------------------------------------------ reading

    @property
    def trades(self) -> Sequence[tuple[Offer, Bid]]:
        """Return what was sold: offers whose own seller has accepted a bid that was made and is high enough."""
        found = []
        for offer in sorted(self.offers.values()):
            buyer = self.accepted.get((offer.id, offer.seller))
            fit = [b for b in self.bids if (b.offer, b.buyer) == (offer.id, buyer) and b.price >= offer.price]
            if fit:
                found.append((offer, max(fit, key=lambda bid: bid.price)))
        return found

    def open(self) -> Sequence[Offer]:
        """Return what is still for sale, the cheapest first."""
        sold = {offer.id for offer, _ in self.trades}
        return sorted((o for o in self.offers.values() if o.id not in sold), key=lambda o: (o.price, o.id))

    def best(self, offer: Offer) -> Bid | None:
        """Return the highest bid for an offer that is high enough; of two, that of the buyer whose name comes first."""
        fit = [
            bid for bid in self.bids if bid.offer == offer.id and bid.price >= offer.price and bid.buyer != offer.seller
        ]
        return min(fit, key=lambda bid: (-bid.price, bid.buyer), default=None)

    def lines(self) -> list[str]:
        """Return the book as people read it, a line for each offer."""
        sold = {offer.id: bid for offer, bid in self.trades}
        return [_line(offer, sold.get(offer.id), self.best(offer)) for offer in sorted(self.offers.values())]


def _line(offer: Offer, sold: Bid | None, best: Bid | None) -> str:
    head = f"{offer.id:<10} {offer.seller:<8} {offer.wh / 1000:6.2f} kWh  asks {offer.price / 10:5.1f} ct"
    if sold is not None:
        return f"{head}  sold to {sold.buyer} for {sold.price / 10:.1f} ct"
    return f"{head}  " + ("no bid" if best is None else f"bid {best.price / 10:.1f} ct by {best.buyer}")


def offer(id_: str, wh: int, price: int) -> bytes:
    return json.dumps({"id": id_, "wh": wh, "price": price}).encode()


def bid(offer_id: str, price: int) -> bytes:
    return json.dumps({"offer": offer_id, "price": price}).encode()


def accept(offer_id: str, buyer: str) -> bytes:
    return json.dumps({"offer": offer_id, "buyer": buyer}).encode()


def _number(said: Any, word: str) -> int:
    value = said[word]
    if type(value) is not int or not 0 <= value <= max(MOST_WH, MOST_PRICE):
        raise ValueError(word)
    return value


def _name(said: Any, word: str) -> str:
    value = said[word]
    if not isinstance(value, str) or not 0 < len(value) <= 32 or not value.isprintable():
        raise ValueError(word)
    return value
