"""Five ways to give a street of meters one key without a ring, flow by flow.

Each is drawn as favourably as its papers and RFCs allow: pairwise keys where one is needed are there already, nothing is
lost or repeated, TCP costs 12 bytes more than UDP and no acknowledgements, and nobody confirms unless the scheme does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keymote.engine.base import MULTICAST, Peer
from keymote.lab.baselines.script import SERVER, Flow, Operations, Script

TCP: Final = 12
"""Bytes by which a TCP header exceeds UDP's (20 against 8), no options, no acknowledgements."""


class Event(StrEnum):
    """What happens: a street forms, or one meter leaves and the others get a new key."""

    FORM = "form"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of real messages for `n` meters, measured by `bench.group_baselines`; UDP payloads but for TLS's flights.

    `tls` are the flights of a mutual TLS 1.3 handshake: client, server, client; `record` is a group key in a TLS record.
    """

    lkh_path: int
    lkh_leave: int
    dh_start: int
    dh_share: int
    dh_wrap: int
    tree_package: int
    tree_welcome: int
    tree_commit: int
    tls: Sequence[int]
    tls_record: int
    mqtt_connect: int
    mqtt_connack: int
    mqtt_subscribe: int
    mqtt_suback: int
    mqtt_publish: int


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of one node, by the names of `bench/operations.toml`; TLS's are RFC 8446's counted with P-256 certificates."""

    tls_client: Operations
    tls_server: Operations


TLS_WORK: Final = Work(
    {
        "base_mul": 1,
        "mul": 1,
        "random_scalar": 1,
        "check": 1,
        "sign": 1,
        "verify": 2,
        "hmac": 24,
        "hash": 12,
        "aead": 6,
    },
    {
        "base_mul": 1,
        "mul": 1,
        "random_scalar": 1,
        "check": 1,
        "sign": 1,
        "verify": 2,
        "hmac": 24,
        "hash": 12,
        "aead": 6,
    },
)
Scheme = Callable[[Sequence[Peer], Event, Sizes], Script]


def depth(n: int) -> int:
    """Return the height of a binary tree over `n` leaves."""
    return max(1, (n - 1).bit_length())


# ------------------------------------------------------------------ logical key hierarchy (RFC 2627 5.4)


def lkh(meters: Sequence[Peer], event: Event, sizes: Sizes) -> Script:
    """The server holds a tree of keys and each meter those on its path. Pairwise keys are provisioned."""
    levels = depth(len(meters))
    if event is Event.FORM:
        flows = [
            Flow(f"path {name}", SERVER, name, sizes.lkh_path, making={"aead": 1}, taking={"aead": 1})
            for name in meters
        ]
    else:
        made = {"aead": 2 * levels - 1, "sign": 1, "hash": 1}
        taken = {"aead": levels, "verify": 1, "hash": 1}
        flows = [Flow("leave", SERVER, MULTICAST, sizes.lkh_leave, making=made, taking=taken)]
    return Script("lkh", meters, flows)


# ------------------------------------------------------------------ centralised Diffie-Hellman


def central_dh(meters: Sequence[Peer], _event: Event, sizes: Sizes) -> Script:
    """Three rounds: the server's ephemeral key, each meter's, and the group key under what both share."""
    start = Flow(
        "start", SERVER, MULTICAST, sizes.dh_start, making={"base_mul": 1, "sign": 1}, taking={"verify": 1, "check": 1}
    )
    flows = [start]
    for name in meters:
        asking = {"base_mul": 1, "random_scalar": 1, "sign": 1, "mul": 1}
        flows.append(
            Flow(f"share {name}", name, SERVER, sizes.dh_share, frozenset({"start"}), asking, {"verify": 1, "check": 1})
        )
        answering = {"mul": 1, "hmac": 2, "aead": 1}
        flows.append(
            Flow(
                f"key {name}",
                SERVER,
                name,
                sizes.dh_wrap,
                frozenset({f"share {name}"}),
                answering,
                {"hmac": 2, "aead": 1},
            )
        )
    return Script("central-dh", meters, flows)


# ------------------------------------------------------------------ TreeKEM (RFC 9420), its shape


