"""Paper 001: a group key of smart meters, re-measured."""
