"""A device as the model sees it: a supply, a clock, a radio, and what a few primitives cost in cycles.

Everything else is priced from those few by `_COMPOSED`: how many blocks a hash of a session message takes, what a decoded
point costs. Rough where it hardly counts: in each phase multiplications and signatures are more than nine tenths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from keymote.errors import CallerFault
from keymote.lab.energy.figure import Figure, Kind

ELECTRICAL: Final = ("voltage_v", "clock_hz", "cpu_a", "tx_a", "rx_a", "bit_rate")
"""Figures of [electrical]: volts, hertz, amperes with the processor running, sending and receiving, bits a second."""
PRIMITIVES: Final = ("mul", "base_mul", "check", "sign", "verify", "sha256_block", "aes_block")
"""Figures of [cycles]. `check` decodes a compressed point: one square root in the field."""

SUITES_OF: Final[Mapping[str, tuple[int, ...]]] = {"P-256": (17,), "curve25519": (1, 2)}
"""Group -> the suites of Triad-1 that compute there."""

_COMPOSED: Final[Mapping[str, tuple[str, float, str]]] = {
    # operation: (primitive, how many, why)
    "add": ("check", 1, "an affine addition is one inversion, which costs what a square root does"),
    "random_scalar": ("sha256_block", 2, "64 bytes drawn and reduced mod q"),
    "check_scalar": ("sha256_block", 1, "a comparison, rounded up"),
    "scalar_mul_add": ("sha256_block", 1, "one product mod q, rounded up"),
    "hash_to_scalar": ("sha256_block", 5, "two SHA-256 or one SHA-512 of about 150 bytes, reduced mod q"),
    "aead": ("aes_block", 12, "CCM over 64 bytes with 32 bytes associated data: 5 of CTR, 7 of CBC-MAC (RFC 3610)"),
    "record": ("aes_block", 12, "as aead"),
    "hmac": ("sha256_block", 5, "two keyed blocks, two of a message of 64 bytes, one of the inner digest (RFC 2104)"),
    "hash": ("sha256_block", 4, "a message of 200 bytes"),
    "isk": ("sha256_block", 10, "two blocks of SHA-512, each about five of SHA-256 on 32-bit cores"),
}
_OF_GROUP: Final[Mapping[str, Mapping[str, tuple[str, float, str]]]] = {
    "P-256": {
        "map": ("base_mul", 1, "a random point is r G here (Triad-1 1.3)"),
        "generator": ("sha256_block", 1, "the standard generator: nothing to compute (Triad-1 2.4), rounded up"),
        "key_check": ("check", 1, "on the curve and not the identity; the cofactor is 1"),
    },
    "curve25519": {
        "map": ("check", 2, "the one-way map is two field maps with a square root each (RFC 9496 4.3.4)"),
        "generator": ("check", 2, "as map; its SHA-512 is small beside it"),
        "key_check": ("mul", 1, "q times the key is the identity (Triad-1 1.2.5)"),
    },
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One device. `cycles` prices the operations of `bench/operations.toml`, each with its source."""

    name: str
    title: str
    group: str
    suite: int
    voltage_v: Figure
    clock_hz: Figure
    cpu_a: Figure
    tx_a: Figure
    rx_a: Figure
    bit_rate: Figure
    cycles: Mapping[str, Figure]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Self:
        """Return the profile that a TOML table declares.

        Raises:
            CallerFault: a figure is missing, unknown or without a source, or the group is none that can be priced.
        """
        name = str(table.get("name"))
        if table.keys() != {"name", "title", "group", "suite", "electrical", "cycles"}:
            raise CallerFault(f"profile {name} needs name, title, group, suite, [electrical] and [cycles]")
        if table["group"] not in _OF_GROUP:
            raise CallerFault(
                f"profile {name}: no prices for the group {table['group']!r}", do=f"known are {', '.join(_OF_GROUP)}"
            )
        if table["suite"] not in SUITES_OF[table["group"]]:
            raise CallerFault(f"profile {name}: suite {table['suite']!r} does not compute on {table['group']}")
        for section, known in (("electrical", ELECTRICAL), ("cycles", PRIMITIVES)):
            if not isinstance(table[section], Mapping) or set(table[section]) != set(known):
                raise CallerFault(f"profile {name}: [{section}] needs {', '.join(known)}, no more and no less")
        electrical = {key: Figure.read(f"{name}: {key}", entry) for key, entry in table["electrical"].items()}
        primitives = {key: Figure.read(f"{name}: {key}", entry) for key, entry in table["cycles"].items()}
        prices = dict(_composed(primitives, {**_COMPOSED, **_OF_GROUP[table["group"]]}))
        return cls(name, table["title"], table["group"], table["suite"], cycles=prices, **electrical)

    @property
    def cpu_w(self) -> float:
        """Watts of the processor at work, the radio off."""
        return self.voltage_v.value * self.cpu_a.value

    def seconds(self, operations: Mapping[str, int]) -> float:
        """Return how long the processor works for these operations; CallerFault for one without a price."""
        unknown = operations.keys() - self.cycles.keys()
        if unknown:
            raise CallerFault(f"profile {self.name} has no price for {', '.join(sorted(unknown))}")
        return sum(number * self.cycles[name].value for name, number in operations.items()) / self.clock_hz.value

    def as_json(self) -> dict[str, object]:
        """Return everything that this profile says, number by number with its source."""
        return {
            "name": self.name,
            "title": self.title,
            "group": self.group,
            "suite": self.suite,
            "electrical": {key: getattr(self, key).as_json() for key in ELECTRICAL},
            "cycles": {name: figure.as_json() for name, figure in self.cycles.items()},
        }


def _composed(primitives: Mapping[str, Figure], rules: Mapping[str, tuple[str, float, str]]) -> dict[str, Figure]:
    """Return the primitives and what follows from them, under the names of `bench/operations.toml`."""
    prices = dict(primitives)
    for operation, (primitive, number, why) in rules.items():
        of = primitives[primitive]
        prices[operation] = Figure(
            number * of.value, Kind.ESTIMATE, f"{number:g} x {primitive}: {why}; {primitive}: {of.source}"
        )
    return prices
