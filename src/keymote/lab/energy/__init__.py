"""What a device spends: explicit profiles, a price for each operation, a radio that counts every byte of a frame.

Pure: profiles come as mappings (`lab.files` reads them), results are plain numbers in SI units.
"""

from keymote.lab.energy.figure import Figure, Kind
from keymote.lab.energy.model import Cost, Traffic, cost
from keymote.lab.energy.profile import Profile

__all__ = ["Cost", "Figure", "Kind", "Profile", "Traffic", "cost"]
