"""Lets tests of this folder and of others import the stage that stands beside."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
