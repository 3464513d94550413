"""Decisions about groups as pure functions, for the gateway's service and for the simulator alike: no cell, no clock, no I/O."""
