"""The book of an exchange: what its members read, whatever the order, and what nobody gets others to read."""

from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.lab.book import ACCEPT, BID, MOST_OPEN, OFFER, Book, accept, bid, offer

Said = tuple[str, str, bytes]


def book_of(*said: Said) -> Book:
    book = Book()
    for who, resource, text in said:
        book = book.heard(who, resource, text)
    return book


A_SALE: tuple[Said, ...] = (
    ("ann", OFFER, offer("ann-1", 1500, 80)),
    ("ben", BID, bid("ann-1", 90)),
    ("cid", BID, bid("ann-1", 95)),
    ("dan", BID, bid("ann-1", 70)),
    ("ann", ACCEPT, accept("ann-1", "cid")),
)


def test_a_seller_sells_to_whom_it_accepts() -> None:
    book = book_of(*A_SALE[:-1])
    (open_offer,) = book.open()
    best = book.best(open_offer)
    assert best is not None and (best.buyer, best.price) == ("cid", 95)
    sold = book_of(*A_SALE)
    assert sold.open() == []
    assert sold.lines() == ["ann-1      ann        1.50 kWh  asks   8.0 ct  sold to cid for 9.5 ct"]
    assert book.lines() == ["ann-1      ann        1.50 kWh  asks   8.0 ct  bid 9.5 ct by cid"]


def test_nobody_else_sells_and_no_low_bid_buys() -> None:
    assert book_of(*A_SALE[:-1], ("ben", ACCEPT, accept("ann-1", "ben"))).trades == []
    assert book_of(*A_SALE[:-1], ("ann", ACCEPT, accept("ann-1", "dan"))).trades == []
    assert book_of(*A_SALE[:-1], ("ann", ACCEPT, accept("ann-1", "eve"))).trades == []
    assert book_of(("ben", OFFER, offer("ann-1", 1, 1))).offers == {}


@given(order=st.permutations(A_SALE), again=st.lists(st.sampled_from(A_SALE), max_size=3))
def test_order_and_repetition_change_nothing(order: list[Said], again: list[Said]) -> None:
    assert book_of(*order, *again).lines() == book_of(*A_SALE).lines()


@settings(max_examples=40)
@given(
    who=st.text(max_size=5), resource=st.sampled_from([OFFER, BID, ACCEPT, "market/else"]), text=st.binary(max_size=60)
)
def test_nonsense_changes_nothing_but_a_count(who: str, resource: str, text: bytes) -> None:
    book = book_of(*A_SALE)
    after = book.heard(who, resource, text)
    assert after.lines() == book.lines() and after.refused <= 1


def test_nobody_fills_the_book_of_others() -> None:
    book = Book()
    for number in range(MOST_OPEN + 5):
        book = book.heard("ann", OFFER, offer(f"ann-{number}", 1, 1))
        book = book.heard("ann", BID, bid(f"ben-{number}", 1))
    assert (len(book.offers), len(book.bids), book.refused) == (MOST_OPEN, MOST_OPEN, 10)
