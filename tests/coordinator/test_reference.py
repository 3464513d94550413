"""The reference pages name what the code has: no route, file format or event kind is missing or invented."""

import re
from pathlib import Path

from keymote.coordinator.api.gate import OPEN
from keymote.wire import admin_files

DOCS = Path(__file__).parents[2] / "docs" / "reference"
SOURCES = Path(__file__).parents[2] / "src" / "keymote" / "coordinator"


def test_every_file_format_is_described() -> None:
    text = (DOCS / "files.md").read_text()
    formats = {
        kind.__struct_config__.tag
        for kind in vars(admin_files).values()
        if hasattr(kind, "__struct_config__") and kind.__struct_config__.tag
    }
    assert len(formats) >= 7
    assert {name for name in formats if name not in text} == set()


def test_every_open_path_is_named() -> None:
    text = (DOCS / "rest.md").read_text()
    assert {path for path in OPEN if f"`{path}`" not in text} == set()


def test_every_kind_of_event_is_named() -> None:
    text = (DOCS / "rest.md").read_text()
    source = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    kinds = set(re.findall(r'announce\(\s*(?:self\._)?tx, "([a-z.]+)"', source))
    kinds |= {"device.suspend", "device.resume", "device.retire"}
    kinds |= {f"{kind}.revoke" for kind in ("device", "manager", "credential")}
    assert {"session.revoke", "alarm.clone", "credential.superseded", "group.change", "alarm.conflict"} <= kinds
    assert {kind for kind in kinds if f"`{kind}`" not in text} == set()
