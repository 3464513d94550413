"""`python -m keymote.cli`: the same command without an installed script."""

from keymote.cli import main

main()
