"""Topic keys (Triad-1 4): the chain between a client and its trusted system, and the ratchet of readings."""
