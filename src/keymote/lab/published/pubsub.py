"""Paper 002, section 4: MQTT payloads under a session key of 64 bits, and brokers that hand a patient's sensor on.

What the paper leaves open is filled with the least inventive answer, and charitably: it names no cipher for Enc_PSS, so this
one is deterministic encryption with a full tag, the best there is for a message without nonce or number. Data are encrypted
by XOR, the paper's own choice.
"""

from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import mac16, sha256
from keymote.crypto.lightweight.block import HIGHT
from keymote.crypto.secret import Secret, equal
from keymote.lab.published.pcg import Pcg32

KEY_SIZE: Final = 8
"""Bytes of a session key: "encrypted with 64-bit dynamic key"."""
PSS_SIZE: Final = 32
_TAG: Final = 16
_BLOCK: Final = 8


def xor(key: bytes, data: bytes) -> bytes:
    """Return Enc_MQTT_enc_key(data): "a simple cryptographic operation ... such as invertible exclusive-OR"; the inverse too."""
    return bytes(a ^ b for a, b in zip(data, cycle(key), strict=False))


def delivery_of(pss: bytes, key: bytes) -> bytes:
    """Return Enc_PSS(key material): nothing in it says when, for which session, or in answer to what."""
    tag = mac16(Secret(pss), key)
    return tag + xor(sha256(pss + tag), key)


def delivered(pss: bytes, delivery: bytes) -> bytes | None:
    """Return the key material of a delivery; None for one that this PSS did not make."""
    tag, ct = delivery[:_TAG], delivery[_TAG:]
    key = xor(sha256(pss + tag), ct)
    return key if equal(mac16(Secret(pss), key), tag) else None


def block_by_block(key: bytes, data: bytes) -> bytes:
    """Return data under HIGHT, "other lightweight encryption methods such as HIGHT": the paper names no mode, and 64 bits of key.

    The key is said twice to fill HIGHT's 128 bits; `data` has whole blocks of 8 bytes.
    """
    return b"".join(HIGHT.encrypt(key * 2, data[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK))


@dataclass(slots=True)
class Mote:
    """A publisher or subscriber: its PSS stays in flash, its session key until a message is delivered."""

    name: str
    pss: bytes = field(repr=False)
    key: bytes = field(default=b"", repr=False)

    def install(self, delivery: bytes) -> None:
        """Take key material from the trusted system."""
        key = delivered(self.pss, delivery)
        if key is not None:
            self.key = key

    def publish(self, data: bytes) -> bytes:
        """Return the payload for the broker."""
        return xor(self.key, data)

    def receive(self, payload: bytes) -> bytes:
        """Return what a payload says; nothing can tell whether anybody said it."""
        return xor(self.key, payload)

    def destroy(self) -> None:
        """End the session: "both the keys ... are destroyed after the message is delivered successfully"."""
        self.key = b""


@dataclass(slots=True)
class TrustedSystem:
    """Registers motes and sends each the key of a session, drawn from pcg-rand."""

    generator: Pcg32
    motes: list[Mote] = field(default_factory=list)
    drawn: list[bytes] = field(default_factory=list, repr=False)

    def register(self, name: str, entropy: Entropy) -> Mote:
        mote = Mote(name, entropy.draw(PSS_SIZE))
        self.motes.append(mote)
        return mote

    def session(self) -> dict[str, bytes]:
        """Return mote -> delivery of the next session's key."""
        key = self.generator.key()
        self.drawn.append(key)
        return {mote.name: delivery_of(mote.pss, key) for mote in self.motes}


def system(entropy: Entropy, *names: str) -> tuple[TrustedSystem, list[Mote]]:
    """Return a trusted system whose generator is seeded with 128 good bits, and its motes."""
    seed, sequence = (int.from_bytes(entropy.draw(8), "big") for _ in range(2))
    trusted = TrustedSystem(Pcg32.seeded(seed, sequence >> 1))
    return trusted, [trusted.register(name, entropy.fork(name)) for name in names]


# ------------------------------------------------------------------ mobility (section 4.2)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a broker needs to know a mote: the "configuration and authentication details" that it hands over."""

    name: str
    credential: bytes = field(repr=False)
    topics: tuple[str, ...]


@dataclass(slots=True)
class Broker:
    """A broker; `air` hears what brokers say to each other."""

    name: str
    known: dict[str, Configuration] = field(default_factory=dict)

    def attach(self, configuration: Configuration) -> None:
        """Register a mote at its native broker."""
        self.known[configuration.name] = configuration

    def hand_over(self, name: str, air: list[Configuration]) -> Configuration | None:
        """Return what the native broker "will update and handover ... to visited broker": whoever says that it is one."""
        found = self.known.get(name)
        if found is not None:
            air.append(found)
        return found

    def admits(self, name: str, credential: bytes) -> bool:
        """Return whether this broker takes publications of whoever shows this."""
        found = self.known.get(name)
        return found is not None and equal(found.credential, credential)

    def appears(self, name: str, credential: bytes, native: "Broker", air: list[Configuration]) -> bool:
        """Serve a mote that has walked in: ask its native broker for the details, and compare."""
        handed = native.hand_over(name, air)
        if handed is not None:
            self.attach(handed)
        return self.admits(name, credential)
