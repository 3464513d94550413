"""Guards of topic keys: ciphers with tags, one key a reading, numbers, policies, a chain that does not turn back."""

from collections.abc import Callable
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy, SystemEntropy
from keymote.crypto.kdf import chain_step, extract, sha256
from keymote.crypto.secret import Secret
from keymote.engine.topic import exchange, ratchet
from keymote.engine.topic.ciphers import CIPHERS
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import Receiving, Sending
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.attacks.topic_generator import STREAM
from keymote.lab.published.pcg import Pcg32
from keymote.lab.published.pubsub import KEY_SIZE, xor

NO_TAG = bytes(8)


class PapersCipher:
    """XOR under 64 bits of the message key, behind the face of an AEAD."""

    def seal_derived(self, material: bytes, _aad: bytes, plaintext: bytes) -> bytes:
        return xor(material[:KEY_SIZE], plaintext) + NO_TAG

    def open_derived(self, material: bytes, _aad: bytes, ciphertext: bytes) -> bytes:
        return xor(material[:KEY_SIZE], ciphertext[: -len(NO_TAG)])


def the_papers_cipher(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "cipher_of", lambda *_: PapersCipher())


class ShortKeys:
    """A cipher that takes no more than 64 bits of its key from the chain, as an export regulation may wish."""

    def __init__(self, cs: int) -> None:
        self.aead = CIPHERS[cs]

    def seal_derived(self, material: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return self.aead.seal_derived(material[:8] + bytes(24) + material[32:], aad, plaintext)

    def open_derived(self, material: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        return self.aead.open_derived(material[:8] + bytes(24) + material[32:], aad, ciphertext)


def short_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "cipher_of", lambda cs, _enabled: ShortKeys(cs))


def one_key_a_session(patch: pytest.MonkeyPatch) -> None:
    """Encrypt all readings of a session under the key of its first one."""

    def step(c: Secret, _index: bytes) -> tuple[bytes, Secret]:
        return chain_step(c, b"\x00")[0], c

    patch.setattr(ratchet, "chain_step", step)


def chain_that_stands(patch: pytest.MonkeyPatch) -> None:
    """Derive each reading's key from the session's one secret, and keep that."""
    patch.setattr(ratchet, "chain_step", lambda c, index: (chain_step(c, index)[0], c))


def sessions_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "most_messages", lambda _cs, asked: asked)


# ------------------------------------------------------------------ where keys come from


def pcg_for_the_system(patch: pytest.MonkeyPatch) -> None:
    """Draw from pcg-rand, "because of its properties"."""
    generator = Pcg32.seeded(42, STREAM >> 1)

    def draw(_self: SeededEntropy, n: int) -> bytes:
        return b"".join(generator.draw().to_bytes(4, "big") for _ in range(-(-n // 4)))[:n]

    patch.setattr(SeededEntropy, "draw", draw)  # what a world of the laboratory has for the operating system's


def snapshots(patch: pytest.MonkeyPatch) -> None:
    """Begin again from one state whenever the process is restored, every thousand draws."""
    drawn = [0]

    def draw(_self: SystemEntropy, n: int) -> bytes:
        drawn[0] += 1
        return sha256(b"state %d" % (drawn[0] % 1000))[:n]

    patch.setattr(SystemEntropy, "draw", draw)


# ------------------------------------------------------------------ readings

Unprotect = Callable[[Receiving, bytes], Any]


def _instead(patch: pytest.MonkeyPatch, wrap: Callable[[Unprotect, Receiving, bytes], Any]) -> None:
    unprotect = Receiving.unprotect
    patch.setattr(Receiving, "unprotect", lambda self, data: wrap(unprotect, self, data))


def any_number(patch: pytest.MonkeyPatch) -> None:
    """Open whatever opens, also for the second time: keep the first key of the session and go there from the start."""
    begun: dict[bytes, Receiving] = {}

    def open_(unprotect: Unprotect, state: Receiving, data: bytes) -> Any:
        first = begun.setdefault(state.chain.sender, state)
        try:
            return unprotect(state, data)
        except PeerFault as fault:
            if fault.code is not ErrorCode.E_REPLAY:
                raise
            return state, unprotect(first, data)[1]

    _instead(patch, open_)


def arrival_counts(patch: pytest.MonkeyPatch) -> None:
    """Number readings in the order in which they come, as a scheme without numbers does."""

    def open_(unprotect: Unprotect, state: Receiving, data: bytes) -> Any:
        following, found = unprotect(state, data)
        count = len(following.skipped) + 100
        return following, found if isinstance(found, PeerFault) else found._replace(n=count)

    _instead(patch, open_)


def nameless_topics(patch: pytest.MonkeyPatch) -> None:
    """Leave the topic out of a chain's first key and of what its tags cover."""
    binding, first_key = ratchet.binding, ratchet.first_key
    patch.setattr(ratchet, "binding", lambda cs, _topic, *rest: binding(cs, "", *rest))
    patch.setattr(ratchet, "first_key", lambda _topic, *rest: first_key("", *rest))


def policy_ignored(patch: pytest.MonkeyPatch) -> None:
    """Tell no subscriber whose countersignature to look for, nor a publisher to make one."""
    for side, at in ((Sending, 2), (Receiving, 3)):
        begin = side.begin.__func__

        def begun(cls: Any, *args: Any, begin: Any = begin, at: int = at) -> Any:
            return begin(cls, *args[:at], None, *args[at + 1 :])

        patch.setattr(side, "begin", classmethod(begun))


def any_countersignature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "check_countersignature", lambda *_: None)


def any_gap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "WINDOW", 1 << 32)


def moved_before_checked(patch: pytest.MonkeyPatch) -> None:
    """Go to a reading's number first and look at its tag afterwards."""

    def open_(unprotect: Unprotect, state: Receiving, data: bytes) -> Any:
        following, found = unprotect(state, data)
        if isinstance(found, PeerFault):
            following, _ = state._reach(ratchet.read(data).n)  # noqa: SLF001  # a guard is private by its nature
        return following, found

    _instead(patch, open_)


def any_number_of_guesses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ratchet, "MOST_FAILURES", 1 << 62)


