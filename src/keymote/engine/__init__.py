"""The protocols of Triad-1 as sans-IO state machines."""
