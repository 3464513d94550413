"""The group key: a ring of 2 to 32 members who all contribute to it, and the gateway that leads them (Triad-1 3)."""
