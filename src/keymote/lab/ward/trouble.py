"""What must not lose a reading in a hospital: brokers that are down, and keys that change while somebody sleeps."""

from keymote.engine.handover.faces import Resume as ResumeAgent
from keymote.engine.topic.faces import ResumeClient, RotateTopic, client_of, topic_of
from keymote.lab.scenes import identity
from keymote.lab.ward.caregiver import Caregiver
from keymote.lab.ward.equipment import agent
from keymote.lab.ward.hospital import TS, Hospital


def stop(world: Hospital, at: int, for_s: float) -> None:
    """Take a broker and its agent down; they come back with what is on disk."""
    broker = world.brokers[at]
    if not broker.up:
        return
    broker.stop()
    for other in world.brokers.values():
        if other is not broker:
            other.bridges[broker.name].lose()
    world.sim.reboot(agent(at), for_s)
    world.after(for_s + 0.001, lambda: _back(world, at))


def _back(world: Hospital, at: int) -> None:
    broker = world.brokers[at]
    broker.start()
    for other in world.brokers.values():
        if other is not broker:
            other.connect(other.bridges[broker.name])
            if not other.up:
                broker.bridges[other.name].lose()
    for caregiver in world.caregivers.values():
        if caregiver.broker is broker:
            caregiver.reconnect()
    for key in list(world.sim.hosts[agent(at)].cells):
        world.sim.command(agent(at), key, ResumeAgent())


def rotate(world: Hospital, topic: str, asleep: str, for_s: float) -> None:
    """Plan a new epoch of a topic while one caregiver sleeps."""
    caregiver = world.caregivers[asleep]
    if not caregiver.awake:
        return
    world.rotations += 1
    caregiver.sleep()
    world.sim.command(TS, topic_of(topic), RotateTopic())
    world.after(for_s, lambda: _wake(world, caregiver))


def _wake(world: Hospital, caregiver: Caregiver) -> None:
    caregiver.wake()
    world.sim.command(TS, client_of(identity(caregiver.name)), ResumeClient())
