"""What `keymote topic` asks of a coordinator, and how it says what it hears."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from keymote.cli import topic_asking, topic_coordinator, topic_looks
from keymote.cli.topic import app
from keymote.cli.topic_asking import NUMBERS, Cipher, complete_clients, complete_filters
from keymote.engine.policy.topic_events import Cause
from keymote.engine.topic.ciphers import CIPHERS, DEFAULT
from keymote.errors import CallerFault, Unavailable
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin, admin_topics

PUMP, ANN, BEN = "00000000000000c4", "00000000000000a1", "00000000000000b2"
TID = "7a" * 8
VIEW = admin_topics.TopicView(
    tid=TID,
    filter="ward/7/#",
    manager="ts-1",
    nm_id="11" * 8,
    manager_state="active",
    version=3,
    policy="signed",
    emergency=True,
    cs=2,
    max_msgs=1000,
    life_s=3600,
    rotations=0,
    acted=False,
    clients=[admin_topics.ClientEntry(PUMP, "file", "pump-4", "active", 2)],
    sessions=[
        admin_topics.SessionView(
            "ward/7/pulse",
            4,
            2,
            1_800_000_000_000,
            None,
            [admin_topics.HolderEntry(ANN, 0, 4, False), admin_topics.HolderEntry(PUMP, 0, 3, True)],
            [PUMP],
            [PUMP],
        )
    ],
    removals=[admin.TopicGap(TID, "ward/7/#", BEN, "revoked", 1_800_000_000_000, 850, ["ward/7/pulse"], [])],
    topics=2,
)


class Coordinator(OperatorClient):
    """Knows one rule, one manager and one provisioning file; notes what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any]] = []

    async def get(self, path: str, kind: type, **query: Any) -> Any:
        if path == f"/topics/{TID}":
            return VIEW
        pages: dict[str, list[Any]] = {
            "/topics": [admin_topics.TopicLine(TID, "ward/7/#", "ts-1", "mac", False, 1, 2, 1)],
            "/topics/clients": [admin_topics.FileClientView(PUMP, "pump-4", "11" * 8, 1_800_000_000_000)],
            "/managers": [SimpleNamespace(name="ts-1", nm_id="11" * 8)],
            "/devices": [SimpleNamespace(dev_id=ANN)],
        }
        wanted = query.get("filter")
        items = [each for each in pages[path] if wanted is None or each.filter == wanted]
        return SimpleNamespace(items=items, next=None)

    async def send(self, method: str, path: str, body: Any, kind: type) -> Any:
        self.sent.append((method, path, json.loads(admin.encode(body))))
        return VIEW

    async def ask(self, method: str, path: str, kind: type) -> Any:
        self.sent.append((method, path, None))
        return VIEW


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    import asyncio

    made = Coordinator()
    for module in (topic_asking, topic_coordinator, topic_looks):
        monkeypatch.setattr(module, "at_coordinator", lambda _folder, _url, work: asyncio.run(work(made)))
    return made


def run(*words: str) -> str:
    ran = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if ran.exception is not None:
        raise ran.exception
    return ran.stdout


def test_CT20_a_wish_names_roles_and_cipher(coordinator: Coordinator) -> None:
    words = ("--manager", "ts-1", "--publish", ANN, "--publish", "pump-4", "--subscribe", "pump-4", "--signed")
    run("create", "ward/7/#", *words, "--cipher", "chacha20", "--life", "60", "--messages", "100", "--emergency")
    ((method, path, body),) = coordinator.sent
    assert (method, path) == ("POST", "/topics")
    assert body == {
        "filter": "ward/7/#", "manager": "11" * 8, "policy": "signed", "emergency": True, "cs": 3, "max_msgs": 100,
        "life_s": 60, "grants": [{"client": ANN, "roles": 1}, {"client": PUMP, "roles": 3}],
    }  # fmt: skip


def test_CT20_grants_and_their_end_go_to_the_rule_of_the_filter(coordinator: Coordinator) -> None:
    run("grant", "ward/7/#", ANN, "pump-4", "--subscribe")
    run("revoke", "ward/7/#", "pump-4", "--compromised")
    run("revoke", TID, ANN)
    run("rotate", "ward/7/#")
    run("close", "ward/7/#")
    below = f"/topics/{TID}"
    assert coordinator.sent == [
        ("POST", f"{below}/grants", {"grants": [{"client": ANN, "roles": 2}, {"client": PUMP, "roles": 2}]}),
        ("POST", f"{below}/revoked", {"clients": [PUMP], "compromised": True}),
        ("POST", f"{below}/revoked", {"clients": [ANN]}),
        ("POST", f"{below}/rotation", None),
        ("DELETE", below, None),
    ]


@pytest.mark.parametrize(
    ("words", "do"),
    [
        (("grant", "ward/7/#", ANN), "add --publish"),
        (("grant", "ward/7/#", "pump-9", "--publish"), "keymote topic clients"),
        (("rotate", "ward/8/#"), "quote filters"),
        (("create", "ward/8/#", "--manager", "ts-9"), "choose ts-1"),
    ],
)
def test_CT20_a_wish_that_cannot_be_says_what_to_do(coordinator: Coordinator, words: tuple[str, ...], do: str) -> None:
    with pytest.raises(CallerFault) as fault:
        run(*words)
    assert do in fault.value.do
    assert coordinator.sent == []


def test_CT20_people_see_who_has_the_newest_key_and_when_it_was_safe(coordinator: Coordinator) -> None:
    shown = run("show", "ward/7/#")
    for said in ("ts-1 (has not acted", "every reading signed, aes-ccm-8, emergencies", "pump-4", "850 ms", "not yet"):
        assert said in shown
    assert "1 more topics" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("ward/7/pulse"))
    assert line.split()[:3] == ["ward/7/pulse", "4", "revoke"]
    assert [word for word in line.split() if word in (ANN, PUMP)] == [ANN, PUMP, PUMP]


def test_CT20_programs_get_everything(coordinator: Coordinator) -> None:
    assert json.loads(run("show", "ward/7/#", "-o", "json")) == json.loads(admin.encode(VIEW))
    watched = run("show", "ward/7/#", "-o", "json", "--watch", "--times", "2", "--every", "0.1").splitlines()
    assert [json.loads(line)["version"] for line in watched] == [3, 3]
    assert json.loads(run("list", "-o", "json"))["topics"][0]["waiting"] == 1
    assert json.loads(run("clients", "-o", "json"))["clients"][0]["name"] == "pump-4"
    assert "2027-01-15" in run("clients")


def test_CT20_a_shell_completes_filters_and_clients(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = SimpleNamespace(params={})
    assert complete_filters(context, "wa") == ["ward/7/#"]
    assert complete_filters(context, "x") == []
    assert complete_clients(context, "0000") == [ANN, PUMP]

    def away(*_: object) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(topic_asking, "at_coordinator", away)
    assert complete_filters(context, "wa") == []


def test_CT20_names_are_those_of_the_engine() -> None:
    assert set(NUMBERS.values()) == set(CIPHERS)
    assert {number for number in NUMBERS.values() if number < topic_asking.BLOCKS_OF_64_BITS} == DEFAULT
    assert len(NUMBERS) == len(Cipher)
    assert [cause.name.lower() for cause in Cause] == list(topic_looks.CAUSES)
