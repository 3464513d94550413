"""Keymote: the key service for fleets of constrained devices."""

__version__ = "0.1.0"
