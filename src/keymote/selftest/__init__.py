"""Known answers: recompute, through the product's own code, what vector files hold; and the check before a start.

`startup(suites)` is for services; `examine_files` and `examine_own` for `keymote selftest`.
"""

from keymote.selftest.report import PartReport, Report, examine_files, examine_own
from keymote.selftest.startup import startup

__all__ = ["PartReport", "Report", "examine_files", "examine_own", "startup"]
