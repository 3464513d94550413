"""The air, the motes and the broker of these tests stand in `sn_world`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