def treekem(meters: Sequence[Peer], event: Event, sizes: Sizes) -> Script:
    """One member commits: a fresh key at each node of its path, sealed to the other half below. No blanks."""
    levels = depth(len(meters))
    first, *others = meters
    commit = {"base_mul": 2 * levels, "mul": levels, "sign": 2, "hmac": 6 * levels, "aead": levels}
    process = {"mul": 1, "verify": 2, "hmac": 6 + 2 * levels, "aead": 1, "hash": levels}
    if event is Event.LEAVE:
        return Script("treekem", meters, [_from(first, "commit", sizes.tree_commit, frozenset(), commit, process)])
    packages = [
        Flow(
            f"package {name}",
            name,
            first,
            sizes.tree_package,
            making={"base_mul": 2, "random_scalar": 2, "sign": 2},
            taking={"verify": 2, "check": 2},
        )
        for name in others
    ]
    n = len(meters)
    seal = {"base_mul": n - 1, "mul": n - 1, "hmac": 6 * n, "aead": n - 1, "sign": 1}
    after = frozenset(flow.name for flow in packages)
    welcome = _from(first, "welcome", sizes.tree_welcome, after, {**commit, **seal, "sign": 3}, process)
    return Script("treekem", meters, [*packages, welcome])


def _from(source: Peer, name: str, octets: int, after: frozenset[str], making: Operations, taking: Operations) -> Flow:
    return Flow(name, source, MULTICAST, octets, after, making, taking)


# ------------------------------------------------------------------ TLS


def _handshake(name: Peer, sizes: Sizes) -> list[Flow]:
    """The three flights of TLS 1.3, client first."""
    hello, answer, finish = sizes.tls
    client, server = TLS_WORK.tls_client, TLS_WORK.tls_server
    return [
        Flow(f"hello {name}", name, SERVER, hello + TCP, making={"base_mul": 1, "random_scalar": 1}),
        Flow(f"answer {name}", SERVER, name, answer + TCP, frozenset({f"hello {name}"}), server),
        Flow(f"finish {name}", name, SERVER, finish + TCP, frozenset({f"answer {name}"}), _less(client)),
    ]


def _less(client: Operations) -> Operations:
    """Return what a client computes after the server's answer: all but its own key pair."""
    return {name: number for name, number in client.items() if name not in ("base_mul", "random_scalar")}


def mqtt_tls(meters: Sequence[Peer], event: Event, sizes: Sizes) -> Script:
    """A broker hands a key to each meter over MQTT in TLS; a meter that stays connected pays the handshake once."""
    flows: list[Flow] = []
    record = {"aead": 1}
    for name in meters:
        after = frozenset[str]()
        if event is Event.FORM:
            flows += _handshake(name, sizes)
            steps = (
                ("connect", name, SERVER, sizes.mqtt_connect, f"answer {name}"),
                ("connack", SERVER, name, sizes.mqtt_connack, f"connect {name}"),
                ("subscribe", name, SERVER, sizes.mqtt_subscribe, f"connack {name}"),
                ("suback", SERVER, name, sizes.mqtt_suback, f"subscribe {name}"),
            )
            for step, source, target, octets, before in steps:
                flows.append(Flow(f"{step} {name}", source, target, octets + TCP, frozenset({before}), record, record))
            after = frozenset({f"subscribe {name}"})
        flows.append(Flow(f"publish {name}", SERVER, name, sizes.mqtt_publish + TCP, after, record, record))
    return Script("mqtt-tls", meters, flows)


def tls_each(meters: Sequence[Peer], _event: Event, sizes: Sizes) -> Script:
    """The gateway opens TLS with each meter whenever the key changes: meters sleep, and sessions do not outlast that."""
    flows: list[Flow] = []
    for name in meters:
        flows += _handshake(name, sizes)
        after = frozenset({f"finish {name}"})
        flows.append(Flow(f"key {name}", SERVER, name, sizes.tls_record + TCP, after, {"aead": 1}, {"aead": 1}))
    return Script("tls-each", meters, flows)


SCHEMES: Final[Mapping[str, tuple[str, Scheme]]] = {
    "lkh": ("LKH", lkh),
    "central-dh": ("centralised DH", central_dh),
    "treekem": ("TreeKEM-shaped", treekem),
    "mqtt-tls": ("MQTT over TLS", mqtt_tls),
    "tls-each": ("TLS to each meter", tls_each),
}
"""Name -> title and script."""
