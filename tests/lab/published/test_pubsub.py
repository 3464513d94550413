"""Paper 002's scheme as printed: pcg-rand by its author's own output, keys of 64 bits, brokers that tell everything."""

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.topic.ciphers import CIPHERS, DEFAULT
from keymote.lab.published.pcg import Pcg32
from keymote.lab.published.pubsub import (
    KEY_SIZE,
    Broker,
    Configuration,
    block_by_block,
    delivered,
    delivery_of,
    system,
    xor,
)

AUTHORS_OUTPUT = (0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E)
"""Round 1 of `pcg32-demo`, seed 42, stream 54 (O'Neill's minimal C library)."""


def test_the_generator_says_what_its_authors_does() -> None:
    generator = Pcg32.seeded(42, 54)
    assert tuple(generator.draw() for _ in AUTHORS_OUTPUT) == AUTHORS_OUTPUT


def test_a_session_reaches_all_who_are_registered_and_ends_when_it_is_destroyed() -> None:
    trusted, motes = system(SeededEntropy(b"paper 002"), "sensor", "monitor")
    sent = trusted.session()
    for mote in motes:
        mote.install(sent[mote.name])
    sensor, monitor = motes
    assert monitor.receive(sensor.publish(b"a reading of more than 8 bytes")) == b"a reading of more than 8 bytes"
    assert len(sensor.key) == KEY_SIZE
    sensor.destroy()
    assert sensor.publish(b"x") == b""


def test_only_the_own_pss_opens_a_delivery() -> None:
    one, other = bytes(32), bytes(31) + b"\x01"
    assert delivered(one, delivery_of(one, b"8 bytes!")) == b"8 bytes!"
    assert delivered(other, delivery_of(one, b"8 bytes!")) is None
    assert delivery_of(one, b"8 bytes!") == delivery_of(one, b"8 bytes!"), "neither nonce nor number"


def test_no_cipher_number_leads_to_what_the_paper_does() -> None:
    doors = {aead._cipher.__module__ for aead in CIPHERS.values()}  # noqa: SLF001  # where each one really comes from
    assert doors == {"keymote.crypto.aead", "keymote.crypto.lightweight.etm"}
    assert set(CIPHERS) > DEFAULT


def test_equal_blocks_look_alike_and_xor_is_its_own_inverse() -> None:
    assert block_by_block(b"8 bytes!", bytes(16))[:8] == block_by_block(b"8 bytes!", bytes(16))[8:]
    assert xor(b"key", xor(b"key", b"anything")) == b"anything"


def test_a_broker_gives_what_it_knows_to_whoever_says_that_a_mote_is_there() -> None:
    native, visited, air = Broker("native"), Broker("visited"), list[Configuration]()
    native.attach(Configuration("sensor", b"password", ("ward/7",)))
    assert visited.appears("sensor", b"password", native, air)
    assert not visited.appears("sensor", b"guess", native, air)
    assert not visited.appears("stranger", b"password", native, air)
    assert [handed.credential for handed in air] == [b"password", b"password"]
