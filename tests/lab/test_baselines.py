"""Other ways to a group key, replayed: what leaves after what, how long it takes, and what each meter computes."""

from collections import Counter

import pytest

from keymote.engine.base import MULTICAST
from keymote.errors import CallerFault
from keymote.lab.baselines import SCHEMES, Event, Flow, Script, Sizes, play
from keymote.lab.baselines.schemes import TCP, depth
from keymote.lab.baselines.script import SERVER
from keymote.lab.energy.radio import air
from keymote.lab.files import profiles
from keymote.lab.simulator import Channel

DEVICE = profiles()["cortex-m4"]
CHANNEL = Channel(0.010)
SIZES = Sizes(
    lkh_path=138, lkh_leave=352, dh_start=188, dh_share=147, dh_wrap=58, tree_package=275, tree_welcome=4011,
    tree_commit=720, tls=(244, 746, 480), tls_record=42, mqtt_connect=44, mqtt_connack=26, mqtt_subscribe=51,
    mqtt_suback=27, mqtt_publish=70,
)  # fmt: skip
METERS = ["m0", "m1", "m2"]


def airtime(octets: int) -> float:
    return air(octets).octets * 8 / 250_000


def test_a_script_takes_what_its_messages_and_operations_take_one_after_the_other() -> None:
    flows = [
        Flow("question", SERVER, MULTICAST, 50, taking={"mul": 1}),
        Flow("answer", "m0", SERVER, 60, frozenset({"question"}), {"sign": 1}, {"verify": 1}),
        Flow("key", SERVER, "m0", 70, frozenset({"answer"}), taking={"aead": 1}),
    ]
    played = play(Script("three", ["m0"], flows), lambda _name: DEVICE, CHANNEL, b"seed")
    work = DEVICE.seconds({"mul": 1, "sign": 1, "verify": 1, "aead": 1})
    assert played.seconds == pytest.approx(work + 3 * 0.010 + sum(map(airtime, (50, 60, 70))))
    assert played == play(Script("three", ["m0"], flows), lambda _name: DEVICE, CHANNEL, b"seed")


def test_a_script_that_cannot_be_played_is_refused() -> None:
    with pytest.raises(CallerFault, match="waits for one"):
        Script("loose", METERS, [Flow("a", SERVER, "m0", 9, frozenset({"b"}))])
    with pytest.raises(CallerFault, match="stands twice"):
        Script("double", METERS, [Flow("a", SERVER, "m0", 9), Flow("a", SERVER, "m1", 9)])
    with pytest.raises(CallerFault, match="fewer than"):
        Script("empty", METERS, [Flow("a", SERVER, "m0", 1)])


def test_what_is_lost_is_not_repeated() -> None:
    script = Script("one", ["m0"], [Flow("key", SERVER, "m0", 70)])
    with pytest.raises(CallerFault, match="0 of 1"):
        play(script, lambda _name: DEVICE, Channel(0.010, loss=1.0), b"seed")


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("event", Event)
def test_every_scheme_brings_every_meter_a_key(name: str, event: Event) -> None:
    _, make = SCHEMES[name]
    few, many = (make([f"m{at}" for at in range(n)], event, SIZES) for n in (3, 9))
    times = [play(script, lambda _name: DEVICE, CHANNEL, b"seed").seconds for script in (few, many)]
    assert 0.0 < times[0] <= times[1]
    assert many.octets >= few.octets
    assert len(few.flows) == len({flow.name for flow in few.flows})


def test_a_tree_costs_its_depth_and_a_centre_every_meter() -> None:
    assert [depth(n) for n in (2, 3, 4, 5, 25, 32, 33)] == [1, 2, 2, 3, 5, 5, 6]
    leave = SCHEMES["lkh"][1]([f"m{at}" for at in range(25)], Event.LEAVE, SIZES)
    assert leave.octets == SIZES.lkh_leave
    assert leave.operations_of(SERVER)["aead"] == 2 * 5 - 1
    assert leave.operations_of("m7") == Counter({"aead": 5, "verify": 1, "hash": 1})
    central = SCHEMES["central-dh"][1](METERS, Event.LEAVE, SIZES)
    assert central.octets == SIZES.dh_start + 3 * (SIZES.dh_share + SIZES.dh_wrap)
    assert central.operations_of(SERVER)["mul"] == 3
    assert central.operations_of("m0")["mul"] == 1


def test_tls_pays_its_handshake_once_where_connections_stay() -> None:
    broker, each = SCHEMES["mqtt-tls"][1], SCHEMES["tls-each"][1]
    formed, rekeyed = (broker(METERS, event, SIZES) for event in Event)
    assert rekeyed.octets == 3 * (SIZES.mqtt_publish + TCP)
    assert formed.octets > rekeyed.octets + 3 * sum(SIZES.tls)
    assert each(METERS, Event.LEAVE, SIZES).octets == each(METERS, Event.FORM, SIZES).octets
    client = each(METERS, Event.LEAVE, SIZES).operations_of("m0")
    assert (client["base_mul"], client["mul"], client["sign"], client["verify"]) == (1, 1, 1, 2)
