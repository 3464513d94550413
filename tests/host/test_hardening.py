"""Core dumps stay off, whatever the shell allows."""

import subprocess
import sys


def test_a_hardened_process_leaves_no_core_and_no_readable_file(tmp_path) -> None:
    script = """
import ctypes, os, resource
from keymote.host.hardening import harden
harden()
with open("made", "w") as file:
    pass
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), oct(os.stat("made").st_mode & 0o777))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(0, 0) 0 0o600"
