"""Engines over a virtual network in virtual time: deterministic, without I/O, one seed a world."""

from keymote.lab.simulator.host import EPOCH, Build, Fuse, Host, Quartz, Row
from keymote.lab.simulator.network import Adversary, Channel, Datagram, passive
from keymote.lab.simulator.pace import Pace
from keymote.lab.simulator.world import Simulator

__all__ = [
    "EPOCH",
    "Adversary",
    "Build",
    "Channel",
    "Datagram",
    "Fuse",
    "Host",
    "Pace",
    "Quartz",
    "Row",
    "Simulator",
    "passive",
]
