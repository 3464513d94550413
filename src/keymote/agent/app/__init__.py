"""Composition root of a broker's agent: stores, sockets and the broker behind it."""
