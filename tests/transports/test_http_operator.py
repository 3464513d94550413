"""What an operator's commands read of a coordinator."""

from types import SimpleNamespace
from typing import Any

import pytest

from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin


class Coordinator(OperatorClient):
    """Answers with the numbers below `count`, two a page; the caller's words are kept in `asked`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[dict[str, Any]] = []

    async def get(self, path: str, kind: type, **query: Any) -> Any:
        self.asked.append({"path": path, "kind": kind, **query})
        start = query["after"] or 0
        end = min(start + 2, self.count)
        return SimpleNamespace(items=list(range(start, end)), next=end if end < self.count else None)


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (2, 1), (3, 2), (5, 3)])
async def test_a_list_is_read_to_its_last_page(count: int, pages: int) -> None:
    client = Coordinator(count)
    assert await client.whole("/managers", admin.ManagerPage, live="true") == list(range(count))
    same = {"path": "/managers", "kind": admin.ManagerPage, "limit": admin.MAX_PAGE, "live": "true"}
    assert client.asked == [{**same, "after": 2 * page or None} for page in range(pages)]
