"""The energy model, computed again by hand; no profile says a number without its source."""

import tomllib
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from keymote.bench import operations
from keymote.errors import CallerFault
from keymote.lab.energy import Kind, Profile, Traffic, cost
from keymote.lab.energy.radio import air
from keymote.lab.files import profiles

FIGURE = {"value": 1.0, "kind": "estimate", "source": "made for this test"}
ROUND: dict[str, Any] = {
    "name": "round",
    "title": "Round numbers",
    "group": "P-256",
    "suite": 17,
    "electrical": {
        "voltage_v": {**FIGURE, "value": 2},
        "clock_hz": {**FIGURE, "value": 1_000_000},
        "cpu_a": {**FIGURE, "value": 0.01},
        "tx_a": {**FIGURE, "value": 0.02},
        "rx_a": {**FIGURE, "value": 0.03},
        "bit_rate": {**FIGURE, "value": 8000},
    },
    "cycles": {
        "mul": {**FIGURE, "value": 500_000},
        "base_mul": {**FIGURE, "value": 200_000},
        "check": {**FIGURE, "value": 10_000},
        "sign": {**FIGURE, "value": 300_000},
        "verify": {**FIGURE, "value": 600_000},
        "sha256_block": {**FIGURE, "value": 100},
        "aes_block": {**FIGURE, "value": 50},
    },
}


def test_a_phase_costs_what_it_costs_by_hand() -> None:
    spent = cost(Profile.read(ROUND), {"mul": 3, "hmac": 2, "aead": 1}, Traffic((62,), ()))
    assert spent.cpu_s == pytest.approx((3 * 500_000 + 2 * 5 * 100 + 12 * 50) / 1e6)
    assert spent.cpu_j == pytest.approx(spent.cpu_s * 2 * 0.01)
    assert spent.frames == 1
    assert spent.tx_j == pytest.approx((6 + 23 + 9 + 62) / 1000 * 2 * 0.02)  # 1 ms a byte at 8000 bit/s
    assert spent.rx_j == pytest.approx(11 / 1000 * 2 * 0.03)
    assert spent.total_j == pytest.approx(spent.cpu_j + spent.tx_j + spent.rx_j)


def test_what_is_received_costs_the_receiver_and_its_acknowledgement() -> None:
    spent = cost(Profile.read(ROUND), {}, Traffic((), (62,)))
    assert spent.rx_j == pytest.approx(100 / 1000 * 2 * 0.03)
    assert spent.tx_j == pytest.approx(11 / 1000 * 2 * 0.02)
    assert (spent.cpu_s, spent.radio_s) == (0, pytest.approx(0.111))


@pytest.mark.parametrize(
    ("payload", "frames", "octets"),
    [
        (0, 1, 38),
        (95, 1, 133),  # 127 bytes and what the physical layer adds
        (96, 2, 2 * 29 + 9 + 4 + 5 + 96),
        (88 + 96, 2, 2 * 29 + 9 + 4 + 5 + 184),  # 88 in the first fragment, 96 in each further one
        (88 + 97, 3, 3 * 29 + 9 + 4 + 10 + 185),
    ],
)
def test_a_datagram_is_cut_as_6lowpan_cuts_it(payload: int, frames: int, octets: int) -> None:
    assert air(payload) == (frames, octets, 11 * frames)


def test_every_profile_prices_every_operation_with_a_source() -> None:
    found = profiles()
    assert {"cc2538-pka", "cc2538-software", "cortex-m4", "z1"} <= found.keys()
    for profile in found.values():
        assert profile.cycles.keys() >= operations.operations().keys()
        assert all(figure.source and figure.value > 0 for figure in profile.cycles.values())


def test_the_papers_platform_is_the_papers() -> None:
    for name in ("cc2538-pka", "cc2538-software"):
        profile = profiles()[name]
        assert profile.cpu_w == pytest.approx(0.0273)
        assert (profile.voltage_v.kind, profile.cpu_a.kind, profile.clock_hz.kind) == (Kind.PAPER,) * 3


def test_numbers_of_sensor_networks_7_come_out() -> None:
    """SENSOR-NETWORKS 7.1, 7.2: 4.55 mJ a multiplication, 1.613 uJ a byte sent, 1.344 received; X25519 12.3 mJ on a Z1."""
    cc2538, z1 = profiles()["cc2538-pka"], profiles()["z1"]
    assert cost(cc2538, {"mul": 1}, Traffic()).total_j == pytest.approx(4.55e-3, rel=0.001)
    byte = 8 / cc2538.bit_rate.value * cc2538.voltage_v.value
    assert byte * cc2538.tx_a.value == pytest.approx(1.613e-6, rel=0.001)
    assert byte * cc2538.rx_a.value == pytest.approx(1.344e-6, rel=0.001)
    assert cost(z1, {"mul": 1}, Traffic()).total_j == pytest.approx(12.3e-3, rel=0.01)


def _without(table: dict[str, Any], *path: str) -> dict[str, Any]:
    changed = deepcopy(table)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


def _with(table: dict[str, Any], value: object, *path: str) -> dict[str, Any]:
    changed = deepcopy(table)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    "table",
    [
        _without(ROUND, "cycles", "mul", "source"),
        _without(ROUND, "cycles", "verify"),
        _without(ROUND, "electrical", "tx_a"),
        _without(ROUND, "suite"),
        _with(ROUND, {**FIGURE, "value": 0}, "cycles", "mul"),
        _with(ROUND, {**FIGURE, "value": True}, "cycles", "mul"),
        _with(ROUND, {**FIGURE, "value": "fast"}, "cycles", "mul"),
        _with(ROUND, {**FIGURE, "kind": "rumour"}, "cycles", "mul"),
        _with(ROUND, {**FIGURE, "source": ""}, "cycles", "mul"),
        _with(ROUND, FIGURE, "cycles", "pairing"),
        _with(ROUND, "brainpool", "group"),
        _with(ROUND, 1, "suite"),
        _with(ROUND, 3, "cycles", "mul"),
        _with(ROUND, [], "cycles"),
    ],
)
def test_a_profile_without_its_numbers_or_sources_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(CallerFault):
        Profile.read(table)


def test_an_operation_without_a_price_is_refused() -> None:
    with pytest.raises(CallerFault, match="pairing"):
        cost(Profile.read(ROUND), {"pairing": 1}, Traffic())


def test_the_profiles_are_shipped_as_they_are_read() -> None:
    folder = files("keymote.lab").joinpath("energy/profiles")
    names = [
        tomllib.loads(entry.read_text("utf-8"))["name"] for entry in folder.iterdir() if entry.name.endswith(".toml")
    ]
    assert sorted(names) == sorted(profiles())


def test_a_user_adds_a_device_by_a_file(tmp_path: Path) -> None:
    shipped = files("keymote.lab").joinpath("energy/profiles/z1.toml").read_text("utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.replace('name = "z1"', 'name = "mine"'))
    assert list(profiles([mine]))[-1] == "mine"
    mine.write_text(shipped)
    with pytest.raises(CallerFault, match="already"):
        profiles([mine])
    mine.write_text("name = ")
    with pytest.raises(CallerFault, match="not TOML"):
        profiles([mine])
    with pytest.raises(CallerFault, match="cannot read"):
        profiles([tmp_path / "nowhere.toml"])