# ------------------------------------------------------------------ keys


def steps_that_go_nowhere(patch: pytest.MonkeyPatch) -> None:
    """Count, and keep the key: what a PSS does."""
    patch.setattr(KeyChain, "step", lambda self: KeyChain(self.client_id, self.k + 1, self.ck))


def _timeless(patch: pytest.MonkeyPatch) -> None:
    """Derive keys of deliveries from neither number nor request, like Enc_PSS."""
    steps_that_go_nowhere(patch)
    lasting = Secret(extract(b"TRIAD1/C/pss", b"\x00").expose())
    patch.setattr(KeyChain, "sub", lambda _self, _label, _ctx, _length=32: lasting)
    patch.setattr(exchange, "sha256", lambda _data: bytes(32))


def deliveries_without_request(patch: pytest.MonkeyPatch) -> None:
    _timeless(patch)


def pushes_without_number(patch: pytest.MonkeyPatch) -> None:
    _timeless(patch)
    patch.setattr(exchange, "push_aad", lambda *_: cbor.encode_array("TRIAD1", 51))


def deliveries_at_any_number(patch: pytest.MonkeyPatch) -> None:
    """Do not look at the number of a delivery either."""
    _timeless(patch)
    take = exchange.take

    def taken(end: exchange.ClientEnd, data: bytes) -> Any:
        k = exchange.Kresp.decode(data, exchange._SIZES).k  # noqa: SLF001  # a guard is private by its nature
        asked = end.asked or (b"",)
        return take(exchange.ClientEnd(end.suite, KeyChain(end.chain.client_id, k, end.chain.ck), asked), data)

    patch.setattr(exchange, "take", taken)


def no_implicit_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    """Hear no request of number k + 1 before the KACK of k has come."""
    hear = exchange.hear

    def heard(end: exchange.SystemEnd, data: bytes) -> Any:
        if exchange.Kreq.decode(data, exchange._SIZES).k != end.chain.k:  # noqa: SLF001  # a guard is private by its nature
            raise PeerFault(ErrorCode.E_REPLAY, "another number")
        return hear(end, data)

    patch.setattr(exchange, "hear", heard)


def answers_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Answer each request as if it came for the first time."""
    hear = exchange.hear

    def heard(end: exchange.SystemEnd, data: bytes) -> Any:
        return hear(exchange.SystemEnd(end.suite, end.chain), data)

    patch.setattr(exchange, "hear", heard)
