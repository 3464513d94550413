"""Paper 002 re-measured: work is counted from the engines, verdicts follow from numbers, the page says what the command says."""

from collections import Counter
from pathlib import Path

import pytest

from keymote.bench.reproduce import REPRODUCTIONS, Reproduced, reproduction
from keymote.bench.reproduce.paper002 import carriers, engines
from keymote.bench.reproduce.paper002.engines import Step
from keymote.bench.reproduce.paper002.lifetime import Between, Supply
from keymote.bench.reproduce.paper002.metering import Work, ascon_rounds, ccm_blocks, hashes
from keymote.bench.reproduce.paper002.run import MOTE, table
from keymote.bench.reproduce.paper002.schemes import Device, Scheme, Session, published
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import chain_step, mac16, sha256
from keymote.crypto.secret import Secret
from keymote.lab.energy import Figure, Traffic
from keymote.lab.files import profiles
from keymote.wire.mqttsn import Publish, decode

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "paper-002.md"
DEVICE = Device(profiles()[MOTE], Figure.read("ascon_round", table()["cycles"]["ascon_round"]))


@pytest.fixture(scope="module")
def found() -> Reproduced:
    return reproduction("paper-002").load()("0")


# ------------------------------------------------------------------ what is counted


def test_hashes_are_counted_block_by_block_and_only_meanwhile() -> None:
    key = Secret(bytes(32))
    with hashes() as work:
        sha256(bytes(55))  # one block with its padding
        sha256(bytes(56))  # two
        mac16(key, b"")  # two keyed blocks, one of padding, one of the inner digest
    assert work.operations["sha256_block"] == 1 + 2 + 4
    mac16(key, b"")
    assert work.operations["sha256_block"] == 7


def test_a_reading_takes_three_hmacs() -> None:
    with hashes() as step:
        chain_step(Secret(bytes(32)), b"\x00")
    for cs in (1, 2):
        _, work = engines.reading(SeededEntropy(b"reading"), cs, bytes(32))
        assert work.operations["sha256_block"] == step.operations["sha256_block"] == 12
        assert not work.operations["mul"] + work.operations["sign"]


@pytest.mark.parametrize(
    ("aad", "octets", "blocks", "rounds"),
    [
        (0, 0, 3, 24 + 8),
        (14, 16, 1 + 1 + 1 + 1 + 1, 24 + 8 + 8),
        (15, 17, 1 + 2 + 2 + 2 + 1, 24 + 8 + 8),
        (32, 32, 1 + 3 + 2 + 2 + 1, 24 + 3 * 8 + 2 * 8),
    ],
)
def test_calls_of_a_cipher_are_counted_as_their_standards_say(aad: int, octets: int, blocks: int, rounds: int) -> None:
    assert (ccm_blocks(aad, octets), ascon_rounds(aad, octets)) == (blocks, rounds)


def test_a_hand_over_is_two_messages_without_a_point() -> None:
    step = engines.hand_over(SeededEntropy(b"walk"))
    assert step.traffic.datagrams == 2
    assert set(step.work.operations) == {"sha256_block"}
    assert step.traffic.sent == (57,)


def test_mqttsn_is_what_a_gateway_decodes() -> None:
    (sent,) = carriers.mqttsn(32).sent
    assert sent == 39 and carriers.mqttsn(32, qos=0).received == ()
    packet = decode(Publish(carriers.TopicId(7), bytes(32), 1, 1).encode())
    assert isinstance(packet, Publish) and len(packet.encode()) == sent


# ------------------------------------------------------------------ what follows


def test_batteries_last_as_long_as_by_hand() -> None:
    supply = Supply.read(table()["supply"])
    idle = Scheme("idle", "", Step(Traffic(), Work()), Step(Traffic(), Work()), {}, "")
    assert supply.hours(DEVICE, idle, Session.DAILY, Between.OFF, 10) == pytest.approx(2.8 / 21e-6)
    assert supply.hours(DEVICE, idle, Session.DAILY, Between.ON, 10) == pytest.approx(2.8 / (18.8e-3 + 21e-6))
    busy = Scheme("busy", "", Step(Traffic(), Work(Counter(mul=1))), Step(Traffic(), Work()), {}, "")
    hourly = 3 * 21e-6 * 3600 + 10 * 7_933_296 / 8e6 * 3 * 0.00412
    assert supply.hours(DEVICE, busy, Session.DAILY, Between.OFF, 10) == pytest.approx(2.8 * 3600 * 3 / hourly)


def test_ascon_is_priced_by_its_rounds() -> None:
    spent = DEVICE.spend(Step(Traffic(), Work(Counter(), 100)))
    assert spent.cpu_s == pytest.approx(100 * 587 / 8e6)
    assert spent.total_j == pytest.approx(spent.cpu_s * 3 * 0.00412)


def test_the_papers_xor_computes_nothing_and_gets_a_key_for_each_reading() -> None:
    printed, bare = published()
    assert DEVICE.spend(printed.reading).cpu_j == 0
    assert printed.energy_j(DEVICE, Session.EACH) > bare.energy_j(DEVICE, Session.DAILY)


def test_the_page_has_every_claim_as_the_command_has_it(found: Reproduced) -> None:
    page = PAGE.read_text("utf-8")
    assert found.ok and "paper-002" in REPRODUCTIONS
    claims = found.result["claims"]
    assert isinstance(claims, list) and len(claims) == 15
    for claim in claims:
        assert f"| {claim['claim']} | {claim['paper']} | {claim['found']} | {claim['verdict']} |" in page
        assert claim["why"] and claim["source"]


@pytest.mark.long
def test_every_figure_is_drawn(found: Reproduced) -> None:
    assert set(found.drawings) == {"paper-002-energy", "paper-002-lifetime"}
    figure = pytest.importorskip("matplotlib.figure").Figure
    for draw in found.drawings.values():
        draw(figure())
