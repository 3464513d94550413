"""The published scheme set up to be attacked: two operators, two enrolled devices, and an air to listen on."""

from dataclasses import dataclass

from keymote.lab.attacks.catalogue import Effort
from keymote.lab.published.pairwise import (
    Air,
    Coordinator,
    Device,
    Manager,
    Tamper,
    authenticate,
    enrol,
    introduce,
)


@dataclass(slots=True)
class Paper:
    """Devices `one` and `two` at managers `nm1` and `nm2`, each manager at a coordinator of its own."""

    one: Device
    two: Device
    nm1: Manager
    nm2: Manager
    air: Air

    def introduced(self) -> "Paper":
        """Let the managers hand over credentials."""
        introduce(self.one, self.two, self.nm1, self.nm2, self.air)
        return self

    def authenticated(self) -> bool:
        """Let both devices authenticate each other."""
        return authenticate(self.one, self.two, self.air) and authenticate(self.two, self.one, self.air)

    def tampered(self, tamper: Tamper) -> "Paper":
        """Let an adversary rewrite what is said from now on."""
        self.air.tamper = tamper
        return self


def paper(effort: Effort, label: str, *, enrolled: bool = True) -> Paper:
    """Return the published scheme in which both devices are enrolled, unless told otherwise."""
    entropy = effort.entropy(f"paper {label}")
    managers = [Manager(f"NM{n}", b"code of NM%d" % n, Coordinator(), entropy.fork(f"NM{n}")) for n in (1, 2)]
    devices = [Device(f"D{n}", b"code of D%d" % n, entropy.fork(f"D{n}")) for n in (1, 2)]
    air = Air()
    for manager, device in zip(managers, devices, strict=True):
        manager.codes[device.name] = device.code
        if enrolled:
            enrol(device, manager, air)
    return Paper(devices[0], devices[1], managers[0], managers[1], air)
