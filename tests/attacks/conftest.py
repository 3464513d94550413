"""Lets the tests of this folder import `guards`, the table of what each attack is stopped by."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
