"""Attacks on how a reading is encrypted: pads used twice, bits flipped, keys too short, blocks too small (C-01, 02, 04, 11, 14)."""

from collections import Counter
from dataclasses import dataclass, field
from math import log
from typing import Final, cast

from keymote.cbor import uint
from keymote.crypto.aead import Aead
from keymote.crypto.kdf import chain_step
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held
from keymote.lab.attacks.topic_stage import ALL, KNOWN, READING, a_grant, bedside, flipped, seen, ward
from keymote.lab.published.pubsub import KEY_SIZE, block_by_block, xor
from keymote.wire.pub import MAX_PLAINTEXT, read

NEXT: Final = READING.replace(b"72", b"75")
KEYS_A_SECOND: Final = 10**12
DAY_S: Final = 86_400
STRONG: Final = 128
"""Bits that a key must have."""
_BLOCK: Final = 8

# ------------------------------------------------------------------ C-01


def _prefix_gives_the_key(effort: Effort) -> Outcome:
    """Listen to one reading whose beginning anybody guesses."""
    _, sensor, _ = ward(effort, "C-01")
    payload = sensor.publish(READING)
    key = xor(payload[:KEY_SIZE], KNOWN)
    if xor(key, payload) != READING:
        return held("the key is not that of the prefix")
    return Succeeds(f"{KNOWN.decode()} xor 8 bytes is the key: all {len(READING)} bytes are read")


def _prefix_of_every_cipher(effort: Effort) -> Outcome:
    """Do the same to a reading under every cipher, and to the one after it."""
    for cs in sorted(ALL):
        sensor, _ = bedside(a_grant(effort.entropy(f"C-01 {cs}"), cs=cs))
        first, second = (read(sensor.publish(reading)).ciphertext for reading in (READING, NEXT))
        stream = xor(KNOWN, first[: len(KNOWN)])
        for ciphertext, truth in ((first, READING), (second, NEXT)):
            if xor(stream, ciphertext)[len(KNOWN) : len(truth)] == truth[len(KNOWN) :]:
                return Succeeds(f"cipher {cs}: the first 8 bytes of key stream open the rest")
    return held(f"{len(ALL)} ciphers: 8 bytes of key stream open neither the rest of a reading nor the next one")


# ------------------------------------------------------------------ C-02


def _flip_as_printed(effort: Effort) -> Outcome:
    """Change 72 to 12 on the way."""
    _, sensor, monitor = ward(effort, "C-02")
    at = READING.index(b"7")
    taken = monitor.receive(flipped(sensor.publish(READING), at, ord("7") ^ ord("1")))
    return (
        Succeeds(f"the monitor shows {taken[:8].decode()}") if b'"hr":12' in taken else held("it shows something else")
    )


def _flip(effort: Effort) -> Outcome:
    """Flip the same bits under every cipher."""
    outcome: Outcome = held("no cipher")
    for cs in sorted(ALL):
        sensor, monitor = bedside(a_grant(effort.entropy(f"C-02 {cs}"), cs=cs))
        data = sensor.publish(READING)
        at = len(data) - len(read(data).ciphertext) + READING.index(b"7")
        outcome = seen(monitor.hear(flipped(data, at, ord("7") ^ ord("1"))), f"cipher {cs}, 72 is 12")
        if isinstance(outcome, Succeeds):
            return outcome
        if monitor.state.failures != 1 or isinstance(monitor.hear(data), PeerFault):
            return Succeeds(f"cipher {cs}: the true reading is lost")
    return outcome


# ------------------------------------------------------------------ C-04


def _count_keys(effort: Effort) -> Outcome:
    """Do the sum of section 6.4.1."""
    trusted, _, _ = ward(effort, "C-04")
    keys = 1 << 8 * len(trusted.drawn[0])
    days = keys / KEYS_A_SECOND / DAY_S
    if days > 365:
        return held(f"{days:.0f} days")
    return Succeeds(
        f"{keys:.3g} is the number of keys, not of years: {days:.0f} days at 10^12 a second; C-01 needs none"
    )


def _bits_that_count(aead: Aead, material: bytes) -> int:
    """Return how many bits of a message key decide whether a reading opens."""
    ciphertext = aead.seal_derived(material, b"", KNOWN)
    count = 0
    for bit in range(8 * 32):
        try:
            aead.open_derived(flipped(material, bit >> 3, 1 << (bit & 7)), b"", ciphertext)
        except PeerFault:
            count += 1
    return count


def _key_bits(effort: Effort) -> Outcome:
    """Count, under every cipher, the bits of a reading's key that whoever tries keys has to find."""
    counts = {}
    for cs in sorted(ALL):
        sensor, _ = bedside(a_grant(effort.entropy(f"C-04 {cs}"), cs=cs))
        state = sensor.state
        material, _ = chain_step(state.c, uint(state.n))
        counts[cs] = _bits_that_count(state.chain.cipher, material)
    weakest = min(counts, key=lambda cs: counts[cs])
    if counts[weakest] < STRONG:
        return Succeeds(f"cipher {weakest}: {counts[weakest]} bits to try")
    return held(f"every one of {counts[weakest]} bits or more decides, in each of {len(counts)} ciphers")


# ------------------------------------------------------------------ C-11

RECORD: Final = b"".join(
    b'{"hr":%d,"spo2":%d,"resp":%d,"temp":%d.%d,"bed":"%d-%d"}\n'
    % (61 + 7 * i % 43, 92 + i % 8, 12 + 5 * i % 9, 36 + i % 3, 3 * i % 10, 7, 3)
    for i in range(24)
)
"""What a sensor gathered while it was out of reach, in one payload."""
SAMPLE: Final = b'{"pulse":84,"alarm":"none","device":"ecg 15","systolic":120,"ts":1699,"leads":[1,2,3]}\n' * 4
"""JSON of somebody else: how often which byte stands in such a text."""


