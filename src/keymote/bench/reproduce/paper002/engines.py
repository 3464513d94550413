"""Our own engines as the mote runs them: a reading, a grant, a connect, a hand-over; bytes encoded, work metered."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keymote.bench import operations
from keymote.bench.reproduce.paper000 import engines as pairwise
from keymote.bench.reproduce.paper000.carrier import in_coap
from keymote.bench.reproduce.paper000.held import octets
from keymote.bench.reproduce.paper000.scheme import ENROLMENT
from keymote.bench.reproduce.paper002.metering import Work, ascon, ccm, hashes, protected
from keymote.crypto.entropy import Entropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.handover import client, keys
from keymote.engine.topic import admission, exchange
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import Sending
from keymote.lab.energy import Traffic
from keymote.wire.fields import sizes_of
from keymote.wire.topic import PUBLISH, HoAck, HoReq, KeyGrant, Right, TicketBody

TOPIC: Final = "ward/7/bed/3/hr"
CLIENT: Final = b"mote-7-3"
HOME, VISITED = b"broker-A", b"broker-B"
LIFE_S: Final = 86_400
PRICES: Final = {1: ascon, 2: ccm}
"""Ciphers for which cycles on an MSP430 are published."""
_SUITE: Final = 1
_KACK: Final = 20
"""Bytes of a KACK."""
_COUNT: Final = 4
"""Bytes of ho_ctr."""
_EARLY: Final = 100
"""Readings that were sent before the measured one: its index takes one byte, as most do."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the mote does: what it sends and hears, in its protocol's own bytes, and what it computes."""

    traffic: Traffic
    work: Work

    def as_json(self) -> dict[str, object]:
        return {"sent": list(self.traffic.sent), "received": list(self.traffic.received), "work": self.work.as_json()}


def grant(entropy: Entropy, cs: int) -> KeyGrant:
    return KeyGrant(entropy.draw(8), 3, 1, cs, entropy.draw(32), 0, 1 << 16, LIFE_S)


def reading(entropy: Entropy, cs: int, plaintext: bytes, *, signed: bool = False) -> tuple[int, Work]:
    """Return the bytes of a reading's PUB and what protecting it takes."""
    signing = suite_by_id(_SUITE).generate_signing_key(entropy) if signed else None
    state = Sending.begin(TOPIC, grant(entropy, cs), signing)
    for _ in range(_EARLY):
        state, _ = state.protect(b"")
    _, data, work = protected(state, plaintext, PRICES[cs])
    return len(data), work


def key_exchange(entropy: Entropy) -> Step:
    """Let the mote ask for a topic's key, take it, acknowledge, and begin its chain."""
    suite = MeteredSuite(suite_by_id(_SUITE))
    begun = KeyChain.begin(CLIENT, Secret(entropy.draw(32)))
    asking, system = exchange.ClientEnd(suite, begun), exchange.SystemEnd(suite_by_id(_SUITE), begun)
    with hashes() as asked:
        asking, kreq = exchange.request(asking, TOPIC, PUBLISH, entropy)
    wanted = exchange.hear(system, kreq)
    assert isinstance(wanted, exchange.Wanted)
    _, kresp = exchange.answer(wanted, grant(entropy, 1))
    with hashes() as taken:
        taking = exchange.take(asking, kresp)
        assert isinstance(taking, exchange.Granted)
        Sending.begin(TOPIC, taking.grant)
    opened = Work(Counter(aead=suite.counts["aead_open"]))
    return Step(Traffic((len(kreq), len(taking.kack)), (len(kresp),)), asked + taken + opened)


def _ticket(entropy: Entropy, K_home: Secret, shared: Secret) -> bytes:
    body = TicketBody(CLIENT, K_home.expose(), (Right("ward/7/#", PUBLISH),), LIFE_S, entropy.draw(8))
    return admission.issue_ticket(shared, HOME, body, entropy)


def connect(entropy: Entropy) -> Step:
    """Let the mote show its ticket to its home broker's agent."""
    K_home, shared = Secret(entropy.draw(32)), Secret(entropy.draw(32))
    ticket = _ticket(entropy, K_home, shared)
    with hashes() as work:
        asked = admission.connect(K_home, CLIENT, ticket, entropy)
    request, _, answer = admission.admit(shared, HOME, asked, entropy)
    with hashes() as further:
        nB = admission.admitted(K_home, asked, answer)
        admission.lower_layer_key(K_home, request.nC, nB)
    return Step(Traffic((len(asked),), (len(answer),)), work + further)


def hand_over(entropy: Entropy) -> Step:
    """Let the mote be taken over by a visited broker: HO_REQ, HO_ACK."""
    K_home, nV = Secret(entropy.draw(32)), entropy.draw(16)
    with hashes() as asked:
        state, request = client.begin(K_home, CLIENT, HOME, VISITED, 1, entropy)
    heard = HoReq.decode(request, sizes_of(_SUITE))
    K_v = keys.visited_key(K_home, heard, nV)
    answer = HoAck(nV, keys.acknowledgement_tag(K_v, heard, nV)).encode()
    with hashes() as finished:
        client.finish(state, answer)
    return Step(Traffic((len(request),), (len(answer),)), asked + finished)


def power_on(seed: bytes) -> Step:
    """Let a device enrol in the simulator, from HELLO to DONE, in CoAP: what it computes is prescribed, and not exceeded."""
    measured = pairwise.measure(seed, _SUITE, pairwise.Path(fast=True, compact=True))
    return Step(in_coap(measured.traffic[ENROLMENT]), Work(operations.enrolment()["device"]))


def state(entropy: Entropy) -> Mapping[str, int]:
    """Return the bytes that a mote keeps for topic keys, by what they are for."""
    K_home = Secret(entropy.draw(32))
    begun = KeyChain.begin(CLIENT, Secret(entropy.draw(32)))
    sending = Sending.begin(TOPIC, grant(entropy, 1))
    kept = (sending.chain.sender, sending.chain.bound, sending.chain.end, sending.c, sending.n)
    ticket = _ticket(entropy, K_home, Secret(entropy.draw(32)))
    return {
        "chain with the trusted system": octets(exchange.ClientEnd(suite_by_id(_SUITE), begun, (), bytes(_KACK))),
        "chain of a topic": octets(kept),
        "ticket and K_home": len(ticket) + len(K_home) + len(HOME) + _COUNT,
        "visit": len(VISITED) + 2 * len(K_home) + _COUNT,
    }
