"""Hand-over of a client between brokers' agents (Triad-1 4.6): pure functions, and the cells `home` and `visit` of an agent."""
