"""What gateways report to their coordinator, as JSON: one form each, and batches that one call may carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from keymote.errors import PeerFault
from keymote.wire import admin, admin_groups
from keymote.wire.admin_groups import EpochReport, GroupReports, LeftReport, RosterReport, batches

KID = "00" * 8


def test_a_report_says_its_kind() -> None:
    sent = GroupReports([LeftReport(7, 1_800_000_000_000, KID), EpochReport(8, 1, 2, 1, 3, KID, [KID], 0, 0)])
    raw = admin.encode(sent)
    assert [item["kind"] for item in json.decode(raw)["items"]] == ["left", "epoch"]
    assert admin.decode(raw, GroupReports) == sent


@pytest.mark.parametrize(
    "item",
    [
        {"kind": "key", "seq": 1, "ts_ms": 1},
        {"kind": "left", "seq": 0, "ts_ms": 1, "dev_id": KID},
        {"kind": "left", "seq": 1, "ts_ms": 1, "dev_id": "A" * 16},
        {"kind": "left", "seq": 1, "ts_ms": 1, "dev_id": KID, "key": KID},
        {"kind": "epoch", "seq": 1, "ts_ms": 1, "epoch": 1 << 32},
        {"kind": "refused", "seq": 1, "ts_ms": 1, "text": "x" * 201},
    ],
)
def test_another_report_is_refused(item: dict[str, object]) -> None:
    with pytest.raises(PeerFault, match="E_FORMAT"):
        admin.decode(json.encode({"items": [item]}), GroupReports)


@given(st.lists(st.integers(0, 4096), max_size=200))
def test_batches_keep_the_order_and_fit_one_call(sizes: list[int]) -> None:
    items = [RosterReport(seq, 0, "A" * size) for seq, size in enumerate(sizes, 1)]
    made = list(batches(items))
    assert [item for batch in made for item in batch] == items
    for batch in made:
        body = admin.encode(GroupReports(batch))
        assert admin.decode(body, GroupReports).items == batch
        assert len(batch) <= admin_groups.MOST_ITEMS
        assert len(body) <= admin_groups.MOST_BATCH + 100
