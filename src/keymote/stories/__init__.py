"""The demo: every role a process of its own, started by the commands that an operator types, driven by public faces only."""
