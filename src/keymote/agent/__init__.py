"""A broker's agent: lets clients in by ticket, hands them over to other brokers, and keeps the broker's accounts."""
