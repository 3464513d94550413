"""What others would do in a ring's place, as sizes and times: who says how many bytes to whom after hearing what.

`schemes` says it for key hierarchies, a key distributor, TreeKEM and TLS; `play` lets a script run over the very simulated
network on which our engines run. The sizes are measured on real objects by `bench.group_baselines`.
"""

from keymote.lab.baselines.play import Played, play
from keymote.lab.baselines.schemes import SCHEMES, Event, Sizes, Work
from keymote.lab.baselines.script import Flow, Script

__all__ = ["SCHEMES", "Event", "Flow", "Played", "Script", "Sizes", "Work", "play"]
