"""Known answers: recompute, through the product's own code, what vector files hold; and the check before a start.

`startup(suites)` and `startup_once(suites)` are for services; `examine_files` and `examine_own` for `keymote selftest`.
"""

from keymote.selftest.report import PartReport, Report, examine_files, examine_own
from keymote.selftest.startup import startup, startup_once

__all__ = ["PartReport", "Report", "examine_files", "examine_own", "startup", "startup_once"]