def _likeliest(column: bytes) -> int:
    """Return the key byte under which a column of ciphertext looks most like such a text."""
    common = Counter(SAMPLE)
    scores = [log(0.01 + common[byte]) if byte in common else -6.0 for byte in range(256)]
    return max(range(256), key=lambda guess: sum(scores[byte ^ guess] for byte in column))


def _columns(effort: Effort) -> Outcome:
    """Read a long payload without knowing a byte of it: every eighth byte has the same pad."""
    _, sensor, _ = ward(effort, "C-11")
    payload = sensor.publish(RECORD)
    guessed = bytes(_likeliest(payload[at::KEY_SIZE]) for at in range(KEY_SIZE))
    right = sum(a == b for a, b in zip(xor(guessed, payload), RECORD, strict=True))
    if right < len(RECORD) // 2:
        return held(f"{right} of {len(RECORD)} bytes")
    return Succeeds(f"{right} of {len(RECORD)} bytes are read without known text, by how often letters stand in JSON")


def _pads_compared(effort: Effort) -> Outcome:
    """Look for two readings, or two parts of one, under the same pad, under every cipher."""
    compared = 0
    for cs in sorted(ALL):
        sensor, _ = bedside(a_grant(effort.entropy(f"C-11 {cs}"), cs=cs))
        texts = [READING[:24].ljust(24 * _BLOCK, bytes((65 + i,))) for i in range(4)]
        pads = [xor(text, read(sensor.publish(text)).ciphertext[: len(text)]) for text in texts]
        blocks = [pad[at : at + _BLOCK] for pad in pads for at in range(0, len(pad), _BLOCK)]
        compared += len(blocks)
        if len(set(blocks)) < len(blocks):
            return Succeeds(f"cipher {cs}: a pad of 8 bytes comes twice")
    return held(f"{compared} blocks of key stream in {len(ALL)} ciphers, none twice in a session")


# ------------------------------------------------------------------ C-14


def _code_book(effort: Effort) -> Outcome:
    """Listen to a session of readings of one block each, block by block under one key: the paper names no mode."""
    _, sensor, _ = ward(effort, "C-14")
    rates = [60 + 7 * n * n % 41 for n in range(effort.choose(300, 3000))]
    blocks = [block_by_block(sensor.key, b"hr %5d" % rate) for rate in rates]
    if len(set(blocks)) != len(set(rates)):
        return held("equal readings look different")
    return Succeeds(
        f"{len(rates)} readings show {len(set(blocks))} different blocks: a code book; in a chaining mode two blocks are "
        f"equal after 2^32 of them ({(1 << 32) * _BLOCK / 1e9:.0f} GB), and no session ends by count"
    )


@dataclass(slots=True)
class Counting:
    """A cipher that counts blocks of 64 bits under each key."""

    aead: Aead
    blocks: Counter[bytes] = field(default_factory=Counter)

    def seal_derived(self, material: bytes, aad: bytes, plaintext: bytes) -> bytes:
        self.blocks[material[:32]] += -(-len(plaintext) // _BLOCK)
        return self.aead.seal_derived(material, aad, plaintext)


def _blocks_under_a_key(effort: Effort) -> Outcome:
    """Send the longest readings under each of the three small block ciphers; count blocks under one key."""
    most, readings = 0, effort.choose(2, 200)
    for cs in (16, 17, 18):
        sensor, _ = bedside(a_grant(effort.entropy(f"C-14 {cs}"), cs=cs))
        counting = Counting(sensor.state.chain.cipher)
        sensor.state = sensor.state._replace(chain=sensor.state.chain._replace(cipher=cast("Aead", counting)))
        for _ in range(readings):
            sensor.publish(bytes(MAX_PLAINTEXT))
        most = max(most, *counting.blocks.values())
    if most > MAX_PLAINTEXT // _BLOCK:
        return Succeeds(f"{most} blocks under one key, and more with each reading")
    return held(f"{most} blocks at most under one key, whatever the session: chance of a collision 2^-{65 - 14}")


def _session_without_end(effort: Effort) -> Outcome:
    """Ask for a session of 2^32 readings under a cipher with blocks of 64 bits."""
    sensor, _ = bedside(a_grant(effort.entropy("C-14 end"), cs=16, max_msgs=1 << 32))
    end = sensor.state.chain.end
    if end > 1 << 20:
        return Succeeds(f"the session has {end} readings")
    return held(f"the session ends after {end} readings, as 2^20 is the most")


ATTACKS = (
    Attack(
        "C-01",
        "XOR with known plaintext",
        "E",
        _prefix_gives_the_key,
        (Attempt("prefix of a reading", "property", _prefix_of_every_cipher),),
    ),
    Attack("C-02", "Flipped bits", "M", _flip_as_printed, (Attempt("72 becomes 12", "E_AUTH", _flip),)),
    Attack(
        "C-04",
        "Keys counted as years",
        "E",
        _count_keys,
        (Attempt("bits that decide", "property", _key_bits),),
    ),
    Attack(
        "C-11",
        "Many-time pad",
        "E",
        _columns,
        (Attempt("pads compared", "property", _pads_compared),),
    ),
    Attack(
        "C-14",
        "Small blocks in a long session",
        "E",
        _code_book,
        (
            Attempt("blocks under one key", "property", _blocks_under_a_key),
            Attempt("session of 2^32 readings", "property", _session_without_end),
        ),
    ),
)
