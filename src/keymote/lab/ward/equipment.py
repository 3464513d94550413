"""What a hospital has before anybody comes: the rules of its topics, and an agent beside each broker."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hpke import SealingKey
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.base import Node
from keymote.engine.handover.faces import AgentContext
from keymote.engine.handover.federation import Broker as Listed
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home import Desk
from keymote.engine.handover.node import agent_node
from keymote.engine.policy.topic_charter import TopicGrant, TopicRule
from keymote.lab.scenes import identity
from keymote.lab.simulator import Channel, Simulator
from keymote.lab.ward.patient import ALARM, VITALS
from keymote.wire.topic import PUBLISH, SUBSCRIBE

AES_CCM: Final = 2
"""The cipher of the simulated readings: what is counted does not depend on it."""
LIFE_S: Final = 30 * 86400
"""Of keys and tickets: longer than anybody stays."""
SUITE: Final = SUITES[1]


def agent(ward: int) -> str:
    return f"agent{ward}"


def broker_id(ward: int) -> bytes:
    return b"broker%02d" % ward


def ward_of(name: str) -> int:
    """Return the ward of an agent."""
    return int(name.removeprefix("agent"))


def rules_for(patients: Iterable[str], caregivers: Iterable[str]) -> dict[str, TopicRule]:
    """Return by their filters the rules under which patients publish and caregivers read."""
    grants = [TopicGrant(identity(name), PUBLISH) for name in patients]
    grants += [TopicGrant(identity(name), SUBSCRIBE) for name in caregivers]
    by_id = tuple(sorted(grants))
    most = {"cs": AES_CCM, "life_s": LIFE_S, "grants": by_id}
    return {
        f"ward/+/{ALARM}": TopicRule(f"ward/+/{ALARM}", 1, emergency=True, **most),  # type: ignore[arg-type]
        f"ward/+/{VITALS}": TopicRule(f"ward/+/{VITALS}", 2, **most),  # type: ignore[arg-type]
    }


def start_agents(sim: Simulator, shared: Mapping[int, Secret], entropy: SeededEntropy, between_s: float) -> None:
    """Start the agent of each ward; `shared` (ward -> key) with the trusted system, `between_s` a round trip of two agents."""
    keys = {at: SUITE.generate_signing_key(entropy.fork(f"agent {at}")) for at in shared}
    sealing = {at: SealingKey.of(Secret(entropy.draw(32))) for at in shared}
    listed = {
        broker_id(at): Listed(
            broker_id(at), identity(agent(at)), SUITE.verify_key(keys[at].public), sealing[at].public, agent(at)
        )
        for at in shared
    }
    federation = Federation(1, listed, (f"ward/+/{ALARM}",))
    wire = Channel(between_s / 2, reliable=True)
    for at in shared:
        desk = Desk(broker_id(at), identity(agent(at)), keys[at], sealing[at])
        sim.add(agent(at), partial(_agent_node, desk, shared[at], federation))
        for other in shared:
            sim.channels[agent(at), agent(other)] = wire


def _agent_node(desk: Desk, shared: Secret, federation: Federation) -> Node:
    return agent_node(AgentContext(desk, shared, federation))
